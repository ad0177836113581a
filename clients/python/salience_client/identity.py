"""How a client knows its server, and how it shows who it is: TLS and tokens."""

import inspect
import ipaddress
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio

from salience_client.errors import InvalidRequest

Pem = str | Path | bytes
"""A PEM file's path, or its bytes."""
Token = str | Callable[[], str]
"""A token, or a function that gives one anew for each call."""
AsyncToken = str | Callable[[], str | Awaitable[str]]
"""The same on asyncio, where the function may be asynchronous too."""
Metadata = tuple[tuple[str, str], ...]
Options = tuple[tuple[str, str | int], ...]

_PEM_BEGIN = "-----BEGIN"
"""Of RFC 7468; a path has it where the PEM itself was given in its place."""
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_LOCAL_SCHEMES = ("unix:", "unix-abstract:")
_SCHEME = re.compile(r"(dns:(//[^/]*/)?|ipv4:|ipv6:)")
_PAST_PROXIES: Options = (("grpc.enable_http_proxy", 0),)
"""gRPC obeys http_proxy for this machine too, where no_proxy does not name it, and asks a proxy
for a list of addresses as for one host, whatever no_proxy names."""


@dataclass(frozen=True)
class Tls:
    """An encrypted connection.

    Attributes:
        ca: the CAs that the server's certificate must lead to; None = the public ones that
            gRPC brings along. Hospitals mostly have their own.
        certificate: this client's, with what leads to its CA, where the server wants one.
        key: its private key.
        server_name: the name that the server's certificate must bear, such as
            "salience.hospital.example"; empty = the address's host. For an address that is none
            of its names: a probe at 127.0.0.1, a tunnel, a forwarded port. Where the connection
            goes stays as it is, the certificate must lead to `ca` all the same, and the server is
            told this name in place of the address (SNI, :authority). It is gRPC's
            `grpc.ssl_target_name_override`, safe as long as nobody but you chooses the name.

    Raises:
        InvalidRequest: a certificate without its key, a key without its certificate, or PEM text
            that is not bytes.
    """

    ca: Pem | None = None
    certificate: Pem | None = None
    key: Pem | None = field(default=None, repr=False)
    server_name: str = ""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise InvalidRequest("a client certificate and its key belong together: give both")
        for pem in (self.ca, self.certificate, self.key):
            if isinstance(pem, str | Path) and _PEM_BEGIN in str(pem):
                raise InvalidRequest(
                    "PEM text stands where a path belongs: give its path, or the PEM as bytes"
                )

    def credentials(self) -> grpc.ChannelCredentials:
        """For gRPC; files are read now, once.

        Raises:
            OSError: a file cannot be read.
        """
        key = self.key if isinstance(self.key, bytes | None) else read_secret(self.key, "key")
        return grpc.ssl_channel_credentials(_read(self.ca), key, _read(self.certificate))

    def options(self) -> tuple[tuple[str, str], ...]:
        """Options of the channel."""
        return (("grpc.ssl_target_name_override", self.server_name),) if self.server_name else ()


def read_secret(file: str | Path, what: str) -> bytes:
    """The bytes of a file that holds a secret.

    No error tells its name, which is the secret itself where that was given in place of a path.

    Raises:
        OSError: the file of `what`, such as "key", cannot be read.
    """
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise OSError(error.errno, f"the {what}'s file: {error.strerror}") from None


def bearer(token: Token | None) -> Metadata:
    """The metadata that shows a token; asks for it where it is a function.

    Nothing can end a function that blocks: what it is to give up on, it gives up itself.

    Raises:
        InvalidRequest: not a token: empty, or with blanks or other characters in it.
    """
    return _metadata(token() if callable(token) else token)


async def bearer_async(token: AsyncToken | None) -> Metadata:
    """The same on asyncio."""
    given = token() if callable(token) else token
    return _metadata(await given if inspect.isawaitable(given) else given)


def open_channel(
    address: str, tls: Tls | None, token: object, options: Options = ()
) -> grpc.Channel:
    """A channel to a server; `token` only says whether one will be sent over it.

    This machine, and a list of addresses, are reached past any proxy, others by that of the
    environment.

    Raises:
        InvalidRequest: a token would go to another machine unencrypted.
        OSError: a file of `tls` cannot be read.
    """
    _refuse_to_tell_all(address, tls, token)
    told = (*options, *_own_options(address, tls))
    if tls is None:
        return grpc.insecure_channel(address, told)
    return grpc.secure_channel(address, tls.credentials(), told)


def open_channel_async(
    address: str, tls: Tls | None, token: object, options: Options = ()
) -> grpc.aio.Channel:
    """The same on asyncio."""
    _refuse_to_tell_all(address, tls, token)
    told = (*options, *_own_options(address, tls))
    if tls is None:
        return grpc.aio.insecure_channel(address, told)
    return grpc.aio.secure_channel(address, tls.credentials(), told)


def _refuse_to_tell_all(address: str, tls: Tls | None, token: object) -> None:
    """Keeps a token off the open network."""
    if token is not None and tls is None and not _is_here(address):
        raise InvalidRequest(
            f"{address} is another machine, and whoever listens on the way would have the token: "
            "encrypt with tls=Tls(…)"
        )


def _own_options(address: str, tls: Tls | None) -> Options:
    past_proxies = _PAST_PROXIES if _is_here(address) or "," in address else ()
    return (*past_proxies, *(tls.options() if tls else ()))


def _metadata(token: object) -> Metadata:
    if token is None:
        return ()
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise InvalidRequest("the token is none: 1 to 8,192 visible ASCII characters, no blanks")
    return (("authorization", f"Bearer {token}"),)


def _read(pem: Pem | None) -> bytes | None:
    return Path(pem).read_bytes() if isinstance(pem, str | Path) else pem


def _is_here(address: str) -> bool:
    """Whether an address can only be this machine's."""
    if address.startswith(_LOCAL_SCHEMES):
        return True
    scheme = _SCHEME.match(address)
    named = address[scheme.end() if scheme else 0 :]
    return all(map(_is_loopback, named.split(",")))  # ipv4: and ipv6: take several


def _is_loopback(place: str) -> bool:
    host = place.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
