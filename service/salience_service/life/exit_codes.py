"""How a server's process ends: the codes that a supervisor, systemd or Kubernetes goes by."""

STOPPED = 0
"""Told to stop, and stopped in time."""
REFUSED = 1
"""Refused to start: configuration, bundles, a port that is taken. After a crash it may pass: a disk
was full, a volume late."""
MISUSED = 2
"""The command line makes no sense, or a package that it needs is not installed."""
GAVE_UP = 69
"""The supervisor gave up (EX_UNAVAILABLE of sysexits.h)."""
FAILED = 70
"""Failed while it served: a fault of ours (EX_SOFTWARE)."""
STUCK = 75
"""A call did not return, so it ended itself to be started again (EX_TEMPFAIL)."""
HURRIED = 143
"""Told to stop twice, and ended at once: what ran is lost (128 + SIGTERM, as shells have it)."""

FINAL = frozenset({REFUSED, MISUSED})
"""Codes of a first start after which no other is tried."""
