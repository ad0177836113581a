"""Where models come from: torch modules and ONNX files."""
