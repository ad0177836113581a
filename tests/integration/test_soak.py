"""A server at full load answers everybody rightly, or not at all: `python -m tests.soak`, short."""

from pathlib import Path

import pytest

from salience_service.bundle.reader import Bundle
from tests.soak.callers import Findings
from tests.soak.soak import soaked
from tests.soak.truths import MODEL
from tests.support.bundles import without

SECONDS = 15
MOST_GROWTH = 20 * 2**20


@pytest.mark.timeout(900)  # Its callers may be long in leaving, on a busy machine.
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_under_load_nothing_is_lost_and_nothing_is_wrong(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    without(tiny_bundle, tmp_path / MODEL / "1")
    found = soaked(tmp_path, SECONDS)
    assert not found.findings.faults
    done = found.findings.outcomes
    assert {"answered", "cancelled", "out of time", "refused", "many"} <= set(done)
    assert found.grown < MOST_GROWTH


def test_a_fault_is_noted() -> None:
    findings = Findings()
    findings.blame("another map")
    assert findings.outcomes["fault"] == 1
    assert findings.faults == ["another map"]
