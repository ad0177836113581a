"""Messages to values and back: everything unstated, contradictory or too large is refused."""

import zlib
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import image_pb2, map_pb2, method_pb2, target_pb2
from salience_service import events, request
from salience_service.bundle.manifest import GraphRole, OutputKind
from salience_service.errors import InvalidRequest, SalienceError, Unsupported
from salience_service.image.placement import Rectangle
from salience_service.methods.options import OptionKind
from salience_service.rpc.wire import numbers
from salience_service.rpc.wire.request_image import fill_of, image_of
from salience_service.rpc.wire.request_target import target_of
from salience_service.rpc.wire.requests import order_of
from salience_service.rpc.wire.response_map import fill_message, packed_validity
from salience_service.rpc.wire.responses import responses_of
from salience_service.targets.target import Target, TargetKind
from tests.support.serving import (
    FINISHED,
    PROVENANCE,
    STARTED,
    TARGET_SCORE,
    finished_map,
    partial_map,
)
from tests.support.serving import request as good_request

PIXELS, PREPARED = image_pb2.TENSOR_MEANING_PIXELS, image_pb2.TENSOR_MEANING_PREPROCESSED
U8, U16 = image_pb2.DATA_TYPE_UINT8, image_pb2.DATA_TYPE_UINT16
F16, F32 = image_pb2.DATA_TYPE_FLOAT16, image_pb2.DATA_TYPE_FLOAT32


def _tensor(**fields: Any) -> image_pb2.Image:
    """2×3 grey pixels of 8 bits, with what is stated otherwise."""
    stated = {"meaning": PIXELS, "data_type": U8, "axes": "HW", "shape": [2, 3], "data": bytes(6)}
    return image_pb2.Image(tensor=image_pb2.Tensor(**(stated | fields)))


