"""Tests: `unit`, `oracle` (slow truths), `contract`, `integration`; all stand on `support`."""

import os

# The networks here are small: more threads only get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What a machine asks of programs is not to change what they answer here.
for _name in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TERMINAL_WIDTH", "COLUMNS"):
    os.environ.pop(_name, None)
for _name in [each for each in os.environ if each.startswith("SALIENCE_")]:
    del os.environ[_name]
# A server of a test is reached past any proxy.
os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost,::1"
