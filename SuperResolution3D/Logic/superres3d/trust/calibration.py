"""Error bars of a scan's own: it is made coarser once more, upscaled again, and compared with itself.

Calibration on other scans does not carry over.  What the scan tells of itself does so better, and still is one scale coarser and
one way of losing detail: the sentence that comes with an error map says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from ..detail.measure import measure_detail
from ..errors import InputError
from ..plan import MINIMUM_SLICES, Plan
from ..scan.intensity import floor_of
from ..scan.volume import Volume
from .body import body_mask
from .careful import Restraint, careful
from .coarser import WAYS, Way, cropped_to, made_coarser, own_way
from .expected import Transfer, expected_error, local_error
from .fall import fall_of
from .head import head_of
from .refining import Refining
from .selfcheck import is_sure, slices_first

COVERAGE = 0.9
_SHARE = 0.125  # of the run's work, at most
_MOST_VOXELS = 6_000_000
_LEAST_PIXELS = 16  # of a coarse slice
_LEAST_VOXELS = 2000  # inside the body
_PARTS = 20  # of the voxels, by the expected error
_LEAST_GROWTH = 0.01
_FALLS, _USUAL_FALL = (-1.6, 0.3), -0.3  # of the scans that the transfer was fitted on
_PASSED_ON = ("method", "preset", "ensemble", "precision", "device", "noise", "as_stored", "memory_limit", "consistency")


@dataclass(frozen=True)
class Calibration:
    """What the scan made coarser told: the square of the local error is about ``growth``² times that of the expected error, plus that of a floor.

    Attributes:
        growth: see above.
        floor: in the scan's units: noise, which is as strong where nothing else is to be expected.
        bound: times the error expected so, it is above the local error in 90 % of the voxels inside the body of the scan made coarser.
        checked: the factor asked for, and that by which the scan was made coarser, such as (4, 2).
        voxels: of the scan that were compared.
        way: how it was made coarser, in words.
        fall: how fast the scan's detail falls off; None: it is too small to tell, and nothing tells how far the calibration may be off.
    """

    growth: float
    floor: float
    bound: float
    checked: tuple[int, int]
    voxels: int
    way: str = ""
    fall: float | None = None

    def carried_over(self, transfer: Transfer, typical: float) -> Calibration:
        """To the scan's own result; ``typical`` is the root mean square of the error expected there, inside the body, before calibration."""
        fall = _USUAL_FALL if self.fall is None else min(max(self.fall, _FALLS[0]), _FALLS[1])
        growth = float(np.exp(transfer.start + transfer.slope * np.log(self.growth) + transfer.fall * fall))
        return replace(self, growth=growth, floor=float(np.hypot(self.floor, transfer.even * growth * typical)))

    def applied(self, expected: np.ndarray) -> np.ndarray:
        """The expected error as the scan itself tells it; in place. Where nothing is to be expected (constant regions) nothing is."""
        nothing = expected == 0
        np.square(expected, out=expected)
        expected *= np.float32(self.growth**2)
        expected += np.float32(self.floor**2)
        expected[nothing] = 0
        return np.sqrt(expected, out=expected)


def calibrate(
    volume: Volume, plan: Plan, choices: Mapping[str, Any], restraint: Restraint | None = None,
    progress: Callable[[float], None] | None = None, cancelled: Callable[[], bool] | None = None,
) -> Calibration:  # fmt: skip
    """Ask the scan itself.

    Args:
        volume: the scan.
        plan: of the run that gives the result.
        choices: the arguments of :func:`superres3d.upscaling.upscale` for that run.
        restraint: with which doubtful detail is taken back in that run; None: none is.
        progress: told the share that is done.
        cancelled: asked often; a true answer stops the work.

    Raises:
        InputError: the scan is too small, or too empty; ModelError, DeviceError, ResourceError and Cancelled as :func:`superres3d.upscaling.upscale`.
    """
    ordered = slices_first(volume, plan.slice_axis)
    factors, checked = _factors(ordered.voxels.shape, plan)
    ways, words = _way_of(cropped_to(ordered, factors), factors, plan.modality)
    scan = _part(ordered, factors)
    coarse = made_coarser(scan, factors, ways)
    if coarse.voxels.min() == coarse.voxels.max():
        raise InputError("The part of the scan that the error map is calibrated on is empty; go without the error map.")
    asked = {key: value for key, value in choices.items() if key in _PASSED_ON}
    tell = None if progress is None else (lambda _, share: progress(share))
    asked |= {"scale": (factors[1], factors[0]), "modality": plan.modality, "slice_axis": "k"}
    with Refining(asked) as refining:  # with the networks of the run, whatever this part would say of them
        drawn, spread = refining.part(coarse, coarse.voxels, spread=True, progress=tell, cancelled=cancelled)
    head = head_of(plan.modality, plan.preset.ensemble != "none")
    expected = expected_error(coarse.voxels, drawn, spread, head)
    voxels = careful(coarse.voxels, drawn, expected, restraint, floor_of(coarse.voxels, plan.modality)) if restraint else drawn
    found = compared(local_error(voxels, scan.voxels), expected, body_mask(scan.voxels, plan.modality), checked)
    return replace(found, way=words, fall=fall_of(ordered.voxels, [axis for axis, factor in enumerate(factors) if factor > 1], plan.modality))


