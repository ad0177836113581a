"""Keys in files, and bundles signed by them."""

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from salience_service.bundle.signing import sign_bundle
from salience_service.signatures.key_files import read_private, write_new_pair
from salience_service.signatures.trust import Trust, trust_in


@dataclass(frozen=True)
class Signer:
    """A key in a file, with the public one beside it."""

    private: Path
    public: Path
    id: str

    @property
    def key(self) -> Ed25519PrivateKey:
        return read_private(self.private, ask=lambda: "")

    def sign(self, bundle: Path) -> None:
        sign_bundle(bundle, self.key)


def new_signer(directory: Path, name: str = "signer") -> Signer:
    directory.mkdir(parents=True, exist_ok=True)
    private = directory / f"{name}.pem"
    public, key_id = write_new_pair(private)
    return Signer(private, public, key_id)


def trusting(*signers: Signer, unsigned_allowed: bool = False) -> Trust:
    return trust_in([signer.public for signer in signers], unsigned_allowed)
