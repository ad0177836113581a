"""Every method asked for in small: few samples and steps, so that all can be tried on anything."""

from salience_client import Method

SMALL: dict[str, dict[str, float | int | str | bool]] = {
    "extremal-perturbation": {"iterations": 12},
    "integrated-gradients": {"steps": 4},
    "is-cam": {"steps": 2},
    "kernel-shap": {"samples": 30, "superpixels": "slic", "segments": 12},
    "lime": {"samples": 30, "superpixels": "slic", "segments": 12},
    "occlusion": {"window": 16, "stride": 16},
    "opti-cam": {"iterations": 4},
    "rise": {"masks": 40, "probability": 0.5, "cells": 4},
    "smooth-grad": {"samples": 3},
    "smooth-grad-cam++": {"samples": 3},
    "ss-cam": {"samples": 2},
}
"""Options by method; those not here are as quick as they come."""


def small(name: str, *taps: str, **options: float | int | str | bool) -> Method:
    """The method with its small options."""
    return Method(name, taps, **{**SMALL.get(name, {}), **options})
