from salience.v1 import image_pb2 as _image_pb2
from salience.v1 import manifest_pb2 as _manifest_pb2
from salience.v1 import map_pb2 as _map_pb2
from salience.v1 import method_pb2 as _method_pb2
from salience.v1 import target_pb2 as _target_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_INTERACTIVE: _ClassVar[Priority]
    PRIORITY_NORMAL: _ClassVar[Priority]
    PRIORITY_BULK: _ClassVar[Priority]
PRIORITY_UNSPECIFIED: Priority
PRIORITY_INTERACTIVE: Priority
PRIORITY_NORMAL: Priority
PRIORITY_BULK: Priority

class ExplainRequest(_message.Message):
    __slots__ = ("model", "version", "image", "methods", "targets", "fill", "scores", "score_fill", "format", "no_partial_maps", "gradient_side", "curve_protocol", "box", "priority", "stop_when", "gather")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    FILL_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    SCORE_FILL_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    NO_PARTIAL_MAPS_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_SIDE_FIELD_NUMBER: _ClassVar[int]
    CURVE_PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    STOP_WHEN_FIELD_NUMBER: _ClassVar[int]
    GATHER_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    image: _image_pb2.Image
    methods: _containers.RepeatedCompositeFieldContainer[_method_pb2.MethodCall]
    targets: _containers.RepeatedCompositeFieldContainer[_target_pb2.Target]
    fill: _image_pb2.Fill
    scores: _containers.RepeatedScalarFieldContainer[_map_pb2.ScoreKind]
    score_fill: _image_pb2.Fill
    format: _map_pb2.MapFormat
    no_partial_maps: bool
    gradient_side: _map_pb2.GradientSide
    curve_protocol: _map_pb2.CurveProtocol
    box: _map_pb2.BoxRequest
    priority: Priority
    stop_when: StopWhen
    gather: bool
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., methods: _Optional[_Iterable[_Union[_method_pb2.MethodCall, _Mapping]]] = ..., targets: _Optional[_Iterable[_Union[_target_pb2.Target, _Mapping]]] = ..., fill: _Optional[_Union[_image_pb2.Fill, _Mapping]] = ..., scores: _Optional[_Iterable[_Union[_map_pb2.ScoreKind, str]]] = ..., score_fill: _Optional[_Union[_image_pb2.Fill, _Mapping]] = ..., format: _Optional[_Union[_map_pb2.MapFormat, _Mapping]] = ..., no_partial_maps: _Optional[bool] = ..., gradient_side: _Optional[_Union[_map_pb2.GradientSide, str]] = ..., curve_protocol: _Optional[_Union[_map_pb2.CurveProtocol, str]] = ..., box: _Optional[_Union[_map_pb2.BoxRequest, _Mapping]] = ..., priority: _Optional[_Union[Priority, str]] = ..., stop_when: _Optional[_Union[StopWhen, _Mapping]] = ..., gather: _Optional[bool] = ...) -> None: ...

