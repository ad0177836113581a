"""A client, as limits and quotas tell one from another: a principal, or an address of nobody's."""

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from salience_service.access.principal import ANONYMOUS

_NETWORK_BITS = 64
"""Of IPv6: one machine may have every address of its network, RFC 6177."""


@dataclass(frozen=True)
class Client:
    """Who asks.

    Attributes:
        name: of the principal. address: where the call came from; counts for the anonymous alone.
    """

    name: str
    address: str = ""

    @property
    def key(self) -> str:
        """What is counted under."""
        return f"{self.name} {self.address}" if self.name == ANONYMOUS.name else self.name


@lru_cache(maxsize=4096)  # Asked several times a call, and of many calls on one connection.
def address_of(peer: str) -> str:
    """The machine behind a peer as gRPC names it, such as `ipv4:192.0.2.7:50123`."""
    kind, _, rest = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return kind
    host = rest.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return kind
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _NETWORK_BITS), strict=False))
