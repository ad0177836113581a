"""Which permission each RPC asks for. A new RPC that nobody entered here asks for admin."""

from collections.abc import Mapping

from salience_service.access.principal import Call

HEALTH = "grpc.health.v1.Health"
"""The service that is answered to everyone, for orchestrators ask without a name; it tells a status
and no more."""
WATCH = f"/{HEALTH}/Watch"
"""The path of the one RPC of it that stays open."""

_SERVICES: Mapping[str, Mapping[str, Call]] = {
    "salience.v1.ExplanationService": {
        "Explain": Call.EXPLAIN,
        "ExplainMany": Call.EXPLAIN,
        "ListModels": Call.DESCRIBE,
        "DescribeModel": Call.DESCRIBE,
    },
    "inference.GRPCInferenceService": {
        "ServerLive": Call.DESCRIBE,
        "ServerReady": Call.DESCRIBE,
        "ServerMetadata": Call.DESCRIBE,
        "ModelReady": Call.DESCRIBE,
        "ModelMetadata": Call.DESCRIBE,
        "ModelInfer": Call.INFER,
    },
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": Call.DESCRIBE},
    "grpc.reflection.v1.ServerReflection": {"ServerReflectionInfo": Call.DESCRIBE},
}

RIGHTS: Mapping[str, Call] = {
    f"/{service}/{rpc}": call for service, calls in _SERVICES.items() for rpc, call in calls.items()
}
"""By the RPC's path."""


def call_of(path: str) -> Call:
    """What the caller of an RPC must be allowed."""
    return RIGHTS.get(path, Call.ADMIN)


def is_open(path: str) -> bool:
    """Whether an RPC is answered to everyone."""
    return path.startswith(f"/{HEALTH}/")
