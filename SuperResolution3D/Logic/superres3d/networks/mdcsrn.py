"""mDCSRN: the multi-level densely connected network of Chen 2020, section 3.3, figures 3 to 5.

A stem of 2k channels, then dense blocks; a 1x1x1 convolution (compressor) of everything before it feeds each
block, and one of everything gives the output.  The paper's ablation forms: ``blocks=1, units=12 or 16``
is the plain DenseNet (DCSRN), ``reconstruction=True`` the form "-r" (figure 5b) with a bottleneck and a spatial convolution.
"""

from __future__ import annotations

from .blocks import dense_block
from .blueprint import Drawing, T


def mdcsrn(draw: Drawing[T], image: T, *, blocks: int = 4, units: int = 4, growth: int = 12, reconstruction: bool = False) -> T:
    """The network; b4u4 is the paper's lightest and fastest.

    Args:
        blocks, units: "b" and "u" of the paper.
        growth: k, the channels of a unit.
        reconstruction: a bottleneck to 8k channels, normalisation and a 3x3x3 convolution in place of the direct combination.
    """
    levels = [draw.conv("stem", image, 2 * growth)]
    for number in range(blocks):
        # With one level there is nothing to compress.
        given = draw.conv(f"compressor{number}", draw.concat(levels), 2 * growth, kernel=1) if number else levels[0]
        levels.append(dense_block(draw, f"block{number}", given, units, growth, keep_input=True))
    everything = draw.concat(levels)
    if not reconstruction:
        return draw.conv("combination", everything, 1, kernel=1)
    narrow = draw.conv("bottleneck", everything, 8 * growth, kernel=1)
    return draw.conv("reconstruction", draw.elu(draw.norm("bottleneck-norm", narrow)), 1)
