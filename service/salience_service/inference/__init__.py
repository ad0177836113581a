"""Plain prediction: images in, logits and probabilities out; its rows share the devices."""
