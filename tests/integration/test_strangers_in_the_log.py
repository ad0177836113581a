"""However many strangers come, the log stays short, and nobody waits for who reads it."""

import logging
import socket
from collections import Counter
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from salience_client import Client
from salience_service.bundle.reader import Bundle
from salience_service.telemetry.log_lines import MOST_REFUSALS, LogLines
from salience_service.telemetry.opening import Telemetry
from salience_service.telemetry.records import Refusal
from salience_service.telemetry.witness import Witness
from tests.support.bundles import without
from tests.support.identity import Authority, token_file
from tests.support.processes import COMMAND, config_file, running
from tests.support.serving import FakeEngine, calling, request, serving

STRANGERS = 200
HANDSHAKES = 1500
"""gRPC's lines of so many filled the pipe that nobody reads four times over."""


class Counts(Witness):
    """Counts refusals as the metrics do."""

    def __init__(self) -> None:
        self.refusals = Counter[str]()

    def refused(self, refusal: Refusal) -> None:
        self.refusals[refusal.reason] += 1


def test_strangers_refused_one_after_the_other_write_few_lines_and_are_all_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token_file(tmp_path / "tokens", "pacs")
    access = {"tokens_file": str(tmp_path / "tokens"), "principals": [{"name": "pacs"}]}
    counts = Counts()
    caplog.set_level(logging.INFO, "salience_service.requests")
    with (
        serving(FakeEngine(), Telemetry((LogLines(), counts)), access=access) as server,
        calling(server) as stub,
    ):
        for _ in range(STRANGERS):
            with pytest.raises(grpc.RpcError):
                list(stub.Explain(request()))
    lines = [line for line in caplog.records if line.name == "salience_service.requests"]
    assert len(lines) == MOST_REFUSALS
    assert counts.refusals == {"Unauthenticated": STRANGERS}


def test_handshakes_that_break_off_stop_no_server_whose_log_nobody_reads(
    tmp_path: Path, tiny_bundle: Bundle
) -> None:
    without(tiny_bundle, tmp_path / "models" / "softmax" / "1")
    authority = Authority(tmp_path)
    section = authority.tls_section()
    config = config_file(
        tmp_path,
        '[bundles]\nunsigned = "allow"\n'
        f"[tls]\ncertificate = {str(section['certificate'])!r}\nkey = {str(section['key'])!r}\n",
    )
    words = (*COMMAND, "serve", tmp_path / "models", "--address", "127.0.0.1:0")
    with running(*words, "--config", config) as (_, address):
        host, _, port = address.rpartition(":")
        for _ in range(HANDSHAKES):
            # Who waits for 10 s is not told off but forgotten: the server stands still.
            with socket.create_connection((host, int(port)), 10) as stranger:
                stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
                with suppress(ConnectionError):
                    stranger.recv(1)
        with Client(address, tls=authority.client(), timeout=10, retries=None) as client:
            assert [model.name for model in client.models()] == ["softmax"]
