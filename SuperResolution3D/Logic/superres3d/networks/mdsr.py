"""The multi-scale residual network in three dimensions: MDSR (Lim, Son, Kim, Nah, Lee. CVPR workshops 2017, section 3.3) with 3x3x3 kernels.

All layers work on the scan's own grid.  The trunk of residual blocks without normalisation is shared; each way of refining (factors along
slices, rows and columns) has a first and a last convolution of its own.  The last one gives the finer voxels
of each voxel as channels (Shi 2016).
"""

from __future__ import annotations

from math import prod

from .blueprint import Drawing, T

_BLOCK_GAIN = 0.1  # each block begins as nearly nothing


def mdsr(draw: Drawing[T], image: T, *, factors: tuple[int, int, int], features: int = 32, blocks: int = 8) -> T:
    """What is to be added to the interpolation.

    Args:
        draw: see :class:`~superres3d.networks.blueprint.Drawing`.
        image: the scan as it is.
        factors: along (slices, rows, columns).
        features: channels of the trunk.
        blocks: residual blocks of two convolutions each.
    """
    task = task_name(factors)
    first = values = draw.conv(f"first-{task}", image, features, zero_sum=True)
    for number in range(blocks):
        inner = draw.relu(draw.conv(f"block{number}-a", values, features))
        values = draw.add(values, draw.conv(f"block{number}-b", inner, features, gain=_BLOCK_GAIN))
    gathered = draw.add(first, draw.conv("gathering", values, features))
    return draw.sub_pixel(draw.conv(f"last-{task}", gathered, prod(factors)), factors)


def task_name(factors: tuple[int, int, int]) -> str:
    """Of a way of refining, such as "1x2x2"."""
    return "x".join(map(str, factors))
