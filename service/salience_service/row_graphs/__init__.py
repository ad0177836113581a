"""The graphs that score rows, each at its one batch shape; lanes alone use them."""
