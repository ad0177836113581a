"""The methods this service answers, by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from salience_service.methods.fake_cam import FakeCamOptions, fake_cam, fake_cam_rows
from salience_service.methods.grad_cam import GradCamOptions, grad_cam, grad_cam_rows
from salience_service.methods.hires_cam import HiResCamOptions, hires_cam, hires_cam_rows
from salience_service.methods.integrated_gradients import (
    IntegratedGradientsOptions,
    integrated_gradients,
    integrated_gradients_rows,
)
from salience_service.methods.method import Method, TapRule
from salience_service.methods.opti_cam import OptiCamOptions, opti_cam, opti_cam_rows
from salience_service.methods.poly_cam import PolyCamOptions, poly_cam, poly_cam_rows
from salience_service.methods.score_cam import ScoreCamOptions, score_cam, score_cam_rows
from salience_service.methods.taps import taps_for

__all__ = ["METHODS", "Method", "TapRule", "taps_for"]

_TABLE: tuple[Method[Any], ...] = (
    Method(
        name="fake-cam",
        summary="Ones with one zero pixel: shows which scores a meaningless map fools.",
        source="Poppi et al. 2021, Revisiting the evaluation of class activation mapping "
        "for explainability",
        options=FakeCamOptions,
        run=fake_cam,
        taps=TapRule.NONE,
        rows=fake_cam_rows,
        class_agnostic=True,
    ),
    Method(
        name="score-cam",
        summary="Weighs each channel by the target's score of the image it masks.",
        source="Wang et al. 2020, Score-CAM: score-weighted visual explanations for "
        "convolutional neural networks",
        options=ScoreCamOptions,
        run=score_cam,
        taps=TapRule.ONE,
        rows=score_cam_rows,
    ),
    Method(
        name="poly-cam",
        summary="Sharpens a coarse map with those of finer layers, weighed by showing and hiding.",
        source="Englebert et al. 2022, Poly-CAM: high resolution class activation map for "
        "convolutional neural networks",
        options=PolyCamOptions,
        run=poly_cam,
        taps=TapRule.MANY,
        rows=poly_cam_rows,
    ),
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
        name="grad-cam",
        summary="Weighs each channel by the average of the target's gradient to it.",
        source="Selvaraju et al. 2017, Grad-CAM: visual explanations from deep networks "
        "via gradient-based localization",
        options=GradCamOptions,
        run=grad_cam,
        taps=TapRule.ONE,
        rows=grad_cam_rows,
        needs_gradient=True,
    ),
    Method(
        name="hires-cam",
        summary="Weighs each element of the tap by the target's gradient to it; signed.",
        source="Draelos and Carin 2020, Use HiResCAM instead of Grad-CAM for faithful "
        "explanations of convolutional neural networks",
        options=HiResCamOptions,
        run=hires_cam,
        taps=TapRule.ONE,
        rows=hires_cam_rows,
        needs_gradient=True,
    ),
    Method(
        name="integrated-gradients",
        summary="Adds up what each pixel gives the target on the way from fill to image; signed.",
        source="Sundararajan et al. 2017, Axiomatic attribution for deep networks",
        options=IntegratedGradientsOptions,
        run=integrated_gradients,
        taps=TapRule.NONE,
        rows=integrated_gradients_rows,
        needs_gradient=True,
    ),
)

METHODS: Mapping[str, Method[Any]] = MappingProxyType({method.name: method for method in _TABLE})
"""Every method by its name in a request."""