def _refused(message: pb.ExplainRequest, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        order_of(message)


# The whole request


def test_a_plain_request_gets_the_defaults_of_the_contract() -> None:
    order = order_of(good_request())
    assert order == request.ExplainOrder(
        model="tiny",
        image=request.EncodedImage(b"\0\1\2\3"),
        methods=(request.MethodCall("score-cam"),),
    )


def test_everything_that_is_stated_is_kept() -> None:
    option = method_pb2.OptionValue
    order = order_of(
        good_request(
            version="2",
            methods=[
                method_pb2.MethodCall(
                    name="poly-cam",
                    options={
                        "a": option(number=0.5),
                        "b": option(integer=-3),
                        "c": option(flag=False),
                        "d": option(text="code"),
                    },
                    taps=["t1", "t2"],
                ),
                method_pb2.MethodCall(name="fake-cam"),
            ],
            targets=[target_pb2.Target(text="not:cat")],
            fill=image_pb2.Fill(black={}),
            scores=[map_pb2.SCORE_KIND_AVERAGE_GAIN, map_pb2.SCORE_KIND_AVERAGE_DROP],
            score_fill=image_pb2.Fill(mean={}),
            format=map_pb2.MapFormat(
                encoding=map_pb2.MAP_ENCODING_PNG_OVERLAY,
                geometry=map_pb2.MAP_GEOMETRY_ORIGINAL,
                scale=map_pb2.MAP_SCALE_RAW,
                overlay_alpha=0.25,
            ),
            no_partial_maps=True,
            gradient_side=map_pb2.GRADIENT_SIDE_TORCH,
            curve_protocol=map_pb2.CURVE_PROTOCOL_POLYCAM,
            box=map_pb2.BoxRequest(threshold=0),
            priority=pb.PRIORITY_INTERACTIVE,
            stop_when=pb.StopWhen(correlation=0.95, seconds=2),
        )
    )
    assert order.version == "2"
    assert order.methods == (
        request.MethodCall("poly-cam", {"a": 0.5, "b": -3, "c": False, "d": "code"}, ("t1", "t2")),
        request.MethodCall("fake-cam"),
    )
    assert order.targets == (request.TextTarget("not:cat"),)
    assert (order.fill, order.score_fill) == (request.BlackFill(), request.MeanFill())
    assert order.scores == (request.ScoreKind.AVERAGE_GAIN, request.ScoreKind.AVERAGE_DROP)
    assert order.format == request.MapFormat(
        request.Encoding.PNG_OVERLAY, request.Geometry.ORIGINAL, request.Scale.RAW, 0.25
    )
    assert not order.partial_maps
    assert order.gradient_side is request.GradientChoice.TORCH
    assert order.curve_protocol is request.CurveProtocol.POLYCAM
    assert order.box == request.BoxOrder(0.0)
    assert order.priority is request.Priority.INTERACTIVE
    assert order.stop_when == request.StopWhen(0.95, 2)


@pytest.mark.parametrize(("silent", "gather"), [(True, False), (False, True), (True, True)])
def test_who_wants_the_whole_together_wants_no_partial_maps(silent: bool, gather: bool) -> None:
    assert order_of(good_request()).partial_maps
    assert not order_of(good_request(no_partial_maps=silent, gather=gather)).partial_maps


def test_a_box_without_a_threshold_is_at_the_mean_and_no_box_is_none() -> None:
    assert order_of(good_request(box={})).box == request.BoxOrder(None)
    assert order_of(good_request()).box is None


def test_what_stop_when_leaves_out_is_none_and_not_zero() -> None:
    assert order_of(good_request()).stop_when is None
    assert order_of(good_request(stop_when={})).stop_when == request.StopWhen()
    assert order_of(good_request(stop_when={"seconds": 0})).stop_when == request.StopWhen(None, 0)


def test_an_empty_request_is_refused() -> None:
    _refused(pb.ExplainRequest(), "model's name is empty")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": ""}, "model's name is empty"),
        ({"model": "m" * 129}, "129 characters, at most 128"),
        ({"version": "v" * 129}, "129 characters, at most 128"),
        ({"image": None}, "no image"),
        ({"image": {}}, "no image"),
        ({"image": {"encoded": b""}}, "0 bytes"),
        ({"image": {"dicom": b""}}, "0 bytes"),
        ({"methods": []}, "no method"),
        ({"methods": [{"name": "m"}] * 65}, "65 methods: at most 64"),
        ({"methods": [{"name": ""}]}, "method's name is empty"),
        ({"methods": [{"name": "m", "taps": ["t"] * 65}]}, "65 taps: at most 64"),
        ({"methods": [{"name": "m", "taps": [""]}]}, "tap's name is empty"),
        ({"methods": [{"name": "m", "options": {"o": {}}}]}, "option 'o' has no value"),
        (
            {"methods": [{"name": "m", "options": {"o": {"number": float("nan")}}}]},
            "option 'o' is nan",
        ),
        (
            {"methods": [{"name": "m", "options": {str(n): {"flag": True} for n in range(65)}}]},
            "65 options: at most 64",
        ),
        ({"targets": [{"text": "top:1"}] * 65}, "65 targets: at most 64"),
        ({"scores": [0]}, "score 0 is none of AVERAGE_DROP, .*: state one"),
        ({"scores": [99]}, "score 99 is none of"),
        ({"scores": [1, 2, 1]}, "scores named twice: ad"),
        ({"format": {"encoding": 99}}, "encoding 99"),
        ({"format": {"geometry": 99}}, "geometry 99"),
        ({"format": {"scale": 99}}, "scale 99"),
        ({"gradient_side": 1}, "gradient_side 1 is none of ONNX, TORCH: state one"),
        ({"gradient_side": 99}, "gradient_side 99 is none of ONNX, TORCH: state one"),
        ({"curve_protocol": 99}, "curve_protocol 99 is none of RISE, POLYCAM"),
        ({"priority": 99}, "priority 99 is none of INTERACTIVE, NORMAL, BULK"),
    ],
)
def test_what_is_missing_contradictory_or_too_much_is_refused(
    fields: dict[str, Any], words: str
) -> None:
    _refused(good_request(**({"model": "tiny"} | fields)), words)


def test_sixty_four_methods_and_targets_are_allowed() -> None:
    order = order_of(good_request(methods=[{"name": "m"}] * 64, targets=[{"text": "0"}] * 64))
    assert (len(order.methods), len(order.targets)) == (64, 64)


RICH = good_request(
    image=_tensor(),
    methods=[{"name": "m", "options": {"o": {"number": 1}}, "taps": ["t"]}],
    targets=[{"top_k": {"k": 3}}, {"present": {"label": "cat"}}],
    fill={"blur": {"kernel": 3}},
    scores=[1],
    format={"encoding": 2},
    curve_protocol=2,
    box={"threshold": 0.5},
    stop_when={"correlation": 0.9},
).SerializeToString()


