"""Where the spectrum of a scan ends: what lies beyond was not measured but filled with zeros, or interpolated.

A spectrum that ends does so in a step, where one that merely falls off does not.  The magnitude image, rounding and a scanner's
corrections fill what lies beyond again, but weakly.
"""

from __future__ import annotations

import numpy as np

_LEAST_BANDS = 30  # frequencies of a line
_LEAST_LINES, _MOST_LINES = 30, 6000
_LOWEST, _HIGHEST = 0.3, 0.92  # share of the Nyquist frequency where an end is looked for
_CLEAR_STEP, _CONFIRMED_STEP = 6.0, 4.0  # dB; the smaller where the estimator of the detail tells of an end there, too
_MOST_APART = 0.12  # share, of the two
_STEEPER = 2.5  # dB, than the spectrum falls before
_MOST_RISE = 1.0  # dB, of any frequency beyond the end


def end_of_spectrum(voxels: np.ndarray, axis: int, told: float = 1.0) -> float | None:
    """Share of the frequencies up to that of Nyquist that were measured along an axis; None where no end of the spectrum is sure.

    Args:
        voxels: three axes, any real dtype.
        axis: of the array.
        told: the share that the estimator of the detail tells (:attr:`superres3d.detail.estimator.AxisDetail.extent`); 1: none.
    """
    found = end_and_step(voxels, axis, told)
    return None if found is None else found[0]


def end_and_step(voxels: np.ndarray, axis: int, told: float = 1.0) -> tuple[float, float] | None:
    """As :func:`end_of_spectrum`, and the step there, dB."""
    power = _decibels(voxels, axis)
    if power is None:
        return None
    width = max(3, len(power) // 32)
    places = range(max(2 * width + 1, int(_LOWEST * len(power))), int(_HIGHEST * len(power)) - width)
    steps = [power[place - width : place].mean() - power[place + 1 : place + 1 + width].mean() for place in places]
    if not steps:
        return None
    place, step = places[int(np.argmax(steps))], max(steps)
    share = (place + 1.0) / len(power)
    least = _CONFIRMED_STEP if told < 0.9 and abs(told - share) < _MOST_APART else _CLEAR_STEP
    before, beyond = power[place - 2 * width : place - width], power[place + 1 :]
    falls = before.mean() - power[place - width : place].mean()
    ends = step >= least and step - falls >= _STEEPER and beyond.max() < power[place - width : place].mean() - least + _MOST_RISE
    return (float(share), float(step)) if ends else None


def _decibels(voxels: np.ndarray, axis: int) -> np.ndarray | None:
    """Mean power of whole lines, without that of frequency 0."""
    lines = np.moveaxis(voxels, axis, -1)
    lines = lines.reshape(-1, lines.shape[-1]).astype(np.float32)
    lines = lines[np.ptp(lines, axis=1) > 0]
    if lines.shape[1] < 2 * _LEAST_BANDS or len(lines) < _LEAST_LINES:
        return None
    lines = lines[:: -(-len(lines) // _MOST_LINES)]
    window = np.hanning(lines.shape[1] + 2)[1:-1].astype(np.float32)
    spectrum = np.fft.rfft((lines - lines.mean(1, keepdims=True)) * window, axis=1)
    return 10 * np.log10((np.abs(spectrum) ** 2).mean(0)[1:] + 1e-12)
