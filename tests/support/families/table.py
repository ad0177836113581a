"""The families by name: each thin, for tests, and at its published size, for the benchmark."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from tests.support.families import efficientnet as en
from tests.support.families import mobilenet_v2 as v2
from tests.support.families import mobilenet_v3 as v3
from tests.support.families import squeezenet, swin, vit
from tests.support.families.convnext import ConvNeXt
from tests.support.families.densenet import DenseNet
from tests.support.families.inception_v3 import InceptionV3
from tests.support.families.layers import relu6, silu
from tests.support.families.resnet import ResNet
from tests.support.families.vgg import Vgg
from tests.support.families.weights import drawn

CLASSES = 1000
FEW = 10
"""Classes of a thin network."""


@dataclass(frozen=True)
class Specimen:
    """One network of a family.

    Attributes:
        make: builds it, weights as torch draws them.
        size: height and width of its images.
    """

    make: Callable[[], nn.Module]
    size: int

    def network(self) -> nn.Module:
        """The network in eval mode, float32; always the same weights."""
        return drawn(self.make, self.size)


@dataclass(frozen=True)
class Family:
    """A family's two networks, and the modules of both whose outputs are its taps.

    Attributes:
        weights: how many parameters the full network has, as published.
        taps: an early or middle module, and the last feature tensor's.
    """

    thin: Specimen
    full: Specimen
    weights: int
    taps: tuple[str, str]


def _vgg(norm: type[nn.Module], weights: int) -> Family:
    return Family(
        Specimen(lambda: Vgg((1, 2, 1), (8, 12, 16), norm, 4, 24, FEW), 64),
        Specimen(
            lambda: Vgg((2, 2, 3, 3, 3), (64, 128, 256, 512, 512), norm, 7, 4096, CLASSES), 224
        ),
        weights,
        ("stages.1", "stages"),
    )


_RESNET = Family(
    Specimen(lambda: ResNet((2, 1, 1), 4, FEW), 64),
    Specimen(lambda: ResNet((3, 4, 6, 3), 64, CLASSES), 224),
    25_557_032,
    ("stages.1", "stages"),
)
_DENSENET = Family(
    Specimen(lambda: DenseNet((2, 2), 6, FEW), 64),
    Specimen(lambda: DenseNet((6, 12, 24, 16), 32, CLASSES), 224),
    7_978_856,
    ("blocks.0", "norm"),
)
_MOBILENET_V2 = Family(
    Specimen(
        lambda: v2.MobileNetV2((v2.Stage(1, 8, 1, 1), v2.Stage(4, 16, 2, 2)), 0.5, 32, FEW),
        64,
    ),
    Specimen(lambda: v2.MobileNetV2(v2.STAGES, 1.0, 1280, CLASSES), 224),
    3_504_872,
    ("stages.1", "last"),
)
_MOBILENET_V3 = Family(
    Specimen(
        lambda: v3.MobileNetV3(
            (
                v3.Row(3, 8, 8, False, False, 1),
                v3.Row(5, 24, 12, True, False, 2),
                v3.Row(3, 32, 12, True, True, 1),
            ),
            8,
            32,
            FEW,
        ),
        64,
    ),
    Specimen(lambda: v3.MobileNetV3(v3.LARGE, 16, 1280, CLASSES), 224),
    5_483_032,
    ("blocks.1", "last"),
)
_THIN_STAGES = (en.Stage(1, 3, 8, 1, 1), en.Stage(4, 5, 16, 2, 2))
_EFFICIENTNET_B0 = Family(
    Specimen(lambda: en.EfficientNet(_THIN_STAGES, 8, 32, FEW, silu, gated=True), 64),
    Specimen(lambda: en.EfficientNet(en.STAGES, 32, 1280, CLASSES, silu, gated=True), 224),
    5_288_548,
    ("stages.1", "last"),
)
_EFFICIENTNET_LITE0 = Family(
    Specimen(lambda: en.EfficientNet(_THIN_STAGES, 8, 32, FEW, relu6, gated=False), 64),
    Specimen(lambda: en.EfficientNet(en.STAGES, 32, 1280, CLASSES, relu6, gated=False), 224),
    4_652_008,
    ("stages.1", "last"),
)
_SQUEEZENET = Family(
    Specimen(lambda: squeezenet.SqueezeNet(8, 2, squeezenet.THIN, FEW), 64),
    Specimen(lambda: squeezenet.SqueezeNet(64, 16, squeezenet.V1_1, CLASSES), 224),
    1_235_496,
    ("features.2", "features"),
)
_INCEPTION = Family(
    Specimen(lambda: InceptionV3(1 / 24, (1, 1, 1), FEW), 107),
    Specimen(lambda: InceptionV3(1, (3, 4, 2), CLASSES), 299),
    23_834_568,
    ("first", "third"),
)
_CONVNEXT = Family(
    Specimen(lambda: ConvNeXt((1, 1, 1), 8, FEW), 64),
    Specimen(lambda: ConvNeXt((3, 3, 9, 3), 96, CLASSES), 224),
    28_589_128,
    ("stages.1", "stages"),
)
_VIT = Family(
    Specimen(lambda: vit.VisionTransformer(vit.Size(64, 16, 2, 2, 32, 48), FEW), 64),
    Specimen(lambda: vit.VisionTransformer(vit.Size(224, 16, 12, 12, 768, 3072), CLASSES), 224),
    86_567_656,
    ("patches", "layers"),
)
_SWIN = Family(
    Specimen(lambda: swin.Swin(swin.Size(8, (2, 1), (2, 4), 5), FEW), 64),
    Specimen(lambda: swin.Swin(swin.Size(96, (2, 2, 6, 2), (3, 6, 12, 24), 7), CLASSES), 224),
    28_288_354,
    ("stages.0", "norm"),
)

FAMILIES: Mapping[str, Family] = {
    "ResNet-50": _RESNET,
    "VGG-16": _vgg(nn.Identity, 138_357_544),
    "VGG-16-BN": _vgg(nn.BatchNorm2d, 138_365_992),
    "DenseNet-121": _DENSENET,
    "MobileNetV2": _MOBILENET_V2,
    "MobileNetV3-Large": _MOBILENET_V3,
    "EfficientNet-B0": _EFFICIENTNET_B0,
    "EfficientNet-Lite0": _EFFICIENTNET_LITE0,
    "SqueezeNet 1.1": _SQUEEZENET,
    "Inception v3": _INCEPTION,
    "ConvNeXt-T": _CONVNEXT,
    "ViT-B/16": _VIT,
    "Swin-T": _SWIN,
}
"""Named after the full network; the thin one is of the same operators."""
