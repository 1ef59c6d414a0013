"""The error to expect around each voxel of a result, from what can be seen without the truth.

Whether a single voxel is too bright or too dark is mostly chance; how large the errors around it are can be told.  What is expected is the
root of the mean square error under a Gaussian window of 1.5 voxels (of the result, along each axis).  Three things tell of it:

- how the networks' turned copies differ (without turned copies: the two slicings of the depth network),
- how far the result is from Lanczos,
- how rough the scan is there: noise, and detail at the limit of its grid.

Their squares, weighted and added, are a variance; so a scan in other units has an expected error in those units.  The weights were fitted on
training scans and chosen on validation scans: ``models/error-map``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ..engine.stages import Regridding
from ..errors import ModelError
from ..networks.weights import find_model, verified_weights

MODEL = "error-map"
SIGMA = 1.5  # voxels of the result
_RADIUS = 5
_SLAB_BYTES = 1 << 25
_TAPS = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / SIGMA) ** 2)
_TAPS = (_TAPS / _TAPS.sum()).astype(np.float32)


@dataclass(frozen=True)
class Weights:
    """Of the squares that make up a variance.

    Attributes:
        spread: of the turned copies' differences.
        correction: of the result minus Lanczos.
        roughness: of the scan minus the mean of its neighbours.
        scale: by which the expected error is multiplied, so that it was right in the mean of the training scans.
    """

    spread: float
    correction: float
    roughness: float
    scale: float


@dataclass(frozen=True)
class Transfer:
    """From a scan made coarser to its own result, fitted on scans whose truth is known.

    Attributes:
        start, slope: the logarithm of the growth is ``start + slope`` times that found on the coarser scan.
        even: share of the expected error's root mean square that is added to the floor: errors are never as uneven as expected.
        fall: so many times the scan's own is added to it; see :mod:`superres3d.trust.fall`.
    """

    start: float
    slope: float
    even: float
    fall: float


@dataclass(frozen=True)
class Bound:
    """How far calibrated errors were off on scans whose truth is known, the calibration fitted on scans of other sources.

    Attributes:
        fall: of scans from this on, up to the next.
        middle: times the map, in the middle of those scans it was above the local error for 90 % of the voxels inside the body.
        middle_held: the shares of the voxels for which it was, on nine of ten scans (least, largest).
        most: times the map, on 19 of 20 scans it was so for 90 % or more.
        most_held: as ``middle_held``.
    """

    fall: float
    middle: float
    middle_held: tuple[float, float]
    most: float
    most_held: tuple[float, float]


def weights_of(modality: str, ensemble: bool) -> Weights:
    """The fitted weights.

    Args:
        modality: "CT" or "MR".
        ensemble: whether the networks had turned copies.

    Raises:
        ModelError: the model is missing or damaged.
    """
    return Weights(*_tensor(_name(modality, ensemble)))


def transfer_of(modality: str, factor: int, across_alone: bool) -> Transfer:
    """How a calibration carries over.

    Args:
        modality: "CT" or "MR".
        factor: the largest that was asked for, 2 or 4.
        across_alone: slices alone are refined.

    Raises:
        ModelError: the model is missing or damaged.
    """
    return Transfer(*_tensor(f"{modality.lower()}.transfer.{factor}.{'across' if across_alone else 'within'}"))


def bound_of(fall: float) -> Bound:
    """For a scan (ModelError: the model is missing or damaged); softer ones than were met count as the softest."""
    rows = sorted(zip(*[iter(_tensor("bounds"))] * 7))
    found = [row for row in rows if row[0] <= fall] or rows[:1]
    start, middle, low, high, most, least, largest = found[-1]
    return Bound(start, middle, (low, high), most, (least, largest))


def _name(modality: str, ensemble: bool) -> str:
    return f"{modality.lower()}.{'ensemble' if ensemble else 'single'}"


def _tensor(name: str) -> list[float]:
    from safetensors.numpy import load

    try:
        return [float(value) for value in load(verified_weights(find_model(MODEL)))[name].ravel()]
    except (KeyError, ValueError) as error:
        raise ModelError(f"The model {MODEL} cannot be used ({type(error).__name__}: {error}); install the package again.") from None


def windowed(squares: np.ndarray, pad: Sequence[bool] = (True, True, True)) -> np.ndarray:
    """Mean under the Gaussian window; edges repeated.

    Args:
        squares: (k, j, i) float32.
        pad: axes that end at a border; the others lose five voxels at either end.
    """
    for axis in (0, 1, 2):
        given = np.pad(squares, [(_RADIUS, _RADIUS) if a == axis and pad[axis] else (0, 0) for a in range(3)], mode="edge")
        length = given.shape[axis] - 2 * _RADIUS
        shifted = [given[(slice(None),) * axis + (slice(start, start + length),)] for start in range(2 * _RADIUS + 1)]
        squares = shifted[_RADIUS] * _TAPS[_RADIUS]
        for reach in range(1, _RADIUS + 1):
            squares += (shifted[_RADIUS - reach] + shifted[_RADIUS + reach]) * _TAPS[_RADIUS - reach]
    return squares


def local_error(result: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """What the map is to tell, where the truth is known: root of the mean square error under the window.

    Args:
        result, truth: (k, j, i), of one shape.
    """
    return np.sqrt(windowed(np.square(result.astype(np.float32) - truth)))


def rough(scan: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """The scan minus the mean of its neighbours along some axes, float32; at a border the voxel itself stands in for the one beyond."""
    scan = scan.astype(np.float32)
    total = np.zeros(scan.shape, np.float32)
    for axis in axes:
        padded = np.pad(scan, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        for start in (0, 2):
            total += padded[(slice(None),) * axis + (slice(start, start + scan.shape[axis]),)]
    return scan - total / np.float32(2 * len(axes)) if axes else total


@dataclass(frozen=True)
class Slab:
    """Some slices of a finer grid.

    Attributes:
        first, last: the slices that it is for.
        around: those that the window needs, start and stop.
        lanczos: the scan by Lanczos in ``around``, float32.
    """

    first: int
    last: int
    around: tuple[int, int]
    lanczos: np.ndarray

    borders = (False, True, True)  # as :func:`windowed` takes them: along k, :meth:`padded` has done it

    def padded(self, array: np.ndarray) -> np.ndarray:
        """Values in ``around``, the border's slices repeated where the volume ends."""
        return np.pad(array, [(_RADIUS - (self.first - self.around[0]), _RADIUS - (self.around[1] - self.last)), (0, 0), (0, 0)], mode="edge")


