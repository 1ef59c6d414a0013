"""A volumetric network: turned copies, and tiles that fit the memory and give exactly the result of the whole."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from ..ensemble import Turn, apply_turn, exact_median, undo_turn
from ..networks.families import VolumeArchitecture
from ..tiling import blocks, cut
from . import Alive, Stopped

_SPARE = 1.6  # what a library needs over the largest layer's maps (measured: 1.0 to 1.5)
_KEPT_CONSTANTS = 64


class TiledVolumeNetwork:
    """Runs a function on windows of a volume.

    Args:
        architecture: of the network.
        infer: (D, H, W) float32, the sides multiples of the network's step, to the same shape; of a residual network what is to
            be added to the input.  Asks the function that it is given, if it can, whether to stop.
        budget: gives the bytes that a window's feature maps may take.
        float_bytes: of one number of a feature map.
    """

    def __init__(
        self, architecture: VolumeArchitecture, infer: Callable[[np.ndarray, Stopped], np.ndarray], budget: Callable[[], int], float_bytes: int = 4
    ):  # fmt: skip
        self.architecture = architecture
        self._infer = infer
        self._budget = budget
        self._voxel_bytes = _voxel_bytes(architecture, float_bytes)
        self._constants: dict[tuple, np.ndarray] = {}

    def pieces(self, shape: Sequence[int], turns: Sequence[Turn]) -> int:
        """How often :meth:`ensemble` will call ``alive`` for a volume of this shape."""
        padded = _padded(shape, self.architecture.survey.step)
        return len(turns) * len(list(blocks(padded, self._tile(padded))))

    def ensemble(self, volume: np.ndarray, turns: Sequence[Turn], alive: Alive, stopped: Stopped) -> np.ndarray:
        """Median of the network over copies turned in their slices.

        Args:
            volume: (D, H, W) float32 in network units.
            turns: members of the ensemble.
            alive: called before each piece of the work.
            stopped: asked while a piece is at work.

        Returns:
            (D, H, W) float32.

        Raises:
            MemoryError: it did not fit; smaller windows may.
        """
        step, halo = self.architecture.survey.step, _halo(self.architecture)
        padded_shape = _padded(volume.shape, step)
        padded = np.pad(volume, [(0, n - m) for n, m in zip(padded_shape, volume.shape)], mode="edge")
        output = np.empty(padded_shape, np.float32)
        tile = self._tile(padded_shape)
        window = [min(length, -(-edge // step) * step + 2 * halo) for length, edge in zip(padded_shape, tile)]
        for inner in blocks([n // step for n in padded_shape], [edge // step for edge in tile]):
            inner = tuple((a * step, b * step) for a, b in inner)
            # All windows have one size: at a border a window reaches further inwards instead.
            starts = [min(max(0, a - halo), length - edge) for (a, _), length, edge in zip(inner, padded_shape, window)]
            refined = self._refine_window(padded, starts, window, turns, alive, stopped)
            cut(output, inner)[...] = cut(refined, tuple((a - s, b - s) for (a, b), s in zip(inner, starts)))
        result = output[tuple(slice(0, n) for n in volume.shape)]
        return volume + result if self.architecture.residual else result

    def _tile(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return best_tile(shape, _halo(self.architecture), self.architecture.survey.step, int(self._budget() / self._voxel_bytes))

    def _refine_window(self, volume: np.ndarray, starts: Sequence[int], window: Sequence[int], turns, alive: Alive, stopped: Stopped) -> np.ndarray:
        """The ensemble's median; a constant window (air, padding) is computed once."""
        region = tuple((start, start + edge) for start, edge in zip(starts, window))
        given = cut(volume, region)
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


def computed_voxels(architecture: VolumeArchitecture, shape: Sequence[int], budget: int, float_bytes: int = 4) -> int:
    """Voxels that a volume of this shape makes the network compute, the tiles' margins included."""
    step, halo = architecture.survey.step, _halo(architecture)
    padded = _padded(shape, step)
    tile = best_tile(padded, halo, step, int(budget / _voxel_bytes(architecture, float_bytes)))
    window = [min(length, edge + 2 * halo) for length, edge in zip(padded, tile)]
    return int(np.prod(window)) * len(list(blocks(padded, tile)))


def most_bytes(architecture: VolumeArchitecture, shape: Sequence[int], float_bytes: int = 4) -> int:
    """What the feature maps of a volume of this shape take if nothing limits them."""
    return int(_voxel_bytes(architecture, float_bytes) * np.prod(_padded(shape, architecture.survey.step), dtype=np.int64))


def _halo(architecture: VolumeArchitecture) -> int:
    """The receptive radius, in whole steps."""
    survey = architecture.survey
    return -(-survey.radius // survey.step) * survey.step


def _padded(shape: Sequence[int], step: int) -> tuple[int, ...]:
    return tuple(-(-n // step) * step for n in shape)


def _voxel_bytes(architecture: VolumeArchitecture, float_bytes: int) -> float:
    return architecture.survey.live_floats * _SPARE * float_bytes


@lru_cache(maxsize=256)
def best_tile(shape: tuple[int, ...], halo: int, step: int, most_voxels: int) -> tuple[int, ...]:
    """Tile (D, H, W), without halo, that computes the fewest voxels, halos included.

    Args:
        shape: of the volume, multiples of ``step``.
        halo: of the network, a multiple of ``step``.
        step: tiles begin and end at multiples of it.
        most_voxels: that a tile with halo may have (exceeded only by the smallest tile).
    """
    best: tuple[float, tuple[int, ...]] | None = None
    sizes = [sorted({-(-n // step // count) * step for count in range(1, min(n // step, 32) + 1)}) for n in shape]
    for tile in itertools.product(*sizes):
        window = [min(length, edge + 2 * halo) for length, edge in zip(shape, tile)]
        voxels = float(np.prod(window))
        count = np.prod([-(-length // edge) for length, edge in zip(shape, tile)])
        cost = voxels * count if voxels <= most_voxels else 1e12 * voxels
        if best is None or cost < best[0]:
            best = cost, tile
    assert best is not None
    return best[1]
