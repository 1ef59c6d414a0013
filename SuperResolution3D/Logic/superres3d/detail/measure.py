"""The detail of a scan, measured on the scan itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..scan.intensity import intensity_scale
from .estimator import AxisDetail, estimate
from .spectrum import spectrum_along

#: standard deviation of the noise that is told as 1, in network units
NOISE_UNIT = {"CT": 0.02, "MR": 0.025}
_MOST_SLICES = 20
_MOST_LINES = 96  # of a slice, for the axis across the slices


@dataclass(frozen=True)
class Detail:
    """What a scan shows, along (slices, rows, columns); None along an axis that is too short, or in a scan that is too empty.

    Attributes:
        across: the axis across the slices.
        rows, columns: the axes within them (the second and the third of the array, slices first).
        noise_unit: of the scan's own intensities; times an axis's noise it is the standard deviation.
    """

    across: AxisDetail | None
    rows: AxisDetail | None
    columns: AxisDetail | None
    noise_unit: float


def measure_detail(voxels: np.ndarray, modality: str) -> Detail:
    """What is left of a scan's detail along its axes, and its noise.

    Args:
        voxels: (slices, rows, columns), any real dtype; a part of the slices is read for the axes within them, a part of the rows for that across.
        modality: "CT" or "MR".

    Raises:
        ModelError: the estimator is missing or damaged.
    """
    scale = intensity_scale(voxels, modality)
    within = scale.normalise(part_along(voxels, 1))
    rows, columns = (spectrum_along(within, axis) for axis in (1, 2))
    if rows is None or columns is None:
        return Detail(None, None, None, NOISE_UNIT[modality] * scale.span)
    across = spectrum_along(scale.normalise(part_along(voxels, 0)), 0)
    return Detail(
        None if across is None else estimate(np.concatenate([across, (rows + columns) / 2]), modality, "depth"),
        estimate(np.concatenate([rows, columns]), modality, "plane"),
        estimate(np.concatenate([columns, rows]), modality, "plane"),
        NOISE_UNIT[modality] * scale.span,
    )


def part_along(voxels: np.ndarray, axis: int) -> np.ndarray:
    """The part of a scan (slices, rows, columns) on which an axis is measured: some slices, or for the axis across them some rows."""
    return voxels[_inner(len(voxels), _MOST_SLICES)] if axis else voxels[:, _inner(voxels.shape[1], _MOST_LINES)]


def _inner(length: int, most: int) -> slice:
    """At most so many neighbours, evenly about the middle three quarters of an axis."""
    first, last = length // 8, length - length // 8
    room = last - first
    return slice(first, last) if room <= most else slice((length - most) // 2, (length - most) // 2 + most)


def each(detail: Detail) -> Iterator[tuple[str, AxisDetail]]:
    """The axes that were measured, by name."""
    for name in ("across", "rows", "columns"):
        found = getattr(detail, name)
        if found is not None:
            yield name, found
