"""What a caller writes, wherever they can write it, is in no log, no figure and no span."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from PIL import Image, PngImagePlugin, TiffImagePlugin

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import explanation_service_pb2_grpc as pb_grpc
from salience_service.bundle.reader import Bundle
from salience_service.config import ServeConfig
from salience_service.config.logs import LoggingConfig
from salience_service.control import Control
from salience_service.engine import Engine
from salience_service.events import Event
from salience_service.request import ExplainOrder
from salience_service.telemetry.exposition import exposed
from salience_service.telemetry.log_format import write_logs
from salience_service.telemetry.log_lines import LogLines
from salience_service.telemetry.opening import Telemetry
from salience_service.telemetry.tracing import Traces, tracing
from tests.support.engines import engine_over
from tests.support.image_files import blank_png
from tests.support.prometheus import scrape
from tests.support.serving import STARTED, FakeEngine, calling, serving
from tests.support.spans import Collected

TELLTALE = "DOE^JANE 19570312"
DEEPEST = 6
"""Levels of messages inside of messages that are filled."""

Place = Callable[[Any], None]


def places(kind: Any, depth: int = 0) -> Iterator[tuple[str, Place]]:
    """Every text and every byte string of a message, each with what writes the telltale there."""
    if depth > DEEPEST:
        return
    for field in kind.fields:
        if field.message_type and field.message_type.GetOptions().map_entry:
            yield from _places_of_map(field, depth)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for path, place in places(field.message_type, depth + 1):
                yield f"{field.name}.{path}", _inside(field, place)
        elif field.type == FieldDescriptor.TYPE_STRING:
            yield field.name, _written(field, TELLTALE)
        elif field.type == FieldDescriptor.TYPE_BYTES:
            yield field.name, _written(field, TELLTALE.encode())


def _places_of_map(field: Any, depth: int) -> Iterator[tuple[str, Place]]:
    value = field.message_type.fields_by_name["value"]

    def keyed(message: Any) -> None:
        getattr(message, field.name)[TELLTALE].SetInParent()

    yield f"{field.name}[key]", keyed
    for path, place in places(value.message_type, depth + 1):
        yield (
            f"{field.name}[value].{path}",
            lambda message, place=place: place(getattr(message, field.name)["masks"]),
        )


def _written(field: Any, value: str | bytes) -> Place:
    def write(message: Any) -> None:
        if field.is_repeated:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)

    return write


def _inside(field: Any, place: Place) -> Place:
    def write(message: Any) -> None:
        inner = getattr(message, field.name)
        if field.is_repeated:
            place(inner[0] if len(inner) else inner.add())
        else:
            inner.SetInParent()
            place(inner)

    return write


@dataclass
class Told:
    """All that a server told while the block lasted; complete after it."""

    log: io.StringIO
    spans: Collected
    metrics: str = ""

    @property
    def all(self) -> str:
        spans = "\n".join(span.to_json() for span in self.spans.spans)
        return "\n".join((self.written(), self.metrics, spans))

    def written(self) -> str:
        """The log, whole."""
        for handler in logging.getLogger().handlers:
            handler.flush()
        return self.log.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Of the log, where it is written as JSON."""
        return [json.loads(line) for line in self.written().splitlines()]


@contextmanager
def watched(
    engine: Any, figures: Engine, format_: str = "json"
) -> Iterator[tuple[pb_grpc.ExplanationServiceStub, Told, str]]:
    """A server with all telemetry on, its log at its most talkative."""
    told, root = Told(io.StringIO(), Collected()), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    config = ServeConfig.model_validate(
        {"metrics": {"address": "127.0.0.1:0", "principals": True}, "tracing": {"sample_ratio": 1}}
    )
    try:
        with ExitStack() as stack:
            stack.enter_context(redirect_stderr(told.log))
            write_logs(LoggingConfig.model_validate({"format": format_, "level": "debug"}))
            metrics, address = stack.enter_context(exposed(config.metrics, figures))
            tracer = stack.enter_context(tracing(config.tracing, told.spans))
            witnesses = (LogLines(), metrics, Traces(tracer))
            server = stack.enter_context(serving(engine, Telemetry(witnesses, tracer)))
            stub = stack.enter_context(calling(server))
            yield stub, told, server.address
            for handler in root.handlers:
                handler.flush()
            told.metrics = scrape(address).text
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.getLogger("salience_service").setLevel(logging.NOTSET)


@pytest.fixture(scope="module")
def engine(tiny_bundle: Bundle) -> Iterator[Engine]:
    with engine_over(tiny_bundle) as opened:
        yield opened


def _base() -> pb.ExplainRequest:
    return pb.ExplainRequest(
        model="softmax", image={"encoded": blank_png(8, 8)}, methods=[{"name": "cam"}]
    )


def _ask(call: Callable[[], Any]) -> None:
    """Whatever the answer is."""
    try:
        answer = call()
        if not isinstance(answer, Message):
            list(answer)
    except grpc.RpcError:
        pass


