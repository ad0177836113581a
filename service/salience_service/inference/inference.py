"""One prediction from order to answer: its images run as the clean runs of explanations do.

Each image is a call by itself, at the one shape the forward graph has. So an image's logits
are, to the bit, those an explanation of it has, whatever else lies in its batch.
"""

from collections import deque
from collections.abc import Iterable
from itertools import islice

import numpy as np

from salience_service.admission import Load
from salience_service.bundle.manifest import GraphRole
from salience_service.control import Control
from salience_service.errors import InvalidRequest
from salience_service.image.pixels import ImageLimits
from salience_service.image.prepare import prepare
from salience_service.inference.footprint import load_of
from salience_service.inference.order import FloatArray, InferOrder, Inferred, Output, wanted
from salience_service.models.model import Forward, ServedModel
from salience_service.request import Priority
from salience_service.scheduling.account import Account
from salience_service.scheduling.scheduler import Scheduler
from salience_service.scheduling.ticket import CallTicket
from salience_service.targets.probabilities import probabilities

AHEAD_PER_LANE = 2
"""Rows queued at a time: on every lane one runs and one waits."""
HEARTBEAT_SECONDS = 0.1
IMAGES, SHAPE = "inputs[0]", "inputs[0].shape"
"""Where the images lie in a request."""


class Inference:
    """Answers one order.

    Raises:
        SalienceError: on construction, where the order is wrong for this model.
    """

    def __init__(
        self,
        model: ServedModel,
        order: InferOrder,
        control: Control,
        scheduler: Scheduler,
        limits: ImageLimits,
    ) -> None:
        self._model, self._order = model, order
        self._control, self._scheduler, self._limits = control, scheduler, limits
        self._account = Account(Priority.NORMAL.value)
        self._ahead = AHEAD_PER_LANE * len(model.device.lanes())
        self._wanted = wanted(order, model.manifest.head)
        self._check_shape()

    @property
    def load(self) -> Load:
        """What running it will take at most."""
        manifest = self._model.manifest
        outputs = len(self._wanted)
        most = self._limits.max_pixels
        return load_of(self._order, manifest.input, manifest.head, outputs, self._ahead, most)

    def run(self) -> Inferred:
        """Runs it in the calling thread.

        Raises:
            SalienceError: whatever ends it; rows that are queued then do not run once its
                control is cancelled.
        """
        if self._order.prepared and not np.isfinite(self._order.images).all():
            raise InvalidRequest(
                "the images hold NaN or infinity: every value must be a number", field=IMAGES
            )
        logits = self._logits()
        manifest, account = self._model.manifest, self._account
        outputs = {Output.LOGITS: logits}
        if Output.PROBABILITIES in self._wanted:
            rows = (probabilities(row, manifest.head) for row in logits)
            outputs[Output.PROBABILITIES] = _stacked(rows, logits.shape)
        return Inferred(
            model=manifest.name,
            version=manifest.version,
            bundle_digest=self._model.digest,
            outputs=tuple((output, outputs[output]) for output in self._wanted),
            queue_seconds=account.queue_seconds,
            compute_seconds=account.device_seconds,
        )

    def _check_shape(self) -> None:
        contract, shape = self._model.manifest.input, self._order.images.shape
        taken = (contract.channels, contract.height, contract.width)
        if self._order.prepared and shape[1:] != taken:
            raise InvalidRequest(
                f"the images are {list(shape)}; this model takes {[-1, *taken]}",
                field=SHAPE,
            )
        if not self._order.prepared and shape[3] not in (1, 3):
            raise InvalidRequest(
                f"the pixels are {list(shape)}: the last size is 1 (grey) or 3 (red, green, blue)",
                field=SHAPE,
            )

    def _logits(self) -> FloatArray:
        """[N, classes], rows queued ahead of the one that is waited for."""
        count = len(self._order.images)
        tickets = map(self._queued, range(count))
        flight = deque(islice(tickets, self._ahead))
        rows: list[FloatArray] = []
        while flight:
            rows.append(self._answer(flight.popleft(), len(rows)))
            flight.extend(islice(tickets, 1))
        return np.stack(rows)

    def _queued(self, row: int) -> CallTicket[Forward]:
        image = self._image(row)
        return self._scheduler.call(
            lambda execution: self._model.forward(image, (), execution),
            self._control,
            self._account,
            GraphRole.FORWARD.value,
        )

    def _image(self, row: int) -> FloatArray:
        """[C, H, W], as the model takes it."""
        if self._order.prepared:
            return np.asarray(self._order.images[row], np.float32)
        try:
            pixels = self._order.pixels(row)
            return prepare(pixels, self._model.manifest.input, self._limits).tensor
        except InvalidRequest as refusal:  # What can be wrong with bytes as pixels is their number.
            refusal.field = SHAPE
            raise

    def _answer(self, ticket: CallTicket[Forward], row: int) -> FloatArray:
        """Logits [classes] of a row.

        Raises:
            InvalidRequest: the model can say nothing of it.
        """
        while not ticket.wait(0, HEARTBEAT_SECONDS):
            pass
        assert ticket.result is not None
        logits = ticket.result.logits
        # NaN and +inf come out of max as they are; of log probabilities some may be −inf, not all.
        if not np.isfinite(logits.max()):
            raise InvalidRequest(
                f"the model answers image {row} with NaN or infinity: its values, from "
                f"{self._image(row).min():g} to {self._image(row).max():g}, are beyond what the "
                "model can compute with",
                field=IMAGES,
            )
        return logits


def _stacked(rows: Iterable[np.ndarray], shape: tuple[int, ...]) -> FloatArray:
    found = np.empty(shape, np.float32)
    for place, row in enumerate(rows):
        found[place] = row
    return found
