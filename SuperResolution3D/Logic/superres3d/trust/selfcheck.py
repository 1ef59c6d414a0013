"""The self-check: a scan is made coarser once more, upscaled again, and compared with itself.

>>> import numpy as np
>>> from superres3d import Volume
>>> waves = np.sin(np.arange(32) / 3)
>>> scan = Volume(np.add.outer(np.add.outer(waves, waves), waves).astype(np.float32) + 3, modality="MR")
>>> found = check(scan, 2, axes="in-plane", method="nearest")
>>> found.ahead, found.best_method
(False, 'lanczos')
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from ..detail.estimator import AxisDetail
from ..detail.measure import Detail, measure_detail
from ..engine.progress import after
from ..errors import InputError
from ..methods import MODALITIES
from ..plan import MINIMUM_SLICES, Plan
from ..resampling.interpolation import resize
from ..scan.intensity import CT_RANGE_HU, floor_of
from ..scan.volume import Volume, accepted, triple
from ..upscaling import NOT_PLANNED, plan_for, settled
from .body import body_mask, regions_of, value_range
from .careful import Restraint
from .careful import careful as taken_back
from .closeness import Tally
from .coarser import OWN, WAYS, Noise, Way, cropped_to, lost_share, made_coarser, own_way
from .expected import expected_error
from .foretold import CLEAR, WITHIN, clearness, expected_gain
from .ground import threshold_of
from .head import head_of
from .profile import profile_way, thickness_of, with_profile
from .refining import Refining
from .result import CheckResult, WayResult
from .sample import Slab, sample_of
from .words import in_words

BASELINE = "lanczos"
_LEAST_PIXELS = 16  # of a coarse slice, along rows and columns
_PASSED_ON = ("adapt", "preset", "ensemble", "precision", "device", "consistency", "noise", "as_stored", "memory_limit")
_MOST_UNSURE, _MOST_APART, _FARTHEST = 0.2, 0.15, 1.5  # of what was measured along an axis
_WHERE = {0: "between the slices", 1: "within the slices"}
Told = Callable[[str, float], None]


@dataclass(frozen=True)
class _Case:
    """What is checked; the scan has its slices first, and each size is a multiple of its factor.

    Attributes:
        scan: what of it is made coarser: all, or the slices that are looked at where they are refined one by one.
        whole: the scan's voxels.
        plan: of the run that is checked.
        factors: along (slices, rows, columns).
        body: bool.
        span: of the scan's values.
        asked: the arguments of ``upscale`` for a coarser scan.
        detail: what was measured of the scan along (slices, rows, columns).
        noise: of the scan.
        measured: all that was measured of it.
        careful: doubtful detail is taken back.
    """

    scan: Volume
    whole: np.ndarray
    plan: Plan
    factors: tuple[int, int, int]
    body: np.ndarray
    span: float
    asked: dict[str, Any]
    detail: tuple[AxisDetail | None, ...]
    noise: Noise | None
    measured: Detail | None = None
    careful: bool = False

    @property
    def neighbours(self) -> tuple[int, ...]:
        """Axes along which voxels are looked at together: slices are apart where nothing is made between them."""
        return (0, 1, 2) if self.factors[0] > 1 else (1, 2)

    def axis_name(self, axis: int) -> str:
        """Of the scan as it was given, "i", "j" or "k"."""
        within = [other for other in range(3) if other != self.plan.slice_axis]
        return "kji"[(self.plan.slice_axis, *within)[axis]]


def check(
    volume: Volume, scale: int | tuple[int, int] | None = None, *, careful: bool = False, judged: bool = False,
    progress: Told | None = None, cancelled: Callable[[], bool] | None = None, **choices: Any,
) -> CheckResult:  # fmt: skip
    """Check on a scan itself what upscaling does to it.

    Args:
        volume: voxels (k, j, i), not changed.
        scale, choices: as :func:`superres3d.upscaling.upscale` takes them; the run that is checked.  With ``adapt`` the network learns anew on the scan made
            coarser, so the scan is made coarser in one way alone, and that takes as long as was given.
        careful: doubtful detail is taken back, as in :func:`superres3d.trust.error_map.upscale_with_doubt`.
        judged: the method is the one that a run used, so that it is not asked again whether it is ahead of its alternative; see :mod:`superres3d.ahead`.
        progress: called with (stage, share of the whole that is done).
        cancelled: asked often; a true answer stops the work.

    Raises:
        InputError: a scan or a choice that cannot be upscaled, a scan too small to be made coarser, or the method is Lanczos itself.
        ModelError, DeviceError, ResourceError: see :mod:`superres3d.errors`.
        Cancelled: ``cancelled`` answered true.
    """
    started = time.perf_counter()
    volume = accepted(volume, "The scan")
    plan, notes = plan_for(volume, scale, **{key: value for key, value in choices.items() if key not in NOT_PLANNED})
    if not judged:
        share = plan.share_of_asking
        plan, left = settled(plan, volume.voxels, choices.get("device", "auto"), progress, cancelled, choices.get("memory_limit"))
        notes, progress = [*notes, *left], after(progress, share)
    if plan.method.name == BASELINE:
        raise InputError("The check compares a method with Lanczos, and Lanczos itself was asked for; name another method.")
    if careful and not plan.method.networks:
        raise InputError(f"Careful takes back what networks add, and {plan.method.name} has none; leave careful out, or choose another method.")
    case, smaller = _case(volume, plan, choices)
    case = replace(case, careful=careful)
    ways = _ways(case)[: 1 if plan.adaptation else None]
    sample = sample_of(case.body, case.factors, len(ways), not (plan.method.volumetric or careful), plan.accumulates / prod(plan.shape))
    case, slabs = _alone(case, sample.slabs)
    truths = [_truth(case, slab) for slab in slabs[: 1 if plan.adaptation else None]]
    noise = case.noise.lost(case.scan.voxels.shape, case.factors) if case.noise else None
    with Refining(case.asked) as refining:
        found = tuple(_checked(case, refining, way, noise, truths, _shared(progress, number, len(ways)), cancelled) for number, way in enumerate(ways))
    factors = [case.factors[(plan.slice_axis, *(a for a in range(3) if a != plan.slice_axis)).index(axis)] for axis in (2, 1, 0)]
    clear = clearness([case.detail[axis] for axis, factor in enumerate(case.factors) if factor > 1])
    told = plan.modality if plan.method.blind else ""
    result = CheckResult(
        plan.method.name, plan.preset.name if plan.method.networks else None, plan.modality, (factors[0], factors[1], factors[2]), found,
        {"share": sample.share, "words": sample.words}, clear, expected_gain([way.way for way in found], [way.gain_db for way in found], clear, told), WITHIN[clear > CLEAR],
        notes=(*notes, *smaller), seconds=time.perf_counter() - started, careful=careful, adapted=plan.adaptation is not None,
    )  # fmt: skip
    return in_words(result)


def _case(volume: Volume, plan: Plan, choices: Mapping[str, Any]) -> tuple[_Case, list[str]]:
    """And what had to be made smaller, one sentence each."""
    ordered = slices_first(volume, plan.slice_axis)
    wanted = _wanted(plan, ordered)
    factors = _that_fit(ordered.voxels.shape, wanted)
    notes = [] if factors == wanted else ["The scan is too small to be made coarser by the factor asked for; it was checked with a smaller one."]
    scan = cropped_to(ordered, factors)
    _, span = value_range(scan.voxels, plan.modality)
    asked = {key: value for key, value in choices.items() if key in _PASSED_ON}
    asked |= {"method": plan.method.name, "modality": plan.modality, "slice_axis": "k"}
    if plan.method.scales:
        asked["scale"] = factors[1], factors[0]
    else:  # a network for one distance of slices: as if the scan's slices were that far apart
        scan = replace(scan, spacing=triple(spacing * plan.method.slice_spacing / scan.spacing[2] for spacing in scan.spacing))
        asked["slice_spacing"] = plan.method.slice_spacing
    return _Case(scan, scan.voxels, plan, factors, body_mask(scan.voxels, plan.modality), span, asked, *_measured(scan.voxels, plan.modality)), notes


def _alone(case: _Case, slabs: tuple[Slab, ...]) -> tuple[_Case, tuple[Slab, ...]]:
    """Slices that are named by number are taken out, so that no others are made coarser."""
    chosen, *within = slabs[0].coarse
    if not isinstance(chosen, np.ndarray):
        return case, slabs
    alone = replace(case, scan=replace(case.scan, voxels=np.ascontiguousarray(case.scan.voxels[chosen])), body=case.body[chosen])
    return alone, (replace(slabs[0], coarse=(slice(0, len(chosen)), within[0], within[1])),)


def _measured(voxels: np.ndarray, modality: str) -> tuple[tuple[AxisDetail | None, ...], Noise | None, Detail | None]:
    """Along (slices, rows, columns); what is too unsure is None.  And the noise, and everything."""
    if modality not in MODALITIES:
        return (None, None, None), None, None
    found = measure_detail(voxels, modality)
    axes = tuple(axis if axis is not None and is_sure(axis) else None for axis in (found.across, found.rows, found.columns))
    noises = [axis.noise for axis in axes[1:] if axis is not None]
    return axes, Noise(float(np.mean(noises)) * found.noise_unit, axes) if noises else None, found


def slices_first(volume: Volume, slice_axis: int) -> Volume:
    """The same voxels with the slice axis first; where they lie in the patient is not kept.

    Args:
        volume: voxels (k, j, i).
        slice_axis: of its array.
    """
    spacing = volume.spacing[::-1]
    order = (slice_axis, *(axis for axis in range(3) if axis != slice_axis))
    return Volume(np.moveaxis(volume.voxels, slice_axis, 0), triple(spacing[axis] for axis in order[::-1]), modality=volume.modality, source=volume.source)


def _wanted(plan: Plan, ordered: Volume) -> tuple[int, int, int]:
    """Whole factors along (slices, rows, columns) that are nearest to what was asked for."""
    through, rows, columns = plan.network_factors
    factors = [_nearest(through), _nearest(rows), _nearest(columns)]
    if plan.spacing and not plan.method.networks:
        factors = [_nearest(factor) for factor in plan.slices_first(plan.output_shape) / np.array(ordered.voxels.shape)]
    if max(factors) == 1:
        raise InputError("Nothing is refined here, so there is nothing to check; ask for a factor, or for a finer spacing.")
    return factors[0], factors[1], factors[2]


def _nearest(factor: float) -> int:
    return 1 if factor <= 1.01 else 2 if factor < 3 else 4


def _that_fit(shape: tuple[int, ...], wanted: tuple[int, int, int]) -> tuple[int, int, int]:
    """The factors, 2 in place of 4 where too little of the scan would be left (InputError where that does not help either)."""
    fewest = (MINIMUM_SLICES, _LEAST_PIXELS, _LEAST_PIXELS)
    factors = tuple(next((f for f in sorted({factor, min(factor, 2)}, reverse=True) if f == 1 or n // f >= least), 0) for n, factor, least in zip(shape, wanted, fewest))
    if 0 in factors:
        axis = factors.index(0)
        raise InputError(
            f"The scan has {shape[axis]} {'slices' if axis == 0 else 'pixels along an axis of its slices'}, and the check needs at least {2 * fewest[axis]} "
            f"to make it coarser {_WHERE[min(axis, 1)]}; go without the check."
        )
    rows = min(factors[1:])
    return factors[0], rows, rows


def _ways(case: _Case) -> list[dict[int, Way]]:
    """Ways to make the scan coarser, each with one for every axis that is refined.

    As it lost its detail, or a smooth mean where that is not known; and a cut of its spectrum, which is least like it.  On validation scans more ways told no more.
    """
    refined = [axis for axis, factor in enumerate(case.factors) if factor > 1]
    profile = profile_way(thickness_of(case.scan), case.scan.spacing[2]) if 0 in refined and case.plan.method.scales else None
    own: dict[int, Way] = {axis: own_way(found) for axis, found in enumerate(case.detail) if axis in refined and found is not None}
    first = own if len(own) == len(refined) else dict.fromkeys(refined, WAYS["bicubic"])
    return [first, *([with_profile(profile, refined)] if profile else []), dict.fromkeys(refined, WAYS["cut"])]


def is_sure(axis: AxisDetail) -> bool:
    """Whether what was measured along an axis can be gone by."""
    return axis.unsure < _MOST_UNSURE and axis.apart < _MOST_APART and axis.far < _FARTHEST


def _shared(progress: Told | None, number: int, count: int) -> Told | None:
    """The progress of one of several ways."""
    if progress is None:
        return None
    return lambda _, share: progress("checking", (number + share) / count)


@dataclass(frozen=True)
class _Truth:
    """A part of the scan that is measured: its values, where the body is, and parts of that."""

    slab: Slab
    voxels: np.ndarray
    body: np.ndarray
    regions: Mapping[str, np.ndarray]


def _truth(case: _Case, slab: Slab) -> _Truth:
    voxels = _prepared(case.scan.voxels[slab.fine(case.factors)][slab.inner], case.plan.modality)
    body = case.body[slab.fine(case.factors)][slab.inner]
    return _Truth(slab, voxels, body, regions_of(voxels, body, case.plan.modality, case.span, case.neighbours))


def _checked(case: _Case, refining: Refining, ways: dict[int, Way], noise: np.ndarray | None, truths: Sequence[_Truth], progress: Told | None, cancelled: Callable[[], bool] | None) -> WayResult:
    """One way to make the scan coarser."""
    coarse = made_coarser(case.scan, case.factors, ways, noise)
    tally = _tally(case)
    own = next(iter(ways.values())).name == OWN
    for number, truth in enumerate(truths):
        if truth.body.any():
            images = _images(case, refining, coarse, truth.slab, own, _shared(progress, number, len(truths)), cancelled)
            tally.add(truth.voxels, dict(images), truth.body, truth.regions)
    if not tally.of("count body"):
        raise InputError("The parts of the scan that the check looks at are empty; go without the check.")
    way = next(iter(ways.values()))
    told = tally.told()
    along = {case.axis_name(axis): gain for axis, gain in told.pop("along").items()}
    return WayResult(way.name, way.words, along=along, **told)


def _tally(case: _Case) -> Tally:
    variance = case.noise.variance * lost_share(case.factors) if case.noise else 0.0
    return Tally(case.span, case.neighbours, case.factors[0] > 1, threshold_of(case.plan.modality, case.span), variance)


def _images(
    case: _Case, refining: Refining, coarse: Volume, slab: Slab, own: bool, progress: Told | None, cancelled: Callable[[], bool] | None
) -> Iterator[tuple[str, np.ndarray]]:
    """The part refined by the method and by Lanczos, cut to what is measured."""
    part = replace(coarse, voxels=np.ascontiguousarray(coarse.voxels[slab.coarse]))
    if part.voxels.min() == part.voxels.max():
        raise InputError("A part of the scan that the check looks at has the same value everywhere; go without the check.")
    # what lost its detail as the scan did is told what the scan is told; a network that learns must not see the scan, which is the truth here
    part_of, detail = (case.whole, case.measured) if own and not case.plan.adaptation else (coarse.voxels, None)
    drawn, spread = refining.part(part, part_of, detail, case.careful, progress, cancelled)
    result = _taken_back(case, part, drawn, spread) if case.careful else drawn
    yield "result", _prepared(result[slab.inner], case.plan.modality)
    yield "baseline", _prepared(resize(part.voxels, case.factors, BASELINE)[slab.inner], case.plan.modality)


def _taken_back(case: _Case, part: Volume, drawn: np.ndarray, spread: np.ndarray | None) -> np.ndarray:
    expected = expected_error(part.voxels, drawn, spread, head_of(case.plan.modality, case.plan.preset.ensemble != "none"))
    return taken_back(part.voxels, drawn, expected, Restraint.of(case.whole, case.plan.modality, case.factors), floor_of(case.whole, case.plan.modality))


def _prepared(voxels: np.ndarray, modality: str) -> np.ndarray:
    """As it is compared: CT within the range of its networks."""
    values = voxels.astype(np.float32)
    return np.clip(values, *CT_RANGE_HU) if modality == "CT" else values
