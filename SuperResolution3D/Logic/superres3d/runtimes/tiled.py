"""A network on a CPU: turned copies, tiles that fit the memory, and constant tiles only once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from ..ensemble import Turn, apply_turn, exact_median, undo_turn
from ..interpolation import resize
from ..networks.architecture import Architecture
from ..tiling import Region, blocks
from . import Alive

_SMALLEST_TILE = 32
_KEPT_CONSTANTS = 64


class TiledNetwork:
    """Runs a function on tiles; may be called from several threads.

    Args:
        architecture: of the network.
        infer: (N, H, W) float32 to (N, H * factors[0], W * factors[1]) float32; of a residual
            network only what is to be added to the cubic interpolation, if ``correction_only``.
        pixels: gives the most output pixels of a call.
    """

    def __init__(self, architecture: Architecture, infer: Callable[[np.ndarray], np.ndarray], pixels: Callable[[], int], correction_only: bool):
        self.architecture = architecture
        self._infer = infer
        self._pixels = pixels
        self._adds_base = correction_only and architecture.residual
        self._constants: dict[tuple, np.ndarray] = {}

    def pieces(self, shape: Sequence[int], turns: Sequence[Turn]) -> int:
        count, height, width = shape
        sizes = [(width, height) if quarter % 2 else (height, width) for quarter, _ in turns]
        return sum(len(list(blocks(size, self._tile(count, size)))) for size in sizes)

    def ensemble(self, images: np.ndarray, turns: Sequence[Turn], alive: Alive) -> np.ndarray:
        members = [undo_turn(self._refine(np.ascontiguousarray(apply_turn(images, turn)), alive), turn) for turn in turns]
        result = exact_median(members)
        return result + resize(images, (1, *self.architecture.factors), "cubic") if self._adds_base else np.ascontiguousarray(result)

    def _tile(self, count: int, size: Sequence[int]) -> tuple[int, int]:
        return best_grid((size[0], size[1]), self.architecture.halo, self.architecture.factors, self._pixels() // count)

    def _refine(self, images: np.ndarray, alive: Alive) -> np.ndarray:
        count, *size = images.shape
        rows, columns = self.architecture.factors
        output = np.empty((count, size[0] * rows, size[1] * columns), np.float32)
        largest = self._tile(count, size)
        window = [min(length, edge + 2 * halo) for length, edge, halo in zip(size, largest, self.architecture.halo)]
        for tile in blocks(size, largest):
            alive()
            (top, bottom), (left, right) = tile
            output[:, top * rows : bottom * rows, left * columns : right * columns] = self._refine_tile(images, tile, window)
        return output

    def _refine_tile(self, images: np.ndarray, tile: Region, window: Sequence[int]) -> np.ndarray:
        """The refined tile, from a window that holds its halo wherever the slice goes on.

        All windows of a slice have one size: at a border a window reaches further inwards instead.
        """
        starts = [
            min(max(0, begin - halo), length - size)
            for (begin, _), halo, length, size in zip(tile, self.architecture.halo, images.shape[1:], window)
        ]
        (top, left), (high, wide) = starts, window
        cut = np.ascontiguousarray(images[:, top : top + high, left : left + wide])
        borders = (top == 0, left == 0, top + high == images.shape[1], left + wide == images.shape[2])
        refined = self._infer_once(cut, borders)
        inner = tuple(slice((a - start) * f, (b - start) * f) for (a, b), start, f in zip(tile, starts, self.architecture.factors))
        return refined[(slice(None), *inner)]

    def _infer_once(self, cut: np.ndarray, borders: tuple[bool, ...]) -> np.ndarray:
        """Air and padding are the same everywhere: a constant tile is computed once for each shape."""
        value = cut.flat[0]
        if (cut != value).any():
            return self._infer(cut)
        key = (float(value), cut.shape, borders)
        if key not in self._constants:
            if len(self._constants) >= _KEPT_CONSTANTS:
                self._constants.clear()
            self._constants[key] = self._infer(cut).copy()
        return self._constants[key]


@lru_cache(maxsize=1024)
def best_grid(shape: tuple[int, int], halo: tuple[int, int], factors: tuple[int, int], most_pixels: int) -> tuple[int, int]:
    """Tile size (rows, columns), without halo, that computes the fewest pixels, halos included.

    Args:
        shape: of the slice.
        halo: of the network.
        factors: of the network.
        most_pixels: output pixels that a tile with halo may have at most (kept if a 32 x 32 tile allows it).
    """
    best: tuple[float, tuple[int, int]] | None = None
    cuts = [[n for n in range(1, 129) if n == 1 or length // n >= _SMALLEST_TILE] for length in shape]
    for counts in itertools.product(*cuts):
        size = [-(-length // n) for length, n in zip(shape, counts)]
        full = [min(length, s + 2 * h) for length, s, h in zip(shape, size, halo)]
        pixels = full[0] * full[1] * factors[0] * factors[1]
        cost = pixels * counts[0] * counts[1] * (1.0 if pixels <= most_pixels else 1e9 * pixels)
        if best is None or cost < best[0]:
            best = cost, (size[0], size[1])
    assert best is not None
    return best[1]
