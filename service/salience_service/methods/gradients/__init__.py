"""Methods made of gradients of the target's value to the image or to taps."""

from typing import Any

from salience_service.methods.gradients.evidence import evidence_rows
from salience_service.methods.gradients.grad_cam import GradCamOptions, grad_cam
from salience_service.methods.gradients.grad_cam_plus_plus import (
    GradCamPlusPlusOptions,
    grad_cam_plus_plus,
    grad_cam_plus_plus_working,
)
from salience_service.methods.gradients.gradient import GradientOptions, gradient
from salience_service.methods.gradients.guided_backprop import guided_backprop
from salience_service.methods.gradients.guided_grad_cam import guided_grad_cam, guided_grad_cam_rows
from salience_service.methods.gradients.hires_cam import HiResCamOptions, hires_cam
from salience_service.methods.gradients.input_x_gradient import (
    InputXGradientOptions,
    input_x_gradient,
)
from salience_service.methods.gradients.integrated_gradients import (
    IntegratedGradientsOptions,
    integrated_gradients,
    integrated_gradients_rows,
)
from salience_service.methods.gradients.layer_cam import LayerCamOptions, layer_cam
from salience_service.methods.gradients.smooth_grad import SmoothGradOptions, smooth_grad
from salience_service.methods.gradients.smooth_grad_cam_plus_plus import (
    SmoothGradCamPlusPlusOptions,
    smooth_grad_cam_plus_plus,
    smooth_grad_cam_plus_plus_working,
)
from salience_service.methods.gradients.x_grad_cam import XGradCamOptions, x_grad_cam
from salience_service.methods.gradients.zoom_cam import ZoomCamOptions, zoom_cam
from salience_service.methods.method import Method, TapRule, one_a_sample, one_gradient

_OF_TAPS: tuple[Method[Any], ...] = (
    Method(
        name="grad-cam",
        summary="Weighs each channel by the average of the target's gradient to it.",
        source="Selvaraju et al. 2017, Grad-CAM: visual explanations from deep networks "
        "via gradient-based localization",
        options=GradCamOptions,
        run=grad_cam,
        taps=TapRule.FUSED,
        rows=evidence_rows,
        needs_gradient=True,
    ),
    Method(
        name="grad-cam++",
        summary="Weighs each channel by its positive gradients, each by how much it could add.",
        source="Chattopadhay et al. 2018, Grad-CAM++: generalized gradient-based visual "
        "explanations for deep convolutional networks",
        options=GradCamPlusPlusOptions,
        run=grad_cam_plus_plus,
        taps=TapRule.FUSED,
        rows=one_gradient,
        needs_gradient=True,
        working=grad_cam_plus_plus_working,
    ),
    Method(
        name="smooth-grad-cam++",
        summary="Grad-CAM++ with the gradient's powers averaged over noisy images.",
        source="Omeiza et al. 2019, Smooth Grad-CAM++: an enhanced inference level "
        "visualization technique for deep convolutional neural network models",
        options=SmoothGradCamPlusPlusOptions,
        run=smooth_grad_cam_plus_plus,
        taps=TapRule.FUSED,
        rows=one_a_sample,
        needs_gradient=True,
        working=smooth_grad_cam_plus_plus_working,
    ),
    Method(
        name="xgrad-cam",
        summary="Weighs each channel by its gradients' mean, places counting as they are active.",
        source="Fu et al. 2020, Axiom-based Grad-CAM: towards accurate visualization and "
        "explanation of CNNs",
        options=XGradCamOptions,
        run=x_grad_cam,
        taps=TapRule.FUSED,
        rows=evidence_rows,
        needs_gradient=True,
    ),
    Method(
        name="layer-cam",
        summary="Weighs each element of the tap by the target's gradient to it where positive.",
        source="Jiang et al. 2021, LayerCAM: exploring hierarchical class activation maps "
        "for localization",
        options=LayerCamOptions,
        run=layer_cam,
        taps=TapRule.FUSED,
        rows=one_gradient,
        needs_gradient=True,
    ),
    Method(
        name="hires-cam",
        summary="Weighs each element of the tap by the target's gradient to it; signed.",
        source="Draelos and Carin 2020, Use HiResCAM instead of Grad-CAM for faithful "
        "explanations of convolutional neural networks",
        options=HiResCamOptions,
        run=hires_cam,
        taps=TapRule.FUSED,
        rows=evidence_rows,
        needs_gradient=True,
    ),
    Method(
        name="zoom-cam",
        summary="The greatest, over taps of all resolutions, of gradient times feature.",
        source="Shi et al. 2021, Zoom-CAM: generating fine-grained pixel annotations "
        "from image labels",
        options=ZoomCamOptions,
        run=zoom_cam,
        taps=TapRule.MANY,
        rows=one_gradient,
        needs_gradient=True,
    ),
)

_OF_THE_IMAGE: tuple[Method[Any], ...] = (
    Method(
        name="gradient",
        summary="How strongly each pixel moves the target, to first order.",
        source="Simonyan et al. 2014, Deep inside convolutional networks: visualising image "
        "classification models and saliency maps",
        options=GradientOptions,
        run=gradient,
        taps=TapRule.NONE,
        rows=one_gradient,
        needs_gradient=True,
    ),
    Method(
        name="input-x-gradient",
        summary="What each pixel adds to the target, were the model linear; signed.",
        source="Shrikumar et al. 2016, Not just a black box: learning important features "
        "through propagating activation differences",
        options=InputXGradientOptions,
        run=input_x_gradient,
        taps=TapRule.NONE,
        rows=one_gradient,
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
    Method(
        name="smooth-grad",
        summary="The gradient's absolute values, averaged over noisy twins of the image.",
        source="Smilkov et al. 2017, SmoothGrad: removing noise by adding noise",
        options=SmoothGradOptions,
        run=smooth_grad,
        taps=TapRule.NONE,
        rows=one_a_sample,
        needs_gradient=True,
    ),
)

_GUIDED: tuple[Method[Any], ...] = (
    Method(
        name="guided-backprop",
        summary="The image's gradient with what is negative stopped at every ReLU; torch only.",
        source="Springenberg et al. 2015, Striving for simplicity: the all convolutional net",
        options=GradientOptions,
        run=guided_backprop,
        taps=TapRule.NONE,
        rows=one_gradient,
        needs_gradient=True,
        guided=True,
        fails_sanity_checks=True,
    ),
    Method(
        name="guided-grad-cam",
        summary="Guided backpropagation times Grad-CAM, upsampled; torch only.",
        source="Selvaraju et al. 2017, Grad-CAM: visual explanations from deep networks "
        "via gradient-based localization",
        options=GradientOptions,
        run=guided_grad_cam,
        taps=TapRule.ONE,
        rows=guided_grad_cam_rows,
        needs_gradient=True,
        guided=True,
        fails_sanity_checks=True,
    ),
)

TABLE = _OF_TAPS + _OF_THE_IMAGE + _GUIDED
