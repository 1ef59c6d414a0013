"""A scan that is stored finer than it was measured, brought back to its measured grid before the networks.

Networks have to undo a loss of detail at the finest that the grid can hold.  Where a scanner filled the spectrum with zeros, or interpolated, there is nothing at
the finest, and what was lost lies in the middle of the spectrum: out of their reach.  On the measured grid the loss is where they look for it.

Kept where it helped on validation scans (models/EXPERIMENTS.md): where the spectrum was filtered as well, so that the networks can be told of it
on the measured grid, and in CT where half of the matrix was measured along both axes of the slices.  Elsewhere networks on the stored grid are as good or better.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil

import numpy as np

from ..resampling.spectral_crop import cropped
from .ending import End, end_of_spectrum
from .measure import Detail, measure_detail, part_along, side_by_side
from .telling import axes_of, is_worth_telling
from .words import resolution

#: of (slices, rows, columns), those that a stage refines
AXES = {"depth": (0,), "plane": (1, 2)}
_NAMES = ("across", "rows", "columns")
_LARGEST = 0.75  # share of the frequencies: with more there is too little to bring back
_HALF = 0.56  # of CT: with less along every axis, networks that are told nothing are better on the measured grid, too
_FEWEST = 24  # voxels that are left of an axis
_MOST_TIMES = 6.0  # finer than the measured detail: networks bring back 4 times, from where half of it is left
_MOST_UNSURE = 0.2


@dataclass(frozen=True)
class MeasuredGrid:
    """Where the spectrum of a scan ends, and what is done about it.

    Attributes:
        ends: share of the frequencies that was measured, by axis of the scan (slices, rows, columns); only where that is sure.
        used: axes that are brought back.
        unsure: axes along which the spectrum seems to end, but not at a sure place.
        detail: what was measured on the scan as it is stored.
    """

    ends: dict[int, float]
    used: tuple[int, ...]
    unsure: tuple[int, ...]
    detail: Detail | None = None

    def shape(self, stored: Sequence[int]) -> tuple[int, ...]:
        """The measured grid of a scan, or of a part of it, (slices, rows, columns)."""
        return tuple(ceil(self.ends[axis] * count) if axis in self.used else count for axis, count in enumerate(stored))


def finer_than_measured(grid: MeasuredGrid, spacing: Sequence[float], wanted: Sequence[float], names: Sequence[str]) -> tuple[str, ...]:
    """For a user, one sentence an axis along which a result is finer than what was measured allows.

    Args:
        grid: of the scan.
        spacing, wanted: millimetres along (slices, rows, columns), of the scan as it is stored and of the result.
        names: of these axes in the scan.
    """
    parts = [] if grid.detail is None else [(axis, getattr(grid.detail, name)) for axis, name in enumerate(_NAMES)]
    measured = [(axis, resolution(replace(part, extent=grid.ends.get(axis, part.extent)), spacing[axis])) for axis, part in parts if part is not None and part.unsure < _MOST_UNSURE]
    return tuple(
        f"Along {names[axis]} voxels of {wanted[axis]:.3g} mm are {found / wanted[axis]:.2g} times finer than the detail that was measured there ({found:.3g} mm): what lies between is interpolated or guessed."
        for axis, found in measured if found > _MOST_TIMES * wanted[axis] and wanted[axis] < 0.99 * spacing[axis]
    )  # fmt: skip


def detail_with_ends(voxels: np.ndarray, modality: str) -> Detail:
    """What a scan shows, to be told to a user: where the spectrum surely ends along an axis, with that for its extent; arguments as :func:`measured_grid`."""
    detail = measure_detail(voxels, modality)
    ends = [(_NAMES[axis], end) for axis, end in _ends(voxels, detail, range(3))]
    return replace(detail, **{name: replace(part, extent=end.share) for name, end in ends if (part := getattr(detail, name))})


def _ends(voxels: np.ndarray, detail: Detail, axes: Iterable[int]) -> Iterator[tuple[int, End]]:
    """The axes along which the spectrum of a scan (slices, rows, columns) ends."""
    axes = tuple(axes)
    ends = side_by_side([partial(end_of_spectrum, part_along(voxels, axis), axis, getattr(detail, _NAMES[axis])) for axis in axes])
    for axis, end in zip(axes, ends):
        if end is not None:
            yield axis, end


def measured_grid(voxels: np.ndarray, modality: str, stages: Iterable[str], detail: Detail | None = None) -> MeasuredGrid:
    """Where a scan's spectrum surely ends, along the axes that are to be refined.

    Args:
        voxels: (slices, rows, columns), any real dtype; a part of them is read.
        modality: "CT" or "MR".
        stages: of "depth" and "plane", those that refine.
        detail: what was measured on these voxels, where it is known.

    Raises:
        ModelError: the estimator of the detail is missing or damaged.
    """
    detail, stages = detail or measure_detail(voxels, modality), tuple(stages)
    axes = sorted(axis for stage in stages for axis in AXES[stage])
    ends = dict(_ends(voxels, detail, axes))
    seeming = [axis for axis in axes if axis not in ends and getattr(detail, _NAMES[axis])]
    unsure = tuple(axis for axis in seeming if getattr(detail, _NAMES[axis]).extent < _LARGEST)
    used: tuple[int, ...] = ()
    for stage in stages:
        used += _worth(voxels, modality, stage, {axis: end.share for axis, end in ends.items() if axis in AXES[stage] and end.certain})
    return MeasuredGrid({axis: end.share for axis, end in ends.items()}, tuple(sorted(used)), unsure, detail)


def _worth(voxels: np.ndarray, modality: str, stage: str, ends: dict[int, float]) -> tuple[int, ...]:
    """The axes of a stage that are brought back: all whose spectrum ends early, or none."""
    early = tuple(axis for axis, share in ends.items() if share <= _LARGEST and ceil(share * voxels.shape[axis]) >= _FEWEST)
    if not early:
        return ()
    if modality == "CT" and set(early) == set(AXES[stage]) and all(ends[axis] <= _HALF for axis in early):
        return early
    grid = MeasuredGrid(ends, early, ())
    return early if is_worth_telling(axes_of(_on(grid, voxels, modality), stage), modality) else ()


def _on(grid: MeasuredGrid, voxels: np.ndarray, modality: str) -> Detail:
    """What is measured on another grid."""
    return measure_detail(cropped(voxels, grid.shape(voxels.shape)), modality)


def sentences(grid: MeasuredGrid, spacing: Sequence[float], names: Sequence[str]) -> tuple[str, ...]:
    """For a user, one an axis that was brought back or could not be.

    Args:
        grid: of the scan.
        spacing: millimetres along (slices, rows, columns), as stored.
        names: of these axes in the scan.
    """
    back = [
        f"Along {names[axis]} the scan is stored at {spacing[axis]:.3g} mm and was measured at {spacing[axis] / grid.ends[axis]:.3g} mm (its spectrum ends there); "
        "it was brought back to that before the networks."
        for axis in grid.used
    ]
    doubtful = " and ".join(names[axis] for axis in grid.unsure)
    if doubtful:
        back.append(f"Along {doubtful} the scan seems to be stored finer than it was measured, but where its spectrum ends is not clear: it was taken as stored; compare with an interpolation.")
    return tuple(back)


def in_report(grid: MeasuredGrid, spacing: Sequence[float], names: Sequence[str]) -> list[dict[str, object]]:
    """Ready for JSON, an entry an axis whose spectrum surely ends; arguments as :func:`sentences` takes them."""
    return [
        {"axis": names[axis], "stored_mm": round(spacing[axis], 4), "measured_mm": round(spacing[axis] / share, 4), "share": round(share, 4), "brought_back": axis in grid.used}
        for axis, share in sorted(grid.ends.items())
    ]
