"""Our enum members and the wire's numbers, both ways."""

from collections.abc import Mapping

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import manifest_pb2, map_pb2, method_pb2, target_pb2
from salience_service import events
from salience_service.bundle.manifest import GraphRole
from salience_service.methods.options import OptionKind
from salience_service.request import (
    CurveProtocol,
    Encoding,
    Geometry,
    GradientChoice,
    Priority,
    Scale,
    ScoreKind,
)
from salience_service.targets.target import TargetKind

ENCODINGS: Mapping[map_pb2.MapEncoding, Encoding] = {
    map_pb2.MAP_ENCODING_FLOAT32: Encoding.FLOAT32,
    map_pb2.MAP_ENCODING_FLOAT16: Encoding.FLOAT16,
    map_pb2.MAP_ENCODING_PNG_GREY: Encoding.PNG_GREY,
    map_pb2.MAP_ENCODING_PNG_OVERLAY: Encoding.PNG_OVERLAY,
    map_pb2.MAP_ENCODING_PNG_MASKED: Encoding.PNG_MASKED,
}
GEOMETRIES: Mapping[map_pb2.MapGeometry, Geometry] = {
    map_pb2.MAP_GEOMETRY_FEATURE: Geometry.FEATURE,
    map_pb2.MAP_GEOMETRY_INPUT: Geometry.INPUT,
    map_pb2.MAP_GEOMETRY_ORIGINAL: Geometry.ORIGINAL,
}
SCALES: Mapping[map_pb2.MapScale, Scale] = {
    map_pb2.MAP_SCALE_UNIT: Scale.UNIT,
    map_pb2.MAP_SCALE_RAW: Scale.RAW,
}
SCORES: Mapping[map_pb2.ScoreKind, ScoreKind] = {
    map_pb2.SCORE_KIND_AVERAGE_DROP: ScoreKind.AVERAGE_DROP,
    map_pb2.SCORE_KIND_AVERAGE_INCREASE: ScoreKind.AVERAGE_INCREASE,
    map_pb2.SCORE_KIND_AVERAGE_GAIN: ScoreKind.AVERAGE_GAIN,
    map_pb2.SCORE_KIND_INSERTION: ScoreKind.INSERTION,
    map_pb2.SCORE_KIND_DELETION: ScoreKind.DELETION,
    map_pb2.SCORE_KIND_INSERTION_DELETION: ScoreKind.INSERTION_DELETION,
}
CURVE_PROTOCOLS: Mapping[map_pb2.CurveProtocol, CurveProtocol] = {
    map_pb2.CURVE_PROTOCOL_RISE: CurveProtocol.RISE,
    map_pb2.CURVE_PROTOCOL_POLYCAM: CurveProtocol.POLYCAM,
}
GRADIENT_CHOICES: Mapping[map_pb2.GradientSide, GradientChoice] = {
    map_pb2.GRADIENT_SIDE_UNSPECIFIED: GradientChoice.AUTO,
    map_pb2.GRADIENT_SIDE_ONNX: GradientChoice.ONNX,
    map_pb2.GRADIENT_SIDE_TORCH: GradientChoice.TORCH,
}
PRIORITIES: Mapping[pb.Priority, Priority] = {
    pb.PRIORITY_INTERACTIVE: Priority.INTERACTIVE,
    pb.PRIORITY_NORMAL: Priority.NORMAL,
    pb.PRIORITY_BULK: Priority.BULK,
}

ENCODING_NUMBERS = {member: number for number, member in ENCODINGS.items()}
GEOMETRY_NUMBERS = {member: number for number, member in GEOMETRIES.items()}
SCALE_NUMBERS = {member: number for number, member in SCALES.items()}
SCORE_NUMBERS: Mapping[ScoreKind, map_pb2.ScoreKind] = {
    member: number for number, member in SCORES.items()
}
PROTOCOL_NUMBERS: Mapping[CurveProtocol, map_pb2.CurveProtocol] = {
    member: number for number, member in CURVE_PROTOCOLS.items()
}
FLAG_NUMBERS: Mapping[events.MapFlag, map_pb2.MapFlag] = {
    events.MapFlag.DEGENERATE: map_pb2.MAP_FLAG_DEGENERATE,
    events.MapFlag.CLASS_AGNOSTIC: map_pb2.MAP_FLAG_CLASS_AGNOSTIC,
    events.MapFlag.FAILS_SANITY_CHECKS: map_pb2.MAP_FLAG_FAILS_SANITY_CHECKS,
    events.MapFlag.NOT_CONVERGED: map_pb2.MAP_FLAG_NOT_CONVERGED,
}
SIDE_NUMBERS: Mapping[events.GradientSide, map_pb2.GradientSide] = {
    events.GradientSide.NONE: map_pb2.GRADIENT_SIDE_NONE,
    events.GradientSide.TORCH: map_pb2.GRADIENT_SIDE_TORCH,
    events.GradientSide.ONNX: map_pb2.GRADIENT_SIDE_ONNX,
}
TARGET_NUMBERS: Mapping[TargetKind, target_pb2.TargetKind] = {
    TargetKind.CLASS: target_pb2.TARGET_KIND_CLASS,
    TargetKind.ABSENT: target_pb2.TARGET_KIND_ABSENT,
    TargetKind.DIFFERENCE: target_pb2.TARGET_KIND_DIFFERENCE,
}
ROLE_NUMBERS: Mapping[GraphRole, manifest_pb2.GraphRole] = {
    GraphRole.FORWARD: manifest_pb2.GRAPH_ROLE_FORWARD,
    GraphRole.MASKED: manifest_pb2.GRAPH_ROLE_MASKED,
    GraphRole.PIXEL_MASKED: manifest_pb2.GRAPH_ROLE_PIXEL_MASKED,
    GraphRole.TAIL: manifest_pb2.GRAPH_ROLE_TAIL,
    GraphRole.GRADIENT: manifest_pb2.GRAPH_ROLE_GRADIENT,
    GraphRole.MASKED_GRADIENT: manifest_pb2.GRAPH_ROLE_MASKED_GRADIENT,
    GraphRole.TAIL_GRADIENT: manifest_pb2.GRAPH_ROLE_TAIL_GRADIENT,
}
OPTION_NUMBERS: Mapping[OptionKind, method_pb2.OptionType] = {
    OptionKind.NUMBER: method_pb2.OPTION_TYPE_NUMBER,
    OptionKind.INTEGER: method_pb2.OPTION_TYPE_INTEGER,
    OptionKind.FLAG: method_pb2.OPTION_TYPE_FLAG,
    OptionKind.CHOICE: method_pb2.OPTION_TYPE_CHOICE,
    OptionKind.TEXT: method_pb2.OPTION_TYPE_TEXT,
}