@given(st.integers(0, len(RICH) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_a_damaged_request_that_still_parses_raises_nothing_but_our_errors(
    place: int, insert: bytes, cut: int
) -> None:
    message = pb.ExplainRequest()
    with suppress(DecodeError):
        message.MergeFromString(RICH[:place] + insert + RICH[place + cut :])
    with suppress(SalienceError):
        order_of(message)


# Images


@pytest.mark.parametrize(
    ("data_type", "dtype", "full_scale"),
    [(U8, "u1", 255), (U16, "<u2", 65535), (F16, "<f2", 1), (F32, "<f4", 1)],
)
def test_pixels_of_every_type_are_read_with_their_full_scale(
    data_type: image_pb2.DataType, dtype: str, full_scale: float
) -> None:
    numbers = np.arange(6).reshape(2, 3).astype(dtype)
    image = image_of(_tensor(data_type=data_type, data=numbers.tobytes()))
    assert isinstance(image, request.PixelImage)
    assert image.full_scale == full_scale
    assert image.pixels.dtype in (np.uint8, np.uint16, np.float32)
    np.testing.assert_array_equal(image.pixels, numbers)


@pytest.mark.parametrize(
    ("axes", "shape"), [("HWC", (2, 4, 3)), ("CHW", (3, 2, 4)), ("NCHW", (1, 3, 2, 4))]
)
def test_pixels_come_out_rows_columns_channels_whatever_their_axes(
    axes: str, shape: tuple[int, ...]
) -> None:
    numbers = np.arange(24, dtype="u1").reshape(shape)
    image = image_of(_tensor(axes=axes, shape=shape, data=numbers.tobytes()))
    assert isinstance(image, request.PixelImage)
    order = [axes.index(letter) for letter in "HWC"]
    expected = numbers.transpose([*(n for n in range(len(axes)) if n not in order), *order])
    np.testing.assert_array_equal(image.pixels, expected.reshape(2, 4, 3))


@pytest.mark.parametrize(
    ("axes", "shape"),
    [("HW", (2, 4)), ("CHW", (3, 2, 4)), ("NCHW", (1, 3, 2, 4)), ("HWC", (2, 4, 3))],
)
def test_a_preprocessed_tensor_comes_out_channels_first(axes: str, shape: tuple[int, ...]) -> None:
    numbers = np.arange(np.prod(shape), dtype="<f4").reshape(shape)
    image = image_of(
        _tensor(meaning=PREPARED, data_type=F32, axes=axes, shape=shape, data=numbers.tobytes())
    )
    assert isinstance(image, request.PreparedImage)
    channels_first = {"HW": numbers[None], "NCHW": numbers[0], "CHW": numbers}.get(axes)
    expected = np.moveaxis(numbers, -1, 0) if channels_first is None else channels_first
    assert image.tensor.dtype == np.float32
    np.testing.assert_array_equal(image.tensor, expected)


def test_a_stated_full_scale_is_kept() -> None:
    image = image_of(_tensor(data_type=U16, data=bytes(12), full_scale=4095))
    assert isinstance(image, request.PixelImage)
    assert image.full_scale == 4095


def test_dicom_bytes_are_passed_on() -> None:
    assert image_of(image_pb2.Image(dicom=b"d")) == request.DicomImage(b"d")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"meaning": 0}, "meaning 0 is none of PIXELS, PREPROCESSED: state one"),
        ({"meaning": 99}, "meaning 99 is none of PIXELS, PREPROCESSED: state one"),
        ({"data_type": 0}, "data type 0 is none of UINT8, UINT16, FLOAT16, FLOAT32: state one"),
        ({"data_type": 99}, "data type 99 is none of UINT8"),
        ({"axes": ""}, "none of HW, HWC, CHW, NCHW"),
        ({"axes": "WH"}, "none of HW"),
        ({"axes": "hw"}, "none of HW"),
        ({"shape": [6]}, "need 2 sizes, shape has 1"),
        ({"shape": []}, "need 2 sizes, shape has 0"),
        ({"shape": [0, 3], "data": b""}, "size below 1"),
        ({"shape": [-2, -3]}, "size below 1"),
        ({"shape": [2, 4]}, "needs 8 bytes, data has 6"),
        ({"data": bytes(7)}, "needs 6 bytes, data has 7"),
        ({"data": b""}, "needs 6 bytes, data has 0"),
        # 2³² · 2³² = 2⁶⁴ is 0 in 64 bits, which an empty tensor would match.
        ({"shape": [2**32, 2**32], "data": b""}, "needs 18446744073709551616 bytes"),
        ({"axes": "NCHW", "shape": [2, 1, 1, 3]}, "N is 2"),
        ({"axes": "CHW", "shape": [2, 1, 3]}, "C is 2"),
        ({"axes": "HWC", "shape": [2, 1, 4], "data": bytes(8)}, "C is 4"),
        ({"full_scale": -1}, "full scale -1"),
        ({"full_scale": float("nan")}, "full scale nan"),
        ({"full_scale": float("inf")}, "full scale inf"),
        ({"meaning": PREPARED}, "preprocessed tensor is FLOAT32"),
        ({"meaning": PREPARED, "data_type": F16, "data": bytes(12)}, "is FLOAT32"),
        (
            {"meaning": PREPARED, "data_type": F32, "data": bytes(24), "full_scale": 1},
            "full scale 1.0 is for pixels",
        ),
    ],
)
def test_a_tensor_that_is_unstated_or_contradicts_itself_is_refused(
    fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        image_of(_tensor(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"axes": "DHW", "shape": [1, 2, 3]},
        {"axes": "CDHW", "shape": [1, 1, 2, 3]},
        {"axes": "NCDHW", "shape": [1, 1, 1, 2, 3]},
        {"axes": "HW", "shape": [1, 1, 1, 2, 3]},
    ],
)
def test_volumes_are_refused_by_name(fields: dict[str, Any]) -> None:
    with pytest.raises(Unsupported, match=r"3-D volume.*two-dimensional"):
        image_of(_tensor(**fields))


