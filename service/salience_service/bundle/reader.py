"""A bundle on disk, opened only once its signer is known and every file is what it says."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from salience_service.bundle.consistency import MANIFEST_NAME
from salience_service.bundle.golden import GoldenExample, load_golden
from salience_service.bundle.graph_file import check_graph
from salience_service.bundle.manifest import BundleFile, Graph, Manifest
from salience_service.bundle.manifest_json import from_json
from salience_service.errors import BundleRefused
from salience_service.signatures.signature import MAX_SIGNATURE_BYTES, SIGNATURE_NAME
from salience_service.signatures.trust import ANYONE, Trust

MAX_MANIFEST_BYTES = 8 << 20
"""22,000 labels take about 1 MiB."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were found whole.

    Attributes:
        directory: where it lies.
        manifest: what it says of itself.
        digest: SHA-256 of manifest.json in hex; it names every other file's digest, so
            it stands for the whole bundle.
        signed_by: id of the trusted key that signed the manifest; empty where none did.
    """

    directory: Path
    manifest: Manifest
    digest: str
    signed_by: str = ""

    def path(self, name: str) -> Path:
        """Where the named file lies.

        Raises:
            BundleRefused: the manifest lists no such file.
        """
        return self.directory / self._file(name).path

    def digest_of(self, graph: Graph) -> str:
        """SHA-256 of the graph's file in hex."""
        return self._file(graph.path).sha256

    def check(self, name: str) -> None:
        """Holds a file that is read late against its digest once more.

        Raises:
            BundleRefused: it is not what it was when the bundle was opened.
        """
        _check_file(self.directory, self._file(name))

    def weights(self) -> dict[str, bytes]:
        """The files that graphs take their weights from, by name.

        Raises:
            BundleRefused: one is not what it was when the bundle was opened.
        """
        told = {graph.path for graph in self.manifest.graphs}
        told |= {self.manifest.golden.path, self.manifest.torch_program}
        return {
            file.path: self._bytes(file) for file in self.manifest.files if file.path not in told
        }

    def _bytes(self, file: BundleFile) -> bytes:
        data = (self.directory / file.path).read_bytes()
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise _changed(file)
        return data

    def _file(self, name: str) -> BundleFile:
        for file in self.manifest.files:
            if file.path == name:
                return file
        raise BundleRefused(f"the manifest lists no file {name!r}")


def open_bundle(directory: Path, trust: Trust = ANYONE) -> Bundle:
    """The bundle in `directory`, with every file checked; nothing in it is run.

    The signature is checked first: of a bundle that is refused for it nothing was parsed.

    Args:
        directory: where it lies.
        trust: who may have signed it; by default anyone, or nobody.

    Raises:
        BundleRefused: it is wrongly signed, or not by whom `trust` wants; or as `open_manifest`.
    """
    text = manifest_text(directory)
    return open_manifest(directory, text, trust.signer(text, _signature_text(directory)))


def open_manifest(directory: Path, text: bytes, signed_by: str = "") -> Bundle:
    """The bundle of a manifest that was read, with every file checked.

    Args:
        directory: where its files lie.
        text: bytes of manifest.json.
        signed_by: id of the trusted key that signed them.

    Raises:
        BundleRefused: the manifest is not valid; a file is missing, unreadable, not a plain file,
            or differs in size or SHA-256; a graph has code or weights from elsewhere, or lacks
            the inputs and outputs of its role.
    """
    manifest = from_json(text)
    try:
        for file in manifest.files:
            _check_file(directory, file)
        sizes = {file.path: file.size for file in manifest.files}
        for graph in manifest.graphs:
            check_graph(directory / graph.path, graph, manifest, sizes)
    except OSError as fault:
        raise _unreadable(fault) from fault
    return Bundle(directory, manifest, hashlib.sha256(text).hexdigest(), signed_by)


def manifest_text(directory: Path) -> bytes:
    """Bytes of the manifest.json of a bundle.

    Raises:
        BundleRefused: missing, unreadable, not a plain file, or too large.
    """
    return _small_file(directory, MANIFEST_NAME, MAX_MANIFEST_BYTES)


def read_golden(bundle: Bundle) -> GoldenExample:
    """The bundle's golden example.

    Raises:
        BundleRefused: not an .npz without pickles, too large, or arrays that do not fit.
    """
    return load_golden(bundle.path(bundle.manifest.golden.path), bundle.manifest)


def _signature_text(directory: Path) -> bytes | None:
    """Bytes of its manifest.sig; None where there is none."""
    if not os.path.lexists(directory / SIGNATURE_NAME):
        return None
    return _small_file(directory, SIGNATURE_NAME, MAX_SIGNATURE_BYTES)


def _small_file(directory: Path, name: str, most: int) -> bytes:
    size = _plain_file_size(directory, name)
    if size > most:
        raise BundleRefused(f"{name} has {size} bytes; at most {most} are read")
    try:
        return (directory / name).read_bytes()
    except OSError as fault:
        raise _unreadable(fault) from fault


def _unreadable(fault: OSError) -> BundleRefused:
    return BundleRefused(f"a file of it cannot be read: {fault.strerror}")


def _check_file(directory: Path, file: BundleFile) -> None:
    size = _plain_file_size(directory, file.path)
    if size != file.size:
        raise BundleRefused(f"{file.path!r} has {size} bytes; its manifest says {file.size}")
    with (directory / file.path).open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != file.sha256:
        raise _changed(file)


def _changed(file: BundleFile) -> BundleRefused:
    return BundleRefused(f"{file.path!r} does not match its SHA-256: copy or export it again")


def _plain_file_size(directory: Path, name: str) -> int:
    """Size of a file that is no link, device or directory, asked of the entry itself."""
    try:
        status = (directory / name).lstat()
    except OSError as fault:
        raise BundleRefused(f"{name!r} is missing from the bundle") from fault
    if not stat.S_ISREG(status.st_mode):
        raise BundleRefused(f"{name!r} is not a plain file: links and directories are refused")
    return status.st_size
