"""Images: decoded, brought to the model's input, and the way back to the pixels sent."""
