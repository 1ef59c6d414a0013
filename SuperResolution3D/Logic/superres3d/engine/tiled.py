"""A network on slices or on a volume: turned copies, and tiles that fit the memory and give exactly the result of the whole."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ..networks.blueprint import Survey
from ..networks.families import BASE, Architecture
from ..resampling.interpolation import KERNELS, resize
from .ensemble import Turn, apply_turn, exact_median, undo_turn, variance_of
from .tiling import Region, blocks, cut, extent, scaled, whole, within

#: called between the pieces of a network's work; may raise to stop it
Alive = Callable[[], None]
#: asked during a long piece whether to end it; a network that does raises :class:`PieceStopped`
Stopped = Callable[[], bool]
#: (what draws it, its inputs (N, channels, [D,] H, W) float32, asked whether to stop) -> (N, channels, [D,] H, W) float32, of its own memory
Infer = Callable[[Callable[..., Any], Sequence[np.ndarray], Stopped], np.ndarray]
#: (window (N, [D,] H, W) float32, members, called before each, asked whether to stop; perhaps a list to which the members' variance is added) -> their median, finer by the network's factors
Median = Callable[..., np.ndarray]

_SPARE = 1.6  # what a library needs over the largest layer's maps (measured: 1.0 to 1.5)
_KEPT_CONSTANTS = 64
_MOST_CUTS = 64  # of an axis


class PieceStopped(Exception):
    """A piece of work was ended before it was done."""


class TiledNetwork:
    """Runs a function on windows; may be called from several threads.

    Args:
        architecture: of the network.
        median: of the network over turned copies of a window (N, [D,] H, W) float32, the sides multiples of the network's step; of a residual
            network what is to be added to the input, or to an interpolation of it.
        budget: gives the bytes that a window's feature maps may take.
        float_bytes: of one number of a feature map.
    """

    def __init__(self, architecture: Architecture, median: Median, budget: Callable[[], int], float_bytes: int = 4):
        self.architecture = architecture
        self._median = median
        self._budget = budget
        self._float_bytes = float_bytes
        self._constants: dict[tuple, np.ndarray] = {}

    def pieces(self, shape: Sequence[int], turns: Sequence[Turn], keep: Region | None = None) -> int:
        """How often :meth:`ensemble` will call ``alive`` for images of this shape."""
        passes = self._passes(shape[1:], keep or whole(shape[1:]))
        return len(turns) * sum(len(list(windows(size, survey, self._most_voxels(survey, shape[0]), kept))) for survey, size, kept in passes)

    def ensemble(
        self, images: np.ndarray, turns: Sequence[Turn], alive: Alive, stopped: Stopped, keep: Region | None = None, variance: np.ndarray | None = None
    ) -> np.ndarray:  # fmt: skip
        """Median of the network over copies turned in their slices; it is taken tile by tile, so that whole members never lie in memory together.

        Args:
            images: (N, [D,] H, W) float32 in network units.
            turns: members of the ensemble.
            alive: called before each piece of the work.
            stopped: asked while a piece is at work.
            keep: the region of each image (in input voxels) that is wanted; None: all.
            variance: of the result's shape; filled with the variance of the members, of each voxel.

        Returns:
            (N, [D,] H, W) float32: the wanted region, larger by the network's factors.

        Raises:
            MemoryError: it did not fit; smaller windows may.
        """
        factors, wanted = self.architecture.factors, keep or whole(images.shape[1:])
        [(survey, size, kept)] = self._passes(images.shape[1:], wanted)
        padded = padded_to(images, survey.step)
        output = np.empty((len(images), *extent(scaled(kept, factors))), np.float32)
        spread = None if variance is None else np.empty_like(output)
        for inner, window in windows(size, survey, self._most_voxels(survey, len(images)), kept):
            found: list[np.ndarray] = []
            refined = self._refine_window(cut(padded, window), turns, alive, stopped, *(() if spread is None else (found,)))
            tile, made = scaled(within(inner, kept), factors), scaled(within(inner, window), factors)
            cut(output, tile)[...] = cut(refined, made)
            if spread is not None:
                cut(spread, tile)[...] = cut(found[0], made) if found else 0.0
        if variance is not None and spread is not None:
            variance[...] = cut(spread, scaled(within(wanted, kept), factors))
        output = cut(output, scaled(within(wanted, kept), factors))
        if self.architecture.residual:
            output += interpolated(images, factors, wanted)
        return output

    def _passes(self, shape: Sequence[int], wanted: Region) -> Iterable[tuple[Survey, Sequence[int], Region]]:
        """What is computed of an image of this shape, one after the other: of how much, and which region, in whole steps."""
        step = self.architecture.survey.step
        return [(self.architecture.survey, padded_shape(shape, step), tuple((a // step * step, -(-b // step) * step) for a, b in wanted))]

    def _most_voxels(self, survey: Survey, count: int) -> int:
        """Of a window of ``count`` images, in the samples of the network or of a part of it."""
        return int(self._budget() / voxel_bytes(survey, self._float_bytes) / count)

    def _refine_window(self, given: np.ndarray, turns: Sequence[Turn], alive: Alive, stopped: Stopped, *variance: list[np.ndarray]) -> np.ndarray:
        """The ensemble's median; a constant window (air, padding) is computed once, and its members do not differ."""
        value = given.flat[0]
        if (given != value).any():
            return self._median(given, turns, alive, stopped, *variance)
        key = (float(value), given.shape, tuple(turns))
        known = self._constants.get(key)
        if known is not None:
            for _ in turns:
                alive()
            return known
        if len(self._constants) >= _KEPT_CONSTANTS:
            self._constants.clear()
        known = self._constants[key] = self._median(given, turns, alive, stopped)
        return known


