"""How much fine detail a result has, and how much of it is the truth's: spectra beyond what the coarse scan could hold, and sharpness.

Perceptual measures without a reference ask whether a picture looks like photographs; these ask whether a scan's own frequencies came back.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

STATEMENT = (
    "Power: of the result over that of the truth, summed over the frequencies beyond the coarse scan's Nyquist frequency along a refined axis (Hann window); 1 is the truth, 0 nothing came back. It counts noise and invention as well.",
    "Met: the part of the truth's amplitude there that the result has in phase (cross spectrum over the truth's power): 1 for the truth, 0 for texture that only looks like it.",
    "Sharpness: the mean gradient along the refined axes over the truth's.",
)


def measure_texture(truth: np.ndarray, result: np.ndarray, factors: Sequence[int]) -> dict[str, float]:
    """Power, met and sharpness of a result.

    Args:
        truth: any number of axes, not constant along the refined ones.
        result: of that shape.
        factors: what was refined along each axis; at least one above 1, and such an axis of four voxels or more.

    Returns:
        power, met, sharpness; all 1 for the truth.
    """
    axes = [axis for axis, factor in enumerate(factors) if factor > 1]
    spectra = [_spectrum(array, axes) for array in (truth, result)]
    beyond = _beyond(truth.shape, axes, factors)
    of_truth, of_result = (spectrum[beyond] for spectrum in spectra)
    power = max(float(np.sum(np.abs(of_truth) ** 2)), np.finfo(np.float32).tiny)
    sharp = [float(np.mean([np.mean(np.abs(np.diff(array.astype(np.float64), axis=axis))) for axis in axes])) for array in (truth, result)]
    return {
        "power": float(np.sum(np.abs(of_result) ** 2)) / power,
        "met": float(np.sum((of_result * of_truth.conj()).real)) / power,
        "sharpness": sharp[1] / max(sharp[0], np.finfo(np.float32).tiny),
    }


def _spectrum(array: np.ndarray, axes: list[int]) -> np.ndarray:
    """Along the refined axes alone."""
    windowed = array.astype(np.float64) - float(array.mean())
    for axis in axes:
        windowed *= np.hanning(array.shape[axis] + 2)[1:-1].reshape([-1 if other == axis else 1 for other in range(array.ndim)])
    return np.fft.fftn(windowed, axes=axes)


def _beyond(shape: tuple[int, ...], axes: list[int], factors: Sequence[int]) -> np.ndarray:
    """Where a frequency is too high for the coarse scan along an axis, bool."""
    beyond = np.zeros(shape, bool)
    for axis in axes:
        high = np.abs(np.fft.fftfreq(shape[axis])) > 0.5 / factors[axis]
        beyond |= high.reshape([-1 if other == axis else 1 for other in range(len(shape))])
    return beyond
