"""Where the spectrum of a scan ends: what lies beyond was not measured but filled with zeros, or interpolated.

A spectrum that ends does so in a step, where one that merely falls off does not.  The magnitude image, rounding and a scanner's
corrections fill what lies beyond again, but weakly.  How large a step must be to count depends on whether the estimator of the detail,
which looks at the whole spectrum, tells of an end as well.  This is the one place that decides it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .estimator import AxisDetail

_LEAST_BANDS = 30  # frequencies of a line
_LEAST_LINES, _MOST_LINES = 30, 6000
_LOWEST, _HIGHEST = 0.3, 0.92  # share of the Nyquist frequency where an end is looked for
#: dB: where the estimator tells of an end at that place; where it tells nothing, or of an end elsewhere; where it tells that there is none.
#: 19 and more where spectra of validation and training scans were cut, 6 to 7.4 where a filter that falls off was taken for an end
_CONFIRMED_STEP, _STEP, _CERTAIN_STEP = 4.0, 6.0, 10.0
_NEARLY_WHOLE = 0.9  # extent that the estimator tells: up to 0.87 where 40 to 80 % of a spectrum were left, 0.92 and more under such a filter
#: share, of an end and such an extent: 0.21 at most of ends in scans as they are, where corrections have filled the rest again
_MOST_APART, _MOST_APART_TOLD = 0.12, 0.23
_STEEPER = 2.5  # dB, than the spectrum falls before
_MOST_RISE = 1.0  # dB, of any frequency beyond the end


@dataclass(frozen=True)
class End:
    """An end of a spectrum.

    Attributes:
        share: of the frequencies up to that of Nyquist, measured.
        step: how far the spectrum falls there, dB.
        certain: enough to make the scan coarser; else only enough to be told to a user.
    """

    share: float
    step: float
    certain: bool


def end_of_spectrum(voxels: np.ndarray, axis: int, found: AxisDetail | None = None) -> End | None:
    """How much of the spectrum along an axis was measured; None where no end of it is sure.

    Args:
        voxels: three axes, any real dtype.
        axis: of the array.
        found: what the estimator of the detail tells of that axis; None: nothing.
    """
    power = _decibels(voxels, axis)
    end = None if power is None else _largest_step(power, found)
    if end is None or found is None:
        return end
    counts = [_supported(end, found, apart) for apart in (_MOST_APART_TOLD, _MOST_APART)]
    return End(end.share, end.step, counts[1]) if counts[0] else None


def _supported(end: End, found: AxisDetail, most_apart: float) -> bool:
    """Whether an end is one: by its step, or since the estimator, too, tells of an end along that axis."""
    return end.step >= _CERTAIN_STEP or found.extent < _NEARLY_WHOLE or found.extent - end.share < most_apart


def _largest_step(power: np.ndarray, found: AxisDetail | None) -> End | None:
    """Where the power, dB, of the frequencies from the first to that of Nyquist falls most, if it ends there."""
    width = max(3, len(power) // 32)
    places = range(max(2 * width + 1, int(_LOWEST * len(power))), int(_HIGHEST * len(power)) - width)
    steps = [power[place - width : place].mean() - power[place + 1 : place + 1 + width].mean() for place in places]
    if not steps:
        return None
    place, step = places[int(np.argmax(steps))], max(steps)
    share = (place + 1.0) / len(power)
    confirmed = found is not None and found.extent < _NEARLY_WHOLE and abs(found.extent - share) < _MOST_APART
    least = _CONFIRMED_STEP if confirmed else _STEP
    before, beyond = power[place - 2 * width : place - width], power[place + 1 :]
    falls = before.mean() - power[place - width : place].mean()
    ends = step >= least and step - falls >= _STEEPER and beyond.max() < power[place - width : place].mean() - least + _MOST_RISE
    return End(float(share), float(step), True) if ends else None


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
