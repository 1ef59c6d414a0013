"""Separable interpolation by whole factors: nearest, linear, cubic, Lanczos-3.

All kernels are normalised (a constant stays exactly constant) and aligned to the
edges of the field of view: output voxel ``o`` lies at input coordinate
``(o + 0.5) / factor - 0.5``.  Beyond its border a volume goes on with its edge value.

>>> import numpy as np
>>> resize(np.array([[[0.0, 4.0]]]), (1, 1, 2), "linear").tolist()
[[[0.0, 1.0, 3.0, 4.0]]]
"""

from __future__ import annotations

from collections.abc import Callable

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
    dtype = np.float64 if array.dtype == np.float64 else np.float32
    array = np.moveaxis(array.astype(dtype, copy=False), axis, 0)
    if factor == 1:
        return np.moveaxis(array, 0, axis)
    length = array.shape[0]
    weights = phase_weights(factor, kernel).astype(dtype)
    radius = weights.shape[1] // 2
    padded = np.pad(array, [(radius, radius)] + [(0, 0)] * (array.ndim - 1), mode="edge")
    result = np.empty((length * factor,) + array.shape[1:], dtype)
    for phase, row in enumerate(weights):
        target = result[phase::factor]
        taps = np.flatnonzero(row)
        np.multiply(padded[taps[0] : taps[0] + length], row[taps[0]], out=target)
        for tap in taps[1:]:
            target += row[tap] * padded[tap : tap + length]
    return np.moveaxis(result, 0, axis)


def resize(array: np.ndarray, factors: tuple[int, ...], kernel: str = "lanczos") -> np.ndarray:
    """Refine every axis of ``array`` (k, j, i) by its whole factor; see :func:`resize_axis`."""
    for axis, factor in enumerate(factors):
        array = resize_axis(array, axis, factor, kernel)
    return array
