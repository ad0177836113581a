"""Messages of one answer put together, for a caller who asked for the whole and looks on at none.

Each message of its own wakes the event loop, gRPC's threads and the caller's, which on a CPU
are cores that the device would use.
"""

from collections.abc import Iterable, Iterator

from salience.v1 import explanation_service_pb2 as pb
from salience_service.rpc.wire.response_map import CHUNK_BYTES

MOST_BYTES = CHUNK_BYTES
"""Of events in one message, unless it is a single one; then the next message begins. A map of
that many bytes and more comes in pieces, so that no message is much longer."""

_ON_THE_WAY = ("progress", "partial_map")


def gathered(messages: Iterable[pb.ExplainResponse]) -> Iterator[pb.ExplainResponse]:
    """The same events in as few messages, without those that tell how far it is.

    Where the answer fails, what came before is sent first.
    """
    together, size = pb.ExplainResponse(), 0
    try:
        for message in messages:
            if message.WhichOneof("event") in _ON_THE_WAY:
                continue
            length = message.ByteSize()
            if size and size + length > MOST_BYTES:
                yield together
                together, size = pb.ExplainResponse(), 0
            together.gathered.events.append(message)
            size += length
    except Exception:
        if size:
            yield together
        raise
    if size:
        yield together


def is_end(message: pb.ExplainResponse) -> bool:
    """Whether it holds the last event of an answer."""
    if message.HasField("gathered"):
        return message.gathered.events[-1].HasField("finished")
    return message.HasField("finished")
