from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TensorMeaning(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TENSOR_MEANING_UNSPECIFIED: _ClassVar[TensorMeaning]
    TENSOR_MEANING_PIXELS: _ClassVar[TensorMeaning]
    TENSOR_MEANING_PREPROCESSED: _ClassVar[TensorMeaning]

class DataType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATA_TYPE_UNSPECIFIED: _ClassVar[DataType]
    DATA_TYPE_UINT8: _ClassVar[DataType]
    DATA_TYPE_UINT16: _ClassVar[DataType]
    DATA_TYPE_FLOAT16: _ClassVar[DataType]
    DATA_TYPE_FLOAT32: _ClassVar[DataType]
TENSOR_MEANING_UNSPECIFIED: TensorMeaning
TENSOR_MEANING_PIXELS: TensorMeaning
TENSOR_MEANING_PREPROCESSED: TensorMeaning
DATA_TYPE_UNSPECIFIED: DataType
DATA_TYPE_UINT8: DataType
DATA_TYPE_UINT16: DataType
DATA_TYPE_FLOAT16: DataType
DATA_TYPE_FLOAT32: DataType

class Image(_message.Message):
    __slots__ = ("encoded", "tensor", "dicom")
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    DICOM_FIELD_NUMBER: _ClassVar[int]
    encoded: bytes
    tensor: Tensor
    dicom: bytes
    def __init__(self, encoded: _Optional[bytes] = ..., tensor: _Optional[_Union[Tensor, _Mapping]] = ..., dicom: _Optional[bytes] = ...) -> None: ...

class Tensor(_message.Message):
    __slots__ = ("meaning", "data_type", "axes", "shape", "data", "full_scale")
    MEANING_FIELD_NUMBER: _ClassVar[int]
    DATA_TYPE_FIELD_NUMBER: _ClassVar[int]
    AXES_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    FULL_SCALE_FIELD_NUMBER: _ClassVar[int]
    meaning: TensorMeaning
    data_type: DataType
    axes: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    full_scale: float
    def __init__(self, meaning: _Optional[_Union[TensorMeaning, str]] = ..., data_type: _Optional[_Union[DataType, str]] = ..., axes: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ..., full_scale: _Optional[float] = ...) -> None: ...

class Fill(_message.Message):
    __slots__ = ("mean", "black", "blur", "colour")
    MEAN_FIELD_NUMBER: _ClassVar[int]
    BLACK_FIELD_NUMBER: _ClassVar[int]
    BLUR_FIELD_NUMBER: _ClassVar[int]
    COLOUR_FIELD_NUMBER: _ClassVar[int]
    mean: MeanFill
    black: BlackFill
    blur: BlurFill
    colour: ColourFill
    def __init__(self, mean: _Optional[_Union[MeanFill, _Mapping]] = ..., black: _Optional[_Union[BlackFill, _Mapping]] = ..., blur: _Optional[_Union[BlurFill, _Mapping]] = ..., colour: _Optional[_Union[ColourFill, _Mapping]] = ...) -> None: ...

class MeanFill(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class BlackFill(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class BlurFill(_message.Message):
    __slots__ = ("kernel", "sigma")
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    SIGMA_FIELD_NUMBER: _ClassVar[int]
    kernel: int
    sigma: float
    def __init__(self, kernel: _Optional[int] = ..., sigma: _Optional[float] = ...) -> None: ...

class ColourFill(_message.Message):
    __slots__ = ("intensity",)
    INTENSITY_FIELD_NUMBER: _ClassVar[int]
    intensity: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, intensity: _Optional[_Iterable[float]] = ...) -> None: ...
