"""Methods that read features alone: no row is scored, or only of the head."""

from typing import Any

from salience_service.bundle.manifest import GraphRole
from salience_service.methods.activation.cam import CamOptions, cam
from salience_service.methods.activation.eigen_cam import (
    EigenCamOptions,
    eigen_cam,
    eigen_cam_working,
)
from salience_service.methods.activation.fake_cam import FakeCamOptions, fake_cam
from salience_service.methods.method import Method, TapRule, no_rows, row_a_channel

TABLE: tuple[Method[Any], ...] = (
    Method(
        name="cam",
        summary="Weighs each channel by the weight that the last layer, which is linear, gives it.",
        source="Zhou et al. 2016, Learning deep features for discriminative localization",
        options=CamOptions,
        run=cam,
        taps=TapRule.ONE,
        rows=row_a_channel,
        graphs=(GraphRole.TAIL,),
        linear_head=True,
    ),
    Method(
        name="eigen-cam",
        summary="The strongest principal component of the features; of no class.",
        source="Muhammad and Yeasin 2020, Eigen-CAM: class activation map using principal "
        "components",
        options=EigenCamOptions,
        run=eigen_cam,
        taps=TapRule.ONE,
        rows=no_rows,
        class_agnostic=True,
        working=eigen_cam_working,
    ),
    Method(
        name="fake-cam",
        summary="Ones with one zero pixel: shows which scores a meaningless map fools.",
        source="Poppi et al. 2021, Revisiting the evaluation of class activation mapping "
        "for explainability",
        options=FakeCamOptions,
        run=fake_cam,
        taps=TapRule.NONE,
        rows=no_rows,
        class_agnostic=True,
    ),
)
