"""Every request that is refused, in one sweep: our own error, in words fit for a stranger."""

import io
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status
from PIL import Image

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import image_pb2
from salience_service.bundle.reader import open_bundle
from salience_service.engine import Engine
from salience_service.errors import SalienceError
from salience_service.methods import METHODS
from salience_service.methods.options import OptionDescription, OptionKind, describe
from salience_service.rpc.in_process import InProcessTransport
from salience_service.rpc.wire.status import code_of, status_of
from tests.conftest import BundleOf
from tests.support.bundles import tiny_bundle as write_tiny_bundle
from tests.support.engines import engine_over
from tests.support.error_words import assert_fit_for_a_stranger
from tests.support.image_files import COLOUR, blank_png, png16, png_header, tiff

Fields = dict[str, Any]
T = TypeVar("T")


@pytest.fixture(scope="module")
def engine(bundle_of: BundleOf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    directory = tmp_path_factory.mktemp("refusing")
    write_tiny_bundle(directory)
    kinds = [bundle_of(kind) for kind in ("softmax", "sigmoid", "regression", "grey")]
    with engine_over(*kinds, open_bundle(directory)) as made:
        yield made


def refusal(engine: Engine, fields: Fields) -> SalienceError:
    stated: Fields = {
        "model": "softmax",
        "image": tensor(np.zeros((3, 32, 32), "<f4")),
        "methods": [{"name": "fake-cam"}],
    }
    with pytest.raises(SalienceError) as refused:
        list(InProcessTransport(engine).explain(pb.ExplainRequest(**(stated | fields))))
    return refused.value


def tensor(values: np.ndarray, axes: str = "CHW", **fields: Any) -> Fields:
    prepared = image_pb2.TENSOR_MEANING_PREPROCESSED
    kind = image_pb2.DATA_TYPE_FLOAT32
    stated = {"meaning": prepared, "data_type": kind, "axes": axes, "shape": values.shape}
    return {"tensor": stated | {"data": values.tobytes()} | fields}


def pixels(values: np.ndarray, axes: str = "HWC", **fields: Any) -> Fields:
    kinds = {"uint8": 1, "uint16": 2, "float16": 3, "float32": 4}
    stated = {"meaning": image_pb2.TENSOR_MEANING_PIXELS, "data_type": kinds[values.dtype.name]}
    return tensor(values, axes, **(stated | fields))


def encoded(data: bytes) -> Fields:
    return {"image": {"encoded": data}}


def method(name: str, **fields: Any) -> Fields:
    return {"methods": [{"name": name} | fields]}


def targets(*messages: Fields) -> Fields:
    return {"targets": list(messages)}


def saved(image: Image.Image, form: str) -> bytes:
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


COLOURS = np.random.default_rng(0).integers(0, 65536, (4, 4, 3), dtype=np.uint16)
TEN = np.zeros((4, 4, 3), np.float32)

REQUESTS: dict[str, Fields] = {
    "no model": {"model": ""},
    "unknown model": {"model": "resnet"},
    "model outside": {"model": "../softmax"},
    "long model": {"model": "m" * 129},
    "unknown version": {"version": "9"},
    "long version": {"version": "9" * 129},
    "no image": {"image": {}},
    "no bytes": encoded(b""),
    "not an image": encoded(b"not an image at all"),
    "truncated png": encoded(png16(COLOURS[:, :, :1], 0)[:-30]),
    "png without a header": encoded(b"\x89PNG\r\n\x1a\n" + bytes(40)),
    "header alone": encoded(png_header(9, 9, 8, 2)),
    "16 bits of colour": encoded(png16(COLOURS, COLOUR)),
    "huge image": encoded(blank_png(30_000, 30_000)),
    "long image": encoded(blank_png(1, 40_000)),
    "another colour space": encoded(saved(Image.new("LAB", (4, 4)), "TIFF")),
    "integers without scale": encoded(tiff(np.ones((4, 4), np.int32))),
    "not a number in a tiff": encoded(tiff(np.full((4, 4), np.nan, np.float32))),
    "dicom": {"image": {"dicom": bytes(128) + b"DICM"}},
    "no dicom": {"image": {"dicom": b""}},
    "hidden dicom": encoded(bytes(128) + b"DICM" + bytes(99)),
    "nan": {"image": tensor(np.full((3, 32, 32), np.nan, "<f4"))},
    "infinity": {"image": tensor(np.full((3, 32, 32), -np.inf, "<f4"))},
    "wrong size": {"image": tensor(np.zeros((3, 31, 32), "<f4"))},
    "wrong channels": {"image": tensor(np.zeros((1, 32, 32), "<f4"))},
    "colour for grey": {"model": "grey", "image": tensor(np.zeros((3, 32, 32), "<f4"))},
    "volume": {"image": tensor(np.zeros((2, 4, 4), "<f4"), "DHW")},
    "five axes": {"image": tensor(np.zeros((1, 1, 2, 4, 4), "<f4"), "NCDHW")},
    "odd axes": {"image": tensor(np.zeros((4, 4), "<f4"), "WH")},
    "two images": {"image": tensor(np.zeros((2, 3, 32, 32), "<f4"), "NCHW")},
    "shape too long": {"image": tensor(TEN, shape=[4, 4, 3, 1])},
    "shape of nothing": {"image": tensor(TEN, shape=[0, 4, 3])},
    "shape of too much": {"image": tensor(TEN, shape=[1, 2**32, 2**32])},
    "five channels": {"image": pixels(np.zeros((4, 4, 5), np.uint8))},
    "no meaning": {"image": tensor(TEN, "HWC", meaning=0)},
    "no data type": {"image": tensor(TEN, "HWC", data_type=0)},
    "prepared in 8 bits": {"image": tensor(np.zeros((3, 32, 32), np.uint8), data_type=1)},
    "scale of a prepared tensor": {"image": tensor(np.zeros((3, 32, 32), "<f4"), full_scale=2.0)},
    "negative full scale": {"image": pixels(COLOURS, full_scale=-1.0)},
    "pixels over full scale": {"image": pixels(COLOURS, full_scale=10.0)},
    "pixels of nan": {"image": pixels(TEN + np.nan)},
    "negative pixels": {"image": pixels(TEN - 1)},
    "stop that says nothing": {**method("rise"), "stop_when": {}},
    "stop at once": {**method("rise"), "stop_when": {"correlation": 0}},
    "stop never": {**method("rise"), "stop_when": {"correlation": 1}},
    "stop at nan": {**method("rise"), "stop_when": {"correlation": float("nan")}},
    "stop after no time": {**method("rise"), "stop_when": {"seconds": 0}},
    "stop after all time": {**method("rise"), "stop_when": {"seconds": float("inf")}},
    "stop of no anytime method": {"stop_when": {"correlation": 0.9}},
    "stop of no anytime options": {
        **method("score-cam", options={"weights": {"text": "cvc"}}),
        "stop_when": {"seconds": 1},
    },
    "unknown priority": {"priority": 99},
    "no method": {"methods": []},
    "unknown method": method("no-cam"),
    "unnamed method": method(""),
    "65 methods": {"methods": [{"name": "fake-cam"}] * 65},
    "long method": method("m" * 129),
    "unknown option": method("score-cam", options={"colour": {"flag": True}}),
    "option of a method without": method("fake-cam", options={"x": {"integer": 1}}),
    "option without a value": method("score-cam", options={"score": {}}),
    "option of nan": method("opti-cam", options={"learning_rate": {"number": float("nan")}}),
    "65 options": method("score-cam", options={str(n): {"flag": True} for n in range(65)}),
    "unknown tap": method("score-cam", taps=["layer9"]),
    "two taps for one": method("score-cam", taps=["layer2", "layer3"]),
    "taps for none": method("fake-cam", taps=["layer3"]),
    "one tap twice": method("poly-cam", taps=["layer3", "layer3"]),
    "65 taps": method("poly-cam", taps=["layer3"] * 65),
    "unnamed tap": method("poly-cam", taps=[""]),
    "index out of range": targets({"present": {"index": 10}}),
    "absent out of range": targets({"absent": {"index": 10}}),
    "difference out of range": targets(
        {"difference": {"this_class": {"index": 1}, "that_class": {"index": 99}}}
    ),
    "difference with itself": targets({"text": "3-3"}),
    "unknown label": targets({"present": {"label": "unicorn"}}),
    "long label": targets({"present": {"label": "u" * 1025}}),
    "long words": targets({"text": "u" * 1025}),
    "words": targets({"text": "not:unicorn"}),
    "no words": targets({"text": ""}),
    "no class": targets({"present": {}}),
    "no target": targets({}),
    "top none": targets({"top_k": {"k": 0}}),
    "top 33": targets({"top_k": {"k": 33}}),
    "top 11 of 10": targets({"text": "top:11"}),
    "thresholds of a softmax": targets({"above_threshold": {}}),
    "65 targets": targets(*[{"text": "1"}] * 65),
    "thresholds of a regression": {"model": "regression", "targets": [{"above_threshold": {}}]},
    "scores of a regression": {"model": "regression", "scores": [1]},
    "score twice": {"scores": [1, 1]},
    "unknown score": {"scores": [77]},
    "unknown encoding": {"format": {"encoding": 77}},
    "unknown geometry": {"format": {"geometry": 77}},
    "unknown scale": {"format": {"scale": 77}},
    "alpha above one": {"format": {"overlay_alpha": 1.5}},
    "raw values in a png": {"format": {"encoding": 3, "scale": 2}},
    "a picture on features": {"format": {"encoding": 4, "geometry": 1}},
    "even blur": {"fill": {"blur": {"kernel": 4}}},
    "narrow blur": {"fill": {"blur": {"kernel": 1}}},
    "wide blur": {"fill": {"blur": {"kernel": 257}}},
    "blur wider than the input": {"fill": {"blur": {"kernel": 101}}},
    "soft blur": {"fill": {"blur": {"kernel": 3, "sigma": 129.0}}},
    "two colours": {"fill": {"colour": {"intensity": [0.1, 0.2]}}},
    "bright colour": {"fill": {"colour": {"intensity": [1.1]}}},
    "colour for a grey model": {
        "model": "grey",
        "image": tensor(np.zeros((1, 32, 32), "<f4")),
        "fill": {"colour": {"intensity": [0.1, 0.2, 0.3]}},
    },
    "fill of the scores": {"scores": [1], "score_fill": {"blur": {"kernel": 4}}},
    "no gradient side": {
        "model": "tiny",
        "image": tensor(np.zeros((3, 8, 8), "<f4")),
        "methods": [{"name": "opti-cam"}],
    },
}


FIELDS: dict[str, str] = {
    "no model": "model",
    "unknown model": "model",
    "model outside": "model",
    "long model": "model",
    "unknown version": "version",
    "long version": "version",
    "no image": "image",
    "no bytes": "image.encoded",
    "not an image": "image.encoded",
    "truncated png": "image.encoded",
    "png without a header": "image.encoded",
    "header alone": "image.encoded",
    "16 bits of colour": "image.encoded",
    "huge image": "image.encoded",
    "long image": "image.encoded",
    "another colour space": "image.encoded",
    "integers without scale": "image.encoded",
    "not a number in a tiff": "image.encoded",
    "dicom": "image.dicom",
    "no dicom": "image.dicom",
    "hidden dicom": "image.encoded",
    "nan": "image.tensor",
    "infinity": "image.tensor",
    "wrong size": "image.tensor",
    "wrong channels": "image.tensor",
    "colour for grey": "image.tensor",
    "volume": "image.tensor.axes",
    "five axes": "image.tensor.axes",
    "odd axes": "image.tensor.axes",
    "two images": "image.tensor.shape",
    "shape too long": "image.tensor.shape",
    "shape of nothing": "image.tensor.shape",
    "shape of too much": "image.tensor.data",
    "five channels": "image.tensor.shape",
    "no meaning": "image.tensor.meaning",
    "no data type": "image.tensor.data_type",
    "prepared in 8 bits": "image.tensor.data_type",
    "scale of a prepared tensor": "image.tensor.full_scale",
    "negative full scale": "image.tensor.full_scale",
    "pixels over full scale": "image.tensor",
    "pixels of nan": "image.tensor",
    "negative pixels": "image.tensor",
    "stop that says nothing": "stop_when",
    "stop at once": "stop_when.correlation",
    "stop never": "stop_when.correlation",
    "stop at nan": "stop_when.correlation",
    "stop after no time": "stop_when.seconds",
    "stop after all time": "stop_when.seconds",
    "stop of no anytime method": "stop_when",
    "stop of no anytime options": "stop_when",
    "unknown priority": "priority",
    "no method": "methods",
    "unknown method": "methods[0].name",
    "unnamed method": "methods[0].name",
    "65 methods": "methods",
    "long method": "methods[0].name",
    "unknown option": "methods[0].options.colour",
    "option of a method without": "methods[0].options.x",
    "option without a value": "methods[0].options.score",
    "option of nan": "methods[0].options.learning_rate",
    "65 options": "methods[0].options",
    "unknown tap": "methods[0].taps",
    "two taps for one": "methods[0].taps",
    "taps for none": "methods[0].taps",
    "one tap twice": "methods[0].taps",
    "65 taps": "methods[0].taps",
    "unnamed tap": "methods[0].taps[0]",
    "index out of range": "targets[0].present.index",
    "absent out of range": "targets[0].absent.index",
    "difference out of range": "targets[0].difference.that_class.index",
    "difference with itself": "targets[0].text",
    "unknown label": "targets[0].present.label",
    "long label": "targets[0].present.label",
    "long words": "targets[0].text",
    "words": "targets[0].text",
    "no words": "targets[0].text",
    "no class": "targets[0].present",
    "no target": "targets[0]",
    "top none": "targets[0].top_k.k",
    "top 33": "targets[0].top_k.k",
    "top 11 of 10": "targets[0].text",
    "thresholds of a softmax": "targets[0].above_threshold",
    "65 targets": "targets",
    "thresholds of a regression": "targets[0].above_threshold",
    "scores of a regression": "scores",
    "score twice": "scores",
    "unknown score": "scores[0]",
    "unknown encoding": "format.encoding",
    "unknown geometry": "format.geometry",
    "unknown scale": "format.scale",
    "alpha above one": "format.overlay_alpha",
    "raw values in a png": "format.scale",
    "a picture on features": "format.geometry",
    "even blur": "fill.blur.kernel",
    "narrow blur": "fill.blur.kernel",
    "wide blur": "fill.blur.kernel",
    "blur wider than the input": "fill.blur.kernel",
    "soft blur": "fill.blur.sigma",
    "two colours": "fill.colour.intensity",
    "bright colour": "fill.colour.intensity",
    "colour for a grey model": "fill.colour.intensity",
    "fill of the scores": "score_fill.blur.kernel",
    "no gradient side": "methods[0]",
}
"""What in each of them is at fault, by the names of the contract."""


@pytest.mark.parametrize("name", REQUESTS)
def test_a_refused_request_names_the_field_at_fault(engine: Engine, name: str) -> None:
    error = refusal(engine, REQUESTS[name])
    told = status_of(error)
    violations = [v for each in details(told, BadRequest) for v in each.field_violations]
    assert [violation.field for violation in violations] == [FIELDS[name]]
    assert violations[0].description == told.message
    assert exists_in_the_contract(FIELDS[name]), "no such field"
    (info,) = details(told, ErrorInfo)
    assert (info.domain, info.reason) == (
        "salience",
        type(refusal(engine, REQUESTS[name])).__name__,
    )
    assert not info.metadata
    assert not list(details(told, RetryInfo)), "it would always fail"


@pytest.mark.parametrize(
    ("name", "resource"),
    [
        ("unknown model", ("model", "resnet")),
        ("model outside", ("model", "../softmax")),
        ("unknown version", ("version", "softmax/9")),
    ],
)
def test_what_was_not_found_is_named(engine: Engine, name: str, resource: tuple[str, str]) -> None:
    (info,) = details(status_of(refusal(engine, REQUESTS[name])), ResourceInfo)
    assert (info.resource_type, info.resource_name) == resource


@pytest.mark.parametrize(
    ("method_name", "options", "field"),
    [
        ("rise", {"cells": {"integer": 33}}, "methods[0].options.cells"),
        ("occlusion", {"window": {"integer": 33}}, "methods[0].options.window"),
        (
            "occlusion",
            {"window": {"integer": 4}, "stride": {"integer": 5}},
            "methods[0].options.stride",
        ),
        ("rise", {"an odd / key": {"flag": True}}, "methods[0].options"),
        ("rise", {"k" * 65: {"flag": True}}, "methods[0].options"),
    ],
)
def test_an_option_that_does_not_fit_the_input_is_named(
    engine: Engine, method_name: str, options: Fields, field: str
) -> None:
    assert refusal(engine, method(method_name, options=options)).field == field


def details(told: Status, kind: type[T]) -> Iterator[T]:
    for packed in told.details:
        detail = kind()
        if packed.Unpack(detail):  # type: ignore[attr-defined]
            yield detail


def exists_in_the_contract(path: str) -> bool:
    """Whether a path leads through the messages of the contract; keys of maps are free."""
    descriptor = pb.ExplainRequest.DESCRIPTOR
    steps = re.sub(r"\[\d+\]", "", path).split(".")
    while steps:
        field = descriptor.fields_by_name.get(steps.pop(0))
        if field is None:
            return False
        descriptor = field.message_type
        if descriptor is not None and descriptor.GetOptions().map_entry:
            return len(steps) <= 1
    return True


@pytest.mark.parametrize("name", REQUESTS)
def test_a_refused_request_tells_what_and_nothing_from_inside(engine: Engine, name: str) -> None:
    told = refusal(engine, REQUESTS[name])
    assert_fit_for_a_stranger(str(told))
    # INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION or UNIMPLEMENTED: never the server's fault.
    assert code_of(told) in (3, 5, 9, 12)


def beyond(option: OptionDescription) -> list[Fields]:
    """Values that this option must not take."""
    if option.kind is OptionKind.CHOICE:
        return [{"text": "neither"}, {"flag": True}, {"integer": 1}]
    if option.kind is OptionKind.FLAG:
        return [{"integer": 1}, {"text": "true"}]
    form, step = ("integer", 1) if option.kind is OptionKind.INTEGER else ("number", 1e-9)
    values: list[Fields] = [{"text": "many"}, {"flag": True}]
    if option.minimum is not None:
        values.append({form: type(step)(option.minimum - step)})
    if option.maximum is not None:
        values.append({form: type(step)(option.maximum * (1 + 1e-9) + step)})
    return values


OPTIONS = [
    (name, option.name, value)
    for name, each in METHODS.items()
    for option in describe(each.options)
    for value in beyond(option)
]


@pytest.mark.parametrize(("name", "option", "value"), OPTIONS)
def test_an_option_beyond_its_described_limits_is_refused(
    engine: Engine, name: str, option: str, value: Fields
) -> None:
    told = refusal(engine, method(name, options={option: value}))
    assert f"option {option}" in str(told)
    assert_fit_for_a_stranger(str(told))


def test_every_numeric_option_has_both_limits() -> None:
    described = chain.from_iterable(describe(each.options) for each in METHODS.values())
    numeric = [o for o in described if o.kind in (OptionKind.NUMBER, OptionKind.INTEGER)]
    assert numeric
    assert not [o.name for o in numeric if o.minimum is None or o.maximum is None]
