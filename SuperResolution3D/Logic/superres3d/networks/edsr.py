"""EDSR for slices: residual blocks at low resolution over a cubic interpolation (Lim, Son, Kim, Nah, Lee. CVPR workshops 2017, section 3.1).

The paper's plane and depth networks (:mod:`.georgescu`) do half (depth 2x) to seven eighths (plane 4x) of their arithmetic on the refined
slice.  Here all layers work on the scan's own pixels, so the same arithmetic pays for more layers or wider ones.  Against EDSR there is no
convolution after the blocks, no scaling of the blocks, and the skip around them is a cubic interpolation of the slice.
"""

from __future__ import annotations

from math import prod

from .blueprint import Drawing, T

_BLOCK_GAIN = 0.3  # of a block's second convolution at the start: a sum of many blocks must not grow


def edsr(draw: Drawing[T], image: T, *, factors: tuple[int, ...], filters: int = 32, blocks: int = 6) -> T:
    """What is to be added to the interpolation: residual blocks of two 3x3 convolutions with a ReLU between, then a sub-pixel layer.

    Args:
        draw: see :class:`~superres3d.networks.blueprint.Drawing`.
        image: the slice as it is.
        factors: refinement of (rows, columns).
        filters: width of the hidden layers.
        blocks: how many.
    """
    features = draw.conv("head", image, filters)
    for number in range(blocks):
        inner = draw.relu(draw.conv(f"blocks.{number}.0", features, filters))
        features = draw.add(features, draw.conv(f"blocks.{number}.1", inner, filters, gain=_BLOCK_GAIN))
    return draw.sub_pixel(draw.conv("tail", features, prod(factors)), factors)
