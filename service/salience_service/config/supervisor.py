"""`[supervisor]`: how often a crashed server is started again."""

from typing import Self

from pydantic import Field, model_validator

from salience_service.config.section import Section


class SupervisorConfig(Section):
    """Present, the server runs under a small parent that starts it again when it crashes or is
    stuck. Not needed where systemd, Docker or Kubernetes does so.
    """

    most_restarts: int = Field(default=5, ge=0, le=1000)
    """Restarts within `window_seconds`; then the supervisor gives up, with exit code 69."""

    window_seconds: float = Field(default=600, gt=0, le=86_400)
    """The time in which restarts are counted. A server that lived so long is healthy again: the
    next wait is the first one."""

    first_wait_seconds: float = Field(default=1, ge=0.01, le=600)
    """Time from a crash to the next start; doubled with each crash that follows."""

    longest_wait_seconds: float = Field(default=60, ge=0.01, le=3600)
    """What the wait grows to."""

    @model_validator(mode="after")
    def _waits_grow(self) -> Self:
        if self.longest_wait_seconds < self.first_wait_seconds:
            raise ValueError(
                f"longest_wait_seconds = {self.longest_wait_seconds:g} is less than "
                f"first_wait_seconds = {self.first_wait_seconds:g}"
            )
        return self
