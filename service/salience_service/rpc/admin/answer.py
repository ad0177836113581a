"""The admin service's messages, made of what the engine tells."""

from collections.abc import Iterable, Mapping

from salience.v1 import admin_service_pb2 as pb
from salience_service.admission import Load
from salience_service.models.versions import State, VersionStatus
from salience_service.rpc.admin.administered import Administered
from salience_service.rpc.admin.resident_memory import resident_bytes
from salience_service.version import SOFTWARE_VERSION

STATES: Mapping[State, pb.VersionState] = {
    State.AVAILABLE: pb.VERSION_STATE_AVAILABLE,
    State.ON_DEMAND: pb.VERSION_STATE_ON_DEMAND,
    State.LOADING: pb.VERSION_STATE_LOADING,
    State.SERVING: pb.VERSION_STATE_SERVING,
    State.DRAINING: pb.VERSION_STATE_DRAINING,
    State.REFUSED: pb.VERSION_STATE_REFUSED,
    State.FAILED: pb.VERSION_STATE_REFUSED,
}


def version_messages(versions: Iterable[VersionStatus], model: str = "") -> list[pb.VersionStatus]:
    """The versions, of one model where one is named."""
    return [_version(each) for each in versions if model in ("", each.name.model)]


def status_message(engine: Administered, uptime_seconds: float) -> pb.GetStatusResponse:
    """How the server fares now."""
    occupancy, work = engine.occupancy, engine.workload
    providers = sorted({model.provider for model in engine.models()})
    return pb.GetStatusResponse(
        software_version=SOFTWARE_VERSION,
        uptime_seconds=uptime_seconds,
        provider=", ".join(providers),
        lanes=occupancy.lanes,
        busy_lanes=occupancy.busy,
        waiting_rows=occupancy.waiting_rows,
        load=_load(engine.load),
        limit=_load(engine.limit),
        rows_run=work.rows,
        batch_fill=work.fill,
        resident_bytes=resident_bytes(),
        cache_bytes=engine.cache.bytes if engine.cache else 0,
    )


def _version(status: VersionStatus) -> pb.VersionStatus:
    return pb.VersionStatus(
        model=status.name.model,
        version=status.name.version,
        state=STATES[status.state],
        reason=status.reason,
        bundle_digest=status.digest,
        explanations=status.leases,
        is_default=status.answers_unnamed,
        pinned=status.pinned,
    )


def _load(load: Load) -> pb.ServerLoad:
    return pb.ServerLoad(explanations=load.explanations, rows=load.rows, bytes=load.bytes)
