"""`[tls]`: the certificate by which callers know the server, and by which it knows callers."""

from pydantic import Field

from salience_service.config.section import Section


class TlsConfig(Section):
    """Encrypts the port. The files are read again when they change, and no call is dropped."""

    certificate: str = Field(min_length=1)
    """PEM file: the server's certificate first, then what leads from it to its CA."""

    key: str = Field(min_length=1)
    """PEM file: the private key of the certificate, without a passphrase. Only the server's user
    should be able to read it."""

    client_ca: str = ""
    """PEM file of the CAs whose certificates callers must show (mutual TLS); who shows none that
    holds gets no connection. Empty = callers need no certificate."""

    warn_days: int = Field(14, ge=0, le=3650)
    """Days before the certificate's end from which on the log warns, once a day. Fewer than a new
    certificate lasts; 0 = only once it has ended."""
