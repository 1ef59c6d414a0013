"""A volumetric network: turned copies, and tiles that fit the memory and give exactly the result of the whole."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from math import prod

import numpy as np

from ..ensemble import Turn, apply_turn, exact_median, undo_turn
from ..networks.blueprint import Survey
from ..networks.families import VolumeArchitecture
from ..tiling import Region, blocks, cut, extent, scaled, within
from . import Alive, Stopped

_SPARE = 1.6  # what a library needs over the largest layer's maps (measured: 1.0 to 1.5)
_KEPT_CONSTANTS = 64


class TiledVolumeNetwork:
    """Runs a function on windows of a volume.

    Args:
        architecture: of the network.
        infer: (D, H, W) float32, the sides multiples of the network's step, to the same shape or, of a network that refines, to one
            larger by its factors; of a residual network what is to be added to the input, or to an interpolation of it.
            Asks the function that it is given, if it can, whether to stop.
        budget: gives the bytes that a window's feature maps may take.
        float_bytes: of one number of a feature map.
    """

    def __init__(
        self, architecture: VolumeArchitecture, infer: Callable[[np.ndarray, Stopped], np.ndarray], budget: Callable[[], int], float_bytes: int = 4
    ):  # fmt: skip
        self.architecture = architecture
        self._infer = infer
        self._budget = budget
        self._voxel_bytes = voxel_bytes(architecture.survey, float_bytes)
        self._constants: dict[tuple, np.ndarray] = {}

    def pieces(self, shape: Sequence[int], turns: Sequence[Turn], keep: Region | None = None) -> int:
        """How often :meth:`ensemble` will call ``alive`` for a volume of this shape."""
        return len(turns) * len(list(windows(_padded(shape, self.architecture.survey.step), self.architecture.survey, self._most_voxels(), keep)))

    def ensemble(self, volume: np.ndarray, turns: Sequence[Turn], alive: Alive, stopped: Stopped, keep: Region | None = None) -> np.ndarray:
        """Median of the network over copies turned in their slices.

        Args:
            volume: (D, H, W) float32 in network units.
            turns: members of the ensemble.
            alive: called before each piece of the work.
            stopped: asked while a piece is at work.
            keep: of a network that refines, the region (in input voxels) that is wanted; None: all.

        Returns:
            (D, H, W) float32; of a residual network that refines, the wanted region of what is to be added to the interpolation,
            larger by its factors.

        Raises:
            MemoryError: it did not fit; smaller windows may.
        """
        survey, factors = self.architecture.survey, self.architecture.factors
        padded = padded_to(volume, survey.step)
        kept = keep or tuple((0, n) for n in padded.shape)
        output = np.empty([(b - a) * factor for (a, b), factor in zip(kept, factors)], np.float32)
        for inner, window in windows(padded.shape, survey, self._most_voxels(), kept):
            refined = self._refine_window(cut(padded, window), turns, alive, stopped)
            cut(output, scaled(within(inner, kept), factors))[...] = cut(refined, scaled(within(inner, window), factors))
        if self.architecture.refines:
            return output
        result = output[tuple(slice(0, n) for n in volume.shape)]
        return np.add(result, volume, out=result) if self.architecture.residual else result

    def _most_voxels(self) -> int:
        return int(self._budget() / self._voxel_bytes)

    def _refine_window(self, given: np.ndarray, turns, alive: Alive, stopped: Stopped) -> np.ndarray:
        """The ensemble's median; a constant window (air, padding) is computed once."""
        value = given.flat[0]
        if (given != value).any():
            return self._median(given, turns, alive, stopped)
        key = (float(value), given.shape, tuple(turns))
        if key in self._constants:
            for _ in turns:
                alive()
            return self._constants[key]
        if len(self._constants) >= _KEPT_CONSTANTS:
            self._constants.clear()
        self._constants[key] = self._median(given, turns, alive, stopped)
        return self._constants[key]

    def _median(self, given: np.ndarray, turns: Sequence[Turn], alive: Alive, stopped: Stopped) -> np.ndarray:
        members = []
        for turn in turns:
            alive()
            members.append(undo_turn(self._infer(np.ascontiguousarray(apply_turn(given, turn)), stopped), turn))
        return exact_median(members)


