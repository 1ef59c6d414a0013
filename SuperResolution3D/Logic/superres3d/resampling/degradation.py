"""How a scan loses resolution: the models by which low-resolution scans are simulated.

``antialiased_bicubic`` is the degradation of Georgescu 2020: MATLAB's ``imresize`` with its
defaults, i.e. Keys' cubic kernel stretched by the factor, edges mirrored.  ``kspace_truncation`` is that of
Chen 2020: a scanner that measures fewer phase encodings.  ``slice_profile_matrix`` is that of Kudo 2019:
thick slices at a wide interval.  All keep the field of view.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from .interpolation import cubic_kernel, matrix_of_taps


@lru_cache(maxsize=64)
def antialiased_bicubic_matrix(length: int, factor: int) -> np.ndarray:
    """Matrix (ceil(length / factor), length) that shortens a line of voxels by ``factor``.

    Row ``o`` samples the line around ``(o + 0.5) * factor - 0.5`` with a cubic kernel
    stretched by ``factor``; what falls over an edge is mirrored back (half-sample symmetric).
    """
    matrix = _cubic_rows(length, -(-length // factor), factor)
    matrix.setflags(write=False)
    return matrix


def reduction_matrix(length: int, factor: float) -> np.ndarray:
    """Matrix (round(length / factor), length): as :func:`antialiased_bicubic_matrix` for any factor above 1, over the same extent."""
    count = round(length / factor)
    return _cubic_rows(length, count, length / count)


def _cubic_rows(length: int, count: int, step: float) -> np.ndarray:
    """Matrix (count, length) whose rows are cubic kernels stretched by ``step``, ``step`` apart, edges mirrored."""
    centres = (np.arange(count) + 0.5) * step - 0.5
    reach = math.ceil(2 * step)
    taps = np.floor(centres).astype(int)[:, None] + np.arange(-reach, reach + 1)[None, :]
    weights = cubic_kernel((centres[:, None] - taps) / step)
    weights /= weights.sum(axis=1, keepdims=True)
    return matrix_of_taps(taps, weights, length)


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


def kspace_truncation(array: np.ndarray, factors: tuple[int, ...]) -> np.ndarray:
    """Keep the central 1/factor of k-space along each axis (Chen 2020, section 3.4); float32.

    The samples lie at the centres of the larger voxels that the new matrix divides the field of view into
    (a plain inverse transform would leave them at the first of each group of small voxels).

    Args:
        array: (k, j, i), any real dtype.
        factors: one whole factor an axis that divides its length; (1, 2, 2) is the paper's 2 x 2 x 1.

    Raises:
        ValueError: a factor that does not divide its axis.
    """
    result = np.asarray(array, dtype=np.float32)
    for axis, factor in enumerate(factors):
        if factor > 1:
            result = _truncated(result, axis, factor)
    return np.ascontiguousarray(result.real, dtype=np.float32)


def _truncated(array: np.ndarray, axis: int, factor: int) -> np.ndarray:
    length = array.shape[axis]
    if length % factor:
        raise ValueError(f"an axis of {length} voxels cannot be shortened by {factor}; crop it to a multiple")
    kept = length // factor
    frequencies = np.fft.fftfreq(kept, 1 / kept).round().astype(int)  # the central ones, in numpy's order
    spectrum = np.moveaxis(np.fft.fft(array, axis=axis), axis, -1)[..., frequencies]
    centre = np.exp(2j * np.pi * frequencies * (factor - 1) / 2 / length)  # to the middle of each group of voxels
    shortened = np.fft.ifft((spectrum * (centre / factor)).astype(np.complex64), axis=-1)
    return np.moveaxis(shortened, -1, axis)


@lru_cache(maxsize=64)
def cosine_matrices(length: int, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """The lowest frequencies of a line, and the coarser line that they make: k-space truncation without wrap-around.

    The line is continued by its mirror image (half-sample symmetric), so its transform is the cosine transform (DCT-II).

    Returns:
        synthesis (n, n), analysis (n, length), n = length // factor: ``synthesis @ analysis`` keeps all n frequencies (a constant line
        stays as it is), ``synthesis @ diag(weights) @ analysis`` weighs them (:func:`spectral_window`).

    Raises:
        ValueError: a factor that does not divide the length.
    """
    if length % factor:
        raise ValueError(f"a line of {length} voxels cannot be shortened by {factor}; crop it to a multiple")
    count = length // factor
    frequencies = np.arange(count)

    def cosines(points: int) -> np.ndarray:
        return np.cos(np.pi * np.outer((np.arange(points) + 0.5) / points, frequencies))

    synthesis = cosines(count) * np.where(frequencies, 2.0, 1.0)
    analysis = cosines(length).T / length
    for matrix in (synthesis, analysis):
        matrix.setflags(write=False)
    return synthesis, analysis


def spectral_window(count: int, extent: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Weights (..., count) of a scanner's frequencies 0 to ``count - 1``; the last is just below the Nyquist frequency of the coarse line.

    Args:
        count: of frequencies.
        extent: share of the frequencies that was measured (above 0, up to 1, rounded up to whole ones); the others are zero-filled.
        window: a of a + (1 - a) cos over the measured ones: 1 no filter, 0.54 Hamming, 0.5 Hann.
    """
    extent, window = (np.asarray(value, dtype=np.float64)[..., None] for value in (extent, window))
    share = np.arange(count) / (extent * count)
    return np.where(share < 1.0, window + (1.0 - window) * np.cos(np.pi * np.minimum(share, 1.0)), 0.0)


def slice_profile_matrix(length: int, factor: int, sigma: float) -> np.ndarray:
    """Matrix (length // factor, length) that makes thick slices of thin ones (Kudo 2019, section 3.3).

    Slice ``o`` lies at the middle of its ``factor`` thin ones, and is their mean under a Gaussian profile.

    Args:
        length: thin slices, a multiple of ``factor``.
        factor: thin slices an interval.
        sigma: of the profile, in thin slices; 2.35 sigma is the thickness of a slice.  Below 0.3 it takes the nearest alone.
    """
    centres = (np.arange(length // factor) + 0.5) * factor - 0.5
    distance = np.arange(length)[None, :] - centres[:, None]
    weights = np.exp(-0.5 * (distance / max(sigma, 0.3)) ** 2)
    return weights / weights.sum(axis=1, keepdims=True)


@lru_cache(maxsize=8)
def interval_means(fine: int, coarse: int) -> np.ndarray:
    """Matrix (coarse, fine), float32: the means of a line of ``fine`` samples over ``coarse`` equal parts of it, which need not fall between samples."""
    edges = np.arange(coarse + 1) * (fine / coarse)
    starts = np.arange(fine)
    overlap = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    matrix = (np.clip(overlap, 0.0, None) * (coarse / fine)).astype(np.float32)
    matrix.setflags(write=False)
    return matrix
