"""`[metrics]`: where Prometheus finds the server's figures."""

from typing import Self

from pydantic import model_validator

from salience_service.config.address import host_of, is_loopback
from salience_service.config.section import Section


class MetricsConfig(Section):
    """Figures over HTTP, at /metrics, on a port of their own."""

    address: str = ""
    """HOST:PORT to answer Prometheus on, such as "127.0.0.1:9464"; port 0 = any free port. Empty =
    no port is opened and nothing is counted."""

    insecure: bool = False
    """Allow an address beyond this machine although whoever reaches it may read it, unencrypted:
    names of models, rates and times stand there, and nothing of any image."""

    principals: bool = False
    """Count explanations by who asks, too. Only for a few callers: each is a series of its own."""

    @model_validator(mode="after")
    def _stays_on_this_machine(self) -> Self:
        here = not self.address or is_loopback(host_of(self.address))
        if not here and not self.insecure:
            raise ValueError(
                f"address {self.address!r} can be reached from other machines and asks nobody who "
                "they are: use 127.0.0.1, or say insecure = true on a network of your own"
            )
        return self
