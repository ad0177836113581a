"""Bad input is refused in our words, whatever it is: a short run of `python -m tests.fuzz`."""

from collections.abc import Iterator, Mapping

import pytest

from salience_service.errors import ComputeFailed, InvalidRequest
from tests.fuzz.record import recorded
from tests.fuzz.subjects import Subject, subjects

INPUTS = {"decode": 600, "wire": 600, "options": 300, "predict": 600, "bundle": 120}

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow's, of files that are not right.


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Subject]]:
    with subjects(tmp_path_factory.mktemp("fuzz")) as found:
        yield found


@pytest.mark.parametrize("name", INPUTS)
def test_every_input_is_accepted_or_refused_by_us(known: Mapping[str, Subject], name: str) -> None:
    record = recorded(known[name], INPUTS[name], seed=1)
    assert not record.faults
    assert record.inputs == INPUTS[name]
    assert len(record.outcomes) > 1  # Inputs that all end the same way try nothing.


@pytest.mark.parametrize(
    ("raised", "fault"),
    [
        (KeyError("tiny"), "KeyError"),
        (ComputeFailed("the model failed"), "INTERNAL"),
        (InvalidRequest("cannot read /tmp/models/tiny"), "its text shows the inside"),
    ],
)
def test_a_fault_is_seen(raised: Exception, fault: str) -> None:
    def attempt(_: bytes) -> None:
        raise raised

    record = recorded(Subject("faulty", lambda _: b"\x2a", attempt), 1, seed=0)
    ((told, data),) = record.faults
    assert told.startswith(fault)
    assert data == "2a"


def test_the_same_seed_tries_the_same_inputs(known: Mapping[str, Subject]) -> None:
    tried: list[bytes] = []
    subject = Subject("wire", known["wire"].example, tried.append)
    recorded(subject, 20, seed=3)
    first, tried[:] = tuple(tried), ()
    recorded(subject, 20, seed=3)
    assert tuple(tried) == first
    assert len(set(first)) > 10
