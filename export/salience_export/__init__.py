"""The exporter: a torch module or an ONNX file becomes a bundle that the service can serve.

```python
from pathlib import Path
from salience_export import Destination, export_torch, read_contract

contract = read_contract(Path("xray.toml"))
report = export_torch(network, contract, Destination(Path("models"), "xray"))
```

torch is loaded only by `export_torch`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from salience_export.bundle import export_bundle
from salience_export.contract import Layout, ModelContract
from salience_export.contract_toml import read_contract
from salience_export.destination import Destination
from salience_export.errors import ExportError
from salience_export.report import ExportReport

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from torch import nn

__all__ = [
    "Destination",
    "ExportError",
    "ExportReport",
    "Layout",
    "ModelContract",
    "export_onnx",
    "export_torch",
    "read_contract",
]


def export_torch(
    module: "nn.Module",
    contract: ModelContract,
    destination: Destination,
    taps: Sequence[str] = (),
    key: "Ed25519PrivateKey | None" = None,
) -> ExportReport:
    """Exports a classifier written in torch; the module is left as it is.

    Args:
        module: takes float32 [N, C, H, W], puts out logits [N, K].
        contract: what it takes and what its logits mean.
        destination: where the bundle goes.
        taps: modules whose outputs are taps, NAME#0 … for one call of several; none:
            chosen from the graph.
        key: signs the bundle, where one is given.

    Raises:
        ExportError: what cannot be exported, and what would help.
    """
    from salience_export.sources.torch_module import open_torch

    return export_bundle(
        lambda: open_torch(module, contract.input, contract.output, taps),
        contract,
        destination,
        key,
    )


def export_onnx(
    file: Path,
    contract: ModelContract,
    destination: Destination,
    taps: Sequence[str] = (),
    key: "Ed25519PrivateKey | None" = None,
) -> ExportReport:
    """Exports an ONNX file; torch is not needed.

    Args:
        file: a classifier of one image tensor, NCHW or NHWC as the contract says.
        contract: what it takes and what its output means.
        destination: where the bundle goes.
        taps: tensors that are taps; none: chosen from the graph.
        key: signs the bundle, where one is given.

    Raises:
        ExportError: what cannot be exported, and what would help.
    """
    from salience_export.sources.onnx_file import open_onnx

    return export_bundle(
        lambda: open_onnx(file, contract.input, contract.output, taps, contract.layout),
        contract,
        destination,
        key,
    )
