"""The Open Inference Protocol, generated from grpc_service.proto: `make protos`."""
