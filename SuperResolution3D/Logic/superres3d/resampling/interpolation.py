"""Separable interpolation: nearest, linear, cubic and Lanczos-3; cubic splines.

All kernels are normalised (a constant stays exactly constant) and aligned to the
edges of the field of view: output voxel ``o`` lies at input coordinate
``(o + 0.5) / factor - 0.5``.  Beyond its border a volume goes on with its edge value.

>>> import numpy as np
>>> resize(np.array([[[0.0, 4.0]]]), (1, 1, 2), "linear").tolist()
[[[0.0, 1.0, 3.0, 4.0]]]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

_Kernel = Callable[[np.ndarray], np.ndarray]


def _box(x: np.ndarray) -> np.ndarray:
    return ((x >= -0.5) & (x < 0.5)).astype(np.float64)


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(0.0, 1.0 - np.abs(x))


def cubic_kernel(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -0.5 (IEEE ASSP 29(6), 1981, eq. 15)."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x <= 1.0, near, np.where(x < 2.0, far, 0.0))


def _lanczos3(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < 3.0, np.sinc(x) * np.sinc(x / 3.0), 0.0)


_PIECE_BYTES = 1 << 18
#: name -> (kernel, support radius in input voxels)
KERNELS: dict[str, tuple[_Kernel, int]] = {
    "nearest": (_box, 1),
    "linear": (_triangle, 1),
    "cubic": (cubic_kernel, 2),
    "lanczos": (_lanczos3, 3),
}


def phase_weights(factor: int, kernel: str) -> np.ndarray:
    """Weights of the ``factor`` output phases of one input voxel.

    Returns:
        Array (factor, 2 * radius + 1), float64; column ``radius`` is the voxel itself.
        Every row sums to one.
    """
    function, radius = KERNELS[kernel]
    offsets = (np.arange(factor) + 0.5) / factor - 0.5
    weights = function(offsets[:, None] - np.arange(-radius, radius + 1)[None, :])
    return weights / weights.sum(axis=1, keepdims=True)


def resize_axis(array: np.ndarray, axis: int, factor: int, kernel: str = "lanczos") -> np.ndarray:
    """Refine one axis by a whole factor.

    Args:
        array: any shape; computed in float32 (float64 if it is float64).
        axis: the axis to refine.
        factor: 1 or more.
        kernel: a key of :data:`KERNELS`.

    Returns:
        Array with ``axis`` longer by ``factor``.
    """
    array = array.astype(np.float64 if array.dtype == np.float64 else np.float32, copy=False)
    if factor == 1:
        return array
    axis %= array.ndim
    result = np.empty([n * factor if other == axis else n for other, n in enumerate(array.shape)], array.dtype)
    weights = phase_weights(factor, kernel).astype(array.dtype)
    if array.ndim == 1:
        _refine_axis(array, axis, weights, result)
        return result
    across = 0 if axis else 1
    step = max(1, _PIECE_BYTES * array.shape[across] // max(1, array.nbytes))
    for start in range(0, array.shape[across], step):  # a piece that stays in the cache, in the order of the memory, whatever the axis: three times as fast
        piece = (slice(None),) * across + (slice(start, start + step),)
        _refine_axis(array[piece], axis, weights, result[piece])
    return result


def _refine_axis(array: np.ndarray, axis: int, weights: np.ndarray, result: np.ndarray) -> None:
    """Fill ``result``, in which the axis is longer by the phases of ``weights``."""
    length, radius = array.shape[axis], weights.shape[1] // 2

    def along(part: slice) -> tuple[slice, ...]:
        return (slice(None),) * axis + (part,)

    padded = np.pad(array, [(radius, radius) if other == axis else (0, 0) for other in range(array.ndim)], mode="edge")
    total, term = (np.empty(array.shape, array.dtype) for _ in range(2))
    for phase, row in enumerate(weights):
        taps = np.flatnonzero(row)
        np.multiply(padded[along(slice(taps[0], taps[0] + length))], row[taps[0]], out=total)
        for tap in taps[1:]:
            np.multiply(padded[along(slice(tap, tap + length))], row[tap], out=term)
            total += term
        result[along(slice(phase, None, len(weights)))] = total


def resize(array: np.ndarray, factors: tuple[int | float, ...], kernel: str = "lanczos") -> np.ndarray:
    """Refine every axis of ``array`` (k, j, i) by its factor: a whole one by :func:`resize_axis`, any other, or with
    the kernel "spline", by :func:`resample_axis`."""
    for axis, factor in enumerate(factors):
        if kernel in KERNELS and factor == int(factor):
            array = resize_axis(array, axis, int(factor), kernel)
        elif factor != 1:
            array = resample_axis(array, axis, round(array.shape[axis] * factor), kernel)
    return array


def sampling_matrix(length: int, count: int, kernel: str) -> np.ndarray:
    """Matrix (count, length) that interpolates a line of voxels at ``count`` places over the same extent.

    Args:
        length: voxels of the line.
        count: at least ``length``; for whole multiples this is :func:`resize_axis`.
        kernel: a key of :data:`KERNELS`, or "spline".
    """
    if kernel == "spline":
        return spline_matrix(length, count)
    function, radius = KERNELS[kernel]
    places = _places(length, count)
    taps = np.floor(places).astype(int)[:, None] + np.arange(-radius, radius + 1)[None, :]
    weights = function(places[:, None] - taps)
    weights /= weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((count, length))
    np.add.at(matrix, (np.arange(count)[:, None], np.clip(taps, 0, length - 1)), weights)
    return matrix


def mirrored(taps: np.ndarray, length: int) -> np.ndarray:
    """Places beyond a line of ``length`` voxels, of any shape, folded back into it (half-sample symmetric)."""
    folded = np.mod(taps, 2 * length)
    return np.where(folded < length, folded, 2 * length - 1 - folded)


def matrix_of_taps(taps: np.ndarray, weights: np.ndarray, length: int) -> np.ndarray:
    """Matrix (count, length) of which each row holds its weights at its taps, both (count, taps); edges mirrored."""
    matrix = np.zeros((len(taps), length))
    np.add.at(matrix, (np.arange(len(taps))[:, None], mirrored(taps, length)), weights)
    return matrix


@lru_cache(maxsize=64)
def spline_matrix(length: int, count: int) -> np.ndarray:
    """Interpolating cubic B-spline as a matrix (count, length), edges mirrored (half-sample symmetric)."""
    collocation = np.eye(length) * (2 / 3) + (np.eye(length, k=1) + np.eye(length, k=-1)) / 6
    collocation[0, 0] += 1 / 6
    collocation[-1, -1] += 1 / 6
    places = _places(length, count)
    taps = np.floor(places).astype(int)[:, None] + np.arange(-1, 3)[None, :]
    x = np.abs(places[:, None] - taps)
    weights = np.where(x < 1, 2 / 3 - x**2 + x**3 / 2, np.maximum(0.0, 2 - x) ** 3 / 6)
    basis = matrix_of_taps(taps, weights, length)
    matrix = np.linalg.solve(collocation.T, basis.T).T
    matrix.setflags(write=False)
    return matrix


def resample_axis(array: np.ndarray, axis: int, count: int, kernel: str) -> np.ndarray:
    """An axis at ``count`` places over the same extent, float32 (float64 if it is float64); see :func:`sampling_matrix`."""
    dtype = np.float64 if array.dtype == np.float64 else np.float32
    matrix = sampling_matrix(array.shape[axis], count, kernel).astype(dtype)
    return np.moveaxis(np.tensordot(matrix, array.astype(dtype, copy=False), axes=(1, axis)), 0, axis)


def _places(length: int, count: int) -> np.ndarray:
    """Centres of ``count`` voxels in units of the ``length`` voxels that fill the same extent."""
    return (np.arange(count) + 0.5) * length / count - 0.5
