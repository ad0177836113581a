"""What a caller is told by a status: code, text, and when to come again."""

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


def told_of(error: grpc.RpcError) -> tuple[grpc.StatusCode, str, float]:
    """Code, text, and seconds to wait before the next try, which must be stated."""
    status = rpc_status.from_call(error)
    assert status, (error.code(), error.details())
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details), status
    return error.code(), status.message, retry.retry_delay.ToTimedelta().total_seconds()
