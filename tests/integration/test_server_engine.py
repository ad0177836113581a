"""The real engine behind a real loopback server: whole answers, refusals, cancellation."""

import io
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import explanation_service_pb2_grpc as pb_grpc
from salience.v1 import image_pb2, map_pb2
from salience_service.admission import Load
from salience_service.config import ServeConfig
from salience_service.config.bundles import UNSIGNED_ALLOWED
from salience_service.engine import Engine
from salience_service.rpc.in_process import InProcessTransport
from tests.conftest import BundleOf
from tests.support.bundles import without
from tests.support.image_files import blank_png
from tests.support.serving import calling, serving
from tests.support.waiting import until

ALL_METHODS = [{"name": name} for name in ("fake-cam", "score-cam", "poly-cam", "opti-cam")]
SCORES = [
    map_pb2.SCORE_KIND_AVERAGE_DROP,
    map_pb2.SCORE_KIND_AVERAGE_INCREASE,
    map_pb2.SCORE_KIND_AVERAGE_GAIN,
]
INSIDE = ("Traceback", "0x", ".py", ".onnx", "/tmp", "/root", "/work", "object at")


@pytest.fixture(scope="module")
def engine(bundle_of: BundleOf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    models = tmp_path_factory.mktemp("models")
    for kind in ("softmax", "regression"):
        without(bundle_of(kind), models / kind / "1")
    config = ServeConfig(batch_size=4, threads=1, max_encoded_bytes=2**20, bundles=UNSIGNED_ALLOWED)
    opened = Engine.open(models, config)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def stub(engine: Engine) -> Iterator[pb_grpc.ExplanationServiceStub]:
    with serving(engine, max_message_bytes=2**22) as server, calling(server) as made:
        yield made


def _png(height: int = 48, width: int = 40, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _request(**fields: Any) -> pb.ExplainRequest:
    stated = {
        "model": "softmax",
        "image": {"encoded": _png()},
        "methods": [{"name": "score-cam"}],
        "scores": SCORES,
    }
    return pb.ExplainRequest(**(stated | fields))


def _map_bytes(responses: list[pb.ExplainResponse]) -> list[bytes]:
    return [each.map.data for each in responses if each.HasField("map")]


def test_every_method_answers_with_maps_scores_and_provenance(
    stub: pb_grpc.ExplanationServiceStub,
) -> None:
    responses = list(stub.Explain(_request(methods=ALL_METHODS)))
    kinds = [each.WhichOneof("event") for each in responses]
    assert (kinds[0], kinds[1], kinds[-1]) == ("started", "prediction", "finished")
    maps = [each.map for each in responses if each.HasField("map")]
    assert [each.provenance.method for each in maps] == [call["name"] for call in ALL_METHODS]
    for each in maps:
        assert (each.height, each.width, len(each.data)) == (32, 32, 32 * 32 * 4)
        assert np.isfinite(np.frombuffer(each.data, "<f4")).all()
        assert each.provenance.graphs
        assert each.provenance.bundle_digest == responses[0].started.bundle_digest
    scores = [each.scores for each in responses if each.HasField("scores")]
    assert [score.map_id for score in scores] == [0, 1, 2, 3]
    assert all(len(score.scores) == 3 for score in scores)
    rows = [each.progress.rows_done for each in responses if each.HasField("progress")]
    assert rows == sorted(rows)
    assert len(responses[-1].finished.map_seconds) == 4


def test_the_wire_and_the_process_give_the_same_map_bit_for_bit(
    engine: Engine, stub: pb_grpc.ExplanationServiceStub
) -> None:
    asked = _request(methods=ALL_METHODS[:3])
    here = list(InProcessTransport(engine).explain(asked))
    assert _map_bytes(list(stub.Explain(asked))) == _map_bytes(here)


def test_a_map_on_the_original_grid_beyond_a_mebibyte_comes_in_chunks(
    stub: pb_grpc.ExplanationServiceStub,
) -> None:
    flat = io.BytesIO()
    Image.new("RGB", (1000, 800), (10, 200, 30)).save(flat, "PNG")
    asked = _request(
        image={"encoded": flat.getvalue()},
        format={"geometry": map_pb2.MAP_GEOMETRY_ORIGINAL},
        scores=[],
    )
    responses = list(stub.Explain(asked))
    head = next(each.map for each in responses if each.HasField("map"))
    data = b"".join(each.map_chunk.data for each in responses if each.HasField("map_chunk"))
    assert (head.height, head.width, head.total_bytes) == (800, 1000, 800 * 1000 * 4)
    assert len(data) == head.total_bytes


def test_many_images_over_one_call_give_the_maps_they_give_alone(
    stub: pb_grpc.ExplanationServiceStub,
) -> None:
    asked = {str(seed): _request(image={"encoded": _png(seed=seed)}) for seed in range(8)}
    alone = {tag: _map_bytes(list(stub.Explain(each))) for tag, each in asked.items()}
    together: dict[str, list[pb.ExplainResponse]] = {tag: [] for tag in asked}
    sent = (pb.ExplainManyRequest(tag=tag, request=each) for tag, each in asked.items())
    for each in stub.ExplainMany(sent):
        together[each.tag].append(each.response)
    assert {tag: _map_bytes(each) for tag, each in together.items()} == alone


def test_describe_model_tells_what_the_bundle_and_the_methods_say(
    stub: pb_grpc.ExplanationServiceStub,
) -> None:
    told = stub.DescribeModel(pb.DescribeModelRequest(model="softmax"))
    assert (told.head.classes, len(told.head.labels), told.batch_size) == (10, 10, 4)
    assert (told.input.channels, told.input.height) == (3, 32)
    assert {method.name for method in told.methods} >= {each["name"] for each in ALL_METHODS}
    assert all(method.available for method in told.methods), "exported from torch"
    for method in told.methods:
        assert not method.default_taps or set(method.default_taps) <= {t.name for t in told.taps}
    regression = stub.DescribeModel(pb.DescribeModelRequest(model="regression"))
    assert not regression.scores


def test_cancelling_frees_the_engine_at_once(
    engine: Engine, stub: pb_grpc.ExplanationServiceStub
) -> None:
    long = _request(methods=[{"name": "opti-cam"}] * 50, scores=[])
    call = stub.Explain(long)
    assert next(call).HasField("started")
    while not next(call).HasField("progress"):
        pass
    before = engine.workload.calls
    call.cancel()
    until(lambda: engine.load == Load(0))
    assert engine.workload.calls < before + 1000, "the cancelled explanation ran on"
    first, *_ = stub.Explain(_request(methods=[{"name": "fake-cam"}]))
    assert not first.started.explanations_beside


def test_a_deadline_ends_the_call_and_the_server_goes_on(
    stub: pb_grpc.ExplanationServiceStub,
) -> None:
    long = _request(methods=[{"name": "opti-cam"}] * 60, scores=[])
    with pytest.raises(grpc.RpcError) as told:
        list(stub.Explain(long, timeout=0.3))
    assert told.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert _map_bytes(list(stub.Explain(_request())))


def _tensor(shape: tuple[int, ...], value: float = 0.5, **fields: Any) -> dict[str, Any]:
    stated = {
        "meaning": image_pb2.TENSOR_MEANING_PREPROCESSED,
        "data_type": image_pb2.DATA_TYPE_FLOAT32,
        "axes": "CHW",
        "shape": shape,
        "data": np.full(shape, value, "<f4").tobytes(),
    }
    return {"tensor": stated | fields}


INVALID = grpc.StatusCode.INVALID_ARGUMENT
PIXELS = image_pb2.TENSOR_MEANING_PIXELS


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"model": "resnet"}, grpc.StatusCode.NOT_FOUND),
        ({"model": "../softmax"}, grpc.StatusCode.NOT_FOUND),
        ({"version": "99"}, grpc.StatusCode.NOT_FOUND),
        ({"methods": [{"name": "grad-cam-plus"}]}, INVALID),
        ({"methods": [{"name": "score-cam", "options": {"colour": {"flag": True}}}]}, INVALID),
        ({"methods": [{"name": "opti-cam", "options": {"iterations": {"text": "x"}}}]}, INVALID),
        ({"methods": [{"name": "score-cam", "taps": ["layer9"]}]}, INVALID),
        ({"targets": [{"present": {"index": 10}}]}, INVALID),
        ({"targets": [{"present": {"label": "unicorn"}}]}, INVALID),
        ({"targets": [{"text": "not:unicorn"}]}, INVALID),
        ({"image": {"encoded": b"not an image"}}, INVALID),
        ({"image": {"encoded": _png()[:-200]}}, INVALID),
        ({"image": {"encoded": blank_png(30_000, 30_000)}}, INVALID),
        ({"image": {"encoded": bytes(2**20 + 1)}}, INVALID),
        ({"image": {"dicom": bytes(128) + b"DICM"}}, grpc.StatusCode.UNIMPLEMENTED),
        ({"image": _tensor((3, 32, 32), float("nan"))}, INVALID),
        ({"image": _tensor((3, 32, 32), float("inf"))}, INVALID),
        ({"image": _tensor((3, 31, 32))}, INVALID),
        ({"image": _tensor((1, 32, 32))}, INVALID),
        ({"image": _tensor((3, 32, 32), axes="HWC")}, INVALID),
        ({"image": _tensor((4, 4, 4), axes="DHW")}, grpc.StatusCode.UNIMPLEMENTED),
        ({"image": _tensor((1, 9, 9), 2.0, meaning=PIXELS)}, INVALID),
        ({"format": {"encoding": 3, "scale": 2}}, INVALID),
        ({"format": {"encoding": 4, "geometry": 1}}, INVALID),
        ({"model": "regression"}, INVALID),
    ],
)
def test_bad_input_is_refused_by_status_and_tells_nothing_from_inside(
    stub: pb_grpc.ExplanationServiceStub, fields: dict[str, Any], code: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.RpcError) as told:
        list(stub.Explain(_request(**fields)))
    assert (told.value.code(), bool(told.value.details())) == (code, True), told.value.details()
    assert not [word for word in INSIDE if word in told.value.details()]


def test_after_all_refusals_the_server_answers(stub: pb_grpc.ExplanationServiceStub) -> None:
    assert _map_bytes(list(stub.Explain(_request())))
