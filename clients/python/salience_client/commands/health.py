"""`salience health`: whether a server, or one model of it, is serving; for container checks."""

from typing import Annotated

import grpc
import typer

from salience_client.call_error import error_of_call
from salience_client.commands.identity import (
    TlsCaOption,
    TlsCertOption,
    TlsKeyOption,
    TlsOption,
    TlsServerNameOption,
    TokenFileOption,
    identity_of,
)
from salience_client.errors import NotFound, Unavailable
from salience_client.extras import require
from salience_client.identity import bearer, open_channel


def health(
    name: Annotated[
        str, typer.Argument(help="A model; empty = the server as a whole.", show_default=False)
    ] = "",
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The server.")
    ] = "127.0.0.1:50051",
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="Time to answer.")] = 3,
    tls: TlsOption = False,
    tls_ca: TlsCaOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    tls_server_name: TlsServerNameOption = "",
    token_file: TokenFileOption = None,
) -> None:
    """Ask a server's health.

    Exit codes: 0 serving, 1 not serving or not to be reached, 2 not asked: wrong usage, or a
    package that asking needs is missing.
    """
    messages = require("grpc_health.v1.health_pb2", "service", "asking a server's health")
    stubs = require("grpc_health.v1.health_pb2_grpc", "service", "asking a server's health")
    identity = identity_of(tls, tls_ca, tls_cert, tls_key, tls_server_name, token_file)
    with open_channel(address, identity.tls, identity.token) as channel:
        request = messages.HealthCheckRequest(service=name)
        try:
            answer = stubs.HealthStub(channel).Check(
                request, timeout=timeout, metadata=bearer(identity.token)
            )
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:  # gRPC's own health service says no more
                raise NotFound(f"no model {name!r} here; `salience models` lists them") from error
            raise error_of_call(error) from error
    status = messages.HealthCheckResponse.ServingStatus.Name(answer.status)
    if answer.status != messages.HealthCheckResponse.SERVING:
        raise Unavailable(f"{name or 'the server'} is {status}")
    typer.echo(status)
