"""Stored numbers to values: slope * stored + intercept."""

from __future__ import annotations

import numpy as np

_INTEGERS = ("int16", "uint16", "int32", "uint32")


def scaled(stored: np.ndarray, slope: float, intercept: float) -> tuple[np.ndarray, list[str]]:
    """The values, and a note if their type is another than the stored one.

    Integers stay integers where slope and intercept are whole numbers and an integer type of up to 32 bits holds the values: the stored type if it does.
    Otherwise the values are float32, computed in float64.

    Args:
        stored: (k, j, i), integers or floating-point numbers.
        slope, intercept: finite.
    """
    if (slope, intercept) == (1.0, 0.0):
        return stored, []
    whole = _integer_type(stored, slope, intercept)
    dtype = whole or np.dtype(np.float32)
    values = np.empty(stored.shape, dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is refused with the rest
        for number, piece in enumerate(stored):
            values[number] = piece.astype(np.int64) * int(slope) + int(intercept) if whole else piece.astype(np.float64) * slope + intercept
    if dtype == stored.dtype:
        return values, []
    return values, [f"The scale in the header was applied ({slope:.6g} times the stored value{f' {intercept:+.6g}' if intercept else ''}): {stored.dtype} became {dtype}."]


def _integer_type(stored: np.ndarray, slope: float, intercept: float) -> np.dtype | None:
    if stored.dtype.kind not in "iu" or not (slope == int(slope) and intercept == int(intercept)):
        return None
    ends = [int(end) * int(slope) + int(intercept) for end in (stored.min(), stored.max())]
    for dtype in dict.fromkeys([stored.dtype, *map(np.dtype, _INTEGERS)]):
        if dtype.itemsize <= 4 and np.iinfo(dtype).min <= min(ends) and max(ends) <= np.iinfo(dtype).max:
            return dtype
    return None
