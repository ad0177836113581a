"""What an explanation's time went into, and what the devices' did."""

import pytest

from salience_service.scheduling.workload import Workload
from salience_service.stages import MOST_STAGES, Stage, Stages


def test_a_stage_is_noted_however_its_block_ends() -> None:
    stages = Stages()
    with pytest.raises(ValueError, match="broken"), stages.stage("decode"):
        raise ValueError("broken")
    with stages.stage("method", "cam"):
        pass
    assert [(each.name, each.method) for each in stages.ended] == [
        ("decode", ""),
        ("method", "cam"),
    ]
    assert all(each.began <= each.ended for each in stages.ended)


def test_no_more_stages_are_kept_than_the_limit() -> None:
    stages = Stages()
    for number in range(MOST_STAGES + 5):
        stages.add(Stage("render", number, number))
    assert len(stages.ended) == MOST_STAGES


def test_device_time_is_counted_by_what_ran_and_for_whom_it_was_in_vain() -> None:
    work = Workload().with_time("masked", 2.0, 0.5).with_time("forward", 1.0, 0.0)
    work = work.with_time("masked", 1.0, 0.0).with_batch(3, 4).with_call()
    assert dict(work.device_seconds) == {"masked": 3.0, "forward": 1.0}
    assert work.wasted_seconds == 0.5
    assert (work.calls, work.batches, work.rows, work.places) == (1, 1, 3, 4)
    assert work.fill == 0.75
