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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..engine.memory import kept_heap, usable_cores
from ..errors import ModelError
from ..networks.weights import find_model, verified_weights
from ..resampling.threads import in_parts
from .window import REACH, Plane, on_rows, planes, smoothed

MODEL = "error-map"
SIGMA = 1.5  # voxels of the result
_RADIUS = 5
_ROUNDING = np.float32(1e-5)  # of Lanczos in single precision, over the value
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


def windowed(squares: np.ndarray) -> np.ndarray:
    """Mean of (k, j, i) float32 under the Gaussian window; edges repeated."""
    for axis in (0, 1, 2):
        given = np.pad(squares, [(_RADIUS, _RADIUS) if a == axis else (0, 0) for a in range(3)], mode="edge")
        shifted = [given[(slice(None),) * axis + (slice(start, start + squares.shape[axis]),)] for start in range(2 * _RADIUS + 1)]
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

    def fill(begin: int, end: int) -> None:
        before, after = min(begin, REACH), min(len(result) - end, REACH)
        variances = (_variance(scan, result, spread, weights, plane) for plane in planes(scan, result.shape, begin - before, end + after))
        for number, square in enumerate(smoothed(variances, before, after), begin):
            np.sqrt(square, out=expected[number])
            expected[number] *= np.float32(weights.scale)

    with kept_heap():
        in_parts(fill, len(result), usable_cores())
    return expected


def _variance(scan: np.ndarray, result: np.ndarray, spread: np.ndarray | None, weights: Weights, plane: Plane) -> np.ndarray:
    """The weighted squares in a slice, before the window; arguments as :func:`expected_error`."""
    variance = result[plane.number] - plane.lanczos
    variance *= variance
    rougher = _roughness(scan, result.shape, plane.source)
    still = None if rougher.all() else _still(variance, plane.lanczos, rougher)
    variance *= np.float32(weights.correction)
    if spread is not None:
        differing = np.square(spread[plane.number])
        differing *= np.float32(weights.spread)
        variance += differing
    fine, roughness = on_rows(variance, rougher * np.float32(weights.roughness))
    fine += roughness
    if still is not None:
        variance[still] = 0
    return variance


def _still(correction: np.ndarray, lanczos: np.ndarray, rougher: np.ndarray) -> np.ndarray:
    """Where a slice of a result is that of a region of one value, which is kept, however its members differ; squares, but for Lanczos."""
    fine, flat = on_rows(correction, rougher == 0)
    return ((fine <= np.square(_ROUNDING * lanczos).reshape(fine.shape)) & flat).reshape(correction.shape)


def _roughness(scan: np.ndarray, shape: Sequence[int], number: int) -> np.ndarray:
    """Square of the roughness of a slice of the scan, along the axes that are refined."""
    axes = [axis for axis in range(3) if shape[axis] > scan.shape[axis]]
    first = max(0, number - 1) if 0 in axes else number
    return np.square(rough(scan[first : number + 2 if 0 in axes else number + 1], axes)[number - first])
