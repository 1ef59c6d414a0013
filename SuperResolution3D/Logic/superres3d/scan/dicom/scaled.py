"""The values that are meant: stored value x slope + intercept, slice by slice, in a type that holds them all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_WHOLE_NUMBERS = ("int16", "uint16", "int32", "uint32")
_LARGEST_WHOLE = 2**31


def scaled_values(stored: np.ndarray, scales: Sequence[tuple[float, float]]) -> np.ndarray:
    """Apply Rescale Slope and Intercept (PS3.3 C.11.1.1.2).

    Args:
        stored: (k, j, i); its memory may become that of the result.
        scales: (slope, intercept) of each slice.

    Returns:
        (k, j, i): the stored type where nothing is to be done; whole numbers, exact, where all slopes and intercepts are; float32 otherwise.
    """
    if all(scale == (1.0, 0.0) for scale in scales):
        return stored
    if stored.dtype.kind in "iu" and all(_is_whole(slope) and _is_whole(intercept) for slope, intercept in scales):
        dtype = _whole_type(stored, scales)
        if dtype is not None:
            return _whole(stored, scales, dtype)
    result = np.empty(stored.shape, np.float32)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        for index, (slope, intercept) in enumerate(scales):
            result[index] = stored[index].astype(np.float64) * slope + intercept
    return result


def _is_whole(number: float) -> bool:
    return number == int(number) and abs(number) < _LARGEST_WHOLE


def _whole_type(stored: np.ndarray, scales: Sequence[tuple[float, float]]) -> np.dtype | None:
    """The first type that holds the values of all slices, None where none does."""
    ends = [int(end) * int(slope) + int(intercept) for slice_, (slope, intercept) in zip(stored, scales) for end in (slice_.min(), slice_.max())]
    kept = stored.dtype.name if stored.dtype.name in ("int8", "uint8") else _WHOLE_NUMBERS[0]
    fitting = (np.iinfo(name) for name in (kept, *_WHOLE_NUMBERS))
    return next((limits.dtype for limits in fitting if limits.min <= min(ends) and max(ends) <= limits.max), None)


def _whole(stored: np.ndarray, scales: Sequence[tuple[float, float]], dtype: np.dtype) -> np.ndarray:
    """Arithmetic modulo the type's range, which is exact where the results fit; in place where the size is the same."""
    result = stored.view(dtype) if dtype.itemsize == stored.dtype.itemsize else stored.astype(dtype)
    unsigned = result.view(f"u{dtype.itemsize}")
    for slice_, (slope, intercept) in zip(unsigned, scales):
        slice_ *= unsigned.dtype.type(int(slope) % 2 ** (8 * dtype.itemsize))
        slice_ += unsigned.dtype.type(int(intercept) % 2 ** (8 * dtype.itemsize))
    return result
