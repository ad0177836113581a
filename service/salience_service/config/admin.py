"""`[admin]`: the admin service, on a port of its own."""

from pydantic import field_validator

from salience_service.config.address import host_of
from salience_service.config.section import Section


class AdminConfig(Section):
    """Where models are loaded, retired and rolled back. Left out, nowhere.

    The port is encrypted by `[tls]` and guarded by `[access]` as the other one is; callers need
    the permission `admin`. Without `[access]` everyone on this machine may administer, and the
    address must be this machine's.
    """

    address: str = "127.0.0.1:50052"
    """HOST:PORT to listen on; [HOST]:PORT for IPv6. Port 0 = any free port. Beyond this machine
    only with `[tls]` and `[access]`."""

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, address: str) -> str:
        host_of(address)
        return address
