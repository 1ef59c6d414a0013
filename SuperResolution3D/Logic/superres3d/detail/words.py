"""What was measured of a scan, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .estimator import FREQUENCIES, AxisDetail
from .measure import Detail

_HALF = 0.5  # of the detail
_ALL_MEASURED = 0.93  # share of the frequencies from which an axis counts as measured whole
_NAMES = "kji"


def axes_of(detail: Detail, slice_axis: int) -> dict[str, AxisDetail | None]:
    """By the scan's own axis, "i", "j" and "k".

    Args:
        detail: measured with the slices first.
        slice_axis: of the scan's array (k, j, i).
    """
    within = [axis for axis in range(3) if axis != slice_axis]
    found = {_NAMES[axis]: part for axis, part in zip((slice_axis, *within), (detail.across, detail.rows, detail.columns))}
    return {name: found[name] for name in "ijk"}


def resolution(axis: AxisDetail, spacing: float) -> float:
    """Millimetres between voxels that could hold what the scan shows along an axis: where half of the detail is left, or where the spectrum ends.

    Args:
        axis: measured.
        spacing: millimetres between the voxels.
    """
    shares, transfer = (0.0, *FREQUENCIES), (1.0, *axis.transfer)
    half = 1.0
    for (low, high), (before, after) in zip(zip(shares, shares[1:]), zip(transfer, transfer[1:])):
        if after < _HALF <= before:
            half = low + (high - low) * (before - _HALF) / (before - after)
            break
    return spacing / min(half, axis.extent if axis.extent < _ALL_MEASURED else 1.0)


def sentences(detail: Detail, spacing: Sequence[float], slice_axis: int) -> list[str]:
    """One an axis, and one on the noise.

    Args:
        detail: measured with the slices first.
        spacing: millimetres along (i, j, k).
        slice_axis: of the scan's array (k, j, i).
    """
    told = [_of_axis(name, axis, distance) for (name, axis), distance in zip(axes_of(detail, slice_axis).items(), spacing)]
    noise = noise_of(detail)
    return told if noise is None else [*told, f"Noise: standard deviation about {noise:.2g}, before the scanner's filter."]


def resolutions(detail: Detail, spacing: Sequence[float], slice_axis: int) -> list[float | None]:
    """Millimetres along (i, j, k), as :func:`resolution`; None where nothing was measured; arguments as :func:`sentences`."""
    return [None if axis is None else resolution(axis, distance) for axis, distance in zip(axes_of(detail, slice_axis).values(), spacing)]


def noise_of(detail: Detail) -> float | None:
    """Standard deviation in the scan's own units, of the axes within the slices; None where nothing was measured."""
    noises = [axis.noise * detail.noise_unit for axis in (detail.rows, detail.columns) if axis]
    return float(np.mean(noises)) if noises else None


def _of_axis(name: str, axis: AxisDetail | None, spacing: float) -> str:
    if axis is None:
        return f"Axis {name}: too short or too empty to measure its resolution."
    found = resolution(axis, spacing)
    left = f"{100 * axis.transfer[-1]:.0f} % of the detail left near the finest that {spacing:.3g} mm can hold"
    if axis.extent < _ALL_MEASURED:
        left = f"the finest {100 * (1 - axis.extent):.0f} % of the frequencies are empty (zero-filled or interpolated)"
    return f"Axis {name}: stored at {spacing:.3g} mm, resolution {'as stored' if found < 1.1 * spacing else f'about {found:.2g} mm'}; {left}."
