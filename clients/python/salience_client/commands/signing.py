"""`salience keygen`, `sign` and `verify`: keys, and signatures of bundles."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from salience_client.extras import require
from salience_client.in_process import translated

_FOR = "signing bundles"

BundleArgument = Annotated[
    Path, typer.Argument(exists=True, file_okay=False, metavar="BUNDLE", help="NAME/VERSION.")
]


def keygen(
    out: Annotated[
        Path,
        typer.Option(metavar="FILE.pem", help="Where the private key goes; FILE.pub beside it."),
    ],
    passphrase: Annotated[
        bool,
        typer.Option(
            "--passphrase", help="Encrypt it: asks for one, or takes $SALIENCE_KEY_PASSPHRASE."
        ),
    ] = False,
) -> None:
    """Make an Ed25519 key that signs bundles."""
    key_files = require("salience_service.signatures.key_files", "service", _FOR)
    secret = key_files.passphrase_or(partial(_ask, twice=True)) if passphrase else ""
    with translated():
        public, key_id = key_files.write_new_pair(out, secret)
    sealed = "encrypted" if secret else "not encrypted"
    typer.echo(f"{out}: the private key, {sealed}; keep it where bundles are signed")
    typer.echo(f"{public}: the public key {key_id[:12]}; servers trust it")


def sign(
    bundle: BundleArgument,
    key: Annotated[
        Path,
        typer.Option(exists=True, dir_okay=False, metavar="FILE.pem", help="The private key."),
    ],
) -> None:
    """Sign a bundle: its manifest, which holds the digest of every file."""
    signing = require("salience_service.bundle.signing", "service", _FOR)
    key_files = require("salience_service.signatures.key_files", "service", _FOR)
    with translated():
        signed = signing.sign_bundle(bundle, key_files.read_private(key, _ask))
    typer.echo(f"signed {_named(signed)}")


def verify(
    bundle: BundleArgument,
    trust: Annotated[
        list[Path],
        typer.Option(exists=True, metavar="FILE.pub", help="A public key, or a directory of them."),
    ],
) -> None:
    """Check a bundle's signature and every file of it, as a server does before it opens any."""
    reader = require("salience_service.bundle.reader", "service", _FOR)
    trusts = require("salience_service.signatures.trust", "service", _FOR)
    with translated():
        found = reader.open_bundle(bundle, trusts.trust_in(trust))
    typer.echo(f"good: {_named(found)}")


def _ask(twice: bool = False) -> str:
    said: str = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=twice)
    return said


def _named(bundle: Any) -> str:
    manifest = bundle.manifest
    return f"{manifest.name} {manifest.version}, digest {bundle.digest}, by key {bundle.signed_by}"
