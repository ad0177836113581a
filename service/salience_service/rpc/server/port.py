"""A server's port: encrypted where `[tls]` is given, its certificate renewed while it serves."""

import grpc

from salience_service.access.certificates import Certificates, watched_certificates
from salience_service.access.watched import Watched
from salience_service.config.tls import TlsConfig
from salience_service.errors import ConfigRefused


def bind(server: grpc.aio.Server, address: str, tls: TlsConfig | None) -> str:
    """Opens the port of a server not yet started; the address that was given.

    Args:
        server: of grpc.aio.
        address: HOST:PORT; port 0 = any free one.
        tls: how it is encrypted; None = not at all.

    Raises:
        ConfigRefused: the address cannot be bound, or the certificate cannot be used.
    """
    host = address.rpartition(":")[0]
    credentials = None if tls is None else _credentials(tls)
    try:
        if credentials is None:
            return f"{host}:{server.add_insecure_port(address)}"
        return f"{host}:{server.add_secure_port(address, credentials)}"
    except RuntimeError as error:
        raise ConfigRefused(
            f"cannot listen on {address}: the port is taken or the host is not this machine's"
        ) from error


def _credentials(tls: TlsConfig) -> grpc.ServerCredentials:
    files = watched_certificates(tls)
    first = files.value
    return grpc.dynamic_ssl_server_credentials(
        _configuration(first),
        # It may give None; the stubs do not say so.
        _Renewal(files, first).fetch,  # type: ignore[arg-type]
        bool(tls.client_ca),
    )


class _Renewal:
    """Tells gRPC of new certificates, before each handshake.

    Connections that are open keep theirs. gRPC's own lock lets one handshake ask at a time.
    """

    def __init__(self, files: Watched[Certificates], served: Certificates) -> None:
        self._files, self._served = files, served

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """The new configuration, or None where nothing changed."""
        current = self._files.value
        if current is self._served:
            return None
        self._served = current
        return _configuration(current)


def _configuration(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(certificates.key, certificates.chain)], certificates.client_ca
    )
