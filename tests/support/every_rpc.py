"""Every RPC of a server, as its own reflection tells them, called with bytes alone."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from tests.support.waiting import SOON_SECONDS

Metadata = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """What came of a call: its status, how many messages, and the keys of what came before."""

    code: grpc.StatusCode
    messages: int
    heads: frozenset[str]


def every_rpc(channel: grpc.Channel, metadata: Metadata) -> list[str]:
    """The path of every RPC of every service; by a caller who may ask for reflection."""
    bearing = grpc.intercept_channel(channel, _Bearing(metadata))
    database = ProtoReflectionDescriptorDatabase(bearing)
    pool = DescriptorPool(database)
    return [
        f"/{service}/{method.name}"
        for service in database.get_services()
        for method in pool.FindServiceByName(service).methods
    ]


def call(channel: grpc.Channel, path: str, metadata: Metadata, messages: Sequence[bytes]) -> Answer:
    """Calls an RPC of any kind: to the wire they are all streams of bytes."""
    running = channel.stream_stream(path)(iter(messages), metadata=metadata, timeout=SOON_SECONDS)
    received = 0
    try:
        for _ in running:
            received += 1
    except grpc.RpcError:
        pass
    heads = frozenset(key for key, _ in running.initial_metadata())
    return Answer(running.code(), received, heads)


class _Bearing(grpc.StreamStreamClientInterceptor):  # type: ignore[misc]
    """Adds metadata to the calls of a library that takes none."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def intercept_stream_stream(self, continuation, details, requests):  # type: ignore[no-untyped-def]
        return continuation(details._replace(metadata=list(self._metadata)), requests)


def silent_until(event: threading.Event) -> Iterator[bytes]:
    """The messages of a caller who sends none, and ends its side when told, or soon."""
    event.wait(SOON_SECONDS)
    yield from ()
