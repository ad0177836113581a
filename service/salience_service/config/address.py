"""HOST:PORT as a configuration states it, and whether it can be reached from other machines."""

import ipaddress


def host_of(address: str) -> str:
    """The host of HOST:PORT or [HOST]:PORT.

    Raises:
        ValueError: the address has another form, or a port beyond 65535.
    """
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 2**16):
        raise ValueError(f"address {address!r} is not HOST:PORT with a port from 0 to 65535")
    return host


def is_loopback(host: str) -> bool:
    """Whether a host is this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