def slabs(scan: np.ndarray, shape: Sequence[int]) -> Iterator[Slab]:
    """The slabs of a finer grid, one after the other.

    Args:
        scan: (k, j, i), any real dtype.
        shape: of the finer grid, over the same extent.
    """
    regrid = Regridding("lanczos", scan.shape, shape)
    count = max(1, int(_SLAB_BYTES / (4 * prod(shape[1:]))))
    given, within = (tuple((0, n) for n in sizes[1:]) for sizes in (scan.shape, shape))
    for first in range(0, shape[0], count):
        last = min(shape[0], first + count)
        around = max(0, first - _RADIUS), min(shape[0], last + _RADIUS)
        low, high = _coarse(around, scan.shape[0] / shape[0], regrid.halo[0], scan.shape[0])
        yield Slab(first, last, around, regrid(scan[low:high], ((low, high), *given), (around, *within), lambda share: None))


def variance_in(scan: np.ndarray, result: np.ndarray, spread: np.ndarray | None, weights: Weights, slab: Slab) -> np.ndarray:
    """The weighted squares around a slab, before the window; arguments as :func:`expected_error`."""
    start, stop = slab.around
    variance = np.square(result[start:stop] - slab.lanczos)
    variance *= np.float32(weights.correction)
    if spread is not None:
        variance += np.float32(weights.spread) * np.square(spread[start:stop])
    variance += np.float32(weights.roughness) * _refined_roughness(scan, result.shape, start, stop)
    return variance


def expected_error(scan: np.ndarray, result: np.ndarray, spread: np.ndarray | None, weights: Weights) -> np.ndarray:
    """The error to expect, before the scan itself has been asked.

    Args:
        scan: (k, j, i), any real dtype.
        result: finer, over the same extent.
        spread: of the result's shape; see :class:`superres3d.upscaling.Result`.
        weights: see :class:`Weights`.

    Returns:
        (k, j, i) float32, of the result's shape, in the scan's units.
    """
    expected = np.empty(result.shape, np.float32)
    for slab in slabs(scan, result.shape):
        squares = windowed(slab.padded(variance_in(scan, result, spread, weights, slab)), slab.borders)
        np.sqrt(squares, out=expected[slab.first : slab.last])
        expected[slab.first : slab.last] *= np.float32(weights.scale)
    return expected


def _coarse(fine: tuple[int, int], step: float, reach: int, length: int) -> tuple[int, int]:
    """Slices of the scan that fine ones depend on."""
    return max(0, int(fine[0] * step) - reach), min(length, int(np.ceil(fine[1] * step)) + reach)


def _refined_roughness(scan: np.ndarray, shape: Sequence[int], start: int, stop: int) -> np.ndarray:
    """Square of the scan's roughness in fine slices: each voxel has that of the scan's voxel in which it lies."""
    axes = [axis for axis in range(3) if shape[axis] > scan.shape[axis]]
    steps = [n / wanted for n, wanted in zip(scan.shape, shape)]
    low, high = _coarse((start, stop), steps[0], 1, scan.shape[0])
    found = np.square(rough(scan[low:high], axes))
    places = [np.minimum(((np.arange(n) + 0.5) * step).astype(int), length - 1) for n, step, length in zip(shape, steps, scan.shape)]
    return found[np.ix_(places[0][start:stop] - low, places[1], places[2])]
