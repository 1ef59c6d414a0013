"""How a scan loses resolution: the models by which low-resolution scans are simulated.

``antialiased_bicubic`` is the degradation of Georgescu 2020: MATLAB's ``imresize`` with its
defaults, i.e. Keys' cubic kernel stretched by the factor, edges mirrored.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .interpolation import cubic_kernel


@lru_cache(maxsize=64)
def antialiased_bicubic_matrix(length: int, factor: int) -> np.ndarray:
    """Matrix (ceil(length / factor), length) that shortens a line of voxels by ``factor``.

    Row ``o`` samples the line around ``(o + 0.5) * factor - 0.5`` with a cubic kernel
    stretched by ``factor``; what falls over an edge is mirrored back (half-sample symmetric).
    """
    shortened = -(-length // factor)
    matrix = np.zeros((shortened, length))
    taps = np.arange(-2 * factor - 1, 2 * factor + 2)
    for row in range(shortened):
        centre = (row + 0.5) * factor - 0.5
        index = int(np.floor(centre)) + taps
        weight = cubic_kernel((centre - index) / factor)
        folded = np.mod(index, 2 * length)
        folded = np.where(folded < length, folded, 2 * length - 1 - folded)
        np.add.at(matrix[row], folded, weight / weight.sum())
    matrix.setflags(write=False)
    return matrix


def antialiased_bicubic(array: np.ndarray, factors: tuple[int, ...]) -> np.ndarray:
    """Shorten each axis of ``array`` by its factor; float32, not rounded.

    Args:
        array: (k, j, i), any numeric dtype.
        factors: one whole factor an axis; an axis whose length is no multiple keeps
            a partial last sample, as MATLAB does.
    """
    result = array.astype(np.float32, copy=False)
    for axis, factor in enumerate(factors):
        if factor > 1:
            matrix = antialiased_bicubic_matrix(result.shape[axis], factor).astype(np.float32)
            result = np.moveaxis(np.tensordot(matrix, result, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(result)


def gaussian_kernel_3(sigma: np.ndarray) -> np.ndarray:
    """Three-tap Gaussians, one row a ``sigma`` (voxels): the blur augmentation of
    Georgescu 2020, section III-C.  A sigma of zero gives the identity."""
    sigma = np.atleast_1d(np.asarray(sigma, dtype=np.float64))
    with np.errstate(divide="ignore"):
        side = np.exp(-0.5 / np.square(sigma))
    kernel = np.stack([side, np.ones_like(side), side], axis=1)
    return kernel / kernel.sum(axis=1, keepdims=True)
