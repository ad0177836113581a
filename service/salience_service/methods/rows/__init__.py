"""Methods that score rows: the image masked, or its features ablated, again and again."""

from typing import Any

from salience_service.bundle.manifest import GraphRole
from salience_service.methods.method import Method, TapRule, one_a_sample, row_a_channel
from salience_service.methods.rows.ablation_cam import AblationCamOptions, ablation_cam
from salience_service.methods.rows.is_cam import IsCamOptions, is_cam, is_cam_rows
from salience_service.methods.rows.kernel_shap import (
    KernelShapOptions,
    kernel_shap,
    kernel_shap_working,
)
from salience_service.methods.rows.lime import LimeOptions, lime, lime_working
from salience_service.methods.rows.occlusion import OcclusionOptions, occlusion, occlusion_rows
from salience_service.methods.rows.poly_cam import PolyCamOptions, poly_cam, poly_cam_rows
from salience_service.methods.rows.rise import RiseOptions, rise, rise_rows, rise_working
from salience_service.methods.rows.score_cam import (
    ScoreCamOptions,
    score_cam,
    score_cam_anytime,
    score_cam_rows,
)
from salience_service.methods.rows.ss_cam import SsCamOptions, ss_cam, ss_cam_rows

TABLE: tuple[Method[Any], ...] = (
    Method(
        name="score-cam",
        summary="Weighs each channel by the target's score of the image it masks.",
        source="Wang et al. 2020, Score-CAM: score-weighted visual explanations for "
        "convolutional neural networks",
        options=ScoreCamOptions,
        run=score_cam,
        taps=TapRule.ONE,
        rows=score_cam_rows,
        anytime=score_cam_anytime,
    ),
    Method(
        name="ss-cam",
        summary="Score-CAM whose scores are means over noisy masks.",
        source="Wang et al. 2020, SS-CAM: smoothed Score-CAM for sharper visual feature "
        "localization",
        options=SsCamOptions,
        run=ss_cam,
        taps=TapRule.ONE,
        rows=ss_cam_rows,
        graphs=(GraphRole.PIXEL_MASKED,),
    ),
    Method(
        name="is-cam",
        summary="Score-CAM whose scores are means over masks that are faded in.",
        source="Naidu et al. 2020, IS-CAM: integrated Score-CAM for axiomatic-based explanations",
        options=IsCamOptions,
        run=is_cam,
        taps=TapRule.ONE,
        rows=is_cam_rows,
    ),
    Method(
        name="ablation-cam",
        summary="Weighs each channel by what the target loses when it is set to zero.",
        source="Desai and Ramaswamy 2020, Ablation-CAM: visual explanations for deep "
        "convolutional network via gradient-free localization",
        options=AblationCamOptions,
        run=ablation_cam,
        taps=TapRule.ONE,
        rows=row_a_channel,
        graphs=(GraphRole.TAIL,),
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
        name="rise",
        summary="Averages random masks, each weighed by the target's score of the image under it.",
        source="Petsiuk et al. 2018, RISE: randomized input sampling for explanation of "
        "black-box models",
        options=RiseOptions,
        run=rise,
        taps=TapRule.NONE,
        rows=rise_rows,
        working=rise_working,
        graphs=(GraphRole.PIXEL_MASKED,),
        anytime=lambda _: True,
    ),
    Method(
        name="occlusion",
        summary="What the target loses where a sliding window hides the image.",
        source="Zeiler and Fergus 2014, Visualizing and understanding convolutional networks",
        options=OcclusionOptions,
        run=occlusion,
        taps=TapRule.NONE,
        rows=occlusion_rows,
        graphs=(GraphRole.PIXEL_MASKED,),
    ),
    Method(
        name="lime",
        summary="Fits a local linear model to the target's score with superpixels hidden.",
        source='Ribeiro et al. 2016, "Why should I trust you?": explaining the predictions of '
        "any classifier",
        options=LimeOptions,
        run=lime,
        taps=TapRule.NONE,
        rows=one_a_sample,
        graphs=(GraphRole.PIXEL_MASKED,),
        working=lime_working,
    ),
    Method(
        name="kernel-shap",
        summary="Shapley values of superpixels, estimated from sampled coalitions.",
        source="Lundberg and Lee 2017, A unified approach to interpreting model predictions",
        options=KernelShapOptions,
        run=kernel_shap,
        taps=TapRule.NONE,
        rows=one_a_sample,
        graphs=(GraphRole.PIXEL_MASKED,),
        working=kernel_shap_working,
    ),
)
