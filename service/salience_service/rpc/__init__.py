"""The wire: messages to values and back, statuses, and the grpc.aio server."""
