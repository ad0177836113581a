"""Tokens as maps: a tap's elements as [K, h, w], however the network lays them out."""

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import Tap, TokenLayout

FloatArray = NDArray[np.float32]


def folded(array: FloatArray, tap: Tap) -> FloatArray:
    """A tap of one image, or a gradient to it, as maps; a class token has no place, and goes.

    Args:
        array: float32 as the forward graph puts it out: [K, h, w], [h·w, K] or [1 + h·w, K].
        tap: how it lies.

    Returns:
        float32 [K, h, w], in C order.
    """
    if tap.layout is TokenLayout.SPATIAL:
        return array
    tokens = array[1:] if tap.layout is TokenLayout.CLASS_AND_TOKENS else array
    maps = tokens.T.reshape(tap.channels, tap.height, tap.width)
    return np.ascontiguousarray(maps)


def unfolded(maps: FloatArray, tap: Tap) -> FloatArray:
    """What `folded` makes these maps of; a class token is zeros.

    Args:
        maps: float32 [K, h, w].
        tap: how the forward graph lays it out.
    """
    if tap.layout is TokenLayout.SPATIAL:
        return maps
    tokens = maps.reshape(tap.channels, -1).T
    if tap.layout is TokenLayout.CLASS_AND_TOKENS:
        tokens = np.concatenate([np.zeros_like(tokens[:1]), tokens])
    return np.ascontiguousarray(tokens)
