"""The linear intensity scale on which the networks work.

CT keeps its Hounsfield units: [-1024, 3071] HU becomes [0, 1].  MR has no units: the
scan's own [0.1, 99.5] percentiles become [0, 1].  Voxels outside the range that a network
can take are not clipped away: they are split off, interpolated, and added back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CT_RANGE_HU = (-1024.0, 3071.0)
MR_PERCENTILES = (0.1, 99.5)
_SAMPLE = 4_000_000


@dataclass(frozen=True)
class IntensityScale:
    """``normalised = (value - offset) / span``; a network accepts [0, ``ceiling``].

    Attributes:
        offset, span, ceiling: see above.
        floor: the scan's units: no result is below it (a CT's least value; of MR zero, or its least value if that is negative); None: anything may be.
    """

    offset: float
    span: float
    ceiling: float
    floor: float | None = None

    def normalise(self, values: np.ndarray) -> np.ndarray:
        """Values of a scan, (k, j, i) or any other shape, to network units, float32, same shape."""
        return (values.astype(np.float32, copy=False) - np.float32(self.offset)) / np.float32(self.span)

    def restore(self, values: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Network units, (k, j, i) or any other shape, back to the scan's, float32, same shape; into ``out`` if one is given."""
        scaled = np.multiply(values, np.float32(self.span), out=out)
        return np.add(scaled, np.float32(self.offset), out=scaled)

    def split(self, normalised: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """(what the network takes, what lies outside its range or None if nothing does)."""
        inside = np.clip(normalised, 0.0, self.ceiling)
        outside = normalised - inside
        return inside, outside if outside.any() else None


def floor_of(voxels: np.ndarray, modality: str) -> float:
    """What no result is below, in the scan's units; see :class:`IntensityScale`."""
    least = float(voxels.min())
    return least if modality == "CT" else min(0.0, least)


def intensity_scale(voxels: np.ndarray, modality: str) -> IntensityScale:
    """The scale for a scan.

    Args:
        voxels: (k, j, i), any real dtype.
        modality: "CT" or "MR".
    """
    if modality == "CT":
        low, high = CT_RANGE_HU
        return IntensityScale(low, high - low, 1.0, floor_of(voxels, modality))
    step = max(1, round((voxels.size / _SAMPLE) ** (1 / 3)))
    sample = voxels[::step, ::step, ::step]
    low, high = np.percentile(sample, MR_PERCENTILES)
    if high <= low:  # nearly everything is background
        low, high = float(voxels.min()), float(voxels.max())
    return IntensityScale(float(low), float(high - low) or 1.0, 8.0, floor_of(voxels, modality))
