"""What a caller says becomes the message that the contract asks for."""

from typing import get_args

import numpy as np
import pytest

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import image_pb2, map_pb2
from salience_client import (
    AboveThreshold,
    Absent,
    Blur,
    Colour,
    Dicom,
    Difference,
    InvalidRequest,
    Method,
    Pixels,
    Preprocessed,
    Present,
    StopWhen,
    TopK,
    explain_request,
)
from salience_client.fill import fill_message, fill_of
from salience_client.method import method_message, option_of
from salience_client.request import Priority, Score
from salience_client.target import target_message


def ask(image=b"png", **options):
    return explain_request(image, **{"model": "lite0", "methods": "score-cam", **options})


def test_the_least_request_has_a_model_an_image_and_a_method():
    request = ask()

    assert request.model == "lite0"
    assert request.image.encoded == b"png"
    assert [method.name for method in request.methods] == ["score-cam"]
    assert {field.name for field, _ in request.ListFields()} == {
        "model",
        "image",
        "methods",
        "format",
    }


def test_everything_that_can_be_said_is_in_the_message():
    request = ask(
        version="2",
        methods=["score-cam", Method("poly-cam", taps=["a", "b"], weights="plus")],
        targets=[3, "not:tabby"],
        scores=["ag", "ad"],
        fill="black",
        score_fill=Blur(),
        encoding="float16",
        geometry="original",
        scale="raw",
        overlay_alpha=0.25,
        partial_maps=False,
        gradient_side="torch",
        curve_protocol="polycam",
        box=0.25,
        priority="bulk",
        stop_when=StopWhen(correlation=0.9, seconds=3),
    )

    assert request.version == "2"
    assert request.methods[1].taps == ["a", "b"]
    assert request.methods[1].options["weights"].text == "plus"
    assert request.targets[0].present.index == 3
    assert request.targets[1].text == "not:tabby"
    assert list(request.scores) == [
        map_pb2.SCORE_KIND_AVERAGE_GAIN,
        map_pb2.SCORE_KIND_AVERAGE_DROP,
    ]
    assert request.fill.HasField("black")
    assert (request.score_fill.blur.kernel, request.score_fill.blur.sigma) == (51, 20)
    assert request.format == map_pb2.MapFormat(
        encoding=map_pb2.MAP_ENCODING_FLOAT16,
        geometry=map_pb2.MAP_GEOMETRY_ORIGINAL,
        scale=map_pb2.MAP_SCALE_RAW,
        overlay_alpha=0.25,
    )
    assert request.no_partial_maps
    assert request.gradient_side == map_pb2.GRADIENT_SIDE_TORCH
    assert request.curve_protocol == map_pb2.CURVE_PROTOCOL_POLYCAM
    assert request.box.threshold == 0.25
    assert request.priority == pb.PRIORITY_BULK
    assert (request.stop_when.correlation, request.stop_when.seconds) == (0.9, 3)


@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("auto", map_pb2.GRADIENT_SIDE_UNSPECIFIED),
        ("onnx", map_pb2.GRADIENT_SIDE_ONNX),
        ("torch", map_pb2.GRADIENT_SIDE_TORCH),
    ],
)
def test_every_gradient_side_has_its_word(word, number):
    assert ask(gradient_side=word).gradient_side == number


@pytest.mark.parametrize(
    "word", ["average-drop", "average-increase", "average-gain", *get_args(Score)[3:]]
)
def test_every_score_has_its_word(word):
    short = {"average-drop": "ad", "average-increase": "ai", "average-gain": "ag"}

    (number,) = ask(scores=short.get(word, word)).scores

    assert map_pb2.ScoreKind.Name(number) == f"SCORE_KIND_{word}".upper().replace("-", "_")


def test_the_client_knows_every_score_of_the_contract():
    assert len(get_args(Score)) == len(map_pb2.ScoreKind.values()) - 1


@pytest.mark.parametrize("word", get_args(Priority))
def test_every_priority_has_its_word(word):
    assert pb.Priority.Name(ask(priority=word).priority) == f"PRIORITY_{word.upper()}"


