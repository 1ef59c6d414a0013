"""The pictures of a case: the scan, what each method makes of it after it was made coarser, and what a catch trial shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from ..evaluation.tasks import TASKS, Task, three
from ..methods import METHODS
from ..page.planes import PLANES, plane_of
from ..resampling.degradation import antialiased_bicubic
from ..resampling.interpolation import resize
from ..scan.images import read_volume
from ..scan.volume import Volume, find_slice_axis
from ..upscaling import upscale
from .choosing import Case, Scan, places
from .trials import CLEAR, SPOILT

#: slices of the coarser scan on either side of a case that a network may look at
_MARGINS = {True: 24, False: 2}  # whether the axis that is looked along is refined
_SPOILT = 2  # a spoilt picture is made coarser by so many times the factor, and interpolated
_RIM = 0.04  # of the body's box, left around it
_WINDOW = (1.0, 99.5)  # percentiles of the body


@dataclass(frozen=True)
class Prepared:
    """A scan at one factor.

    Attributes:
        truth: the scan, cropped to multiples of the factor.
        low: the same, made coarser.
        slice_axis: array axis of the slices.
        axis: array axis that is looked along: that of the slices, or where only slices are refined one across them.
        starts, body: see :func:`superres3d.study.choosing.places`.
        factors: along (k, j, i).
    """

    truth: Volume
    low: Volume
    slice_axis: int
    axis: int
    starts: np.ndarray
    body: np.ndarray
    factors: tuple[int, int, int]

    @property
    def plane(self) -> str:
        """As radiologists call it."""
        return next(name for name in PLANES if plane_of(self.truth, name, self.truth.origin).axis == "kji"[self.axis])


@dataclass(frozen=True)
class Kitchen:
    """How candidates are made.

    Attributes:
        task: a key of :data:`superres3d.evaluation.tasks.TASKS`.
        preset, device: see :func:`superres3d.upscaling.upscale`.
        slices: of a case.
    """

    task: str
    preset: str
    device: str
    slices: int

    @property
    def kind(self) -> Task:
        """The task that :attr:`task` names."""
        return TASKS[self.task]


@lru_cache(maxsize=1)
def _read(scan: Scan) -> Volume:
    return read_volume(scan.path)


@lru_cache(maxsize=1)
def prepare(scan: Scan, scale: int, kitchen: Kitchen) -> Prepared:
    """Read a scan and make it coarser; the last one is kept."""
    volume = _read(scan)
    slice_axis = find_slice_axis(volume.spacing)
    thin = kitchen.kind.thin(volume, slice_axis)
    factors = kitchen.kind.factors(scale, slice_axis)
    truth = replace(thin, voxels=thin.voxels[tuple(slice(0, n - n % f) for n, f in zip(thin.voxels.shape, factors))], source=None)
    axis = slice_axis if kitchen.kind.axes != "through-plane" else next(other for other in (1, 0) if other != slice_axis)
    starts, body = places(truth, scan.modality, axis, kitchen.slices)
    return Prepared(truth, kitchen.kind.low_resolution(truth, factors, slice_axis), slice_axis, axis, starts, body, factors)


def candidate(case: Case, method: str, kitchen: Kitchen) -> np.ndarray:
    """What a case shows of a method, of :data:`CLEAR` (the scan itself) or of :data:`SPOILT`: (slices, rows, columns) as radiologists look at it."""
    found = prepare(case.scan, case.scale, kitchen)
    if method == CLEAR:
        return slab(found, found.truth, case.number, kitchen.slices)
    if method == SPOILT:
        return slab(found, _spoilt(found, case, kitchen), case.number, kitchen.slices)
    return slab(found, _refined(found, case, method, kitchen), case.number, kitchen.slices)


def slab(found: Prepared, volume: Volume, number: int, slices: int) -> np.ndarray:
    """Slices of a volume that covers those of the truth, cut to the body of the slab.

    Args:
        found: see :class:`Prepared`.
        volume: on the truth's grid, or a part of it.
        number: first slice on the truth's grid.
        slices: how many.
    """
    rows, columns = _box(found, number, slices)
    return np.stack([_plane(found, volume, number + n)[rows, columns] for n in range(slices)])


def pixel_mm(found: Prepared) -> tuple[float, float]:
    """Height and width of a picture's pixel."""
    shown = plane_of(found.truth, found.plane, found.truth.origin)
    return shown.size[0] / shown.pixels.shape[0], shown.size[1] / shown.pixels.shape[1]


