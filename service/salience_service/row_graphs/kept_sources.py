"""Where a batch finds its one source: in the host's memory, or kept on the device.

Kept on a GPU: never run; whether it is faster was not measured. An image of 224 pixels and
its fill are 1.2 MB a batch to copy, where they are not kept.
"""

import threading
from collections.abc import Callable, Mapping
from weakref import WeakKeyDictionary

from salience_service.runtime.session import Feed, Lane, Session
from salience_service.scheduling.row_graph import RowSource

OneSource = Callable[[RowSource, Lane], Mapping[str, Feed]]
"""The arrays of a source for a lane, each [1, …], by the graph's names."""


def one_source(session: Session) -> OneSource:
    """As the session's device is configured."""
    return KeptSources(session).arrays if session.keeps_sources else host_arrays


def host_arrays(source: RowSource, lane: Lane) -> Mapping[str, Feed]:  # noqa: ARG001
    """A source's own arrays, copied by nobody."""
    return {name: array[None] for name, array in source.arrays().items()}


class KeptSources:
    """Sources that stay on the devices while anyone holds them: as long as their explanation.

    Safe from any thread.

    Args:
        session: whose devices.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._of: WeakKeyDictionary[RowSource, dict[int, Mapping[str, Feed]]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._of)

    def arrays(self, source: RowSource, lane: Lane) -> Mapping[str, Feed]:
        """A source's arrays on the lane's device, brought there when first asked for."""
        with self._lock:
            by_place = self._of.setdefault(source, {})
            if lane.place not in by_place:
                by_place[lane.place] = {
                    name: self._session.keep(array[None], lane)
                    for name, array in source.arrays().items()
                }
            return by_place[lane.place]
