"""The proof that an imported graph still is the file's: both are run on the same images."""

import numpy as np
import onnx

from salience_export.errors import ExportError
from salience_export.graphs.head import End
from salience_export.source import FloatArray
from salience_export.sources.onnx_own_run import OwnRun
from salience_export.sources.runtime import Run
from salience_export.specimens import noise_images, smooth_images
from salience_service.bundle.manifest import InputContract
from salience_service.bundle.tensors import LOGITS
from salience_service.drift import relative_difference

LIMIT = 1e-4
"""Largest difference allowed, relative to the largest value; see `parity.LIMIT`."""

_SUM = 1e-3
"""How far float32 probabilities of many classes may be from summing to 1."""

_STEP = 1 / 256
"""Between neighbouring probabilities that are written in eight bits."""


def prove(model: onnx.ModelProto, own: OwnRun, end: End, contract: InputContract) -> None:
    """Runs the graph beside the file.

    Raises:
        ExportError: an image gives other numbers the second time, or a batch of two others
            than its images one by one; our logits are not the file's, or the operator cut off
            does not make its output of them.
    """
    images = probes(contract)[:2]
    ours = _free_logits(model, images, own.batch)
    theirs = own(images).logits
    difference = relative_difference(ours, theirs)
    if not difference <= LIMIT and is_quantised(model):
        raise ExportError(
            f"the model is quantised: its logits move by {difference:.1e} (limit {LIMIT:.0e}) with"
            " what the runtime fuses of it; export the float32 model that it was made from"
        )
    if not difference <= LIMIT:
        raise ExportError(
            f"the graph differs from its file by {difference:.1e} after"
            f" its changes (limit {LIMIT:.0e}); export the model again with a free batch, a"
            " newer opset and its logits as output"
        )
    if end.cut:
        meant = _made_of(theirs, end.cut)
        if not relative_difference(meant, own.output(images)) <= LIMIT:
            raise ExportError(
                f"the {end.cut} at the end does not run over the classes;"
                " export the model with its logits as output"
            )


def probes(contract: InputContract) -> FloatArray:
    """Images to try a model on, [4, C, H, W]: two smooth ones, two of noise."""
    return np.concatenate([smooth_images(contract, 2), noise_images(contract, 2)])


def are_probabilities(rows: FloatArray) -> bool:
    """Whether rows [N, K] lie in [0, 1] and each sums to 1."""
    return are_shares(rows) and bool(np.all(np.abs(rows.sum(axis=1) - 1) <= _SUM))


def are_rounded_probabilities(rows: FloatArray) -> bool:
    """Whether rows [N, K] would be probabilities, were each not rounded to eight bits."""
    adrift = rows.shape[1] * _STEP / 2
    return are_shares(rows) and bool(np.all(np.abs(rows.sum(axis=1) - 1) <= adrift))


def are_shares(rows: FloatArray) -> bool:
    """Whether all numbers lie in [0, 1]."""
    return bool(np.all((rows >= 0) & (rows <= 1)))


def is_quantised(model: onnx.ModelProto) -> bool:
    """Whether it computes with rounded integers."""
    return any("Quantize" in node.op_type for node in model.graph.node)


def _free_logits(model: onnx.ModelProto, images: FloatArray, fixed: int) -> FloatArray:
    """Logits of images one by one, once it is clear that neither the batch nor chance moves them.

    Args:
        model: its batch free.
        images: [2, C, H, W].
        fixed: the batch that its file had, 0 where it was free.
    """
    run = Run(model, [LOGITS])
    singles = np.concatenate([run(image[None])[0] for image in images])
    if not relative_difference(run(images[:1])[0], singles[:1]) <= LIMIT:
        raise ExportError(
            "the model gives an image other numbers the second time: it draws at random; export"
            " the model for inference, in eval mode"
        )
    remedy = "export the model again with a free batch"
    try:
        (together,) = run(images)
    except ExportError as error:
        raise ExportError(f"the batch cannot be made free: {error}; {remedy}") from error
    if relative_difference(together, singles) <= LIMIT:
        return singles
    mixes = "two images at once give other numbers than one by one"
    if fixed:
        raise ExportError(f"the batch cannot be made free: {mixes}; {remedy}")
    raise ExportError(
        f"the model mixes the images of a batch: {mixes}; export the model for inference, in eval"
        " mode, its BatchNormalizations with stored statistics"
    )


def _made_of(logits: FloatArray, operator: str) -> FloatArray:
    """What an operator that was cut off makes of logits [N, K]."""
    exact = logits.astype(np.float64)
    if operator == "Sigmoid":
        return np.asarray(1 / (1 + np.exp(-exact)), np.float32)
    lowered = exact - exact.max(axis=1, keepdims=True)
    logarithms = lowered - np.log(np.exp(lowered).sum(axis=1, keepdims=True))
    made = logarithms if operator == "LogSoftmax" else np.exp(logarithms)
    return np.asarray(made, np.float32)