def window(found: Prepared, case: Case, slices: int) -> tuple[float, float]:
    """Least and largest value with which the scan itself shows the body of a case well."""
    part = tuple(slice(case.number, case.number + slices) if axis == found.axis else slice(None) for axis in range(3))
    low, high = (float(value) for value in np.percentile(found.truth.voxels[part][found.body[part]], _WINDOW))
    return low, high if high > low else low + 1.0


def _plane(found: Prepared, volume: Volume, number: int) -> np.ndarray:
    index = np.zeros(3)
    index[2 - found.axis] = number
    return plane_of(volume, found.plane, found.truth.position(index)).pixels


def _box(found: Prepared, number: int, slices: int) -> tuple[slice, slice]:
    """Rows and columns of the body in a slab, with a rim."""
    body = replace(found.truth, voxels=found.body.astype(np.uint8))
    seen = np.any([_plane(found, body, number + n) > 0 for n in range(slices)], axis=0)
    return _range(seen.any(axis=1)), _range(seen.any(axis=0))


def _range(seen: np.ndarray) -> slice:
    where = np.flatnonzero(seen)
    rim = 1 + round(_RIM * (where[-1] - where[0]))
    return slice(max(int(where[0]) - rim, 0), int(where[-1]) + rim + 1)


def _refined(found: Prepared, case: Case, method: str, kitchen: Kitchen) -> Volume:
    """The part of a result that a case shows; the intensity scale and what is told of the scan are those of the whole."""
    start, stop = _part(found, case, kitchen.slices, METHODS[method].volumetric)
    low = part(found.low, found.axis, start, stop)
    return upscale(
        low, **kitchen.kind.choices(method, case.scale), method=method, modality=case.scan.modality, preset=kitchen.preset, device=kitchen.device,
        precision="single", slice_axis="kji"[found.slice_axis], part_of=found.low.voxels,
    ).volume  # fmt: skip


def _part(found: Prepared, case: Case, slices: int, whole: bool) -> tuple[int, int]:
    count, factor = found.low.voxels.shape[found.axis], found.factors[found.axis]
    if whole:
        return 0, count
    margin = _MARGINS[factor > 1 or found.axis != found.slice_axis]
    return max(0, case.number // factor - margin), min(count, -(-(case.number + slices) // factor) + margin)


def part(volume: Volume, axis: int, start: int, stop: int) -> Volume:
    """The slices ``start`` to ``stop`` along an array axis, in their place in the patient."""
    index = np.zeros(3)
    index[2 - axis] = start
    return replace(volume, voxels=volume.voxels[(slice(None),) * axis + (slice(start, stop),)], origin=three(map(float, volume.position(index))), source=None)


def _spoilt(found: Prepared, case: Case, kitchen: Kitchen) -> Volume:
    """The slab made much coarser, as nobody would want it."""
    factor = _SPOILT * case.scale
    coarse = three(1 if axis == found.axis else factor for axis in range(3))
    piece = part(found.truth, found.axis, case.number, case.number + kitchen.slices)
    reduced = antialiased_bicubic(_padded(piece.voxels, coarse), coarse)
    voxels = resize(reduced, coarse, "linear")[tuple(slice(0, n) for n in piece.voxels.shape)]
    return replace(piece, voxels=voxels)


def _padded(voxels: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    return np.pad(voxels, [(0, -n % f) for n, f in zip(voxels.shape, factors)], mode="edge")
