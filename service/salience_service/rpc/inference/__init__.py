"""The Open Inference Protocol: its messages to orders of predictions, and their answers back."""
