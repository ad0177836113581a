"""One library in a process of its own, which makes a map for each line it reads.

python -m bench.peer_process LIBRARY MODELS

Reads one JSON object a line: `image` (.npy, float32 [C, H, W], the network's own numbers),
`target` (a class), `batch_size` (null = the library's default), `map` (where to save the map
as .npy, or ""). Answers each with one line, {"seconds": …}: from the image to the finished map,
the clean run included.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.workplace import LAST_TAP, LINEAR_TAP, MODEL

Cam = Callable[[np.ndarray, int, int | None], np.ndarray]
"""Image, target and batch size to the map, float32 [h, w]."""

WINDOWS = {"window": 64, "stride": 16}
STEPS = 25
MASKS, CELLS, SHOWN = 300, 8, 0.1


def salience(models: Path) -> Cam:
    """Our Score-CAM."""
    return _salience(models, "score-cam", {"score": "logit", "weights": "softmax"}, LINEAR_TAP)


def salience_ablation(models: Path) -> Cam:
    """Our Ablation-CAM."""
    return _salience(models, "ablation-cam", {}, LAST_TAP)


def salience_occlusion(models: Path) -> Cam:
    """Our occlusion."""
    return _salience(models, "occlusion", WINDOWS)


def salience_integrated_gradients(models: Path) -> Cam:
    """Our integrated gradients."""
    return _salience(models, "integrated-gradients", {"steps": STEPS})


def salience_rise(models: Path) -> Cam:
    """Our RISE."""
    options = {"masks": MASKS, "cells": CELLS, "probability": SHOWN, "score": "logit"}
    return _salience(models, "rise", options)


def _salience(models: Path, name: str, options: dict[str, Any], *taps: str) -> Cam:
    """The engine in process; its batch size is the server's own."""
    from salience_service.config import ServeConfig
    from salience_service.config.bundles import UNSIGNED_ALLOWED
    from salience_service.control import Control
    from salience_service.engine import Engine
    from salience_service.events import FinishedMap
    from salience_service.request import (
        ClassRef,
        ExplainOrder,
        Geometry,
        MapFormat,
        MethodCall,
        PreparedImage,
        PresentTarget,
        Scale,
    )

    engine = Engine.open(models, ServeConfig(bundles=UNSIGNED_ALLOWED))
    method = MethodCall(name, options, taps)
    raw = MapFormat(geometry=Geometry.FEATURE, scale=Scale.RAW)

    def run(image: np.ndarray, target: int, _batch_size: int | None) -> np.ndarray:
        order = ExplainOrder(
            MODEL,
            PreparedImage(image),
            (method,),
            targets=(PresentTarget(ClassRef(target)),),
            format=raw,
        )
        events = engine.explain(order, Control())
        (found,) = [event for event in events if isinstance(event, FinishedMap)]
        encoded = found.encoded
        return np.frombuffer(encoded.data, "<f4").reshape(encoded.height, encoded.width)

    return run


def grad_cam(_models: Path) -> Cam:
    """pytorch-grad-cam's ScoreCAM as it comes; its map has the image's size."""
    import torch

    from bench import torchvision_shim

    torchvision_shim.install()
    from pytorch_grad_cam import ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network, layer = _network()

    def run(image: np.ndarray, target: int, batch_size: int | None) -> np.ndarray:
        with ScoreCAM(model=network, target_layers=[layer]) as method:
            if batch_size is not None:
                method.batch_size = batch_size
            given = torch.from_numpy(image)[None]
            return np.asarray(method(given, [ClassifierOutputTarget(target)])[0])

    return run


def grad_cam_matched(models: Path) -> Cam:
    """pytorch-grad-cam's ScoreCAM with align_corners off, as ours; everything else as it comes."""
    import torch

    # It names torch.nn.UpsamplingBilinear2d, which is bilinear with align_corners on.
    torch.nn.UpsamplingBilinear2d = lambda size: torch.nn.Upsample(  # type: ignore[assignment,misc]
        size=size, mode="bilinear", align_corners=False
    )
    return grad_cam(models)


def grad_cam_ablation(_models: Path) -> Cam:
    """pytorch-grad-cam's AblationCAM, behind the head's ReLU6."""
    import torch

    from bench import torchvision_shim

    torchvision_shim.install()
    from pytorch_grad_cam import AblationCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network, _ = _network()
    # One module makes both ReLU6s; one of its own, after which the other changes nothing.
    network._bn1 = torch.nn.Sequential(network._bn1, torch.nn.ReLU6()).eval()

    def run(image: np.ndarray, target: int, batch_size: int | None) -> np.ndarray:
        method = AblationCAM(network, [network._bn1], batch_size=batch_size or 32)
        with method, torch.no_grad():
            return np.asarray(
                method(torch.from_numpy(image)[None], [ClassifierOutputTarget(target)])[0]
            )

    return run


def torch_cam(_models: Path) -> Cam:
    """torch-cam's ScoreCAM as it comes; its map has the layer's size."""
    from torchcam.methods import ScoreCAM

    return _torch_cam(ScoreCAM)


