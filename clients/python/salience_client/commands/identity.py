"""The words of the command line that say how a server is known, and who asks it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from salience_client.identity import Tls, read_secret

TOKEN_VARIABLE = "SALIENCE_TOKEN"
"""Holds the token where no file is named: on the command line everyone on the machine sees it."""

TlsOption = Annotated[
    bool, typer.Option("--tls", help="Encrypt the connection; the other --tls-… imply it.")
]
TlsCaOption = Annotated[
    Path | None,
    typer.Option(
        "--tls-ca",
        metavar="FILE.pem",
        envvar="SALIENCE_TLS_CA",
        help="The CAs that the server's certificate leads to.",
        show_default="public CAs",
    ),
]
TlsCertOption = Annotated[
    Path | None,
    typer.Option(
        "--tls-cert", metavar="FILE.pem", envvar="SALIENCE_TLS_CERT", help="Your certificate."
    ),
]
TlsKeyOption = Annotated[
    Path | None,
    typer.Option("--tls-key", metavar="FILE.pem", envvar="SALIENCE_TLS_KEY", help="Its key."),
]
TlsServerNameOption = Annotated[
    str,
    typer.Option(
        "--tls-server-name",
        metavar="NAME",
        envvar="SALIENCE_TLS_SERVER_NAME",
        help="The name that the server's certificate must bear.",
        show_default="the host of --address",
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        envvar="SALIENCE_TOKEN_FILE",
        help=f"Holds your token; {TOKEN_VARIABLE} may hold the token itself.",
    ),
]


@dataclass(frozen=True)
class Identity:
    """How a server is known, and what is shown to it.

    Attributes:
        tls: None = not encrypted.
        token: None = none.
    """

    tls: Tls | None = None
    token: str | None = None


def identity_of(
    tls: bool,
    ca: Path | None,
    certificate: Path | None,
    key: Path | None,
    server_name: str,
    token_file: Path | None,
) -> Identity:
    """The identity that words and environment state.

    Raises:
        InvalidRequest: a certificate without its key, or the reverse, or PEM text for a path.
        OSError: the token's file cannot be read.
    """
    encrypted = tls or any((ca, certificate, key, server_name))
    found = Tls(ca, certificate, key, server_name) if encrypted else None
    return Identity(found, _token(token_file))


def _token(file: Path | None) -> str | None:
    if file is not None:
        # What is no text becomes no token, and is refused as one when it is shown.
        return read_secret(file, "token").decode("utf-8", errors="replace").strip()
    return os.environ.get(TOKEN_VARIABLE) or None
