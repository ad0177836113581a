"""Subjects: what is fuzzed, each with good inputs to start from and a way to try a bad one."""

import io
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from PIL import Image

from salience.inference import grpc_service_pb2 as inference_pb
from salience.v1 import explanation_service_pb2 as pb
from salience_service.bundle.reader import open_bundle, read_golden
from salience_service.control import Control
from salience_service.engine import Engine
from salience_service.errors import InvalidRequest
from salience_service.explanation.telling import Pace
from salience_service.image.pixels import ImageLimits
from salience_service.image.prepare import prepare
from salience_service.models.model import ServedModel
from salience_service.request import EncodedImage
from salience_service.rpc import answer
from salience_service.rpc.inference.requests import order_of as infer_order_of
from salience_service.runtime.session import Device
from tests.fuzz.messages import Vocabulary, disturb, fill
from tests.fuzz.mutations import mutated
from tests.support.bundles import add_gradients, listed_files, tiny_bundle, write_manifest
from tests.support.contracts import image_contract
from tests.support.predicting import infer_request

SECONDS = 2.0
"""The deadline of an explanation that is tried."""
MOST_ROWS = 2_000
LIMITS = ImageLimits(max_bytes=1 << 20, max_pixels=1 << 20)


@dataclass(frozen=True)
class Subject:
    """What is fuzzed.

    Attributes:
        name: its word on the command line.
        example: an input at random, good or bad.
        attempt: tries an input; raises SalienceError where it is refused.
    """

    name: str
    example: Callable[[random.Random], bytes]
    attempt: Callable[[bytes], None]


@contextmanager
def subjects(directory: Path) -> Iterator[Mapping[str, Subject]]:
    """All of them, over a tiny bundle in a directory."""
    with ExitStack() as stack:
        engine = stack.enter_context(_engine(directory / "models" / "tiny" / "1"))
        found = (
            _decode(),
            _wire(engine),
            _options(engine),
            _predict(engine),
            _bundle(directory / "bundle"),
        )
        yield {subject.name: subject for subject in found}


@contextmanager
def _engine(directory: Path) -> Iterator[Engine]:
    tiny_bundle(directory)
    add_gradients(directory)
    model = ServedModel(open_bundle(directory), Device(threads=1), 4)
    engine = Engine([model], LIMITS, Pace(0, 0.05), 4, max_rows=MOST_ROWS)
    try:
        yield engine
    finally:
        engine.close()


def _decode() -> Subject:
    """Image files, as far as the model's input."""
    files, contract = _pictures(), image_contract()

    def example(chance: random.Random) -> bytes:
        data = chance.choice(files)
        return data if chance.random() < 0.02 else mutated(data, chance)

    def attempt(data: bytes) -> None:
        prepare(EncodedImage(data), contract, LIMITS)

    return Subject("decode", example, attempt)


def _wire(engine: Engine) -> Subject:
    """Bytes of an ExplainRequest, as far as its whole answer."""

    def example(chance: random.Random) -> bytes:
        message = _good_request()
        disturb(message, chance, _known(engine))
        return mutated(message.SerializeToString(), chance)

    return Subject("wire", example, lambda data: _explain(engine, data))


def _options(engine: Engine) -> Subject:
    """Requests whose every field is at its edge, as far as their whole answer."""
    known = _known(engine)

    def example(chance: random.Random) -> bytes:
        if chance.random() < 0.2:
            message = pb.ExplainRequest()
            fill(message, chance, known)
        else:
            message = _good_request(chance.choice(known.words))
            disturb(message, chance, known)
        return message.SerializeToString()

    return Subject("options", example, lambda data: _explain(engine, data))


def _predict(engine: Engine) -> Subject:
    """Requests of the Open Inference Protocol, as far as their answer."""
    known = Vocabulary(("tiny", "images", "logits", "FP32", "UINT8", "1"), (b"\0" * 768,))

    def example(chance: random.Random) -> bytes:
        message = infer_request(np.zeros((1, 3, 8, 8), np.float32), raw=chance.random() < 0.5)
        disturb(message, chance, known)
        data = message.SerializeToString()
        return mutated(data, chance) if chance.random() < 0.3 else data

    def attempt(data: bytes) -> None:
        message = inference_pb.ModelInferRequest()
        try:
            message.ParseFromString(data)
        except DecodeError as fault:
            raise InvalidRequest("the message cannot be read") from fault
        engine.infer(infer_order_of(message), Control(time.monotonic() + SECONDS))

    return Subject("predict", example, attempt)


def _bundle(directory: Path) -> Subject:
    """Files of a bundle, digests made right again, as far as the service itself reads them."""
    manifest = tiny_bundle(directory)
    add_gradients(directory)
    good = {path.name: path.read_bytes() for path in directory.iterdir()}
    names = sorted(good)

    def example(chance: random.Random) -> bytes:
        name = chance.choice((*names, *["manifest.json"] * len(names)))
        return name.encode() + b"\0" + mutated(good[name], chance)

    def attempt(data: bytes) -> None:
        name, _, content = data.partition(b"\0")
        changed = name.decode("utf-8", "replace")
        if changed not in good:
            return
        for each, bytes_ in (good | {changed: content}).items():
            (directory / each).write_bytes(bytes_)
        if changed != "manifest.json":
            write_manifest(directory, replace(manifest, files=listed_files(directory)))
        read_golden(open_bundle(directory))

    return Subject("bundle", example, attempt)


def _explain(engine: Engine, data: bytes) -> None:
    message = pb.ExplainRequest()
    try:
        message.ParseFromString(data)
    except DecodeError as fault:  # As `rpc/calls/exchange.py` has it refused.
        raise InvalidRequest("the message cannot be read") from fault
    for _ in answer.explain(engine, message, Control(time.monotonic() + SECONDS)):
        pass


def _good_request(method: str = "score-cam") -> pb.ExplainRequest:
    return pb.ExplainRequest(
        model="tiny",
        image={"encoded": _pictures()[0]},
        methods=[{"name": method}],
        scores=[1, 2],
    )


def _known(engine: Engine) -> Vocabulary:
    (model,) = engine.models()
    methods = [listing.method.name for listing in model.methods()]
    return Vocabulary((*methods, "conv", "cat", "dog", "not:cat", "cat-dog", "top:2"), _pictures())


def _pictures() -> Sequence[bytes]:
    """A small picture in every format that is read, and some that are not."""
    colours = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    found = []
    for kind in ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF"):
        for picture in (Image.fromarray(colours), Image.fromarray(colours[..., 0])):
            file = io.BytesIO()
            picture.save(file, kind)
            found.append(file.getvalue())
    deep = io.BytesIO()
    Image.fromarray(colours[..., 0].astype(np.uint16) * 257).save(deep, "PNG")
    return (*found, deep.getvalue())
