"""A model on its way into a bundle: the form torch modules and ONNX files are brought to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray

from salience_service.bundle.manifest import OutputKind, TokenLayout

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class SourceTap:
    """A feature tensor: its public name, and the tensor of the graph that it exactly is.

    Attributes:
        name: what people say: a torch module's name, or the tensor's own.
        tensor: the tensor of `SourceModel.model`, float32 [N, channels, height, width], or
            tokens.
        channels: ≥ 1.
        height: rows, > 1 or width > 1.
        width: columns.
        layout: how its elements lie in the tensor.
    """

    name: str
    tensor: str
    channels: int
    height: int
    width: int
    layout: TokenLayout = TokenLayout.SPATIAL


@dataclass(frozen=True)
class Reference:
    """What the source itself answers for a batch.

    Attributes:
        logits: float32 [N, K]; logits as the bundle means them (before a softmax or sigmoid).
        features: per tap name, float32 [N, C, h, w]; empty where the source cannot tell.
    """

    logits: FloatArray
    features: Mapping[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True)
class ReferenceGradient:
    """The source's own gradients of Σ cotangent · logits.

    Attributes:
        images: float32 [N, C, H, W].
        features: per tap name, float32 [N, C, h, w]; empty where the source cannot tell.
    """

    images: FloatArray
    features: Mapping[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True)
class SourceModel:
    """A classifier as one ONNX graph, with its own word on what it computes.

    Attributes:
        model: input `images` float32 [N, C, H, W] with N symbolic, output `logits`
            float32 [N, K], weights inside, opset ≥ 17.
        taps: in the order they are computed.
        output: what the logits mean.
        reference: the source's own run on a prepared float32 [N, C, H, W].
        kind: "torch" or "onnx".
        digest: SHA-256 in hex of what was read.
        changes: what was changed on the way, in words.
        torch_program: bytes of the torch program for gradients, or None.
        gradient: the source's own gradients for images [N, C, H, W] and cotangents
            [N, K], or None where it has no way to them.
    """

    model: onnx.ModelProto
    taps: tuple[SourceTap, ...]
    output: OutputKind
    reference: Callable[[FloatArray], Reference]
    kind: str
    digest: str
    changes: tuple[str, ...] = ()
    torch_program: bytes | None = None
    gradient: Callable[[FloatArray, FloatArray], ReferenceGradient] | None = None

    @property
    def classes(self) -> int:
        """K of `logits` [N, K]."""
        return int(self.model.graph.output[0].type.tensor_type.shape.dim[1].dim_value)