# Fills


@pytest.mark.parametrize(
    ("message", "fill"),
    [
        (image_pb2.Fill(), request.MeanFill()),
        (image_pb2.Fill(mean={}), request.MeanFill()),
        (image_pb2.Fill(black={}), request.BlackFill()),
        (image_pb2.Fill(blur={}), request.BlurFill(51, 20.0)),
        (image_pb2.Fill(blur={"kernel": 3}), request.BlurFill(3, 20.0)),
        (image_pb2.Fill(blur={"sigma": 128}), request.BlurFill(51, 128.0)),
        (image_pb2.Fill(colour={"intensity": [0.5]}), request.ColourFill((0.5,))),
        (image_pb2.Fill(colour={"intensity": [0, 0.5, 1]}), request.ColourFill((0, 0.5, 1))),
    ],
)
def test_every_fill_is_read_and_goes_back_as_it_was_meant(
    message: image_pb2.Fill, fill: request.Fill
) -> None:
    assert fill_of(message) == fill
    assert fill_of(fill_message(fill)) == fill


def test_more_intensities_than_a_colour_can_have_are_refused_before_they_are_read() -> None:
    with pytest.raises(InvalidRequest, match="4 intensity: at most 3") as refusal:
        fill_of(image_pb2.Fill(colour={"intensity": [0] * 4}))
    assert refusal.value.field == "colour.intensity"


def test_numbers_beyond_their_limits_are_read_for_the_engine_to_refuse_in_its_words() -> None:
    assert fill_of(image_pb2.Fill(blur={"kernel": 4, "sigma": -1})) == request.BlurFill(4, -1)
    assert fill_of(image_pb2.Fill(colour={"intensity": [7, 8]})) == request.ColourFill((7, 8))
    assert order_of(good_request(format={"overlay_alpha": 1.5})).format.overlay_alpha == 1.5
    assert target_of(target_pb2.Target(top_k={})) == request.TopKTargets(0)


# Targets


