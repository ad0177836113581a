"""The networks that figures are of: where each comes from, and which of its taps are read."""

from dataclasses import dataclass
from pathlib import Path

from bench.report import Skipped
from salience_export import Destination, export_onnx, export_torch, read_contract
from salience_export.zoo import efficientnet_lite0

SHARED_MODELS = Path("../shared/data/models")
CONTRACTS = Path(__file__).resolve().parents[1] / "examples" / "contracts"


@dataclass(frozen=True)
class Network:
    """A network that can be exported here.

    Attributes:
        name: of its bundle.
        score_tap: the tap of Score-CAM.
        poly_taps: the taps of Poly-CAM, few enough channels that a run of it stays short.
        file: the shared ONNX file and its contract, by stem; empty: EfficientNet-Lite0 of torch.
    """

    name: str
    score_tap: str
    poly_taps: tuple[str, ...]
    file: str = ""

    def export(self, destination: Destination) -> None:
        """Writes its bundle.

        Raises:
            Skipped: the file it comes from is not here.
        """
        if not self.file:
            export_torch(*efficientnet_lite0(), destination)
            return
        file = SHARED_MODELS / f"{self.file}.onnx"
        if not file.is_file():
            raise Skipped(f"{self.name} is not here: {file} is missing")
        export_onnx(file, read_contract(CONTRACTS / f"{self.file}.toml"), destination)


LITE0 = Network("efficientnet-lite0", "_blocks.15._bn2", ("_blocks.4", "_blocks.10"))
"""Score-CAM of 320 rows of 7×7, PCAM± of 304 of 28×28 and 14×14."""
MOBILENET_V2 = Network("mobilenet-v2", "conv50", ("add21", "add47"), "mobilenet_v2")
"""Score-CAM of 320 rows of 7×7, PCAM± of 256 of 28×28 and 14×14."""
SQUEEZENET = Network("squeezenet", "fire9/concat_1", ("conv1_2", "fire3/concat_1"), "squeezenet1.1")
"""Score-CAM of up to 512 rows of 13×13, PCAM± of up to 384 of 111×111 and 55×55."""

NETWORKS = {network.name: network for network in (LITE0, MOBILENET_V2, SQUEEZENET)}


def export_network(root: Path, name: str) -> None:
    """Exports a network into a models directory of its own, root/NAME, that has none yet.

    Raises:
        Skipped: the file it comes from is not here.
    """
    models = root / name
    if not (models / name / "1").exists():
        NETWORKS[name].export(Destination(models, name))
