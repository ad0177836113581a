"""Reverse-mode differentiation of an ONNX graph: its gradient in ordinary ONNX operators."""

from salience_export.differentiate.reverse import Gradients, differentiate

__all__ = ["Gradients", "differentiate"]