def _many(stub: pb_grpc.ExplanationServiceStub, tag: str) -> Any:
    return stub.ExplainMany(iter([pb.ExplainManyRequest(tag=tag, request=_base())]))


PLACES = dict(places(pb.ExplainRequest.DESCRIPTOR))


def test_the_places_are_those_a_caller_can_write_in() -> None:
    assert {"model", "version", "image.encoded", "methods.name", "methods.taps"} <= set(PLACES)
    assert {"methods.options[key]", "methods.options[value].text"} <= set(PLACES)
    assert any(path.startswith("targets.") for path in PLACES)


@pytest.mark.parametrize("format_", ["json", "text"])
def test_text_and_bytes_of_every_field_of_a_request_stay_out(engine: Engine, format_: str) -> None:
    with watched(engine, engine, format_) as (stub, told, _):
        for place in PLACES.values():
            message = _base()
            place(message)
            _ask(lambda message=message: stub.Explain(message))
    assert TELLTALE not in told.all
    assert told.written().count("explained") == len(PLACES)
    assert len(told.spans.named("explanation")) == len(PLACES)


def test_what_stands_in_an_image_file_stays_out(engine: Engine) -> None:
    with watched(engine, engine) as (stub, told, _):
        for data in (_png(), _tiff(), _jpeg(), _dicom()):
            message = _base()
            message.image.encoded = data
            _ask(lambda message=message: stub.Explain(message))
    assert TELLTALE not in told.all
    outcomes = [line["outcome"] for line in told.lines if line["message"] == "explained"]
    assert outcomes == ["ok", "ok", "ok", "Unsupported"]


def test_tags_metadata_names_of_calls_and_models_asked_about_stay_out(engine: Engine) -> None:
    stray = (
        ("x-request-id", TELLTALE),
        ("x-patient", TELLTALE),
        ("tracestate", "patient=DOE^JANE 19570312"),
        ("baggage", "patient=DOE^JANE 19570312"),
        ("user-agent", TELLTALE),
        ("authorization", f"Bearer {TELLTALE}"),
    )
    with watched(engine, engine) as (stub, told, address):
        _ask(lambda: stub.Explain(_base(), metadata=stray))
        _ask(lambda: _many(stub, TELLTALE))
        _ask(lambda: _many(stub, TELLTALE * 100))
        _ask(lambda: stub.DescribeModel(pb.DescribeModelRequest(model=TELLTALE)))
        with grpc.insecure_channel(address) as channel:
            for path in (f"/salience.v1.ExplanationService/{TELLTALE}", f"/{TELLTALE}/Explain"):
                _ask(lambda path=path: channel.unary_unary(path)(b""))
            damaged = channel.unary_stream("/salience.v1.ExplanationService/Explain")
            _ask(lambda: damaged(b"\xff" + TELLTALE.encode()))
    assert TELLTALE not in told.all
    assert told.spans.named("salience.v1.ExplanationService/DescribeModel")


@pytest.mark.parametrize("format_", ["json", "text"])
def test_what_an_error_of_the_server_itself_quotes_stays_out(engine: Engine, format_: str) -> None:
    def breaks(order: ExplainOrder, control: Control) -> Iterator[Event]:
        yield STARTED
        raise ValueError(f"cannot do {TELLTALE}")

    with watched(FakeEngine({"tiny": breaks}), engine, format_) as (stub, told, _):
        message = _base()
        message.model = "tiny"
        _ask(lambda: stub.Explain(message))
    assert TELLTALE not in told.all
    assert "ValueError at test_no_patient_data.py" in told.written()
    assert "/" not in told.written()


def test_a_line_tells_who_asked_what_of_which_model_and_how_it_ended(engine: Engine) -> None:
    with watched(engine, engine) as (stub, told, _):
        list(stub.Explain(_base(), metadata=(("x-request-id", "ward-7.42"),)))
    (line,) = [line for line in told.lines if line["message"] == "explained"]
    assert line["level"] == "INFO"
    assert line["request_id"] == "ward-7.42"
    assert (line["principal"], line["outcome"]) == ("anonymous", "ok")
    assert (line["model"], line["version"], line["methods"]) == ("softmax", "1", ["cam"])
    assert line["seconds"] >= line["compute_seconds"] > 0
    assert line["time"].startswith("20")


def _png() -> bytes:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("PatientName", TELLTALE)
    return _saved("PNG", pnginfo=texts)


def _tiff() -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[TiffImagePlugin.IMAGEDESCRIPTION] = TELLTALE
    return _saved("TIFF", tiffinfo=tags)


def _jpeg() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = TELLTALE
    return _saved("JPEG", exif=exif.tobytes(), comment=TELLTALE.encode())


def _dicom() -> bytes:
    """The head of a DICOM file with a patient's name, (0010,0010)."""
    name = TELLTALE.encode().ljust(18)
    return bytes(128) + b"DICM" + b"\x10\x00\x10\x00PN" + len(name).to_bytes(2, "little") + name


def _saved(form: str, **said: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, form, **said)
    assert TELLTALE.encode() in file.getvalue()
    return file.getvalue()
