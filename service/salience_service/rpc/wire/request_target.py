"""Targets of a request: messages to values."""

from salience.v1 import target_pb2 as pb
from salience_service.errors import InvalidRequest
from salience_service.field_path import read
from salience_service.request import (
    AboveThresholdTargets,
    AbsentTarget,
    ClassRef,
    DifferenceTarget,
    PresentTarget,
    TargetSpec,
    TextTarget,
    TopKTargets,
)


def target_of(message: pb.Target) -> TargetSpec:
    """One target of a request.

    Raises:
        InvalidRequest: the target or a class of it is not stated.
    """
    match message.WhichOneof("kind"):
        case "present":
            return PresentTarget(read("present", _class_ref, message.present))
        case "absent":
            return AbsentTarget(read("absent", _class_ref, message.absent))
        case "difference":
            this, that = message.difference.this_class, message.difference.that_class
            return DifferenceTarget(
                read("difference.this_class", _class_ref, this),
                read("difference.that_class", _class_ref, that),
            )
        case "top_k":
            return TopKTargets(message.top_k.k)
        case "above_threshold":
            return AboveThresholdTargets()
        case "text":
            return TextTarget(message.text)
    raise InvalidRequest(
        "a target is not stated: state a class, top_k, above_threshold, an absent class, "
        "a difference or text"
    )


def _class_ref(message: pb.ClassRef) -> ClassRef:
    match message.WhichOneof("ref"):
        case "index":
            return ClassRef(message.index)
        case "label":
            return ClassRef(message.label)
    raise InvalidRequest("a target's class is not stated: state its index or its label")
