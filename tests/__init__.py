"""Tests: `unit`, `oracle` (slow truths), `contract`, `integration`; all stand on `support`."""

import os

# The networks here are small: more threads only get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