@pytest.mark.parametrize(
    ("message", "target"),
    [
        ({"present": {"index": 0}}, request.PresentTarget(request.ClassRef(0))),
        ({"present": {"label": "cat"}}, request.PresentTarget(request.ClassRef("cat"))),
        ({"absent": {"label": "cat"}}, request.AbsentTarget(request.ClassRef("cat"))),
        (
            {"difference": {"this_class": {"index": 1}, "that_class": {"label": "cat"}}},
            request.DifferenceTarget(request.ClassRef(1), request.ClassRef("cat")),
        ),
        ({"top_k": {"k": 32}}, request.TopKTargets(32)),
        ({"above_threshold": {}}, request.AboveThresholdTargets()),
        ({"text": "cat-dog"}, request.TextTarget("cat-dog")),
    ],
)
def test_every_target_is_read(message: dict[str, Any], target: request.TargetSpec) -> None:
    assert target_of(target_pb2.Target(**message)) == target


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({}, "target is not stated"),
        ({"present": {}}, "class is not stated"),
        ({"absent": {}}, "class is not stated"),
        ({"difference": {"this_class": {"index": 1}}}, "class is not stated"),
    ],
)
def test_an_unstated_target_is_refused(message: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        target_of(target_pb2.Target(**message))


# Responses


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        (request.Encoding, numbers.ENCODING_NUMBERS),
        (request.Geometry, numbers.GEOMETRY_NUMBERS),
        (request.Scale, numbers.SCALE_NUMBERS),
        (request.ScoreKind, numbers.SCORE_NUMBERS),
        (request.CurveProtocol, numbers.PROTOCOL_NUMBERS),
        (events.MapFlag, numbers.FLAG_NUMBERS),
        (events.GradientSide, numbers.SIDE_NUMBERS),
        (TargetKind, numbers.TARGET_NUMBERS),
        (GraphRole, numbers.ROLE_NUMBERS),
        (OptionKind, numbers.OPTION_NUMBERS),
    ],
)
def test_every_member_has_a_number_of_its_own_and_none_is_unspecified(
    kind: type[Enum], table: dict[Enum, int]
) -> None:
    assert set(table) == set(kind)
    assert len(set(table.values())) == len(table)
    assert 0 not in table.values()


def test_the_tables_of_requests_know_every_number_of_the_contract() -> None:
    assert set(numbers.ENCODINGS) | {0} == set(map_pb2.MapEncoding.values())
    assert set(numbers.GEOMETRIES) | {0} == set(map_pb2.MapGeometry.values())
    assert set(numbers.SCALES) | {0} == set(map_pb2.MapScale.values())
    assert set(numbers.SCORES) | {0} == set(map_pb2.ScoreKind.values())
    assert set(numbers.CURVE_PROTOCOLS) | {0} == set(map_pb2.CurveProtocol.values())
    assert set(numbers.PRIORITIES) | {0} == set(pb.Priority.values())
    assert set(numbers.PRIORITIES.values()) == set(request.Priority)
    sides = set(numbers.GRADIENT_CHOICES) | {map_pb2.GRADIENT_SIDE_NONE}
    assert sides == set(map_pb2.GradientSide.values())
    assert set(numbers.GRADIENT_CHOICES.values()) == set(request.GradientChoice)


def test_started_and_finished_carry_their_figures() -> None:
    (started,) = responses_of(STARTED)
    (finished,) = responses_of(FINISHED)
    assert (started.started.provider, started.started.model) == ("CPUExecutionProvider", "tiny")
    assert (finished.finished.rows, list(finished.finished.map_seconds)) == (5, [0.2])
    assert (finished.finished.rows_spared, finished.finished.from_cache) == (0, False)
    (kept,) = responses_of(replace(FINISHED, rows_spared=3, from_cache=True))
    assert (kept.finished.rows_spared, kept.finished.from_cache) == (3, True)


def test_a_prediction_tells_no_probability_for_a_regression() -> None:
    target = Target("age", TargetKind.CLASS, 0, OutputKind.REGRESSION)
    event = events.Prediction(
        (events.ClassScore(0, "age", 41.5, None),), (events.TargetScore(target, 41.5, None),), 4, 6
    )
    (message,) = responses_of(event)
    assert not message.prediction.top[0].HasField("probability")
    assert not message.prediction.targets[0].HasField("probability")
    assert not message.prediction.targets[0].HasField("against")
    assert message.prediction.targets[0].value == 41.5
    assert (message.prediction.image_height, message.prediction.image_width) == (4, 6)


def test_a_difference_tells_both_classes() -> None:
    target = Target("cat-dog", TargetKind.DIFFERENCE, 0, OutputKind.SOFTMAX, against=1)
    event = events.Prediction((), (events.TargetScore(target, 1.0, 0.7),), 4, 6)
    (message,) = responses_of(event)
    told = message.prediction.targets[0]
    assert (told.kind, told.against) == (target_pb2.TARGET_KIND_DIFFERENCE, 1)


