"""Graph work: one ONNX model in, the graphs of a bundle out; pure, no files."""