def compared(true: np.ndarray, expected: np.ndarray, where: np.ndarray, checked: tuple[int, int] = (2, 2)) -> Calibration:
    """From errors that are known.

    Args:
        true, expected: (k, j, i), local errors.
        where: bool, inside the body.
        checked: see :class:`Calibration`.

    Raises:
        InputError: too little of the body.
    """
    found, told = (array[where].astype(np.float64) for array in (true, expected))
    if found.size < _LEAST_VOXELS or not told.any() or not found.any():
        raise InputError("The scan is too small or too empty to calibrate an error map on itself; go without the error map.")
    growth, floor = _line(np.square(told), np.square(found))
    fitted = Calibration(growth, floor, 1.0, checked, int(found.size))
    ratio = found / np.maximum(fitted.applied(told), np.finfo(np.float32).tiny)
    return replace(fitted, bound=float(np.quantile(ratio, COVERAGE)))


def root_mean_square(values: np.ndarray) -> float:
    """Of values of any shape; 0 of none."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) if values.size else 0.0


def _line(given: np.ndarray, wanted: np.ndarray) -> tuple[float, float]:
    """(growth, floor): the best line through the means of equal parts, by what is expected; each part counts by its own size, and neither is below zero."""
    order = np.argsort(given, kind="stable")
    x, y = (np.array([part.mean() for part in np.array_split(values[order], _PARTS)]) for values in (given, wanted))
    y = np.maximum(y, 1e-9 * y.max())
    slope, start = np.linalg.lstsq(np.stack([x, np.ones_like(x)], axis=1) / y[:, None], np.ones_like(y), rcond=None)[0]
    if start < 0:
        slope, start = float(np.sum(x / y) / np.sum((x / y) ** 2)), 0.0
    elif slope <= 0:
        slope, start = 0.0, float(np.sum(1 / y) / np.sum(1 / y**2))
    return max(float(np.sqrt(slope)), _LEAST_GROWTH), float(np.sqrt(start))


def _way_of(scan: Volume, factors: Sequence[int], modality: str) -> tuple[dict[int, Way], str]:
    """How to make it coarser along each axis that is refined, and its name: as it lost its own detail where that is surely measured along all of them, else a smooth mean."""
    refined = [axis for axis, factor in enumerate(factors) if factor > 1]
    detail = measure_detail(scan.voxels, modality)
    measured = [(detail.across, detail.rows, detail.columns)[axis] for axis in refined]
    sure = [found for found in measured if found is not None and is_sure(found)]
    if len(sure) < len(refined):
        return dict.fromkeys(refined, WAYS["bicubic"]), WAYS["bicubic"].words
    return {axis: own_way(found) for axis, found in zip(refined, sure)}, "the loss of detail that was measured on it"


def _factors(shape: Sequence[int], plan: Plan) -> tuple[tuple[int, int, int], tuple[int, int]]:
    """By which the scan can be made coarser along (slices, rows, columns): as asked, or by 2 in place of 4 (InputError: neither)."""
    wanted = [1 if factor <= 1.01 else 2 if factor < 3 else 4 for factor in plan.network_factors]
    for most in (4, 2):
        factors = [min(factor, most) for factor in wanted]
        if all(factor == 1 or n // factor >= least for n, factor, least in zip(shape, factors, (MINIMUM_SLICES, _LEAST_PIXELS, _LEAST_PIXELS))):
            return (factors[0], factors[1], factors[2]), (max(wanted), max(factors))
    raise InputError(f"The scan has {' x '.join(map(str, shape))} voxels, too few to be made coarser to calibrate an error map; go without the error map.")


def _part(volume: Volume, factors: Sequence[int]) -> Volume:
    """A central part of the scan whose check costs an eighth of the run at most; fewer slices, or fewer rows where slices are refined."""
    sizes = [n - n % factor for n, factor in zip(volume.voxels.shape, factors)]
    share = min(1.0, _SHARE * prod(factors), _MOST_VOXELS / prod(sizes))
    axis = 1 if factors[0] > 1 else 0
    least = (MINIMUM_SLICES * 2, _LEAST_PIXELS)[axis] * factors[axis]
    sizes[axis] = min(sizes[axis], max(least, int(sizes[axis] * share) // factors[axis] * factors[axis]))
    starts = [(n - size) // 2 for n, size in zip(volume.voxels.shape, sizes)]
    return replace(volume, voxels=np.ascontiguousarray(volume.voxels[tuple(slice(start, start + size) for start, size in zip(starts, sizes))]))
