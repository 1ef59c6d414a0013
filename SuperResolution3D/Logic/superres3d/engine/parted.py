"""A network that is computed part by part.

A U-Net's output depends on voxels far away, so tiles of the whole network would be nearly all margin.  Nearly all
of that reach lies beyond its first halving, where a map has an eighth of the voxels.  So the first part is computed for
the whole volume in tiles with small margins, then the inner part, mostly in one piece, then the last; the result is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any

import numpy as np

from ..networks.blueprint import Survey
from ..networks.families import Architecture
from .ensemble import Turn
from .tiled import Alive, Infer, Median, Stopped, TiledNetwork, halo_of, median_of, padded_shape, padded_to, voxel_bytes, windows
from .tiling import Region, cut, extent, whole, within


def tiled_network(architecture: Architecture, infer: Infer, budget: Callable[[], int], float_bytes: int = 4, median: Median | None = None, exchanged: Infer | None = None) -> TiledNetwork:
    """A network in the form that it is best computed in.

    Args:
        architecture, budget, float_bytes: as :class:`TiledNetwork` takes them.
        infer: computes the network or a part of it.
        median: where a library has a better way than one member after the other.
        exchanged: computes it for slices whose rows and columns are exchanged; None: ``infer`` does.
    """
    if architecture.parts:
        return PartedNetwork(architecture, infer, budget, float_bytes)

    return TiledNetwork(architecture, median or _median_in_one_piece(architecture, infer, exchanged), budget, float_bytes)


def _median_in_one_piece(architecture: Architecture, infer: Infer, exchanged: Infer | None = None) -> Median:
    """One member after the other, a window at once."""

    def in_one_piece(compute: Infer) -> Callable[[np.ndarray, Stopped], np.ndarray]:
        return lambda window, stopped: compute(architecture.blueprint, [window[:, None]], stopped)[:, 0]

    return median_of(in_one_piece(infer), in_one_piece(exchanged) if exchanged else None)


class PartedNetwork(TiledNetwork):
    """For an architecture with parts; arguments as :func:`tiled_network` takes them."""

    def __init__(self, architecture: Architecture, infer: Infer, budget: Callable[[], int], float_bytes: int = 4):
        super().__init__(architecture, _median_in_one_piece(architecture, infer), budget, float_bytes)
        self._infer = infer

    def ensemble(
        self, images: np.ndarray, turns: Sequence[Turn], alive: Alive, stopped: Stopped, keep: Region | None = None, variance: np.ndarray | None = None
    ) -> np.ndarray:  # fmt: skip
        """As :meth:`TiledNetwork.ensemble`; all is computed whatever is wanted of it."""
        median = median_of(lambda image, stopped: self._correction(image, alive, stopped))
        found: list[np.ndarray] = []
        result = median(padded_to(images, self.architecture.survey.step), turns, lambda: None, stopped, *(() if variance is None else (found,)))
        result = result[tuple(slice(0, n) for n in images.shape)]
        if variance is not None:
            spread = found[0][tuple(slice(0, n) for n in images.shape)]
            variance[...] = cut(spread, keep) if keep else spread
        if self.architecture.residual:
            result = images + result
        return cut(result, keep) if keep else result

    def _passes(self, shape: Sequence[int], wanted: Region) -> Iterable[tuple[Survey, Sequence[int], Region]]:
        return [(survey, size, whole(size)) for survey, size in zip(self.architecture.part_surveys, _part_shapes(self.architecture, shape))]

    def _correction(self, image: np.ndarray, alive: Alive, stopped: Stopped) -> np.ndarray:
        parts = self.architecture.parts
        assert parts
        count, *shape = image.shape
        halves = [n // 2 for n in shape]
        head, inner, tail = self.architecture.part_surveys

        def computed(draw: Callable[..., Any], survey: Survey, output: np.ndarray, scale: int, *inputs: tuple[np.ndarray, int]) -> np.ndarray:
            """Tile by tile; maps coarser than the survey's voxels have a scale of 2."""
            for tile, window in windows([n * scale for n in output.shape[2:]], survey, self._most_voxels(survey, count)):
                alive()
                given = [np.ascontiguousarray(cut(maps, _coarser(window, coarse))) for maps, coarse in inputs]
                made = self._infer(draw, given, stopped)
                cut(output, _coarser(tile, scale))[...] = cut(made, _coarser(within(tile, window), scale))
            return output

        halved = computed(parts.head, head, np.empty((count, parts.channels, *halves), np.float32), 2, (image[:, None], 1))
        refined = computed(parts.inner, inner, np.empty_like(halved), 1, (halved, 1))
        del halved
        return computed(parts.tail, tail, np.empty((count, 1, *shape), np.float32), 1, (image[:, None], 1), (refined, 2))[:, 0]


def computed_accumulates(architecture: Architecture, shape: Sequence[int], budget: float) -> float:
    """Multiply-accumulates of one pass over a volume (D, H, W), the margins of its tiles included."""
    total = 0
    for survey, size in zip(architecture.part_surveys, _part_shapes(architecture, shape)):
        computed = windows(size, survey, int(budget / voxel_bytes(survey)))
        total += sum(prod(extent(window)) for _, window in computed) * survey.multiply_accumulates
    return float(total)


def working_bytes(architecture: Architecture, shape: Sequence[int]) -> tuple[int, int]:
    """The least and the most bytes that feature maps of windows of a volume can sensibly take.

    Least: the volume is cut into tiles with which margins are at most seven eighths of the work; most: nothing is cut.
    """
    least, most = 0, 0
    for survey, size in zip(architecture.part_surveys, _part_shapes(architecture, shape)):
        least = max(least, int(voxel_bytes(survey) * prod(min(n, 4 * reach) for n, reach in zip(size, halo_of(survey)))))
        most = max(most, int(voxel_bytes(survey) * (prod(size) + 1)))  # one more: a budget is rounded down to voxels
    return least, most


def kept_bytes(architecture: Architecture, members: int) -> float:
    """Per voxel of the result, beside the windows: the maps between parts and the members of the ensemble."""
    return 4 * (members + 2 * architecture.parts.channels / 8) if architecture.parts else 0.0


def _part_shapes(architecture: Architecture, shape: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    full = padded_shape(shape, architecture.survey.step)
    return (full, tuple(n // 2 for n in full), full) if architecture.parts else (full,)


def _coarser(region: Region, scale: int) -> Region:
    return tuple((a // scale, b // scale) for a, b in region)
