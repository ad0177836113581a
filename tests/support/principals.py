"""Servers that know their callers: a principal for each permission, and two ports to ask at."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from salience_service.access.principal import Call
from salience_service.config import ServeConfig
from salience_service.rpc.admin.server import AdminServer
from tests.support.every_rpc import Metadata
from tests.support.identity import token_file
from tests.support.serving import FakeEngine, plain, serving_on_loop


@dataclass
class Place:
    """Ports of servers with the same principals, explanations' first, then administration's.

    The principals: for each permission one who has it alone, `all`, who has every one, and
    `lungs`, who knows of some models and methods.
    """

    ports: list[str]
    tokens: dict[str, str]
    engine: FakeEngine

    def shows(self, name: str) -> Metadata:
        """What that principal's calls show."""
        return [("authorization", f"Bearer {self.tokens[name]}")]

    def without(self, needed: Call) -> list[Metadata]:
        """What those show who have one permission, another than this."""
        return [self.shows(each.value) for each in Call if each is not needed]

    @contextmanager
    def channels(self) -> Iterator[list[grpc.Channel]]:
        """A channel to each port."""
        with ExitStack() as stack:
            yield [stack.enter_context(grpc.insecure_channel(port)) for port in self.ports]


def access(directory: Path) -> tuple[dict[str, object], dict[str, str]]:
    """The section `access` of a configuration with those principals, and their tokens."""
    everything = [each.value for each in Call]
    principals: list[dict[str, object]] = [
        *({"name": word, "calls": [word]} for word in everything),
        {"name": "all", "calls": everything},
        {"name": "lungs", "models": ["lung-*"], "methods": ["score-cam"]},
    ]
    names = [str(one["name"]) for one in principals]
    tokens = token_file(directory / "tokens", *names)
    return {"tokens_file": str(directory / "tokens"), "principals": principals}, tokens


@contextmanager
def guarded_ports(directory: Path) -> Iterator[Place]:
    """Serves lung-1, lung-2 and retina to those principals while the block lasts."""
    section, tokens = access(directory)
    engine = FakeEngine({"lung-1": plain, "lung-2": plain, "retina": plain})
    with serving_on_loop(engine, access=section) as (server, run):
        admin = run(_administering(engine, section))
        yield Place([server.address, admin.address], tokens, engine)
        run(admin.stop())


async def _administering(engine: FakeEngine, section: dict[str, object]) -> AdminServer:
    config = ServeConfig.model_validate({"access": section, "admin": {"address": "127.0.0.1:0"}})
    assert config.admin is not None
    # Nothing that is asked here comes as far as its models.
    server = AdminServer(engine, config, config.admin)  # type: ignore[arg-type]
    await server.start()
    return server
