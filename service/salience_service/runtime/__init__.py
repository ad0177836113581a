"""ONNX Runtime on a device: sessions, execution providers, what they are told and what came up."""
