"""Answers of a made-up server, as messages: what the client's tests feed it at the seam."""

import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence

import numpy as np

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import image_pb2, manifest_pb2, map_pb2, method_pb2, target_pb2
from salience_client import SalienceError

DIGEST = "ab" * 32


def target(name: str = "tabby", index: int = 281) -> target_pb2.ResolvedTarget:
    return target_pb2.ResolvedTarget(
        name=name, kind=target_pb2.TARGET_KIND_CLASS, index=index, value=9.5, probability=0.75
    )


def started() -> pb.ExplainResponse:
    return pb.ExplainResponse(
        started=pb.Started(
            model="lite0",
            version="1",
            bundle_digest=DIGEST,
            provider="CPUExecutionProvider",
        )
    )


def prediction(*targets: target_pb2.ResolvedTarget) -> pb.ExplainResponse:
    top = [pb.ClassScore(index=281, label="tabby", logit=9.5, probability=0.75)]
    return pb.ExplainResponse(
        prediction=pb.Prediction(
            top=top, targets=targets or [target()], image_height=300, image_width=400
        )
    )


def progress(map_id: int, done: int, expected: int = 100) -> pb.ExplainResponse:
    return pb.ExplainResponse(
        progress=pb.Progress(
            map_id=map_id, method="score-cam", rows_done=done, rows_expected=expected
        )
    )


def partial_map(map_id: int = 0) -> pb.ExplainResponse:
    data = np.arange(6, dtype="<f4").tobytes()
    return pb.ExplainResponse(
        partial_map=map_pb2.PartialMap(
            map_id=map_id, height=2, width=3, data=data, tap="layer4", fraction=0.5, skipped=1
        )
    )


def map_message(
    values: np.ndarray,
    map_id: int = 0,
    method: str = "score-cam",
    resolved: target_pb2.ResolvedTarget | None = None,
    validity: np.ndarray | None = None,
) -> map_pb2.SaliencyMap:
    """A float32 or float16 map [h, w] in input geometry, data inline."""
    data = np.asarray(values, values.dtype.newbyteorder("<")).tobytes()
    encoding = f"MAP_ENCODING_{values.dtype.name.upper()}"
    message = map_pb2.SaliencyMap(
        map_id=map_id,
        provenance=map_pb2.Provenance(
            model="lite0",
            version="1",
            bundle_digest=DIGEST,
            provider="CPUExecutionProvider",
            method=method,
            options={"samples": method_pb2.OptionValue(integer=4)},
            taps=["layer4"],
            graphs=[
                map_pb2.GraphUse(
                    role=manifest_pb2.GRAPH_ROLE_MASKED,
                    digest=DIGEST,
                    batch_size=8,
                    map_height=7,
                    map_width=7,
                ),
                map_pb2.GraphUse(role=manifest_pb2.GRAPH_ROLE_TAIL, tap="layer3"),
            ],
            fill=image_pb2.Fill(mean=image_pb2.MeanFill()),
            gradient_side=map_pb2.GRADIENT_SIDE_NONE,
            software_version="0.1.0",
        ),
        target=resolved or target(),
        encoding=map_pb2.MapEncoding.Value(encoding),
        geometry=map_pb2.MAP_GEOMETRY_INPUT,
        scale=map_pb2.MAP_SCALE_UNIT,
        height=values.shape[0],
        width=values.shape[1],
        raw_minimum=-1.5,
        raw_maximum=2.5,
        audit=map_pb2.AUDIT_VERDICT_UNAUDITED,
        total_bytes=len(data),
        data=data,
        seen=map_pb2.Rectangle(left=50, top=0, width=300, height=300),
    )
    if validity is not None:
        message.validity = zlib.compress(np.packbits(validity, axis=1).tobytes())
    return message


def whole(message: map_pb2.SaliencyMap) -> pb.ExplainResponse:
    return pb.ExplainResponse(map=message)


def in_pieces(message: map_pb2.SaliencyMap, size: int) -> list[pb.ExplainResponse]:
    """The same map as a head without data, and chunks."""
    head = map_pb2.SaliencyMap()
    head.CopyFrom(message)
    head.data = b""
    chunks = [
        map_pb2.MapChunk(map_id=message.map_id, offset=at, data=message.data[at : at + size])
        for at in range(0, len(message.data), size)
    ]
    return [whole(head), *(pb.ExplainResponse(map_chunk=chunk) for chunk in chunks)]


def scores(map_id: int = 0) -> pb.ExplainResponse:
    kinds = (
        (map_pb2.SCORE_KIND_AVERAGE_DROP, 12.5),
        (map_pb2.SCORE_KIND_AVERAGE_INCREASE, 0.0),
        (map_pb2.SCORE_KIND_AVERAGE_GAIN, 3.25),
    )
    return pb.ExplainResponse(
        scores=map_pb2.MapScores(
            map_id=map_id,
            scores=[map_pb2.Score(kind=kind, value=value) for kind, value in kinds],
            fill=image_pb2.Fill(black=image_pb2.BlackFill()),
            clean_probability=0.75,
            masked_probability=0.65,
        )
    )


def curve_scores(map_id: int = 0) -> pb.ExplainResponse:
    """Insertion, deletion and their difference, with three points of each curve."""
    curves = {
        map_pb2.SCORE_KIND_INSERTION: (0.25, 0.5, 0.75),
        map_pb2.SCORE_KIND_DELETION: (0.75, 0.5, 0.25),
    }
    values = {**dict.fromkeys(curves, 0.5), map_pb2.SCORE_KIND_INSERTION_DELETION: -0.0625}
    return pb.ExplainResponse(
        scores=map_pb2.MapScores(
            map_id=map_id,
            scores=[map_pb2.Score(kind=kind, value=value) for kind, value in values.items()],
            fill=image_pb2.Fill(mean=image_pb2.MeanFill()),
            clean_probability=0.75,
            masked_probability=0.5,
            curves=[
                map_pb2.ScoreCurve(kind=kind, shares=(0, 0.5, 1), probabilities=points)
                for kind, points in curves.items()
            ],
            curve_protocol=map_pb2.CURVE_PROTOCOL_POLYCAM,
        )
    )


