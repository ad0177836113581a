"""The footprint of a prediction: rows it asks the device for, and bytes it holds while it runs."""

from salience_service.admission import Load
from salience_service.bundle.manifest import Head, InputContract
from salience_service.explanation.image_footprint import PLAIN_BYTES, RESIZING_BYTES
from salience_service.image.fit import fit
from salience_service.inference.order import InferOrder

FLOAT = 4
OWN_BYTES = 2**20
"""Of a prediction of nothing: its thread, its messages and their objects."""
ANSWER_BYTES = 5 * FLOAT
"""Of a number put out: itself, its bytes, and those of its message made, sent and kept by gRPC."""


def load_of(
    order: InferOrder,
    contract: InputContract,
    head: Head,
    outputs: int,
    ahead: int,
    most_pixels: int,
) -> Load:
    """What an order takes at most, as one of those that are let in; nothing is prepared for that.

    Args:
        order: what is asked; its images fit the contract.
        contract: what the model takes.
        head: what it puts out.
        outputs: how many of an image are wanted.
        ahead: rows that are queued at a time.
        most_pixels: of an image, also when it is resized.
    """
    count = len(order.images)
    tensor = FLOAT * contract.channels * contract.height * contract.width
    preparing = ahead * tensor + _resizing(order, contract, most_pixels)
    answer = count * head.classes * (2 * FLOAT + ANSWER_BYTES * outputs)
    return Load(1, count, OWN_BYTES + _sent(order) + preparing + answer)


def _sent(order: InferOrder) -> int:
    """The images, and the message they came in, which lives as long."""
    message = FLOAT * order.images.size if order.typed else order.images.nbytes
    return order.images.nbytes + message


def _resizing(order: InferOrder, contract: InputContract, most_pixels: int) -> int:
    """One image at a time, from pixels to the model's input."""
    if order.prepared:
        return 0
    _, height, width, _ = order.images.shape
    plan = fit(height, width, contract)
    resized = min(plan.height * plan.width, most_pixels)
    return int(PLAIN_BYTES * height * width + RESIZING_BYTES * resized)
