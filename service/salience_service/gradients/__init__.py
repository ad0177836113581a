"""Who takes a model's gradients: ONNX Runtime or torch."""
