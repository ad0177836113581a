"""`[watchdog]`: when a call on a device is held to be stuck, and a model to be broken."""

from pydantic import Field

from salience_service.config.section import Section


class WatchdogConfig(Section):
    """A call that does not return cannot be ended inside its process: the server tells everyone
    who waits to send again, ends with exit code 75, and is started again by its supervisor.
    """

    stuck_call_seconds: float = Field(default=0, ge=0, le=86_400)
    """How long one call on a device may take. 0 = ten times what the slowest model's warm-up
    took, at least 60 s. Time in which the whole process stood still does not count."""

    failures_before_check: int = Field(default=3, ge=1, le=1000)
    """Batches of a model that fail on the device one after the other, with no explanation or
    prediction that goes well between them, until it is opened anew and held against its golden
    example. Met, the new one serves; missed, it is out, and requests that name it get
    UNAVAILABLE until it is loaded again; an older version, if one serves, answers those that name
    none. Where it cannot be opened anew, for want of memory say, the old one serves on until that
    fails a second time."""