def torch_cam_matched(_models: Path) -> Cam:
    """torch-cam's ScoreCAM with masks scaled to [0, 1] after they are upsampled, as ours."""
    from torchcam.methods import ScoreCAM

    class Matched(ScoreCAM):
        def _upsample(self, activation):  # type: ignore[no-untyped-def]
            up = super()._upsample(activation)
            low, high = up.amin((2, 3), keepdim=True), up.amax((2, 3), keepdim=True)
            return (up - low) / (high - low).clamp_min(1e-8)

    return _torch_cam(Matched)


def _torch_cam(method: Any) -> Cam:
    import torch

    network, layer = _network()

    def run(image: np.ndarray, target: int, batch_size: int | None) -> np.ndarray:
        size = {} if batch_size is None else {"batch_size": batch_size}
        with method(network, layer, **size) as extractor, torch.no_grad():
            logits = network(torch.from_numpy(image)[None])
            return np.asarray(extractor(target, logits)[0][0])

    return run


def captum_occlusion(_models: Path) -> Cam:
    """captum's Occlusion; one window a call as it comes."""
    import torch
    from captum.attr import Occlusion

    network, _ = _network()
    method = Occlusion(network)

    def run(image: np.ndarray, target: int, batch_size: int | None) -> np.ndarray:
        found = method.attribute(
            torch.from_numpy(image)[None],
            sliding_window_shapes=(3, WINDOWS["window"], WINDOWS["window"]),
            strides=(3, WINDOWS["stride"], WINDOWS["stride"]),
            target=target,
            perturbations_per_eval=batch_size or 1,
        )
        return np.asarray(found[0, 0])

    return run


def captum_integrated_gradients(_models: Path) -> Cam:
    """captum's IntegratedGradients; all steps in one call as it comes."""
    import torch
    from captum.attr import IntegratedGradients

    network, _ = _network()
    method = IntegratedGradients(network)

    def run(image: np.ndarray, target: int, batch_size: int | None) -> np.ndarray:
        given = torch.from_numpy(image)[None]
        found = method.attribute(
            given, target=target, n_steps=STEPS, internal_batch_size=batch_size
        )
        return np.asarray(found[0].sum(0).detach(), np.float32)

    return run


def dianna_rise(models: Path) -> Cam:
    """dianna's RISE of a function on a session that stays open."""
    import onnxruntime as ort

    session = ort.InferenceSession(_forward_graph(models))
    return _dianna_rise(lambda images: session.run(["logits"], {"images": images})[0])


def dianna_rise_of_a_path(models: Path) -> Cam:
    """dianna's RISE as it comes."""
    return _dianna_rise(str(_forward_graph(models)))


def _dianna_rise(model: Any) -> Cam:
    from dianna import explain_image

    def run(image: np.ndarray, target: int, batch_size: int | None) -> np.ndarray:
        size = {} if batch_size is None else {"batch_size": batch_size}
        found = explain_image(
            model,
            image,
            "RISE",
            labels=[target],
            axis_labels=("channels", "height", "width"),
            n_masks=MASKS,
            feature_res=CELLS,
            p_keep=SHOWN,
            **size,
        )
        return np.asarray(found[0], np.float32)

    return run


def _forward_graph(models: Path) -> Path:
    return models / MODEL / "1" / "forward.onnx"


def _network() -> tuple[Any, Any]:
    """EfficientNet-Lite0 from torch, and the module that puts out the tap 320×7×7."""
    from salience_export.zoo import efficientnet_lite0

    network, _ = efficientnet_lite0()
    return network, network.get_submodule(LINEAR_TAP)


LIBRARIES: dict[str, Callable[[Path], Cam]] = {
    "salience": salience,
    "pytorch-grad-cam": grad_cam,
    "pytorch-grad-cam, matched": grad_cam_matched,
    "torch-cam": torch_cam,
    "torch-cam, matched": torch_cam_matched,
    "salience, ablation": salience_ablation,
    "pytorch-grad-cam, ablation": grad_cam_ablation,
    "salience, occlusion": salience_occlusion,
    "captum, occlusion": captum_occlusion,
    "salience, integrated gradients": salience_integrated_gradients,
    "captum, integrated gradients": captum_integrated_gradients,
    "salience, RISE": salience_rise,
    "dianna, RISE": dianna_rise,
    "dianna, RISE of a path": dianna_rise_of_a_path,
}


def main() -> None:
    """Answers line by line until its input ends."""
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        run = LIBRARIES[sys.argv[1]](Path(sys.argv[2]))
        for line in sys.stdin:
            asked = json.loads(line)
            image = np.load(asked["image"])
            began = time.perf_counter()
            found = run(image, asked["target"], asked["batch_size"])
            seconds = time.perf_counter() - began
            if asked["map"]:
                np.save(asked["map"], found)
            print(json.dumps({"seconds": seconds}), file=answers, flush=True)


if __name__ == "__main__":
    main()
