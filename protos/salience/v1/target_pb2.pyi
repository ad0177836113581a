from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TargetKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TARGET_KIND_UNSPECIFIED: _ClassVar[TargetKind]
    TARGET_KIND_CLASS: _ClassVar[TargetKind]
    TARGET_KIND_ABSENT: _ClassVar[TargetKind]
    TARGET_KIND_DIFFERENCE: _ClassVar[TargetKind]
TARGET_KIND_UNSPECIFIED: TargetKind
TARGET_KIND_CLASS: TargetKind
TARGET_KIND_ABSENT: TargetKind
TARGET_KIND_DIFFERENCE: TargetKind

class Target(_message.Message):
    __slots__ = ("present", "top_k", "above_threshold", "absent", "difference", "text")
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    ABOVE_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    ABSENT_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    present: ClassRef
    top_k: TopK
    above_threshold: AboveThreshold
    absent: ClassRef
    difference: Difference
    text: str
    def __init__(self, present: _Optional[_Union[ClassRef, _Mapping]] = ..., top_k: _Optional[_Union[TopK, _Mapping]] = ..., above_threshold: _Optional[_Union[AboveThreshold, _Mapping]] = ..., absent: _Optional[_Union[ClassRef, _Mapping]] = ..., difference: _Optional[_Union[Difference, _Mapping]] = ..., text: _Optional[str] = ...) -> None: ...

class ClassRef(_message.Message):
    __slots__ = ("index", "label")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    index: int
    label: str
    def __init__(self, index: _Optional[int] = ..., label: _Optional[str] = ...) -> None: ...

class TopK(_message.Message):
    __slots__ = ("k",)
    K_FIELD_NUMBER: _ClassVar[int]
    k: int
    def __init__(self, k: _Optional[int] = ...) -> None: ...

class AboveThreshold(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Difference(_message.Message):
    __slots__ = ("this_class", "that_class")
    THIS_CLASS_FIELD_NUMBER: _ClassVar[int]
    THAT_CLASS_FIELD_NUMBER: _ClassVar[int]
    this_class: ClassRef
    that_class: ClassRef
    def __init__(self, this_class: _Optional[_Union[ClassRef, _Mapping]] = ..., that_class: _Optional[_Union[ClassRef, _Mapping]] = ...) -> None: ...

class ResolvedTarget(_message.Message):
    __slots__ = ("name", "kind", "index", "against", "value", "probability")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    AGAINST_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: TargetKind
    index: int
    against: int
    value: float
    probability: float
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[TargetKind, str]] = ..., index: _Optional[int] = ..., against: _Optional[int] = ..., value: _Optional[float] = ..., probability: _Optional[float] = ...) -> None: ...
