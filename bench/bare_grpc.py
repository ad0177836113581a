"""gRPC by itself: a server that answers any request with so many bytes, and a call to it.

As our own stand to each other: a server on asyncio in a process of its own, whose answer comes
from a thread in one message of a stream, and a blocking client.
`python -m bench.bare_grpc BYTES` serves until it is told to end.
"""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

_CALL = "/bench.Bare/Call"


@contextmanager
def bare_call(request: bytes, answer_bytes: int) -> Iterator[Callable[[], object]]:
    """A server while the block lasts; each call of the result sends it the request."""
    command = [sys.executable, "-m", "bench.bare_grpc", str(answer_bytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            with grpc.insecure_channel(f"127.0.0.1:{int(server.stdout.readline())}") as channel:
                call = channel.unary_stream(_CALL, bytes, bytes)
                yield lambda: list(call(request))
        finally:
            server.terminate()


async def _serve(answer_bytes: int) -> None:
    async def answer(_: bytes, context: Any) -> None:
        await context.write(await asyncio.to_thread(bytes, answer_bytes))

    server = grpc.aio.server()
    service, method = _CALL.strip("/").split("/")
    handler = grpc.unary_stream_rpc_method_handler(answer)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, {method: handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
