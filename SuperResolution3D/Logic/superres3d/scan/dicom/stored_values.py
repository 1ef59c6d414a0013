"""Stored values of 16 bits and the slope and intercept that bring the volume's own values back (PS3.3 C.11.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pydicom import Dataset

_SPAN = 65535
_FEWEST_BITS = 12  # PS3.3 C.8.2.1.1.4 and C.8.3.1.1.2: CT and MR have 16 bits allocated, 12 to 16 of them stored


@dataclass(frozen=True)
class Encoding:
    """How values become stored ones: value = stored * slope + intercept.

    Attributes:
        slope: Rescale Slope (0028,1053).
        intercept: Rescale Intercept (0028,1052).
        signed: Pixel Representation (0028,0103).
        bits: Bits Stored (0028,0101).
        exact: every value comes back as it was; else within half a slope.
    """

    slope: float = 1.0
    intercept: float = 0.0
    signed: bool = False
    bits: int = 16
    exact: bool = True

    @property
    def limits(self) -> tuple[int, int]:
        """Least and greatest stored value."""
        return (-(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1) if self.signed else (0, 2**self.bits - 1)

    def stored(self, values: np.ndarray) -> np.ndarray:
        """Any array of values as stored ones, int16 or uint16."""
        scaled = np.rint((values.astype(np.float64) - self.intercept) / self.slope)
        return np.clip(scaled, *self.limits).astype("<i2" if self.signed else "<u2")

    def holds(self, value: float) -> bool:
        """Whether a value is one of those that can be stored exactly."""
        scaled = (value - self.intercept) / self.slope
        return abs(scaled - round(scaled)) < 1e-6 and self.limits[0] <= round(scaled) <= self.limits[1]


def encoding_of(voxels: np.ndarray, headers: Sequence[Dataset]) -> Encoding:
    """The encoding for a volume: the source's own where it holds every value, else the least change that is exact, else the finest slope.

    Args:
        voxels: (k, j, i), finite.
        headers: of the source's slices; their Rescale Slope and Intercept, Pixel Representation and Bits Stored are looked at.
    """
    low, high = float(voxels.min()), float(voxels.max())
    if voxels.dtype.kind in "iu" or all(np.array_equal(plane, np.rint(plane)) for plane in voxels):
        for encoding in _whole_numbers(low, headers):
            least, greatest = encoding.limits
            if least <= low - encoding.intercept and high - encoding.intercept <= greatest:
                return encoding
    intercept = written(low)
    # A little more than the span in as many steps: rounding to 16 characters must not leave the greatest value out.
    return Encoding(written((high - intercept) / _SPAN * (1 + 1e-9)), intercept, signed=False, exact=False)


def written(number: float) -> float:
    """The number that a Decimal String of 16 characters gives back (PS3.5 6.2)."""
    return float(decimal_string(number))


def decimal_string(number: float) -> str:
    """A number as Decimal String: the most digits that 16 characters hold."""
    from pydicom.valuerep import format_number_as_ds

    text = repr(float(number) + 0.0).removesuffix(".0")
    return text if len(text) <= 16 else format_number_as_ds(float(number))


def rescale_of(header: Dataset) -> tuple[float, float]:
    """(slope, intercept) of a slice, (1, 0) where it has none."""
    try:
        return float(header.get("RescaleSlope", 1) or 1), float(header.get("RescaleIntercept", 0) or 0)
    except (TypeError, ValueError):
        return 1.0, 0.0


def _whole_numbers(low: float, headers: Sequence[Dataset]) -> Iterator[Encoding]:
    """Encodings by a slope of 1, those nearest to the source's first."""
    first = headers[0]
    slopes = {rescale_of(header) for header in headers}
    own = slopes.pop() if len(slopes) == 1 else (1.0, 0.0)
    intercepts = [own[1], 0.0] if own[0] == 1 and own[1].is_integer() else [0.0]
    signed = first.get("PixelRepresentation") == 1
    bits = first.get("BitsStored")
    own_bits = bits if isinstance(bits, int) and _FEWEST_BITS <= bits <= 16 else _FEWEST_BITS
    for intercept in dict.fromkeys(intercepts):
        for form in (signed, not signed):
            for count in dict.fromkeys((own_bits, 16)):
                yield Encoding(1.0, intercept, form, count)
    yield Encoding(1.0, low, False)
