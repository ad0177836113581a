"""The graphs that score rows, each at its one batch shape; the device thread alone uses them."""
