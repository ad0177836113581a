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
