"""The ten-layer network with an intermediate output (Georgescu 2020, section III-A, figure 2).

One blueprint serves both stages.  The plane CNN refines both axes of a slice, ``factors=(r, r)``; the depth CNN refines
the rows of a slice whose rows run along the depth, ``factors=(r, 1)``: the sub-pixel layer's one-axis form (figure 4).
"""

from __future__ import annotations

from math import prod

from .blueprint import Drawing, T


def georgescu(
    draw: Drawing[T], image: T, *, factors: tuple[int, ...], filters: int = 32, second_block: bool = True, short_skips: bool = True, long_skip: bool = True
) -> T:  # fmt: skip
    """Six convolutions at low resolution, a sub-pixel layer, four at high resolution; ReLU after each, the output included.

    Args:
        draw: see :class:`~superres3d.networks.blueprint.Drawing`.
        image: the slice as it is.
        factors: refinement of (rows, columns).
        filters: width of the hidden layers; the paper uses 32 and tries 64 and 128.
        second_block: without it the sub-pixel layer gives the output, as in ESPCN.
        short_skips: add conv 1 to conv 3, and conv 7 to conv 9.
        long_skip: add conv 1 to conv 5.
    """
    skips = {number for number, wanted in ((3, short_skips), (5, long_skip)) if wanted}
    phases = draw.relu(draw.conv("low.5", _trunk(draw, "low", 5, image, filters, skips), prod(factors)))
    between = draw.sub_pixel(phases, factors)
    if not second_block:
        return between
    return draw.relu(draw.conv("high.3", _trunk(draw, "high", 3, draw.intermediate(between), filters, skips), 1))


def _trunk(draw: Drawing[T], block: str, layers: int, image: T, filters: int, skips: set[int]) -> T:
    """Convolutions and ReLUs; the first one's output is added after those whose numbers are in ``skips``."""
    first = features = draw.relu(draw.conv(f"{block}.0", image, filters))
    for number in range(2, layers + 1):
        features = draw.relu(draw.conv(f"{block}.{number - 1}", features, filters))
        features = draw.add(features, first) if number in skips else features
    return features