def finished(rows: int, *map_seconds: float, map_rows: tuple[int, ...] = ()) -> pb.ExplainResponse:
    return pb.ExplainResponse(
        finished=pb.Finished(
            rows=rows,
            queue_seconds=0.25,
            compute_seconds=1.0,
            total_seconds=1.5,
            map_seconds=map_seconds,
            map_rows=map_rows or [rows] * len(map_seconds),
        )
    )


def ramp(height: int = 4, width: int = 6) -> np.ndarray:
    """float32 [height, width] from 0 to 1."""
    return np.linspace(0, 1, height * width, dtype=np.float32).reshape(height, width)


def simple_answer() -> list[pb.ExplainResponse]:
    return [
        started(),
        prediction(),
        progress(0, 100),
        partial_map(),
        whole(map_message(ramp())),
        scores(),
        finished(101, 1.25),
    ]


def listing() -> pb.ListModelsResponse:
    return pb.ListModelsResponse(models=[_summary()])


def description(rule: int = manifest_pb2.RESIZE_RULE_SHORT_SIDE) -> pb.DescribeModelResponse:
    resize = manifest_pb2.Resize(
        rule=rule, short_side=256, interpolation=manifest_pb2.INTERPOLATION_BICUBIC
    )
    option = method_pb2.OptionDescription(
        name="samples",
        summary="how many masks",
        type=method_pb2.OPTION_TYPE_INTEGER,
        default_value=method_pb2.OptionValue(integer=0),
        minimum=0,
        maximum=64,
    )
    method = method_pb2.MethodDescription(
        name="score-cam",
        summary="weights channels by the scores of their masks",
        source="Wang et al. 2020",
        options=[option],
        default_taps=["layer4"],
        available=True,
        anytime=True,
    )
    guided = method_pb2.MethodDescription(
        name="guided-backprop", available=True, fails_sanity_checks=True
    )
    lost = method_pb2.MethodDescription(
        name="opti-cam", needs_gradient=True, unavailable_reason="export it with torch"
    )
    return pb.DescribeModelResponse(
        summary=_summary(),
        input=manifest_pb2.InputContract(
            channels=3,
            height=4,
            width=6,
            colour_order=manifest_pb2.COLOUR_ORDER_RGB,
            resize=resize,
        ),
        head=manifest_pb2.Head(
            kind=manifest_pb2.OUTPUT_KIND_SOFTMAX, classes=2, labels=["tabby", "tench"]
        ),
        taps=[manifest_pb2.Tap(name="layer4", channels=320, height=7, width=7)],
        methods=[method, guided, lost],
        scores=[map_pb2.SCORE_KIND_AVERAGE_DROP],
        gradient_sides=[map_pb2.GRADIENT_SIDE_TORCH],
        batch_size=8,
        tuning_digest=DIGEST,
        precision="float16",
    )


def _summary() -> pb.ModelSummary:
    return pb.ModelSummary(
        name="lite0",
        version="1",
        bundle_digest=DIGEST,
        provider="CPUExecutionProvider",
        is_default=True,
    )


class FakeTransport:
    """Answers every explanation with the same messages, and remembers what it was asked.

    Attributes:
        asked: the requests.
        timeouts: the deadline of each call in seconds, None = none.
        closed_early: how many answers were closed before their end.
    """

    def __init__(
        self, answer: Sequence[pb.ExplainResponse], fault: SalienceError | None = None
    ) -> None:
        self.answer, self.fault = answer, fault
        self.asked: list[pb.ExplainRequest] = []
        self.timeouts: list[float | None] = []
        self.closed_early = 0
        self.closed = False

    def explain(
        self, request: pb.ExplainRequest, timeout: float | None
    ) -> Generator[pb.ExplainResponse]:
        self.asked.append(request)
        self.timeouts.append(timeout)
        try:
            yield from self.answer
        except GeneratorExit:
            self.closed_early += 1
            raise
        if self.fault is not None:
            raise self.fault

    def explain_many(
        self, requests: Iterable[pb.ExplainManyRequest], timeout: float | None
    ) -> Generator[pb.ExplainManyResponse]:
        """Answers of all requests, message by message in turn; model "lost" is refused."""
        self.timeouts.append(timeout)
        turns = [self._tagged(request) for request in requests]
        while turns:
            for turn in list(turns):
                message = next(turn, None)
                if message is None:
                    turns.remove(turn)
                else:
                    yield message

    def list_models(
        self, request: pb.ListModelsRequest, timeout: float | None
    ) -> pb.ListModelsResponse:
        self.timeouts.append(timeout)
        return listing()

    def describe_model(
        self, request: pb.DescribeModelRequest, timeout: float | None
    ) -> pb.DescribeModelResponse:
        self.timeouts.append(timeout)
        return description()

    def close(self) -> None:
        self.closed = True

    def _tagged(self, asked: pb.ExplainManyRequest) -> Iterator[pb.ExplainManyResponse]:
        if asked.request.model == "lost":
            error = pb.RequestError(code=5, message="no model 'lost' here")
            yield pb.ExplainManyResponse(tag=asked.tag, error=error)
            return
        for response in self.answer:
            yield pb.ExplainManyResponse(tag=asked.tag, response=response)