@pytest.mark.parametrize(("side", "thinned"), [(512, 512), (513, 256), (1024, 512), (1025, 342)])
def test_a_partial_map_of_any_size_is_one_message_that_every_client_takes(
    side: int, thinned: int
) -> None:
    ramp = np.linspace(0, 1, side, dtype=np.float32)
    whole = np.broadcast_to(ramp, (side, side))
    (message,) = responses_of(replace(partial_map(0.25), map=whole))
    sent = message.partial_map
    assert (sent.height, sent.width) == (thinned, thinned)
    assert len(sent.data) <= 2**20
    shown = np.frombuffer(sent.data, "<f4").reshape(thinned, thinned)
    np.testing.assert_allclose(shown[0], np.linspace(0, 1, thinned), atol=2 / thinned)


def test_a_partial_map_travels_as_little_endian_float32() -> None:
    (message,) = responses_of(partial_map(0.25))
    sent = message.partial_map
    np.testing.assert_array_equal(np.frombuffer(sent.data, "<f4"), np.full(4, 0.25))
    assert (sent.height, sent.width, sent.tap, sent.fraction) == (2, 2, "last", 0.25)
    assert not sent.HasField("correlation")
    (telling,) = responses_of(replace(partial_map(0.25), correlation=0.0))
    assert telling.partial_map.HasField("correlation")


@pytest.mark.parametrize("size", [0, 1, 2**20])
def test_a_map_of_up_to_a_mebibyte_travels_whole(size: int) -> None:
    (message,) = responses_of(finished_map(bytes(size)))
    assert (message.map.total_bytes, len(message.map.data)) == (size, size)


