"""What a server holds for callers who read nothing while large maps are drawn for them."""

import ctypes
import time

import pytest

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import map_pb2
from salience_service.admission import Load
from salience_service.bundle.reader import Bundle
from salience_service.request import EncodedImage
from salience_service.rpc.calls.mailbox import CAPACITY
from tests.integration.test_engine_admission import CLEAR, photograph, resident
from tests.integration.test_server_limits import IN_FLIGHT
from tests.support.engines import engine_over
from tests.support.serving import calling, serving
from tests.support.waiting import SOON_SECONDS

READERS = 3
HEIGHT, WIDTH = 2000, 3000
MEBIBYTE = 2**20


def _request() -> pb.ExplainRequest:
    """Four maps of 24 MB each."""
    image = photograph("JPEG", HEIGHT, WIDTH)
    assert isinstance(image, EncodedImage)
    return pb.ExplainRequest(
        model="softmax",
        image={"encoded": image.data},
        methods=[{"name": "fake-cam"}] * 4,
        format={"geometry": map_pb2.MAP_GEOMETRY_ORIGINAL},
    )


@pytest.mark.skipif(not CLEAR.exists(), reason="peaks of memory are read as Linux tells them")
def test_callers_who_read_nothing_hold_no_more_than_was_counted_and_give_it_back(
    tiny_bundle: Bundle,
) -> None:
    asked, stated = _request(), {"slow_reader_seconds": 5}
    with (
        engine_over(tiny_bundle) as engine,
        serving(engine, connections=stated) as server,
        calling(server) as stub,
    ):
        assert any(each.HasField("finished") for each in stub.Explain(asked))
        CLEAR.write_text("5")
        before = resident("VmRSS")
        slow = [stub.Explain(asked) for _ in range(READERS)]
        for call in slow:
            assert next(call).HasField("started")
        counted = engine.load
        assert counted.explanations == READERS
        began = time.monotonic()
        while engine.load != Load(0, 0, 0):
            assert time.monotonic() - began < SOON_SECONDS, "slow readers hold their explanations"
            time.sleep(0.05)
        messages = READERS * (CAPACITY + IN_FLIGHT) * MEBIBYTE
        assert resident("VmHWM") - before <= counted.bytes + messages
        ctypes.CDLL(None).malloc_trim(0)  # What is free and not given back is not held.
        kept = resident("VmRSS") - before
        print(f"held {resident('VmHWM') - before}, counted {counted.bytes}, kept {kept}")
        assert kept <= messages + READERS * 30 * MEBIBYTE  # Allocators keep some.
        for call in slow:
            call.cancel()
