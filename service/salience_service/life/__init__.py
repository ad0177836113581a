"""The life of a server's process: how it ends, who starts it again, and who sees that it is stuck.

Free of onnxruntime, gRPC and the rest of the service, which a supervisor must outlive.
"""
