"""The detail of a scan, measured on the scan itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from ..scan.intensity import intensity_scale
from .estimator import FREQUENCIES, AxisDetail, estimate
from .spectrum import spectrum_along

#: standard deviation of the noise that is told as 1, in network units
NOISE_UNIT = {"CT": 0.02, "MR": 0.025}
_MOST_SLICES = 20
_MOST_LINES = 96  # of a slice, for the axis across the slices
_WINDOW = 7  # pixels
_QUIET = 0.1  # share of the windows, by their deviation
_INSIDE = (0.2, 0.35)  # of a CT, in network units: -205 to 409 HU
_FEWEST = 200  # windows
_QUIETER = 1.3  # times it the deviation of the middle window, of noise
_THREADS = 4

T = TypeVar("T")


@dataclass(frozen=True)
class Detail:
    """What a scan shows, along (slices, rows, columns); None along an axis that is too short, or in a scan that is too empty.

    Attributes:
        across: the axis across the slices.
        rows, columns: the axes within them (the second and the third of the array, slices first).
        noise_unit: of the scan's own intensities; times an axis's noise it is the standard deviation.
        least_noise: within the slices, in that unit; of CT, where smooth kernels leave noise that the estimator takes for detail.
    """

    across: AxisDetail | None
    rows: AxisDetail | None
    columns: AxisDetail | None
    noise_unit: float
    least_noise: float = 0.0


def measure_detail(voxels: np.ndarray, modality: str) -> Detail:
    """What is left of a scan's detail along its axes, and its noise.

    Args:
        voxels: (slices, rows, columns), any real dtype; a part of the slices is read for the axes within them, a part of the rows for that across.
        modality: "CT" or "MR".

    Raises:
        ModelError: the estimator is missing or damaged.
    """
    scale = intensity_scale(voxels, modality)
    within, through = scale.normalise(part_along(voxels, 1)), scale.normalise(part_along(voxels, 0))
    rows, columns, across = side_by_side([partial(spectrum_along, within, 1), partial(spectrum_along, within, 2), partial(spectrum_along, through, 0)])
    if rows is None or columns is None:
        return Detail(None, None, None, NOISE_UNIT[modality] * scale.span)
    first, second = (estimate(np.concatenate(both), modality, "plane") for both in ([rows, columns], [columns, rows]))
    least = _QUIETER * quiet_deviation(within) / (passed(first) * passed(second) * NOISE_UNIT[modality]) if modality == "CT" else 0.0
    depth = None if across is None else estimate(np.concatenate([across, (rows + columns) / 2]), modality, "depth")
    return Detail(depth, first, second, NOISE_UNIT[modality] * scale.span, least)


def side_by_side(works: Sequence[Callable[[], T]]) -> list[T]:
    """What each gives, computed at the same time: numpy holds no lock while it sums and transforms."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return [each.result() for each in [pool.submit(work) for work in works]]


def passed(axis: AxisDetail) -> float:
    """What an axis's transfer leaves of the deviation of white noise."""
    ends = (0.0, *FREQUENCIES, 1.0)
    squares = np.square((1.0, *axis.transfer, axis.transfer[-1]))
    return float(np.sqrt((np.diff(ends) * (squares[:-1] + squares[1:]) / 2).sum()))


def quiet_deviation(slices: np.ndarray) -> float:
    """What varies in the quietest tenth of the windows inside the body of a CT, about their planes: noise, as the scanner's kernel left it.

    Args:
        slices: (slices, rows, columns), network units.

    Returns:
        a standard deviation in network units; 0 where too little of the body is there.
    """
    windows = np.lib.stride_tricks.sliding_window_view(slices, (_WINDOW, _WINDOW), axis=(1, 2))[:, ::_WINDOW, ::_WINDOW].reshape(-1, _WINDOW**2)
    windows = windows[(windows.min(1) > _INSIDE[0]) & (windows.max(1) < _INSIDE[1])].astype(np.float64)
    if len(windows) < _FEWEST:
        return 0.0
    steps = np.arange(_WINDOW) - _WINDOW // 2
    plane = np.stack([np.ones((_WINDOW, _WINDOW)), *np.meshgrid(steps, steps)]).reshape(3, -1)
    plane = plane / np.linalg.norm(plane, axis=1, keepdims=True)
    rest = windows - windows @ plane.T @ plane
    return float(np.quantile(np.sqrt((rest**2).sum(1) / (_WINDOW**2 - 3)), _QUIET))


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
