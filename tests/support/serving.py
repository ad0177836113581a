"""A real loopback server around an engine, and an engine whose explanations are scripts."""

import asyncio
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

import grpc
import numpy as np

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import explanation_service_pb2_grpc as pb_grpc
from salience_client import Tls
from salience_client.identity import open_channel
from salience_service.bundle.manifest import (
    BundleFile,
    ColourOrder,
    Golden,
    Graph,
    GraphRole,
    Head,
    InputContract,
    Interpolation,
    Manifest,
    OutputKind,
    Resize,
    ResizeRule,
    Source,
    Tap,
)
from salience_service.config import ServeConfig
from salience_service.control import Control
from salience_service.errors import NotFound
from salience_service.events import (
    EncodedMap,
    Event,
    Finished,
    FinishedMap,
    GradientSide,
    PartialMap,
    Progress,
    Provenance,
    Started,
    TargetScore,
)
from salience_service.image.placement import Rectangle
from salience_service.inference.order import InferOrder, Inferred, Output
from salience_service.methods import METHODS
from salience_service.models.model import MethodListing
from salience_service.request import Encoding, ExplainOrder, Geometry, MeanFill, Scale, ScoreKind
from salience_service.rpc.answer import Explainer
from salience_service.rpc.server.server import Server
from salience_service.targets.target import Target, TargetKind
from salience_service.telemetry.opening import UNOBSERVED, Telemetry
from salience_service.telemetry.witness import Witnesses
from tests.support.waiting import SOON_SECONDS

Script = Callable[[ExplainOrder, Control], Iterator[Event]]

STARTED = Started("tiny", "1", "d" * 64, "CPUExecutionProvider", 0)
FINISHED = Finished(5, 0.1, 0.2, 0.3, (0.2,), (4,))
TARGET_SCORE = TargetScore(Target("cat", TargetKind.CLASS, 0, OutputKind.SOFTMAX), 2.0, 0.75)
MANIFEST = Manifest(
    name="tiny",
    version="1",
    input=InputContract(
        channels=3,
        height=8,
        width=8,
        colour_order=ColourOrder.RGB,
        white=1.0,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        resize=Resize(ResizeRule.STRETCH, Interpolation.BILINEAR),
    ),
    head=Head(OutputKind.SOFTMAX, 2, ("cat", "dog")),
    taps=(Tap("last", 4, 2, 2, "tap_0"),),
    graphs=(
        Graph(GraphRole.FORWARD, "forward.onnx", 17),
        Graph(GraphRole.MASKED, "masked.onnx", 17),
    ),
    files=tuple(
        BundleFile(name, "0" * 64, 1) for name in ("forward.onnx", "masked.onnx", "golden.npz")
    ),
    golden=Golden("golden.npz", 1e-4),
    source=Source("onnx", "0" * 64, 0.0),
)
PROVENANCE = Provenance(
    model="tiny",
    version="1",
    bundle_digest="d" * 64,
    graphs=(),
    provider="CPUExecutionProvider",
    method="score-cam",
    options={"flag": True, "count": 3, "share": 0.5, "word": "code"},
    taps=("last",),
    fill=MeanFill(),
    gradient_side=GradientSide.NONE,
    software_version="0",
)


def finished_map(data: bytes = b"\0" * 16, map_id: int = 0) -> FinishedMap:
    """A finished map with these bytes."""
    encoded = EncodedMap(
        data=data,
        encoding=Encoding.FLOAT32,
        geometry=Geometry.FEATURE,
        scale=Scale.UNIT,
        height=2,
        width=2,
        raw_minimum=-1.0,
        raw_maximum=1.0,
        degenerate=False,
        validity=None,
        seen=Rectangle(0, 0, 6, 4),
    )
    return FinishedMap(map_id, PROVENANCE, TARGET_SCORE, encoded, False, (), None)


def partial_map(value: float, map_id: int = 0) -> PartialMap:
    """A constant partial map."""
    return PartialMap(map_id, np.full((2, 2), value, np.float32), "last", value)


def plain(order: ExplainOrder, control: Control) -> Iterator[Event]:
    """An explanation that goes well."""
    yield STARTED
    yield Progress(0, "score-cam", 5, 5)
    yield finished_map()
    yield FINISHED


def patient(order: ExplainOrder, control: Control) -> Iterator[Event]:
    """An explanation that runs until it is stopped, in steps like device batches."""
    yield STARTED
    stopped = threading.Event()
    control.on_cancel(stopped.set)
    while not stopped.wait(control.remaining(0.01)):
        control.check()
        yield Progress(0, "score-cam", 1, 1000)
    control.check()


def held(may_end: threading.Event) -> Script:
    """Explanations that begin at once, and end when they may, or soon."""

    def script(order: ExplainOrder, control: Control) -> Iterator[Event]:
        yield STARTED
        may_end.wait(SOON_SECONDS)
        yield FINISHED

    return script


