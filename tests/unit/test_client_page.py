"""The code of docs/client.md, run against a server whose answers are made up."""

import ast
import re
import textwrap
from pathlib import Path

import pytest

from salience_client import Client, Tls
from tests.support.serving import FakeEngine, serving

PAGE = Path(__file__).parents[2] / "docs" / "client.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


@pytest.fixture
def scope(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat.png").write_bytes(b"\0\1\2\3")
    with serving(FakeEngine()) as server, Client(server.address) as client:
        yield {"client": client, "address": server.address}


def test_every_piece_of_code_runs_and_says_what_the_page_says(scope, capsys):
    for block in BLOCKS:
        if "client.explain(" in block and "try:" not in block:
            block = block.replace("client.explain(", "list(client.stream(") + ")"
        exec(block, scope)
    for client in ("patient", "impatient", "replicas"):
        scope[client].close()
    told, *answered = capsys.readouterr().out.split()
    assert told == "methods[1].name"
    in_turn = {tuple(answered[0::2]), tuple(answered[1::2])}  # They come as they are ready.
    assert in_turn in (
        {("first", "second"), ("done", "done")},
        {("second", "first"), ("done", "done")},
    )
    assert len(scope["maps"]) == 1


def test_the_page_has_all_our_errors():
    import salience_client

    text = PAGE.read_text("utf-8")
    kinds = [
        name
        for name, thing in vars(salience_client).items()
        if isinstance(thing, type) and issubclass(thing, salience_client.SalienceError)
    ]
    assert kinds
    assert [name for name in kinds if f"`{name}`" not in text] == []


def test_the_page_states_the_defaults_as_they_are():
    from salience_client.client import DEFAULT_RETRIES, DEFAULT_TIMEOUT
    from salience_client.grpc_transport import CHANNEL_OPTIONS
    from salience_client.many import MOST_BREAKS, WINDOW

    policy, options = DEFAULT_RETRIES, dict(CHANNEL_OPTIONS)
    waits = [min(policy.first_wait * 2**n, policy.longest_wait) for n in range(policy.attempts - 1)]
    total = sum(waits) + policy.first_wait / 2 * len(waits)
    noticed = options["grpc.keepalive_time_ms"] + options["grpc.http2.ping_timeout_ms"]
    text = " ".join(PAGE.read_text("utf-8").split())
    for words in (
        f"A call has {DEFAULT_TIMEOUT:.0f} seconds",
        f"up to {policy.attempts} times",
        f"{policy.first_wait:g} to at most {policy.longest_wait:g} seconds",
        f"about {total:.0f} seconds",
        f"{WINDOW} at most",
        f"when {['zero', 'one', 'two', 'three', 'four'][MOST_BREAKS]} calls broke",
        f"within {noticed / 1000:.0f} seconds",
        f"came back within {options['grpc.max_reconnect_backoff_ms'] / 1000:.0f}.",
    ):
        assert words in text, words


def test_a_file_that_cannot_be_read_is_told_as_the_system_tells_it(scope):
    with pytest.raises(FileNotFoundError):
        scope["client"].explain("nofile.png", model="tiny", methods="score-cam")
    with pytest.raises(FileNotFoundError):
        Client(scope["address"], tls=Tls(ca="nofile.pem"))


def test_the_example_in_the_librarys_own_help_can_be_read():
    import salience_client

    _, _, example = (salience_client.__doc__ or "").partition("\n\n")
    with_block = ast.parse(textwrap.dedent(example)).body[1]
    assert isinstance(with_block, ast.With)
