"""The service over gRPC: its messages (wire), its calls, and the server that takes them."""