@pytest.mark.parametrize("size", [2**20 + 1, 2**21, 2**21 + 1])
def test_a_larger_map_travels_as_a_head_and_chunks_in_order(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    head, *rest = responses_of(finished_map(data, map_id=3))
    chunks = [message.map_chunk for message in rest]
    assert (head.map.total_bytes, head.map.data) == (size, b"")
    assert {chunk.map_id for chunk in chunks} == {3}
    assert [chunk.offset for chunk in chunks] == list(range(0, size, 2**20))
    assert all(0 < len(chunk.data) <= 2**20 for chunk in chunks)
    assert b"".join(chunk.data for chunk in chunks) == data


def test_a_map_tells_provenance_range_flags_and_that_no_audit_was_run() -> None:
    made = finished_map()
    event = events.FinishedMap(
        **(vars(made) | {"flags": (events.MapFlag.DEGENERATE,), "iterations": 7, "signed": True})
    )
    (message,) = responses_of(event)
    sent = message.map
    options = {
        name: getattr(value, str(value.WhichOneof("value")))
        for name, value in sent.provenance.options.items()
    }
    assert options == dict(PROVENANCE.options)
    assert sent.provenance.options["flag"].WhichOneof("value") == "flag"
    assert (sent.raw_minimum, sent.raw_maximum, sent.is_signed) == (-1, 1, True)
    assert list(sent.flags) == [map_pb2.MAP_FLAG_DEGENERATE]
    assert sent.audit == map_pb2.AUDIT_VERDICT_UNAUDITED
    assert (sent.iterations, sent.target.probability) == (7, TARGET_SCORE.probability)
    assert (sent.seen.width, sent.seen.height) == (6, 4)
    (plain,) = responses_of(made)
    assert not plain.map.HasField("iterations")


@pytest.mark.parametrize("width", [1, 7, 8, 9, 16])
def test_a_validity_mask_is_read_back_bit_by_bit(width: int) -> None:
    validity = np.random.default_rng(width).random((5, width)) < 0.5
    validity[0, 0] = False
    packed = np.frombuffer(zlib.decompress(packed_validity(validity)), np.uint8)
    rows = packed.reshape(5, -(-width // 8))
    np.testing.assert_array_equal(np.unpackbits(rows, axis=1)[:, :width], validity)


def test_a_validity_mask_that_says_nothing_is_left_out() -> None:
    assert packed_validity(None) == b""
    assert packed_validity(np.ones((3, 3), bool)) == b""


def test_scores_travel_with_their_fill_and_both_probabilities() -> None:
    event = events.MapScores(
        2, {request.ScoreKind.AVERAGE_GAIN: 51.5}, request.BlurFill(), 0.25, 0.75
    )
    (message,) = responses_of(event)
    scores = message.scores
    assert [(score.kind, score.value) for score in scores.scores] == [
        (map_pb2.SCORE_KIND_AVERAGE_GAIN, 51.5)
    ]
    assert (scores.map_id, scores.fill.blur.kernel) == (2, 51)
    assert (scores.clean_probability, scores.masked_probability) == (0.25, 0.75)
    assert not scores.curves
    assert scores.curve_protocol == map_pb2.CURVE_PROTOCOL_UNSPECIFIED


def test_curves_travel_with_their_protocol() -> None:
    curve = events.ScoreCurve(request.ScoreKind.DELETION, (0, 0.5, 1), (0.75, 0.5, 0.25))
    event = events.MapScores(
        map_id=1,
        scores={request.ScoreKind.DELETION: 0.5},
        fill=request.MeanFill(),
        clean_probability=0.75,
        masked_probability=0.5,
        curves=(curve,),
        curve_protocol=request.CurveProtocol.POLYCAM,
    )
    (message,) = responses_of(event)
    (sent,) = message.scores.curves
    assert sent.kind == map_pb2.SCORE_KIND_DELETION
    assert (tuple(sent.shares), tuple(sent.probabilities)) == (curve.shares, curve.probabilities)
    assert message.scores.curve_protocol == map_pb2.CURVE_PROTOCOL_POLYCAM


def test_a_box_travels_where_there_is_one() -> None:
    made = finished_map()
    (plain,) = responses_of(made)
    assert not plain.map.HasField("box")
    boxed = events.FinishedMap(**(vars(made) | {"box": Rectangle(3, 0, 20, 10)}))
    (message,) = responses_of(boxed)
    box = message.map.box
    assert (box.left, box.top, box.width, box.height) == (3, 0, 20, 10)


def test_a_map_that_was_allowed_to_end_early_tells_how_far_it_came() -> None:
    (plain,) = responses_of(finished_map())
    assert not plain.map.HasField("convergence")
    early = replace(finished_map(), convergence=events.Convergence(240, 0.97, repeatable=True))
    (message,) = responses_of(early)
    sent = message.map.convergence
    assert (sent.rows_skipped, sent.correlation, sent.repeatable) == (240, 0.97, True)


def test_provenance_tells_precision_and_tuning() -> None:
    made = finished_map()
    (plain,) = responses_of(made)
    assert (plain.map.provenance.precision, plain.map.provenance.tuning_digest) == ("float32", "")
    tuned = replace(PROVENANCE, precision="float16", tuning_digest="e" * 64)
    (message,) = responses_of(replace(made, provenance=tuned))
    sent = message.map.provenance
    assert (sent.precision, sent.tuning_digest) == ("float16", "e" * 64)


def test_provenance_tells_what_let_a_map_end() -> None:
    made = finished_map()
    (plain,) = responses_of(made)
    assert not plain.map.provenance.HasField("stop_correlation")
    assert not plain.map.provenance.HasField("stop_seconds")
    early = replace(PROVENANCE, stop_when=request.StopWhen(correlation=0.9))
    (message,) = responses_of(replace(made, provenance=early))
    assert message.map.provenance.stop_correlation == 0.9
    assert not message.map.provenance.HasField("stop_seconds")


def test_a_tail_tells_its_tap() -> None:
    use = events.GraphUse(GraphRole.TAIL, "d" * 64, 8, tap="layer3")
    made = finished_map()
    provenance = events.Provenance(**(vars(PROVENANCE) | {"graphs": (use,)}))
    (message,) = responses_of(events.FinishedMap(**(vars(made) | {"provenance": provenance})))
    assert message.map.provenance.graphs[0].tap == "layer3"


def test_a_rectangle_keeps_its_edges_between_pixels() -> None:
    made = finished_map()
    encoded = events.EncodedMap(**(vars(made.encoded) | {"seen": Rectangle(0.5, 1.25, 3, 2)}))
    (message,) = responses_of(events.FinishedMap(**(vars(made) | {"encoded": encoded})))
    assert (message.map.seen.left, message.map.seen.top) == (0.5, 1.25)
