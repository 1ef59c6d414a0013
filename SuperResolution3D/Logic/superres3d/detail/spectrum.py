"""The power spectrum of a scan along one axis, as the estimator of its loss of detail reads it.

The transfer function of an acquisition multiplies the spectrum of the anatomy, which falls off much the same in all bodies; noise is added
to it.  Pieces of lines with little activity show the noise, those with strong edges the transfer function; whole lines show where the
spectrum ends.
"""

from __future__ import annotations

import numpy as np

PIECE = 32  # voxels of a piece of a line
WHOLE_LINE_BANDS = 48
LEAST_VOXELS = 20  # along an axis
_STEP = 12  # voxels from piece to piece
_SHARES = ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 0.95), (0.95, 0.99), (0.99, 1.0))  # of the pieces, by their activity
_ACTIVITY = slice(1, 5)  # frequencies by whose power the activity is told
_MOST_PIECES = 30_000
_LEAST_LINES, _LEAST_PIECES = 30, 200
_FLOOR, _FLAT = 1e-12, 1e-6

#: numbers that :func:`spectrum_along` gives
COUNT = (len(_SHARES) + 1) * (PIECE // 2) + WHOLE_LINE_BANDS


def spectrum_along(voxels: np.ndarray, axis: int) -> np.ndarray | None:
    """Logarithms of power along an axis.

    Args:
        voxels: three axes, float32 in network units (see :mod:`superres3d.scan.intensity`).
        axis: of the array.

    Returns:
        (:data:`COUNT`,) float64: for six groups of pieces by their activity, and for the upper half of all (there the mean of logarithms), the
        power of 16 frequencies up to that of Nyquist; then that of whole lines in 48 bands.  None where the scan is too small or too empty.
    """
    lines = np.moveaxis(voxels, axis, -1)
    length = lines.shape[-1]
    if length < LEAST_VOXELS:
        return None
    if length < PIECE:
        lines = np.pad(lines, [(0, 0)] * (lines.ndim - 1) + [(0, PIECE - length)], mode="symmetric")
    lines = lines.reshape(-1, lines.shape[-1])
    lines = lines[np.ptp(lines, axis=1) > _FLAT]
    starts = _starts(lines.shape[-1])
    lines = lines[:: max(1, len(lines) * len(starts) // _MOST_PIECES)]
    if len(lines) < _LEAST_LINES:
        return None
    pieces = np.concatenate([lines[:, start : start + PIECE] for start in starts])
    pieces = pieces[np.ptp(pieces, axis=1) > _FLAT]
    if len(pieces) < _LEAST_PIECES:
        return None
    return np.concatenate([_of_pieces(pieces), _of_lines(lines)])


def _starts(length: int) -> np.ndarray:
    """Of pieces that cover a line."""
    room = length - PIECE
    return np.unique(np.linspace(0, room, max(1, -(-room // _STEP) + 1)).astype(int))


def _window(length: int) -> np.ndarray:
    """Hann, without its zeros, of unit power."""
    window = np.hanning(length + 2)[1:-1].astype(np.float32)
    return window / np.sqrt((window**2).sum())


def _of_pieces(pieces: np.ndarray) -> np.ndarray:
    window = _window(PIECE)
    pieces = pieces - (pieces * window**2).sum(1, keepdims=True)
    power = np.abs(np.fft.rfft(pieces * window, axis=1))[:, 1:].astype(np.float64) ** 2
    power = power[np.argsort(power[:, _ACTIVITY].sum(1))]
    count = len(power)
    groups = [power[int(a * count) : max(int(a * count) + 8, int(b * count))] for a, b in _SHARES]
    told = [np.log10(group.mean(0) + _FLOOR) for group in groups]
    return np.concatenate([*told, np.log10(power + _FLOOR)[count // 2 :].mean(0)])


def _of_lines(lines: np.ndarray) -> np.ndarray:
    centred = lines - lines.mean(1, keepdims=True)
    power = (np.abs(np.fft.rfft(centred * _window(lines.shape[1]), axis=1)) ** 2).mean(0)
    bands = (np.arange(WHOLE_LINE_BANDS) + 0.5) / WHOLE_LINE_BANDS
    return np.log10(np.interp(bands, np.linspace(0.0, 1.0, len(power)), power) + _FLOOR)