def test_the_client_knows_every_priority_of_the_contract():
    assert len(get_args(Priority)) == len(pb.Priority.values()) - 1


def test_what_stop_when_does_not_say_is_not_sent():
    only = ask(stop_when=StopWhen(seconds=0.5)).stop_when

    assert not only.HasField("correlation")
    assert only.seconds == 0.5
    assert not ask().HasField("stop_when")
    assert ask(stop_when=StopWhen()).HasField("stop_when")  # The server says what is missing.


def test_a_box_at_the_mean_and_at_zero_are_not_the_same():
    mean, zero = ask(box="mean").box, ask(box=0).box

    assert ask(box="mean").HasField("box")
    assert not mean.HasField("threshold")
    assert (zero.HasField("threshold"), zero.threshold) == (True, 0)
    assert ask(box=np.float32(0.5)).box.threshold == 0.5


def test_one_target_and_one_score_need_no_list():
    request = ask(targets="A-B", scores="ad")

    assert [target.text for target in request.targets] == ["A-B"]
    assert list(request.scores) == [map_pb2.SCORE_KIND_AVERAGE_DROP]


def test_an_overlay_of_no_strength_is_refused_for_on_the_wire_it_means_the_default():
    with pytest.raises(InvalidRequest, match="not at 0"):
        explain_request(b"png", model="lite0", methods="cam", overlay_alpha=0.0)


@pytest.mark.parametrize(
    "encoding", ["float32", "float16", "png-grey", "png-overlay", "png-masked"]
)
def test_every_encoding_has_its_word(encoding):
    number = ask(encoding=encoding).format.encoding

    assert map_pb2.MapEncoding.Name(number) == f"MAP_ENCODING_{encoding}".upper().replace("-", "_")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"encoding": "jpeg"}, "'jpeg' is no map encoding: use one of float32"),
        ({"geometry": "unspecified"}, "is no map geometry"),
        ({"scores": ["auc"]}, "'auc' is no score: use ad, ai, ag, insertion, deletion, ins"),
        ({"curve_protocol": "roar"}, "'roar' is no curve protocol: use one of rise, polycam"),
        ({"box": "largest"}, "box is 'largest': give 'mean' or a share"),
        ({"box": True}, "box is True"),
        ({"box": None}, "box is None"),
        ({"priority": "urgent"}, "'urgent' is no priority: use one of interactive, normal, bulk"),
        ({"stop_when": 0.9}, r"stop_when is 0.9: give StopWhen"),
        ({"fill": "white"}, "'white' is no fill"),
        ({"gradient_side": "none"}, "'none' is no gradient side: use one of auto, onnx, torch"),
        ({"targets": [-1]}, "-1 is no class index"),
        ({"targets": [1.5]}, "a target cannot be a float"),
        ({"targets": [True]}, "a target cannot be a bool"),
        ({"methods": [Method("m", key=[1])]}, "option 'key' cannot be a list"),
    ],
)
def test_what_cannot_be_said_is_refused_before_anything_is_sent(wrong, says):
    with pytest.raises(InvalidRequest, match=says):
        ask(**wrong)


@pytest.mark.parametrize(
    ("misspelt", "says"),
    [
        ({"target": "effusion"}, "'target' is no option of a request: use targets$"),
        ({"score": ["ad"]}, "'score' is no option of a request: use scores$"),
        ({"colour": "red"}, "'colour' is no option of a request: use model, methods, version, "),
    ],
)
def test_an_option_that_is_none_is_refused_with_the_nearest_that_is(misspelt, says):
    with pytest.raises(InvalidRequest, match=says):
        ask("no-such-file", **misspelt)


@pytest.mark.parametrize("missing", ["model", "methods"])
def test_a_request_without_its_model_or_methods_is_refused(missing):
    said = {"model": "lite0", "methods": "score-cam"}
    del said[missing]

    with pytest.raises(InvalidRequest, match=f"a request needs {missing}=…"):
        explain_request(b"png", **said)


