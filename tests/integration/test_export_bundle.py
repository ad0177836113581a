"""A bundle is written whole or not at all, and says truly where it came from."""

import importlib.metadata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from salience_export import Destination, ExportError, ModelContract, export_torch
from salience_export.bundle import export_bundle
from salience_export.source import FloatArray, Reference, SourceModel
from salience_export.sources.torch_module import open_torch
from salience_service.bundle.manifest import GraphRole, OutputKind
from salience_service.bundle.program import check_program
from salience_service.bundle.reader import Bundle, open_bundle
from tests.support import networks
from tests.support.contracts import image_contract

CONTRACT = ModelContract(image_contract(), OutputKind.SOFTMAX)


@pytest.fixture(scope="module")
def source() -> SourceModel:
    return open_torch(networks.smooth_net(), CONTRACT.input, CONTRACT.output)


def entries(models: Path) -> list[str]:
    return sorted(str(path.relative_to(models)) for path in models.rglob("*"))


def with_reference(source: SourceModel, change: Callable[[Reference], Reference]) -> SourceModel:
    def reference(images: FloatArray) -> Reference:
        return change(source.reference(images))

    return replace(source, reference=reference)


def test_the_same_module_gives_the_same_bundle(tmp_path: Path) -> None:
    def export(folder: str) -> str:
        destination = Destination(tmp_path / folder, "smooth")
        return export_torch(networks.smooth_net(), CONTRACT, destination).digest

    assert export("first") == export("second")


def test_the_report_says_what_was_written(source: SourceModel, tmp_path: Path) -> None:
    report = export_bundle(lambda: source, CONTRACT, Destination(tmp_path, "net", "v2.1"))
    bundle = open_bundle(tmp_path / "net" / "v2.1")
    assert report.directory == bundle.directory
    assert report.manifest == bundle.manifest
    assert report.digest == bundle.digest
    assert report.parity.worst == bundle.manifest.source.parity < 1e-5
    assert report.seconds > 0


def test_a_bundle_names_what_wrote_it(tiny_bundle: Bundle) -> None:
    versions = tiny_bundle.manifest.written_by
    assert versions["torch"] == importlib.metadata.version("torch")
    assert set(versions) == {"salience", "onnx", "onnxruntime", "numpy", "torch", "onnxscript"}
    assert tiny_bundle.manifest.source.changes == ("BatchNorms folded into convolutions",)


def test_a_bundle_holds_no_path_of_the_machine_that_wrote_it(tiny_bundle: Bundle) -> None:
    for path in tiny_bundle.directory.iterdir():
        content = path.read_bytes()
        for trace in (b"site-packages", str(Path.cwd()).encode(), b".py", b"stack_trace"):
            assert trace not in content, (path.name, trace)


def test_the_torch_program_passes_the_services_guard(tiny_bundle: Bundle) -> None:
    check_program(tiny_bundle.path(tiny_bundle.manifest.torch_program))


def test_a_network_without_numbers_for_a_blank_image_is_told_why(
    source: SourceModel, tmp_path: Path
) -> None:
    def reference(images: FloatArray) -> Reference:
        answer, spread = source.reference(images), images.std((1, 2, 3))
        return replace(answer, logits=np.where(spread[:, None] > 0, answer.logits, np.nan))

    with pytest.raises(ExportError, match=r"which may be blank: .*add a small number"):
        export_bundle(
            lambda: replace(source, reference=reference), CONTRACT, Destination(tmp_path, "net")
        )


def test_a_version_that_exists_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "net" / "1").mkdir(parents=True)

    def never() -> SourceModel:
        raise AssertionError("the source was opened")

    with pytest.raises(ExportError, match="net 1 exists already; choose another version"):
        export_bundle(never, CONTRACT, Destination(tmp_path, "net"))


@pytest.mark.parametrize("factor", [1.001, np.nan])
def test_graphs_that_differ_from_their_source_are_not_written(
    source: SourceModel, tmp_path: Path, factor: float
) -> None:
    wrong = with_reference(
        source, lambda said: Reference(said.logits * np.float32(factor), said.features)
    )
    with pytest.raises(ExportError, match=r"differ from the source by .*; at most 1e-04 is"):
        export_bundle(lambda: wrong, CONTRACT, Destination(tmp_path, "net"))
    assert entries(tmp_path) == []


def test_a_tap_that_differs_from_its_module_is_not_written(
    source: SourceModel, tmp_path: Path
) -> None:
    def shifted(said: Reference) -> Reference:
        return Reference(said.logits, {n: f + np.float32(0.01) for n, f in said.features.items()})

    with pytest.raises(ExportError, match=r"logits [0-9.]+e-0[78], taps .*e-0[123]"):
        export_bundle(
            lambda: with_reference(source, shifted), CONTRACT, Destination(tmp_path, "net")
        )
    assert entries(tmp_path) == []


def test_another_export_of_the_same_version_is_not_overwritten(
    source: SourceModel, tmp_path: Path
) -> None:
    other = tmp_path / "net" / "1"

    def open_while_another_finishes() -> SourceModel:
        other.mkdir(parents=True)
        (other / "manifest.json").write_text("theirs")
        return source

    with pytest.raises(ExportError, match="written by someone else"):
        export_bundle(open_while_another_finishes, CONTRACT, Destination(tmp_path, "net"))
    assert entries(tmp_path) == ["net", "net/1", "net/1/manifest.json"]
    assert (other / "manifest.json").read_text() == "theirs"


def test_labels_for_another_number_of_classes_are_refused(
    source: SourceModel, tmp_path: Path
) -> None:
    contract = ModelContract(CONTRACT.input, CONTRACT.output, ("cat", "dog"))
    with pytest.raises(ExportError, match="2 given, but the model has 5 classes"):
        export_bundle(lambda: source, contract, Destination(tmp_path, "net"))
    assert entries(tmp_path) == []


@pytest.mark.parametrize("word", ["", "Net", "../net", ".net", "a/b", "a" * 65, "é"])
def test_names_outside_the_alphabet_are_refused(word: str) -> None:
    with pytest.raises(ExportError, match=r"^name .*: use a-z"):
        Destination(Path("models"), word)
    with pytest.raises(ExportError, match=r"^version .*: use a-z"):
        Destination(Path("models"), "net", word)


def test_a_version_that_ends_as_tune_files_do_is_refused_before_work() -> None:
    with pytest.raises(ExportError, match=r"version '1\.tune\.json' ends as tune files do"):
        Destination(Path("models"), "net", "1.tune.json")


class Wide(nn.Module):
    """A BatchNorm of as many channels as make a weight, that no convolution before it takes in."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 256, 3, 2), nn.BatchNorm2d(256)
        self.head = nn.Linear(256, 4)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)
        nn.init.normal_(self.norm.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.norm(self.conv(images).relu()).relu()
        return self.head(features.mean((2, 3)))


def test_a_batch_norm_as_large_as_weights_has_its_gradient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.bin").write_bytes(bytes(2**16))  # Not those of the bundle.
    report = export_torch(Wide(), CONTRACT, Destination(tmp_path / "models", "wide"))
    assert report.manifest.graph(GraphRole.GRADIENT) is not None
    assert "no graphs for gradients" not in " ".join(report.manifest.source.changes)


def test_where_nothing_can_be_written_the_error_says_so_without_a_path(
    source: SourceModel, tmp_path: Path
) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(ExportError, match="cannot be written") as refused:
        export_bundle(lambda: source, CONTRACT, Destination(tmp_path / "models", "net"))
    assert str(tmp_path) not in str(refused.value)
