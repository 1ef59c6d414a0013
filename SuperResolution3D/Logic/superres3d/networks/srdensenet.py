"""SRDenseNet in three dimensions (Tong 2017), as Chen 2020 compares with it (section 4.2): four units a block, ELU,
k = 12, and a convolution of the same scale in place of the transposed one."""

from __future__ import annotations

from .blocks import dense_block
from .blueprint import Drawing, T


def srdensenet(draw: Drawing[T], image: T, *, blocks: int = 8, units: int = 4, growth: int = 12) -> T:
    """Dense blocks that do not hand on their input (figures 4b and 5b), all their outputs through one bottleneck."""
    levels = [draw.conv("stem", image, 2 * growth)]
    for number in range(blocks):
        levels.append(dense_block(draw, f"block{number}", levels[-1], units, growth, keep_input=False))
    narrow = draw.conv("bottleneck", draw.concat(levels), 8 * growth, kernel=1)
    features = draw.conv("same-scale", draw.elu(draw.norm("bottleneck-norm", narrow)), 2 * growth)
    return draw.conv("reconstruction", draw.elu(features), 1)