def test_typed_targets_keep_their_meaning():
    assert target_message(Present("A-B")).present.label == "A-B"
    assert target_message(Absent(7)).absent.index == 7
    assert target_message(TopK(3)).top_k.k == 3
    assert target_message(AboveThreshold()).WhichOneof("kind") == "above_threshold"
    difference = target_message(Difference("tabby", 5)).difference
    assert (difference.this_class.label, difference.that_class.index) == ("tabby", 5)


def test_class_zero_is_stated():
    assert target_message(0).present.WhichOneof("ref") == "index"


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (True, "flag"),
        (3, "integer"),
        (np.int64(3), "integer"),
        (0.5, "number"),
        (np.float32(0.5), "number"),
        (2**63, "number"),
        ("plus", "text"),
    ],
)
def test_an_option_keeps_its_type(value, field):
    option = method_message(Method("m", key=value)).options["key"]

    assert option.WhichOneof("value") == field
    assert option_of(option) == value


def test_a_method_cannot_be_changed_once_made():
    method = Method("poly-cam", taps="layer4", steps=3)

    assert method.taps == ("layer4",)
    with pytest.raises(TypeError):
        method.options["steps"] = 4


@pytest.mark.parametrize("fill", ["mean", "black", Blur(31, 4.5), Colour((0.25, 0.5, 1.0))])
def test_a_fill_survives_the_wire(fill):
    assert fill_of(fill_message(fill)) == fill


@pytest.mark.parametrize("blur", [Blur(kernel=-1), Blur(kernel=0), Blur(2**40), Blur(sigma=0)])
def test_a_blur_out_of_range_is_refused(blur):
    with pytest.raises(InvalidRequest, match="3 to 255 and a sigma above 0"):
        fill_message(blur)


def test_a_path_is_read(tmp_path):
    file = tmp_path / "cat.jpg"
    file.write_bytes(b"jpeg")

    assert ask(file).image.encoded == ask(str(file)).image.encoded == b"jpeg"


def test_a_missing_file_is_the_callers_own_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        ask(tmp_path / "none.jpg")


def test_a_dicom_file_is_sent_as_one():
    assert ask(Dicom(b"DICM")).image.dicom == b"DICM"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
@pytest.mark.parametrize(("shape", "axes"), [((2, 3), "HW"), ((2, 3, 3), "HWC")])
def test_an_array_is_sent_as_pixels_bit_by_bit(dtype, shape, axes):
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)

    tensor = ask(array).image.tensor

    assert tensor.meaning == image_pb2.TENSOR_MEANING_PIXELS
    assert (tensor.axes, tuple(tensor.shape)) == (axes, shape)
    back = np.frombuffer(tensor.data, array.dtype.newbyteorder("<")).reshape(tensor.shape)
    np.testing.assert_array_equal(back, array)


def test_transposed_and_big_endian_arrays_are_put_in_order():
    array = np.arange(6, dtype=">u2").reshape(2, 3).T

    tensor = ask(array).image.tensor

    assert tensor.data == np.array([[0, 3], [1, 4], [2, 5]], "<u2").tobytes()


def test_pixels_may_state_axes_and_full_scale():
    tensor = ask(Pixels(np.zeros((3, 2, 2), np.uint16), full_scale=4095, axes="CHW")).image.tensor

    assert (tensor.axes, tensor.full_scale) == ("CHW", 4095)


@pytest.mark.parametrize(("shape", "axes"), [((3, 2, 2), "CHW"), ((1, 3, 2, 2), "NCHW")])
def test_the_models_own_input_is_sent_as_it_is(shape, axes):
    tensor = ask(Preprocessed(np.ones(shape, np.float32))).image.tensor

    assert tensor.meaning == image_pb2.TENSOR_MEANING_PREPROCESSED
    assert tensor.axes == axes


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((2, 2)), "array of float64 cannot be sent: convert it to uint8"),
        (np.zeros((1, 2, 2, 3), np.uint8), "pixels have 4 axes"),
        (Preprocessed(np.zeros((2, 2), np.float32)), "a model's input has 2 axes"),
        (42, "an image cannot be a int"),
    ],
)
def test_an_image_that_cannot_be_said_is_refused(image, says):
    with pytest.raises(InvalidRequest, match=says):
        ask(image)
