"""Methods that climb: they follow gradients to the mask that shows the target best."""

from typing import Any

from salience_service.methods.method import Method, TapRule
from salience_service.methods.optimised.extremal_perturbation import (
    ExtremalPerturbationOptions,
    extremal_perturbation,
    extremal_perturbation_rows,
    extremal_perturbation_working,
)
from salience_service.methods.optimised.opti_cam import OptiCamOptions, opti_cam, opti_cam_rows

TABLE: tuple[Method[Any], ...] = (
    Method(
        name="opti-cam",
        summary="Finds channel weights whose map, as a mask, maximises the target's value.",
        source="Zhang et al. 2024, Opti-CAM: optimizing saliency maps for interpretability",
        options=OptiCamOptions,
        run=opti_cam,
        taps=TapRule.ONE,
        rows=opti_cam_rows,
        needs_gradient=True,
    ),
    Method(
        name="extremal-perturbation",
        summary="Finds the smooth mask of a given area that keeps the target's value highest.",
        source="Fong et al. 2019, Understanding deep networks via extremal perturbations "
        "and smooth masks",
        options=ExtremalPerturbationOptions,
        run=extremal_perturbation,
        taps=TapRule.NONE,
        rows=extremal_perturbation_rows,
        working=extremal_perturbation_working,
        needs_gradient=True,
    ),
)
