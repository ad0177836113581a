"""The admin client: versions of models loaded, retired and rolled back while a server runs.

It talks to the admin service's own port. Nothing is asked again by itself: who administers looks.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Self

from salience.v1 import admin_service_pb2 as wire
from salience.v1.admin_service_pb2_grpc import AdminServiceStub
from salience_client.call_error import translated_call
from salience_client.identity import Tls, Token, bearer, open_channel

DEFAULT_TIMEOUT = 600.0
"""Seconds: a version is warmed before it serves, and TensorRT builds engines for minutes."""


@dataclass(frozen=True)
class VersionStatus:
    """A version of a model and its state.

    Attributes:
        model: its name. version: which.
        state: "available", "on demand", "loading", "serving", "draining" or "refused".
        reason: why it was refused or is not held; of one that serves, what is amiss.
        bundle_digest: SHA-256 of its manifest in hex; empty where it is not held.
        explanations: that it is answering.
        is_default: whether it answers requests that name no version.
        pinned: whether it does so because somebody said so, not for being the newest.
    """

    model: str
    version: str
    state: str
    reason: str
    bundle_digest: str
    explanations: int
    is_default: bool
    pinned: bool


@dataclass(frozen=True)
class Load:
    """What explanations take together: how many, rows, and bytes."""

    explanations: int
    rows: int
    bytes: int


@dataclass(frozen=True)
class ServerStatus:
    """How a server fares.

    Attributes:
        software_version: of the server. uptime_seconds: since it answers.
        provider: where graphs run. lanes: calls that devices take at a time. busy_lanes: of these.
        waiting_rows: that wait for a lane.
        load: of what runs now. limit: of what may run.
        rows_run: since the server began. batch_fill: share of batches that was rows.
        resident_bytes: memory of its process; 0 where the system does not say.
        cache_bytes: of finished explanations kept.
    """

    software_version: str
    uptime_seconds: float
    provider: str
    lanes: int
    busy_lanes: int
    waiting_rows: int
    load: Load
    limit: Load
    rows_run: int
    batch_fill: float
    resident_bytes: int
    cache_bytes: int


class AdminClient:
    """A connection to a server's admin service; safe from any thread.

    Args:
        address: HOST:PORT of the admin service.
        tls: how the connection is encrypted; None = not at all.
        token: shows who calls; a function is asked anew for each call.
        timeout: seconds a call may take.

    Raises:
        InvalidRequest: a token would go to another machine unencrypted.
        OSError: a file of `tls` cannot be read.
    """

    def __init__(
        self,
        address: str,
        *,
        tls: Tls | None = None,
        token: Token | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> None:
        self._token = token
        self._closed = False
        self._timeout = timeout
        self._channel = open_channel(address, tls, token)
        self._stub = AdminServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def versions(self, model: str = "") -> tuple[VersionStatus, ...]:
        """Every version that is held or lies in the models directory; of one model, if named."""
        return self._versions(self._stub.ListVersions, wire.ListVersionsRequest(model=model))

    def load(self, model: str, version: str) -> tuple[VersionStatus, ...]:
        """Loads a version, or loads it anew; returns once it serves, or raises why it does not."""
        request = wire.LoadVersionRequest(model=model, version=version)
        return self._versions(self._stub.LoadVersion, request)

    def retire(self, model: str, version: str) -> tuple[VersionStatus, ...]:
        """Retires a version; it may still be draining afterwards."""
        request = wire.RetireVersionRequest(model=model, version=version)
        return self._versions(self._stub.RetireVersion, request)

    def roll_back(self, model: str, version: str) -> tuple[VersionStatus, ...]:
        """Lets a version answer requests that name none, whatever newer ones come."""
        request = wire.RollbackRequest(model=model, version=version)
        return self._versions(self._stub.Rollback, request)

    def roll_forward(self, model: str) -> tuple[VersionStatus, ...]:
        """Lets the newest version answer requests that name none."""
        request = wire.RollbackRequest(model=model, newest=True)
        return self._versions(self._stub.Rollback, request)

    def status(self) -> ServerStatus:
        """How the server fares."""
        with self._translated():
            told = self._stub.GetStatus(
                wire.GetStatusRequest(), timeout=self._timeout, metadata=bearer(self._token)
            )
        return _server_status(told)

    def close(self) -> None:
        """Cancels every call and closes the connection."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _versions(
        self, call: Callable[..., wire.ListVersionsResponse], request: object
    ) -> tuple[VersionStatus, ...]:
        with self._translated():
            told = call(request, timeout=self._timeout, metadata=bearer(self._token))
        return _version_statuses(told.versions)

    def _translated(self) -> AbstractContextManager[None]:
        return translated_call(lambda: self._closed)


def _version_statuses(told: Iterable[wire.VersionStatus]) -> tuple[VersionStatus, ...]:
    return tuple(
        VersionStatus(
            each.model,
            each.version,
            _state(each.state),
            each.reason,
            each.bundle_digest,
            each.explanations,
            each.is_default,
            each.pinned,
        )
        for each in told
    )


def _state(number: int) -> str:
    """In words; a state of a newer server is told by its number."""
    known = wire.VersionState.DESCRIPTOR.values_by_number
    if number not in known:
        return f"state {number}"
    return known[number].name.removeprefix("VERSION_STATE_").replace("_", " ").lower()


def _server_status(told: wire.GetStatusResponse) -> ServerStatus:
    return ServerStatus(
        told.software_version,
        told.uptime_seconds,
        told.provider,
        told.lanes,
        told.busy_lanes,
        told.waiting_rows,
        _load(told.load),
        _load(told.limit),
        told.rows_run,
        told.batch_fill,
        told.resident_bytes,
        told.cache_bytes,
    )


def _load(told: wire.ServerLoad) -> Load:
    return Load(told.explanations, told.rows, told.bytes)
