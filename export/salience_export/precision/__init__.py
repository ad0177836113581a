"""What lower precision costs a model, measured on a CPU before any GPU is there."""
