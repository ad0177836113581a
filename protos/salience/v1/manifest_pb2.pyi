from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ColourOrder(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COLOUR_ORDER_UNSPECIFIED: _ClassVar[ColourOrder]
    COLOUR_ORDER_RGB: _ClassVar[ColourOrder]
    COLOUR_ORDER_BGR: _ClassVar[ColourOrder]
    COLOUR_ORDER_GREY: _ClassVar[ColourOrder]

class ResizeRule(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESIZE_RULE_UNSPECIFIED: _ClassVar[ResizeRule]
    RESIZE_RULE_SHORT_SIDE: _ClassVar[ResizeRule]
    RESIZE_RULE_STRETCH: _ClassVar[ResizeRule]
    RESIZE_RULE_PAD: _ClassVar[ResizeRule]

class Interpolation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INTERPOLATION_UNSPECIFIED: _ClassVar[Interpolation]
    INTERPOLATION_BILINEAR: _ClassVar[Interpolation]
    INTERPOLATION_BICUBIC: _ClassVar[Interpolation]
    INTERPOLATION_LANCZOS: _ClassVar[Interpolation]

class OutputKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTPUT_KIND_UNSPECIFIED: _ClassVar[OutputKind]
    OUTPUT_KIND_SOFTMAX: _ClassVar[OutputKind]
    OUTPUT_KIND_SIGMOID: _ClassVar[OutputKind]
    OUTPUT_KIND_REGRESSION: _ClassVar[OutputKind]
    OUTPUT_KIND_LOG_PROBABILITY: _ClassVar[OutputKind]

class TokenLayout(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TOKEN_LAYOUT_UNSPECIFIED: _ClassVar[TokenLayout]
    TOKEN_LAYOUT_SPATIAL: _ClassVar[TokenLayout]
    TOKEN_LAYOUT_TOKENS: _ClassVar[TokenLayout]
    TOKEN_LAYOUT_CLASS_AND_TOKENS: _ClassVar[TokenLayout]

class GraphRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GRAPH_ROLE_UNSPECIFIED: _ClassVar[GraphRole]
    GRAPH_ROLE_FORWARD: _ClassVar[GraphRole]
    GRAPH_ROLE_MASKED: _ClassVar[GraphRole]
    GRAPH_ROLE_PIXEL_MASKED: _ClassVar[GraphRole]
    GRAPH_ROLE_TAIL: _ClassVar[GraphRole]
    GRAPH_ROLE_GRADIENT: _ClassVar[GraphRole]
    GRAPH_ROLE_MASKED_GRADIENT: _ClassVar[GraphRole]
    GRAPH_ROLE_TAIL_GRADIENT: _ClassVar[GraphRole]
COLOUR_ORDER_UNSPECIFIED: ColourOrder
COLOUR_ORDER_RGB: ColourOrder
COLOUR_ORDER_BGR: ColourOrder
COLOUR_ORDER_GREY: ColourOrder
RESIZE_RULE_UNSPECIFIED: ResizeRule
RESIZE_RULE_SHORT_SIDE: ResizeRule
RESIZE_RULE_STRETCH: ResizeRule
RESIZE_RULE_PAD: ResizeRule
INTERPOLATION_UNSPECIFIED: Interpolation
INTERPOLATION_BILINEAR: Interpolation
INTERPOLATION_BICUBIC: Interpolation
INTERPOLATION_LANCZOS: Interpolation
OUTPUT_KIND_UNSPECIFIED: OutputKind
OUTPUT_KIND_SOFTMAX: OutputKind
OUTPUT_KIND_SIGMOID: OutputKind
OUTPUT_KIND_REGRESSION: OutputKind
OUTPUT_KIND_LOG_PROBABILITY: OutputKind
TOKEN_LAYOUT_UNSPECIFIED: TokenLayout
TOKEN_LAYOUT_SPATIAL: TokenLayout
TOKEN_LAYOUT_TOKENS: TokenLayout
TOKEN_LAYOUT_CLASS_AND_TOKENS: TokenLayout
GRAPH_ROLE_UNSPECIFIED: GraphRole
GRAPH_ROLE_FORWARD: GraphRole
GRAPH_ROLE_MASKED: GraphRole
GRAPH_ROLE_PIXEL_MASKED: GraphRole
GRAPH_ROLE_TAIL: GraphRole
GRAPH_ROLE_GRADIENT: GraphRole
GRAPH_ROLE_MASKED_GRADIENT: GraphRole
GRAPH_ROLE_TAIL_GRADIENT: GraphRole

class Manifest(_message.Message):
    __slots__ = ("schema_version", "name", "version", "input", "head", "taps", "graphs", "files", "golden", "torch_program", "source", "written_by", "precisions")
    class WrittenByEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    TAPS_FIELD_NUMBER: _ClassVar[int]
    GRAPHS_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    GOLDEN_FIELD_NUMBER: _ClassVar[int]
    TORCH_PROGRAM_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_BY_FIELD_NUMBER: _ClassVar[int]
    PRECISIONS_FIELD_NUMBER: _ClassVar[int]
    schema_version: int
    name: str
    version: str
    input: InputContract
    head: Head
    taps: _containers.RepeatedCompositeFieldContainer[Tap]
    graphs: _containers.RepeatedCompositeFieldContainer[Graph]
    files: _containers.RepeatedCompositeFieldContainer[BundleFile]
    golden: Golden
    torch_program: str
    source: Source
    written_by: _containers.ScalarMap[str, str]
    precisions: _containers.RepeatedCompositeFieldContainer[PrecisionCost]
    def __init__(self, schema_version: _Optional[int] = ..., name: _Optional[str] = ..., version: _Optional[str] = ..., input: _Optional[_Union[InputContract, _Mapping]] = ..., head: _Optional[_Union[Head, _Mapping]] = ..., taps: _Optional[_Iterable[_Union[Tap, _Mapping]]] = ..., graphs: _Optional[_Iterable[_Union[Graph, _Mapping]]] = ..., files: _Optional[_Iterable[_Union[BundleFile, _Mapping]]] = ..., golden: _Optional[_Union[Golden, _Mapping]] = ..., torch_program: _Optional[str] = ..., source: _Optional[_Union[Source, _Mapping]] = ..., written_by: _Optional[_Mapping[str, str]] = ..., precisions: _Optional[_Iterable[_Union[PrecisionCost, _Mapping]]] = ...) -> None: ...

class PrecisionCost(_message.Message):
    __slots__ = ("precision", "parity", "tolerance")
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    PARITY_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    precision: str
    parity: float
    tolerance: float
    def __init__(self, precision: _Optional[str] = ..., parity: _Optional[float] = ..., tolerance: _Optional[float] = ...) -> None: ...

class InputContract(_message.Message):
    __slots__ = ("channels", "height", "width", "colour_order", "white", "mean", "std", "resize")
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    COLOUR_ORDER_FIELD_NUMBER: _ClassVar[int]
    WHITE_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    STD_FIELD_NUMBER: _ClassVar[int]
    RESIZE_FIELD_NUMBER: _ClassVar[int]
    channels: int
    height: int
    width: int
    colour_order: ColourOrder
    white: float
    mean: _containers.RepeatedScalarFieldContainer[float]
    std: _containers.RepeatedScalarFieldContainer[float]
    resize: Resize
    def __init__(self, channels: _Optional[int] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., colour_order: _Optional[_Union[ColourOrder, str]] = ..., white: _Optional[float] = ..., mean: _Optional[_Iterable[float]] = ..., std: _Optional[_Iterable[float]] = ..., resize: _Optional[_Union[Resize, _Mapping]] = ...) -> None: ...

class Resize(_message.Message):
    __slots__ = ("rule", "short_side", "interpolation")
    RULE_FIELD_NUMBER: _ClassVar[int]
    SHORT_SIDE_FIELD_NUMBER: _ClassVar[int]
    INTERPOLATION_FIELD_NUMBER: _ClassVar[int]
    rule: ResizeRule
    short_side: int
    interpolation: Interpolation
    def __init__(self, rule: _Optional[_Union[ResizeRule, str]] = ..., short_side: _Optional[int] = ..., interpolation: _Optional[_Union[Interpolation, str]] = ...) -> None: ...

class Head(_message.Message):
    __slots__ = ("kind", "classes", "labels", "thresholds")
    KIND_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    kind: OutputKind
    classes: int
    labels: _containers.RepeatedScalarFieldContainer[str]
    thresholds: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, kind: _Optional[_Union[OutputKind, str]] = ..., classes: _Optional[int] = ..., labels: _Optional[_Iterable[str]] = ..., thresholds: _Optional[_Iterable[float]] = ...) -> None: ...

class Tap(_message.Message):
    __slots__ = ("name", "channels", "height", "width", "layout", "output", "linear_head")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    LINEAR_HEAD_FIELD_NUMBER: _ClassVar[int]
    name: str
    channels: int
    height: int
    width: int
    layout: TokenLayout
    output: str
    linear_head: bool
    def __init__(self, name: _Optional[str] = ..., channels: _Optional[int] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., layout: _Optional[_Union[TokenLayout, str]] = ..., output: _Optional[str] = ..., linear_head: _Optional[bool] = ...) -> None: ...

class Graph(_message.Message):
    __slots__ = ("role", "path", "opset", "tap", "live")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    OPSET_FIELD_NUMBER: _ClassVar[int]
    TAP_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    role: GraphRole
    path: str
    opset: int
    tap: str
    live: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, role: _Optional[_Union[GraphRole, str]] = ..., path: _Optional[str] = ..., opset: _Optional[int] = ..., tap: _Optional[str] = ..., live: _Optional[_Iterable[str]] = ...) -> None: ...

class BundleFile(_message.Message):
    __slots__ = ("path", "sha256", "size")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    path: str
    sha256: str
    size: int
    def __init__(self, path: _Optional[str] = ..., sha256: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class Golden(_message.Message):
    __slots__ = ("path", "tolerance")
    PATH_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    path: str
    tolerance: float
    def __init__(self, path: _Optional[str] = ..., tolerance: _Optional[float] = ...) -> None: ...

class Source(_message.Message):
    __slots__ = ("kind", "digest", "parity", "changes")
    KIND_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PARITY_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    kind: str
    digest: str
    parity: float
    changes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, kind: _Optional[str] = ..., digest: _Optional[str] = ..., parity: _Optional[float] = ..., changes: _Optional[_Iterable[str]] = ...) -> None: ...
