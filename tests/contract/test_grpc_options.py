"""Every option that gRPC is given is one that it knows: of others it says nothing."""

from pathlib import Path

import pytest
from grpc._cython import cygrpc

from salience_client.grpc_transport import CHANNEL_OPTIONS, SHARED_OUT
from salience_client.identity import Tls, _own_options
from salience_service.config import ServeConfig
from salience_service.rpc.server.options import server_options

GIVEN = {
    name
    for options in (
        server_options(ServeConfig()),
        CHANNEL_OPTIONS,
        SHARED_OUT,
        _own_options("127.0.0.1:1", Tls(server_name="salience.example")),
    )
    for name, _ in options
    if name.startswith("grpc.")  # The others are of its Python layer, which has a name for each.
}


@pytest.fixture(scope="module")
def library() -> bytes:
    return Path(cygrpc.__file__).read_bytes()


@pytest.mark.parametrize("name", sorted(GIVEN))
def test_grpc_knows_the_option(name: str, library: bytes) -> None:
    assert name.encode() + b"\0" in library


def test_an_option_that_is_none_would_be_found(library: bytes) -> None:
    assert b"grpc.http2.min_recv_ping_interval_without_data_ms" not in library