def endless(order: ExplainOrder, control: Control) -> Iterator[Event]:
    """An explanation that answers maps of a mebibyte for ever."""
    yield STARTED
    while True:
        yield finished_map(bytes(2**20))


@dataclass
class FakeModel:
    """A served model that has only its words."""

    name: str = "tiny"
    version: str = "1"
    digest: str = "d" * 64
    provider: str = "CPUExecutionProvider"
    manifest: Manifest = MANIFEST
    batch_size: int = 8
    gradient_sides: tuple[GradientSide, ...] = ()
    tuning_digest: str = "e" * 64
    precision: str = "tf32"

    def methods(self) -> tuple[MethodListing, ...]:
        return (
            MethodListing(METHODS["score-cam"], ("last",), True),
            MethodListing(METHODS["opti-cam"], (), False, "no gradient side"),
        )

    def scores(self) -> tuple[ScoreKind, ...]:
        return tuple(ScoreKind)


@dataclass
class FakeEngine:
    """Plays a script for each model name; remembers every control and who was closed."""

    scripts: dict[str, Script] = field(default_factory=lambda: {"tiny": plain})
    controls: list[Control] = field(default_factory=list)
    ended: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    inferring: Callable[[Control], None] = Control.check

    def __post_init__(self) -> None:
        self._models = tuple(
            FakeModel(name, manifest=replace(MANIFEST, name=name)) for name in self.scripts
        )

    def models(self) -> tuple[FakeModel, ...]:
        return self._models

    def model(self, name: str, version: str = "") -> FakeModel:
        for model in self._models:
            if model.name == name and version in ("", model.version):
                return model
        raise NotFound(f"no model {name!r} here: ListModels tells those there are", field="model")

    def ready(self) -> dict[str, bool]:
        return dict.fromkeys(self.scripts, True)

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    def explain(self, order: ExplainOrder, control: Control) -> Generator[Event, None, None]:
        script = self.scripts[self.model(order.model, order.version).name]
        self.controls.append(control)
        try:
            yield from script(order, control)
        finally:
            self.ended.release()

    def infer(self, order: InferOrder, control: Control) -> Inferred:
        """Every image is as likely one as the other."""
        model = self.model(order.model, order.version)
        self.controls.append(control)
        self.inferring(control)
        logits = np.zeros((len(order.images), model.manifest.head.classes), np.float32)
        outputs = ((Output.LOGITS, logits),)
        return Inferred(model.name, model.version, model.digest, outputs, 0.1, 0.2)


@contextmanager
def serving(
    engine: Explainer, watching: Telemetry = UNOBSERVED, **config: object
) -> Iterator[Server]:
    """A server on a free loopback port, on an event loop in a thread of its own."""
    with serving_on_loop(engine, watching, **config) as (server, _):
        yield server


@contextmanager
def serving_on_loop(
    engine: Explainer, watching: Telemetry = UNOBSERVED, **config: object
) -> Iterator[tuple[Server, Callable[..., object]]]:
    """The same, with what runs a coroutine on the server's loop and waits for it."""
    settings = {"address": "127.0.0.1:0", "drain_seconds": 1} | config
    with _event_loop() as run:
        server = run(_started(engine, ServeConfig.model_validate(settings), watching))
        try:
            yield server, run
        finally:
            run(server.stop())


@contextmanager
def calling(server: Server, **options: int) -> Iterator[pb_grpc.ExplanationServiceStub]:
    """A stub on a channel to the server."""
    pairs = [(f"grpc.{name}", value) for name, value in options.items()]
    with grpc.insecure_channel(server.address, options=pairs) as channel:
        yield pb_grpc.ExplanationServiceStub(channel)


@contextmanager
def calling_over(server: Server, tls: Tls) -> Iterator[pb_grpc.ExplanationServiceStub]:
    """The same, encrypted."""
    with open_channel(server.address, tls, None) as channel:
        yield pb_grpc.ExplanationServiceStub(channel)


def request(model: str = "tiny", **fields: object) -> pb.ExplainRequest:
    """A request that is answered: an encoded image of four bytes, one method."""
    stated: dict[str, object] = {
        "image": {"encoded": b"\0\1\2\3"},
        "methods": [{"name": "score-cam"}],
    }
    return pb.ExplainRequest(model=model, **(stated | fields))


def until_answered(stub: pb_grpc.ExplanationServiceStub) -> None:
    """Asks until there is room: the server learns of a cancelled call a moment after its caller."""
    began, answered = time.monotonic(), 0
    while answered != 4:
        assert time.monotonic() - began < SOON_SECONDS
        with suppress(grpc.RpcError):
            answered = len(list(stub.Explain(request())))


async def _started(engine: Explainer, config: ServeConfig, watching: Telemetry) -> Server:
    server = Server(engine, config, Witnesses(watching.witnesses), watching.tracer)
    await server.start()
    return server


@contextmanager
def _event_loop() -> Iterator[Callable[..., object]]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="test-server")
    thread.start()
    try:
        yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
