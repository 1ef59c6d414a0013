"""A network on a CPU: turned copies, tiles that fit the memory, and constant tiles only once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from ..ensemble import Turn, apply_turn, exact_median, undo_turn
from ..interpolation import resize
from ..networks.architecture import Architecture
from ..tiling import blocks
from . import Alive

_SMALLEST_TILE = 32
_KEPT_CONSTANTS = 64


class TiledNetwork:
    """Runs a function on tiles; may be called from several threads.

    Args:
        architecture: of the network.
        infer: (N, H, W) float32 to (N, H * factors[0], W * factors[1]) float32; of a residual
            network only what is to be added to the cubic interpolation, if ``correction_only``.
        map_floats: gives the most floats that the largest feature map of a call may have.
    """

    def __init__(self, architecture: Architecture, infer: Callable[[np.ndarray], np.ndarray], map_floats: Callable[[], int], correction_only: bool):
        self.architecture = architecture
        self._infer = infer
        self._map_floats = map_floats
        self._adds_base = correction_only and architecture.residual
        self._constants: dict[tuple, np.ndarray] = {}

    def pieces(self, shape: Sequence[int], turns: Sequence[Turn]) -> int:
        count, *size = shape
        return len(turns) * len(list(blocks(size, self._tile(count, size))))

    def ensemble(self, images: np.ndarray, turns: Sequence[Turn], alive: Alive) -> np.ndarray:
        """The median is taken tile by tile, so that the members of a whole slice never lie in memory together."""
        count, *size = images.shape
        factors = self.architecture.factors
        output = np.empty((count, size[0] * factors[0], size[1] * factors[1]), np.float32)
        largest = self._tile(count, size)
        window = [min(length, edge + 2 * halo) for length, edge, halo in zip(size, largest, self.architecture.halo)]
        for tile in blocks(size, largest):
            starts = [
                min(max(0, begin - halo), length - edge)
                for (begin, _), halo, length, edge in zip(tile, self.architecture.halo, size, window)
            ]
            refined = self._refine_window(images, starts, window, turns, alive)
            inner = (slice((a - start) * f, (b - start) * f) for (a, b), start, f in zip(tile, starts, factors))
            place = (slice(a * f, b * f) for (a, b), f in zip(tile, factors))
            output[(slice(None), *place)] = refined[(slice(None), *inner)]
        if self._adds_base:
            output += resize(images, (1, *factors), "cubic")
        return output

    def _tile(self, count: int, size: Sequence[int]) -> tuple[int, int]:
        return best_grid((size[0], size[1]), self.architecture.halo, self._map_floats() // (count * self.architecture.widest))

    def _refine_window(self, images: np.ndarray, starts: Sequence[int], window: Sequence[int], turns: Sequence[Turn], alive: Alive) -> np.ndarray:
        """The ensemble's median on a window that holds a tile's halo wherever the slice goes on.

        All windows of a slice have one size: at a border a window reaches further inwards instead.
        Air and padding are the same everywhere: a constant window is computed once for each kind of place.
        """
        (top, left), (high, wide) = starts, window
        cut = images[:, top : top + high, left : left + wide]
        value = cut.flat[0]
        if (cut != value).any():
            return self._median(cut, turns, alive)
        borders = (top == 0, left == 0, top + high == images.shape[1], left + wide == images.shape[2])
        key = (float(value), cut.shape, borders, tuple(turns))
        known = self._constants.get(key)
        if known is None:
            if len(self._constants) >= _KEPT_CONSTANTS:
                self._constants.clear()
            known = self._constants[key] = self._median(cut, turns, alive)
        else:
            for _ in turns:
                alive()
        return known

    def _median(self, cut: np.ndarray, turns: Sequence[Turn], alive: Alive) -> np.ndarray:
        members = []
        for turn in turns:
            alive()
            # Copies: the runtime wants its input in one piece, and gives a view of a buffer that it will use again.
            members.append(undo_turn(self._infer(apply_turn(cut, turn).copy()).copy(), turn))
        return exact_median(members)


class memory_errors:
    """Turns a library's errors on memory, which have no common class, into MemoryError."""

    # The last is how cuDNN's caller tells that no kernel found room for its workspace.
    _SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc", "failed to allocate", "unable to find an engine")

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in self._SIGNS):
            raise MemoryError(str(error).splitlines()[0]) from None


@lru_cache(maxsize=1024)
def best_grid(shape: tuple[int, int], halo: tuple[int, int], most_pixels: int) -> tuple[int, int]:
    """Tile size (rows, columns), without halo, that computes the fewest pixels, halos included.

    Args:
        shape: of the slice.
        halo: of the network.
        most_pixels: that a tile with halo may have at most (kept if a 32 x 32 tile allows it).
    """
    best: tuple[float, tuple[int, int]] | None = None
    cuts = [[n for n in range(1, 129) if n == 1 or length // n >= _SMALLEST_TILE] for length in shape]
    for counts in itertools.product(*cuts):
        size = [-(-length // n) for length, n in zip(shape, counts)]
        full = [min(length, s + 2 * h) for length, s, h in zip(shape, size, halo)]
        pixels = full[0] * full[1]
        cost = pixels * counts[0] * counts[1] * (1.0 if pixels <= most_pixels else 1e9 * pixels)
        if best is None or cost < best[0]:
            best = cost, (size[0], size[1])
    assert best is not None
    return best[1]