def median_of(infer: Callable[[np.ndarray, Stopped], np.ndarray], exchanged: Callable[[np.ndarray, Stopped], np.ndarray] | None = None) -> Median:
    """The median over turned copies of a function of one window (N, [D,] H, W); the members are computed one after the other.

    Args:
        infer: of a window.
        exchanged: of one whose rows and columns are exchanged (by a quarter turn); None: ``infer``.
    """

    def median(window: np.ndarray, turns: Sequence[Turn], alive: Alive, stopped: Stopped, *variance: list[np.ndarray]) -> np.ndarray:
        members = []
        for turn in turns:
            alive()
            of_copy = exchanged if exchanged and turn[0] % 2 else infer
            members.append(undo_turn(of_copy(np.ascontiguousarray(apply_turn(window, turn)), stopped), turn))
        for wanted in variance:
            wanted.append(variance_of(members))
        return exact_median(members)

    return median


def interpolated(images: np.ndarray, factors: Sequence[int], keep: Region) -> np.ndarray:
    """A region of images (N, [D,] H, W), interpolated from what the kernel reaches around it."""
    reach = [KERNELS[BASE][1] if factor > 1 else 0 for factor in factors]
    near = tuple((max(0, a - r), min(n, b + r)) for (a, b), r, n in zip(keep, reach, images.shape[1:]))
    return cut(resize(cut(images, near), (1, *factors), BASE), scaled(within(keep, near), factors))


def windows(shape: Sequence[int], survey: Survey, most_voxels: int, keep: Region | None = None) -> Iterator[tuple[Region, Region]]:
    """Tiles that fill an image, each with the window that it is computed from.

    Args:
        shape: of the image, multiples of the survey's step.
        survey: of the network or of a part of it.
        most_voxels: of a window.
        keep: the region that the tiles fill, multiples of the step; None: the image.
    """
    step, halo = survey.step, halo_of(survey)
    keep = keep or whole(shape)
    tile = best_tile(extent(keep), tuple(shape), halo, step, most_voxels)
    window = _window(tile, shape, halo)
    for inner in blocks([n // step for n in extent(keep)], [edge // step for edge in tile]):
        inner = tuple((first + a * step, first + b * step) for (a, b), (first, _) in zip(inner, keep))
        # All windows have one size: at a border a window reaches further inwards instead.
        starts = [min(max(0, a - reach), length - edge) for (a, _), reach, length, edge in zip(inner, halo, shape, window)]
        yield inner, tuple((start, start + edge) for start, edge in zip(starts, window))


def padded_to(images: np.ndarray, step: int) -> np.ndarray:
    """Images (N, [D,] H, W), their last planes repeated until the sides are multiples of ``step``."""
    missing = [-n % step for n in images.shape[1:]]
    return np.pad(images, [(0, 0), *((0, n) for n in missing)], mode="edge") if any(missing) else images


def padded_shape(shape: Sequence[int], step: int) -> tuple[int, ...]:
    """Of an image that :func:`padded_to` has filled up."""
    return tuple(-(-n // step) * step for n in shape)


def halo_of(survey: Survey) -> tuple[int, ...]:
    """The receptive radius along each axis, in whole steps."""
    return padded_shape(survey.radius, survey.step)


def voxel_bytes(survey: Survey, float_bytes: int = 4) -> float:
    """Of the feature maps, per sample."""
    return survey.live_floats * _SPARE * float_bytes


def _window(tile: Sequence[int], shape: Sequence[int], halo: Sequence[int]) -> list[int]:
    """Sides of a tile's window."""
    return [min(length, edge + 2 * reach) for edge, length, reach in zip(tile, shape, halo)]


@lru_cache(maxsize=1024)
def best_tile(kept: tuple[int, ...], shape: tuple[int, ...], halo: tuple[int, ...], step: int, most_voxels: int) -> tuple[int, ...]:
    """Tile ([D,] H, W), without halo, that computes the fewest voxels, halos included.

    Args:
        kept: shape of what the tiles fill, multiples of ``step``.
        shape: of the image that it is a part of, multiples of ``step``.
        halo: of the network along each axis, multiples of ``step``.
        step: tiles begin and end at multiples of it.
        most_voxels: that a tile with halo may have (exceeded only by the smallest tile).
    """

    def cost(tile: tuple[int, ...]) -> float:
        voxels = prod(_window(tile, shape, halo))
        return voxels * prod(-(-length // edge) for length, edge in zip(kept, tile)) if voxels <= most_voxels else 1e12 * voxels

    sizes = [sorted({-(-n // step // count) * step for count in range(1, min(n // step, _MOST_CUTS) + 1)}) for n in kept]
    return min(itertools.product(*sizes), key=cost)


# The last is how cuDNN's caller tells that no kernel found room for its workspace.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc", "failed to allocate", "unable to find an engine")


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turns a library's errors on memory, which have no common class, into MemoryError."""
    try:
        yield
    except RuntimeError as error:
        if any(sign in str(error).lower() for sign in _OUT_OF_MEMORY):
            raise MemoryError(str(error).splitlines()[0]) from None
        raise
