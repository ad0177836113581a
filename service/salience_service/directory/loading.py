"""From a bundle on disk to a model that may serve: opened, on its devices, warm and checked."""

import logging
from pathlib import Path

from salience_service.bundle.repository import open_place
from salience_service.config import ServeConfig
from salience_service.errors import BundleRefused, ComputeFailed
from salience_service.events import GradientSide
from salience_service.models.model import ServedModel
from salience_service.models.warm_up import warm_up
from salience_service.runtime.session import lacked_resources
from salience_service.signatures.trust import trust_in
from salience_service.tune.file import tuning_for

_log = logging.getLogger(__name__)


def load_model(place: Path, config: ServeConfig) -> ServedModel:
    """The model of the bundle at NAME/VERSION.

    It has sessions of its own and warms them in the calling thread, beside whatever the lanes
    run for the versions that serve.

    Raises:
        BundleRefused: the bundle is refused, or drifts from its golden example.
        SalienceError: the provider, or torch where it is to be loaded now, did not come up.
    """
    # Keys are read anew: one that was withdrawn since the start counts no more.
    trust = trust_in(config.bundles.key_places, config.bundles.unsigned == "allow")
    bundle = open_place(place, trust)
    tuning = tuning_for(bundle, config)
    model = ServedModel(bundle, config.device, config.masked_batch_size, tuning)
    try:
        drift = _warm(model)
        if config.load_torch_at_start and GradientSide.TORCH in model.gradient_sides:
            model.gradients.open(GradientSide.TORCH).result()
    except BaseException:
        model.close()
        raise
    _log.info("model %s %s is ready, drift %.1e", model.name, model.version, drift)
    return model


def _warm(model: ServedModel) -> float:
    """The model's drift; a graph that cannot run what its own bundle says hides no other bundle.

    Raises:
        BundleRefused: as `warm_up`; or its graphs and its manifest contradict each other.
        ComputeFailed: a device failed, or memory or threads were lacking.
    """
    try:
        return warm_up(model)
    except (ComputeFailed, ArithmeticError, LookupError, TypeError, ValueError) as fault:
        on_cpu = model.device.provider == "cpu"
        if isinstance(fault, ComputeFailed) and (not on_cpu or lacked_resources(fault.__cause__)):
            raise
        raise BundleRefused(
            f"model {model.name} {model.version} cannot run its own golden example: its graphs do "
            "not fit its manifest, or fail"
        ) from fault
