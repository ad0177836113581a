from salience.v1 import image_pb2 as _image_pb2
from salience.v1 import manifest_pb2 as _manifest_pb2
from salience.v1 import method_pb2 as _method_pb2
from salience.v1 import target_pb2 as _target_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MapEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MAP_ENCODING_UNSPECIFIED: _ClassVar[MapEncoding]
    MAP_ENCODING_FLOAT32: _ClassVar[MapEncoding]
    MAP_ENCODING_FLOAT16: _ClassVar[MapEncoding]
    MAP_ENCODING_PNG_GREY: _ClassVar[MapEncoding]
    MAP_ENCODING_PNG_OVERLAY: _ClassVar[MapEncoding]
    MAP_ENCODING_PNG_MASKED: _ClassVar[MapEncoding]

class MapGeometry(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MAP_GEOMETRY_UNSPECIFIED: _ClassVar[MapGeometry]
    MAP_GEOMETRY_FEATURE: _ClassVar[MapGeometry]
    MAP_GEOMETRY_INPUT: _ClassVar[MapGeometry]
    MAP_GEOMETRY_ORIGINAL: _ClassVar[MapGeometry]

class MapScale(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MAP_SCALE_UNSPECIFIED: _ClassVar[MapScale]
    MAP_SCALE_UNIT: _ClassVar[MapScale]
    MAP_SCALE_RAW: _ClassVar[MapScale]

class MapFlag(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MAP_FLAG_UNSPECIFIED: _ClassVar[MapFlag]
    MAP_FLAG_DEGENERATE: _ClassVar[MapFlag]
    MAP_FLAG_CLASS_AGNOSTIC: _ClassVar[MapFlag]
    MAP_FLAG_FAILS_SANITY_CHECKS: _ClassVar[MapFlag]
    MAP_FLAG_NOT_CONVERGED: _ClassVar[MapFlag]

class AuditVerdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AUDIT_VERDICT_UNSPECIFIED: _ClassVar[AuditVerdict]
    AUDIT_VERDICT_UNAUDITED: _ClassVar[AuditVerdict]
    AUDIT_VERDICT_PASSED: _ClassVar[AuditVerdict]
    AUDIT_VERDICT_FAILED: _ClassVar[AuditVerdict]

class GradientSide(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GRADIENT_SIDE_UNSPECIFIED: _ClassVar[GradientSide]
    GRADIENT_SIDE_NONE: _ClassVar[GradientSide]
    GRADIENT_SIDE_TORCH: _ClassVar[GradientSide]
    GRADIENT_SIDE_ONNX: _ClassVar[GradientSide]

class CurveProtocol(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CURVE_PROTOCOL_UNSPECIFIED: _ClassVar[CurveProtocol]
    CURVE_PROTOCOL_RISE: _ClassVar[CurveProtocol]
    CURVE_PROTOCOL_POLYCAM: _ClassVar[CurveProtocol]

class ScoreKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCORE_KIND_UNSPECIFIED: _ClassVar[ScoreKind]
    SCORE_KIND_AVERAGE_DROP: _ClassVar[ScoreKind]
    SCORE_KIND_AVERAGE_INCREASE: _ClassVar[ScoreKind]
    SCORE_KIND_AVERAGE_GAIN: _ClassVar[ScoreKind]
    SCORE_KIND_INSERTION: _ClassVar[ScoreKind]
    SCORE_KIND_DELETION: _ClassVar[ScoreKind]
    SCORE_KIND_INSERTION_DELETION: _ClassVar[ScoreKind]
MAP_ENCODING_UNSPECIFIED: MapEncoding
MAP_ENCODING_FLOAT32: MapEncoding
MAP_ENCODING_FLOAT16: MapEncoding
MAP_ENCODING_PNG_GREY: MapEncoding
MAP_ENCODING_PNG_OVERLAY: MapEncoding
MAP_ENCODING_PNG_MASKED: MapEncoding
MAP_GEOMETRY_UNSPECIFIED: MapGeometry
MAP_GEOMETRY_FEATURE: MapGeometry
MAP_GEOMETRY_INPUT: MapGeometry
MAP_GEOMETRY_ORIGINAL: MapGeometry
MAP_SCALE_UNSPECIFIED: MapScale
MAP_SCALE_UNIT: MapScale
MAP_SCALE_RAW: MapScale
MAP_FLAG_UNSPECIFIED: MapFlag
MAP_FLAG_DEGENERATE: MapFlag
MAP_FLAG_CLASS_AGNOSTIC: MapFlag
MAP_FLAG_FAILS_SANITY_CHECKS: MapFlag
MAP_FLAG_NOT_CONVERGED: MapFlag
AUDIT_VERDICT_UNSPECIFIED: AuditVerdict
AUDIT_VERDICT_UNAUDITED: AuditVerdict
AUDIT_VERDICT_PASSED: AuditVerdict
AUDIT_VERDICT_FAILED: AuditVerdict
GRADIENT_SIDE_UNSPECIFIED: GradientSide
GRADIENT_SIDE_NONE: GradientSide
GRADIENT_SIDE_TORCH: GradientSide
GRADIENT_SIDE_ONNX: GradientSide
CURVE_PROTOCOL_UNSPECIFIED: CurveProtocol
CURVE_PROTOCOL_RISE: CurveProtocol
CURVE_PROTOCOL_POLYCAM: CurveProtocol
SCORE_KIND_UNSPECIFIED: ScoreKind
SCORE_KIND_AVERAGE_DROP: ScoreKind
SCORE_KIND_AVERAGE_INCREASE: ScoreKind
SCORE_KIND_AVERAGE_GAIN: ScoreKind
SCORE_KIND_INSERTION: ScoreKind
SCORE_KIND_DELETION: ScoreKind
SCORE_KIND_INSERTION_DELETION: ScoreKind

class MapFormat(_message.Message):
    __slots__ = ("encoding", "geometry", "scale", "overlay_alpha")
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    GEOMETRY_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_ALPHA_FIELD_NUMBER: _ClassVar[int]
    encoding: MapEncoding
    geometry: MapGeometry
    scale: MapScale
    overlay_alpha: float
    def __init__(self, encoding: _Optional[_Union[MapEncoding, str]] = ..., geometry: _Optional[_Union[MapGeometry, str]] = ..., scale: _Optional[_Union[MapScale, str]] = ..., overlay_alpha: _Optional[float] = ...) -> None: ...

class SaliencyMap(_message.Message):
    __slots__ = ("map_id", "provenance", "target", "encoding", "geometry", "scale", "height", "width", "raw_minimum", "raw_maximum", "is_signed", "flags", "audit", "total_bytes", "data", "validity", "seen", "iterations", "convergence", "box")
    MAP_ID_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    GEOMETRY_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    RAW_MINIMUM_FIELD_NUMBER: _ClassVar[int]
    RAW_MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    IS_SIGNED_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    AUDIT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    VALIDITY_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    CONVERGENCE_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    map_id: int
    provenance: Provenance
    target: _target_pb2.ResolvedTarget
    encoding: MapEncoding
    geometry: MapGeometry
    scale: MapScale
    height: int
    width: int
    raw_minimum: float
    raw_maximum: float
    is_signed: bool
    flags: _containers.RepeatedScalarFieldContainer[MapFlag]
    audit: AuditVerdict
    total_bytes: int
    data: bytes
    validity: bytes
    seen: Rectangle
    iterations: int
    convergence: Convergence
    box: Rectangle
    def __init__(self, map_id: _Optional[int] = ..., provenance: _Optional[_Union[Provenance, _Mapping]] = ..., target: _Optional[_Union[_target_pb2.ResolvedTarget, _Mapping]] = ..., encoding: _Optional[_Union[MapEncoding, str]] = ..., geometry: _Optional[_Union[MapGeometry, str]] = ..., scale: _Optional[_Union[MapScale, str]] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., raw_minimum: _Optional[float] = ..., raw_maximum: _Optional[float] = ..., is_signed: _Optional[bool] = ..., flags: _Optional[_Iterable[_Union[MapFlag, str]]] = ..., audit: _Optional[_Union[AuditVerdict, str]] = ..., total_bytes: _Optional[int] = ..., data: _Optional[bytes] = ..., validity: _Optional[bytes] = ..., seen: _Optional[_Union[Rectangle, _Mapping]] = ..., iterations: _Optional[int] = ..., convergence: _Optional[_Union[Convergence, _Mapping]] = ..., box: _Optional[_Union[Rectangle, _Mapping]] = ...) -> None: ...

class Convergence(_message.Message):
    __slots__ = ("rows_skipped", "correlation", "repeatable")
    ROWS_SKIPPED_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_FIELD_NUMBER: _ClassVar[int]
    REPEATABLE_FIELD_NUMBER: _ClassVar[int]
    rows_skipped: int
    correlation: float
    repeatable: bool
    def __init__(self, rows_skipped: _Optional[int] = ..., correlation: _Optional[float] = ..., repeatable: _Optional[bool] = ...) -> None: ...

class MapChunk(_message.Message):
    __slots__ = ("map_id", "offset", "data")
    MAP_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    map_id: int
    offset: int
    data: bytes
    def __init__(self, map_id: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class PartialMap(_message.Message):
    __slots__ = ("map_id", "height", "width", "data", "tap", "fraction", "skipped", "correlation")
    MAP_ID_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    TAP_FIELD_NUMBER: _ClassVar[int]
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_FIELD_NUMBER: _ClassVar[int]
    map_id: int
    height: int
    width: int
    data: bytes
    tap: str
    fraction: float
    skipped: int
    correlation: float
    def __init__(self, map_id: _Optional[int] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., data: _Optional[bytes] = ..., tap: _Optional[str] = ..., fraction: _Optional[float] = ..., skipped: _Optional[int] = ..., correlation: _Optional[float] = ...) -> None: ...

class Rectangle(_message.Message):
    __slots__ = ("left", "top", "width", "height")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    left: float
    top: float
    width: float
    height: float
    def __init__(self, left: _Optional[float] = ..., top: _Optional[float] = ..., width: _Optional[float] = ..., height: _Optional[float] = ...) -> None: ...

class Provenance(_message.Message):
    __slots__ = ("model", "version", "bundle_digest", "graphs", "provider", "method", "options", "taps", "fill", "gradient_side", "software_version", "precision", "tuning_digest", "signed_by", "stop_correlation", "stop_seconds")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _method_pb2.OptionValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_method_pb2.OptionValue, _Mapping]] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    GRAPHS_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    TAPS_FIELD_NUMBER: _ClassVar[int]
    FILL_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_SIDE_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    TUNING_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIGNED_BY_FIELD_NUMBER: _ClassVar[int]
    STOP_CORRELATION_FIELD_NUMBER: _ClassVar[int]
    STOP_SECONDS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    bundle_digest: str
    graphs: _containers.RepeatedCompositeFieldContainer[GraphUse]
    provider: str
    method: str
    options: _containers.MessageMap[str, _method_pb2.OptionValue]
    taps: _containers.RepeatedScalarFieldContainer[str]
    fill: _image_pb2.Fill
    gradient_side: GradientSide
    software_version: str
    precision: str
    tuning_digest: str
    signed_by: str
    stop_correlation: float
    stop_seconds: float
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., bundle_digest: _Optional[str] = ..., graphs: _Optional[_Iterable[_Union[GraphUse, _Mapping]]] = ..., provider: _Optional[str] = ..., method: _Optional[str] = ..., options: _Optional[_Mapping[str, _method_pb2.OptionValue]] = ..., taps: _Optional[_Iterable[str]] = ..., fill: _Optional[_Union[_image_pb2.Fill, _Mapping]] = ..., gradient_side: _Optional[_Union[GradientSide, str]] = ..., software_version: _Optional[str] = ..., precision: _Optional[str] = ..., tuning_digest: _Optional[str] = ..., signed_by: _Optional[str] = ..., stop_correlation: _Optional[float] = ..., stop_seconds: _Optional[float] = ...) -> None: ...

class GraphUse(_message.Message):
    __slots__ = ("role", "digest", "batch_size", "map_height", "map_width", "tap")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAP_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    MAP_WIDTH_FIELD_NUMBER: _ClassVar[int]
    TAP_FIELD_NUMBER: _ClassVar[int]
    role: _manifest_pb2.GraphRole
    digest: str
    batch_size: int
    map_height: int
    map_width: int
    tap: str
    def __init__(self, role: _Optional[_Union[_manifest_pb2.GraphRole, str]] = ..., digest: _Optional[str] = ..., batch_size: _Optional[int] = ..., map_height: _Optional[int] = ..., map_width: _Optional[int] = ..., tap: _Optional[str] = ...) -> None: ...

class MapScores(_message.Message):
    __slots__ = ("map_id", "scores", "fill", "clean_probability", "masked_probability", "curves", "curve_protocol")
    MAP_ID_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    FILL_FIELD_NUMBER: _ClassVar[int]
    CLEAN_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    MASKED_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    CURVES_FIELD_NUMBER: _ClassVar[int]
    CURVE_PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    map_id: int
    scores: _containers.RepeatedCompositeFieldContainer[Score]
    fill: _image_pb2.Fill
    clean_probability: float
    masked_probability: float
    curves: _containers.RepeatedCompositeFieldContainer[ScoreCurve]
    curve_protocol: CurveProtocol
    def __init__(self, map_id: _Optional[int] = ..., scores: _Optional[_Iterable[_Union[Score, _Mapping]]] = ..., fill: _Optional[_Union[_image_pb2.Fill, _Mapping]] = ..., clean_probability: _Optional[float] = ..., masked_probability: _Optional[float] = ..., curves: _Optional[_Iterable[_Union[ScoreCurve, _Mapping]]] = ..., curve_protocol: _Optional[_Union[CurveProtocol, str]] = ...) -> None: ...

class Score(_message.Message):
    __slots__ = ("kind", "value")
    KIND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    kind: ScoreKind
    value: float
    def __init__(self, kind: _Optional[_Union[ScoreKind, str]] = ..., value: _Optional[float] = ...) -> None: ...

class ScoreCurve(_message.Message):
    __slots__ = ("kind", "shares", "probabilities")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    kind: ScoreKind
    shares: _containers.RepeatedScalarFieldContainer[float]
    probabilities: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, kind: _Optional[_Union[ScoreKind, str]] = ..., shares: _Optional[_Iterable[float]] = ..., probabilities: _Optional[_Iterable[float]] = ...) -> None: ...

class BoxRequest(_message.Message):
    __slots__ = ("threshold",)
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    threshold: float
    def __init__(self, threshold: _Optional[float] = ...) -> None: ...
