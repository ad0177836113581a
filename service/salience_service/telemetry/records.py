"""What witnesses are told, as frozen values: a call, what it came to, and what was refused.

Nothing in them is free text of a caller: a model's or a method's name is there only once the
server has found it to be its own (in an action: an administrator's word, checked to be a name), and
no file name, label, tag or pixel ever is.
"""

from dataclasses import dataclass

from salience_service.events import Provenance
from salience_service.stages import Stage

OK = "ok"
"""The outcome of what was answered to its end."""


@dataclass(frozen=True)
class Arrival:
    """An explanation that begins.

    Attributes:
        request_id: of the RPC it came with; those of one ExplainMany share it.
        principal: the name of who asks.
        arrived: `time.monotonic()` seconds when it arrived.
    """

    request_id: str
    principal: str
    arrived: float


@dataclass(frozen=True)
class ExplanationRecord:
    """What an explanation was and came to, whatever ended it.

    Attributes:
        request_id: as in its `Arrival`. principal: as there.
        outcome: "ok", or the name of the error in `errors.py` that ended it.
        code: its gRPC status as a number, 0 = OK.
        model: served name; empty, as all that follows, where the request was refused before
            **started**. version: of it. bundle_digest: SHA-256, hex. provider: that runs it.
        methods: their names, in the order asked.
        provenances: of every finished map, in the order they were ready; what options came to
            and which side took gradients stands there.
        rows: run for it. rows_spared: those that need not run.
        queue_seconds: its work waited for the device. compute_seconds: its share of the device.
        first_event_seconds: from its arrival until prediction was told, None where it never was.
        whole_seconds: from its arrival until its end.
        from_cache: the answer was kept from an earlier one.
        rows_left: that it had still been expected to run when it ended early.
        stages: what its time went into.
    """

    request_id: str
    principal: str
    outcome: str
    code: int
    whole_seconds: float
    model: str = ""
    version: str = ""
    bundle_digest: str = ""
    provider: str = ""
    methods: tuple[str, ...] = ()
    provenances: tuple[Provenance, ...] = ()
    rows: int = 0
    rows_spared: int = 0
    queue_seconds: float = 0.0
    compute_seconds: float = 0.0
    first_event_seconds: float | None = None
    from_cache: bool = False
    rows_left: int = 0
    stages: tuple[Stage, ...] = ()


@dataclass(frozen=True)
class InferenceRecord:
    """A plain prediction by the Open Inference Protocol.

    Attributes:
        outcome: as of an explanation. code: likewise. model: empty where none was found.
        images: rows of the batch that was sent.
    """

    request_id: str
    principal: str
    outcome: str
    code: int
    whole_seconds: float
    model: str = ""
    version: str = ""
    bundle_digest: str = ""
    images: int = 0
    queue_seconds: float = 0.0
    compute_seconds: float = 0.0


@dataclass(frozen=True)
class Action:
    """What an administrator has the server do.

    Attributes:
        name: "load", "retire", "roll_back" or "roll_forward".
        model: whose version. version: which; empty where it is the newest.
    """

    request_id: str
    principal: str
    name: str
    model: str
    version: str = ""


@dataclass(frozen=True)
class ActionRecord:
    """What an action came to.

    Attributes:
        outcome: as of an explanation. code: likewise.
        whole_seconds: from its beginning until its end, whether its caller waited or not.
    """

    action: Action
    outcome: str
    code: int
    whole_seconds: float


@dataclass(frozen=True)
class Refusal:
    """A call, or a request in it, that became nothing else: identity, quota, limit, draining.

    Attributes:
        reason: the name of the error in `errors.py`.
        rpc: full method, as /salience.v1.ExplanationService/Explain, where it is one served.
        principal: who asked; empty where that is not known.
    """

    reason: str
    request_id: str = ""
    principal: str = ""
    rpc: str = ""
