"""One prediction as witnesses are told of it: who asked, what it came to, whatever ended it."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from salience_service.errors import Cancelled, SalienceError
from salience_service.inference.order import Inferred
from salience_service.rpc.calls.observation import outcome_of
from salience_service.rpc.wire.status import code_of
from salience_service.telemetry.records import OK, InferenceRecord
from salience_service.telemetry.witness import Witness


class InferenceObservation:
    """Begins when it is made, and tells of one end: the answer, or what came before it.

    Args:
        witness: who is told. principal: who asks. request_id: of the RPC.
    """

    def __init__(self, witness: Witness, principal: str, request_id: str) -> None:
        self._witness = witness
        self._began = time.monotonic()
        self._record = InferenceRecord(request_id, principal, OK, 0, 0.0)
        self._ended = threading.Lock()

    def answered(self, inferred: Inferred) -> None:
        """Tells what the model said, before it goes out; in a thread that may wait for a disk.

        Raises:
            SalienceError: the witness does not let it go out; it was told of that, too.
        """
        if not self._is_first():  # Its caller has left.
            return
        self._record = replace(
            self._record,
            model=inferred.model,
            version=inferred.version,
            bundle_digest=inferred.bundle_digest,
            images=inferred.images,
            queue_seconds=inferred.queue_seconds,
            compute_seconds=inferred.compute_seconds,
        )
        try:
            self._tell(OK, 0)
        except SalienceError as error:
            self._tell(outcome_of(error), code_of(error))
            raise

    @contextmanager
    def until_the_end(self) -> Iterator[None]:
        """Tells of what ends the block before there is an answer."""
        try:
            yield
        except BaseException as error:
            gone = isinstance(error, asyncio.CancelledError)
            cause = Cancelled("the caller went away") if gone else error
            if self._is_first():
                self._tell(outcome_of(cause), code_of(cause))
            raise

    def _is_first(self) -> bool:
        """Whether no end was told yet; it is from now on."""
        return self._ended.acquire(blocking=False)

    def _tell(self, outcome: str, code: int) -> None:
        seconds = time.monotonic() - self._began
        self._witness.inferred(
            replace(self._record, outcome=outcome, code=code, whole_seconds=seconds)
        )