def windows(shape: tuple[int, ...], survey: Survey, most_voxels: int, keep: Region | None = None) -> Iterator[tuple[Region, Region]]:
    """Tiles that fill a volume, each with the window that it is computed from.

    Args:
        shape: of the volume, multiples of the survey's step.
        survey: of the network or of a part of it.
        most_voxels: of a window.
        keep: the region that the tiles fill, multiples of the step; None: the volume.
    """
    step, halo = survey.step, halo_of(survey)
    keep = keep or tuple((0, n) for n in shape)
    tile = best_tile(extent(keep), tuple(shape), halo, step, most_voxels)
    window = [min(length, -(-edge // step) * step + 2 * halo) for length, edge in zip(shape, tile)]
    for inner in blocks([n // step for n in extent(keep)], [edge // step for edge in tile]):
        inner = tuple((first + a * step, first + b * step) for (a, b), (first, _) in zip(inner, keep))
        # All windows have one size: at a border a window reaches further inwards instead.
        starts = [min(max(0, a - halo), length - edge) for (a, _), length, edge in zip(inner, shape, window)]
        yield inner, tuple((start, start + edge) for start, edge in zip(starts, window))


def padded_to(volume: np.ndarray, step: int) -> np.ndarray:
    """Its last planes repeated until the sides are multiples of ``step``."""
    return np.pad(volume, [(0, n - m) for n, m in zip(_padded(volume.shape, step), volume.shape)], mode="edge")


def computed_voxels(survey: Survey, shape: Sequence[int], budget: float, float_bytes: int = 4) -> int:
    """Voxels that a volume of this shape makes the network compute, the tiles' margins included."""
    found = [prod(b - a for a, b in window) for _, window in windows(_padded(shape, survey.step), survey, int(budget / voxel_bytes(survey, float_bytes)))]
    return sum(found)


def most_bytes(survey: Survey, shape: Sequence[int], float_bytes: int = 4) -> int:
    """What the feature maps of a volume of this shape take if nothing limits them."""
    return int(voxel_bytes(survey, float_bytes) * (prod(_padded(shape, survey.step)) + 1))  # one more: a budget is rounded down to voxels


def least_bytes(survey: Survey, shape: Sequence[int], float_bytes: int = 4) -> int:
    """What they take if the volume is cut into tiles with which margins are at most seven eighths of the work."""
    side = 4 * halo_of(survey)
    return int(voxel_bytes(survey, float_bytes) * prod(min(n, side) for n in _padded(shape, survey.step)))


def halo_of(survey: Survey) -> int:
    """The receptive radius, in whole steps."""
    return -(-survey.radius // survey.step) * survey.step


def _padded(shape: Sequence[int], step: int) -> tuple[int, ...]:
    return tuple(-(-n // step) * step for n in shape)


def voxel_bytes(survey: Survey, float_bytes: int) -> float:
    """Of the feature maps, per sample."""
    return survey.live_floats * _SPARE * float_bytes


@lru_cache(maxsize=256)
def best_tile(kept: tuple[int, ...], shape: tuple[int, ...], halo: int, step: int, most_voxels: int) -> tuple[int, ...]:
    """Tile (D, H, W), without halo, that computes the fewest voxels, halos included.

    Args:
        kept: shape of what the tiles fill, multiples of ``step``.
        shape: of the volume that it is a part of, multiples of ``step``.
        halo: of the network, a multiple of ``step``.
        step: tiles begin and end at multiples of it.
        most_voxels: that a tile with halo may have (exceeded only by the smallest tile).
    """
    best: tuple[float, tuple[int, ...]] | None = None
    sizes = [sorted({-(-n // step // count) * step for count in range(1, min(n // step, 32) + 1)}) for n in kept]
    for tile in itertools.product(*sizes):
        window = [min(length, edge + 2 * halo) for length, edge in zip(shape, tile)]
        voxels = float(np.prod(window))
        count = np.prod([-(-length // edge) for length, edge in zip(kept, tile)])
        cost = voxels * count if voxels <= most_voxels else 1e12 * voxels
        if best is None or cost < best[0]:
            best = cost, tile
    assert best is not None
    return best[1]