class StopWhen(_message.Message):
    __slots__ = ("correlation", "seconds")
    CORRELATION_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    correlation: float
    seconds: float
    def __init__(self, correlation: _Optional[float] = ..., seconds: _Optional[float] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("started", "prediction", "progress", "partial_map", "map", "map_chunk", "scores", "finished", "gathered")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_MAP_FIELD_NUMBER: _ClassVar[int]
    MAP_FIELD_NUMBER: _ClassVar[int]
    MAP_CHUNK_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    GATHERED_FIELD_NUMBER: _ClassVar[int]
    started: Started
    prediction: Prediction
    progress: Progress
    partial_map: _map_pb2.PartialMap
    map: _map_pb2.SaliencyMap
    map_chunk: _map_pb2.MapChunk
    scores: _map_pb2.MapScores
    finished: Finished
    gathered: Gathered
    def __init__(self, started: _Optional[_Union[Started, _Mapping]] = ..., prediction: _Optional[_Union[Prediction, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., partial_map: _Optional[_Union[_map_pb2.PartialMap, _Mapping]] = ..., map: _Optional[_Union[_map_pb2.SaliencyMap, _Mapping]] = ..., map_chunk: _Optional[_Union[_map_pb2.MapChunk, _Mapping]] = ..., scores: _Optional[_Union[_map_pb2.MapScores, _Mapping]] = ..., finished: _Optional[_Union[Finished, _Mapping]] = ..., gathered: _Optional[_Union[Gathered, _Mapping]] = ...) -> None: ...

class Gathered(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[ExplainResponse]
    def __init__(self, events: _Optional[_Iterable[_Union[ExplainResponse, _Mapping]]] = ...) -> None: ...

class Started(_message.Message):
    __slots__ = ("model", "version", "bundle_digest", "provider", "explanations_beside")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    EXPLANATIONS_BESIDE_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    bundle_digest: str
    provider: str
    explanations_beside: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., bundle_digest: _Optional[str] = ..., provider: _Optional[str] = ..., explanations_beside: _Optional[int] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("top", "targets", "image_height", "image_width")
    TOP_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    top: _containers.RepeatedCompositeFieldContainer[ClassScore]
    targets: _containers.RepeatedCompositeFieldContainer[_target_pb2.ResolvedTarget]
    image_height: int
    image_width: int
    def __init__(self, top: _Optional[_Iterable[_Union[ClassScore, _Mapping]]] = ..., targets: _Optional[_Iterable[_Union[_target_pb2.ResolvedTarget, _Mapping]]] = ..., image_height: _Optional[int] = ..., image_width: _Optional[int] = ...) -> None: ...

class ClassScore(_message.Message):
    __slots__ = ("index", "label", "logit", "probability")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    LOGIT_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    index: int
    label: str
    logit: float
    probability: float
    def __init__(self, index: _Optional[int] = ..., label: _Optional[str] = ..., logit: _Optional[float] = ..., probability: _Optional[float] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("map_id", "method", "rows_done", "rows_expected")
    MAP_ID_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    ROWS_DONE_FIELD_NUMBER: _ClassVar[int]
    ROWS_EXPECTED_FIELD_NUMBER: _ClassVar[int]
    map_id: int
    method: str
    rows_done: int
    rows_expected: int
    def __init__(self, map_id: _Optional[int] = ..., method: _Optional[str] = ..., rows_done: _Optional[int] = ..., rows_expected: _Optional[int] = ...) -> None: ...

class Finished(_message.Message):
    __slots__ = ("rows", "queue_seconds", "compute_seconds", "total_seconds", "map_seconds", "partial_maps_skipped", "map_rows", "rows_spared", "from_cache")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MAP_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_MAPS_SKIPPED_FIELD_NUMBER: _ClassVar[int]
    MAP_ROWS_FIELD_NUMBER: _ClassVar[int]
    ROWS_SPARED_FIELD_NUMBER: _ClassVar[int]
    FROM_CACHE_FIELD_NUMBER: _ClassVar[int]
    rows: int
    queue_seconds: float
    compute_seconds: float
    total_seconds: float
    map_seconds: _containers.RepeatedScalarFieldContainer[float]
    partial_maps_skipped: int
    map_rows: _containers.RepeatedScalarFieldContainer[int]
    rows_spared: int
    from_cache: bool
    def __init__(self, rows: _Optional[int] = ..., queue_seconds: _Optional[float] = ..., compute_seconds: _Optional[float] = ..., total_seconds: _Optional[float] = ..., map_seconds: _Optional[_Iterable[float]] = ..., partial_maps_skipped: _Optional[int] = ..., map_rows: _Optional[_Iterable[int]] = ..., rows_spared: _Optional[int] = ..., from_cache: _Optional[bool] = ...) -> None: ...

class ExplainManyRequest(_message.Message):
    __slots__ = ("tag", "request")
    TAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    tag: str
    request: ExplainRequest
    def __init__(self, tag: _Optional[str] = ..., request: _Optional[_Union[ExplainRequest, _Mapping]] = ...) -> None: ...

class ExplainManyResponse(_message.Message):
    __slots__ = ("tag", "response", "error")
    TAG_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    tag: str
    response: ExplainResponse
    error: RequestError
    def __init__(self, tag: _Optional[str] = ..., response: _Optional[_Union[ExplainResponse, _Mapping]] = ..., error: _Optional[_Union[RequestError, _Mapping]] = ...) -> None: ...

class RequestError(_message.Message):
    __slots__ = ("code", "message", "reason", "field", "retry_after_seconds", "resource_kind", "resource_name")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_KIND_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_NAME_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    reason: str
    field: str
    retry_after_seconds: float
    resource_kind: str
    resource_name: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., reason: _Optional[str] = ..., field: _Optional[str] = ..., retry_after_seconds: _Optional[float] = ..., resource_kind: _Optional[str] = ..., resource_name: _Optional[str] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelSummary]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelSummary, _Mapping]]] = ...) -> None: ...

class ModelSummary(_message.Message):
    __slots__ = ("name", "version", "bundle_digest", "provider", "is_default")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    IS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    bundle_digest: str
    provider: str
    is_default: bool
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., bundle_digest: _Optional[str] = ..., provider: _Optional[str] = ..., is_default: _Optional[bool] = ...) -> None: ...

class DescribeModelRequest(_message.Message):
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class DescribeModelResponse(_message.Message):
    __slots__ = ("summary", "input", "head", "taps", "methods", "scores", "gradient_sides", "batch_size", "tuning_digest", "precision")
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    TAPS_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_SIDES_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    TUNING_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    summary: ModelSummary
    input: _manifest_pb2.InputContract
    head: _manifest_pb2.Head
    taps: _containers.RepeatedCompositeFieldContainer[_manifest_pb2.Tap]
    methods: _containers.RepeatedCompositeFieldContainer[_method_pb2.MethodDescription]
    scores: _containers.RepeatedScalarFieldContainer[_map_pb2.ScoreKind]
    gradient_sides: _containers.RepeatedScalarFieldContainer[_map_pb2.GradientSide]
    batch_size: int
    tuning_digest: str
    precision: str
    def __init__(self, summary: _Optional[_Union[ModelSummary, _Mapping]] = ..., input: _Optional[_Union[_manifest_pb2.InputContract, _Mapping]] = ..., head: _Optional[_Union[_manifest_pb2.Head, _Mapping]] = ..., taps: _Optional[_Iterable[_Union[_manifest_pb2.Tap, _Mapping]]] = ..., methods: _Optional[_Iterable[_Union[_method_pb2.MethodDescription, _Mapping]]] = ..., scores: _Optional[_Iterable[_Union[_map_pb2.ScoreKind, str]]] = ..., gradient_sides: _Optional[_Iterable[_Union[_map_pb2.GradientSide, str]]] = ..., batch_size: _Optional[int] = ..., tuning_digest: _Optional[str] = ..., precision: _Optional[str] = ...) -> None: ...
