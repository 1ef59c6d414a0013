"""How a result fits its scan: what it averages to, and whether it stays within the values around it.

>>> import numpy as np
>>> scan = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
>>> residual(scan, scan.repeat(2, axis=0)).any()
np.False_
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import prod
from typing import Any

import numpy as np

from ..resampling.bounds import extreme, sources
from ..resampling.degradation import interval_means
from ..resampling.interpolation import sampling_matrix
from ..resampling.regridding import apply_along
from ..scan.intensity import intensity_scale
from ..scan.volume import Volume
from .body import body_mask, value_range
from .window import regridded_chunks

DOT = 0.05  # of the scan's span beyond the neighbours: a bright or dark dot
_EXACT = 1e-4  # of the span: less is rounding
_SLAB_BYTES = 1 << 25


def residual(scan: np.ndarray, result: np.ndarray) -> np.ndarray:
    """What a result, averaged over the voxels of the scan, lacks or has too much: result minus scan, float32, on the scan's grid.

    Args:
        scan: (k, j, i), any real dtype.
        result: the same extent; an axis may be finer by any factor, or coarser (then the scan's voxels see the nearest ones).
    """
    means = np.empty((result.shape[0], *scan.shape[1:]), np.float32)
    count = max(1, _SLAB_BYTES // max(1, result[0].size * 4))
    for first in range(0, len(result), count):
        slab = result[first : first + count]
        for axis in (1, 2):
            slab = _averaged(slab, axis, scan.shape[axis])
        means[first : first + count] = slab
    return _averaged(means, 0, scan.shape[0]) - scan.astype(np.float32)


def _averaged(array: np.ndarray, axis: int, count: int) -> np.ndarray:
    fine = array.shape[axis]
    if fine == count:
        return array
    if fine % count == 0:
        return _mean([array[(slice(None),) * axis + (slice(first, None, fine // count),)] for first in range(fine // count)])
    if fine < count:
        return np.take(array, sources(count, (0, fine), count / fine), axis=axis)
    return apply_along(array, axis, interval_means(fine, count))


def _mean(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Of a few arrays of one shape, float32: many times as fast as a mean over a short axis."""
    total = parts[0].astype(np.float32)
    for part in parts[1:]:
        total += part
    total *= np.float32(1 / len(parts))
    return total


def residual_of_lanczos(scan: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The residual that a Lanczos interpolation would have, for comparison; float32, on the scan's grid.

    Args:
        scan: (k, j, i).
        shape: of the result.
    """
    image = scan.astype(np.float32)
    for axis, (count, fine) in enumerate(zip(scan.shape, shape)):
        if fine > count:
            there_and_back = interval_means(fine, count).astype(np.float64) @ sampling_matrix(count, fine, "lanczos")
            image = apply_along(image, axis, there_and_back.astype(np.float32))
    return image - scan.astype(np.float32)


@dataclass(frozen=True)
class Overshoot:
    """Voxels of a result outside the range of the 27 voxels of the scan around them.

    Attributes:
        voxels: that were looked at.
        beyond: outside that range.
        largest: how far at most, in the scan's units.
        dots: beside a region of one value (a mask, padding), by more than :data:`DOT` of the span.
    """

    voxels: int
    beyond: int
    largest: float
    dots: int


def overshoot(scan: np.ndarray, result: np.ndarray, span: float, limits: Limits | None = None) -> Overshoot:
    """Count them.

    Args:
        scan: (k, j, i), any real dtype.
        result: the same extent, finer or coarser.
        span: of the scan's values.
        limits: of the scan, where they are known.
    """
    step = max(1, _SLAB_BYTES // max(1, result[0].size * 4))
    return _counted(limits or Limits.of(scan), result.shape, ((first, result[first : first + step]) for first in range(0, len(result), step)), span)


def overshoot_of_lanczos(scan: np.ndarray, shape: Sequence[int], span: float, limits: Limits | None = None) -> Overshoot:
    """As :func:`overshoot`, of a Lanczos interpolation to a finer shape."""
    return _counted(limits or Limits.of(scan), shape, regridded_chunks("lanczos", scan, shape, 0, shape[0]), span)


@dataclass(frozen=True)
class Limits:
    """Of each voxel of a scan (k, j, i): the least and the largest of the 27 around it, and whether a region of one value is near."""

    low: np.ndarray
    high: np.ndarray
    beside: np.ndarray

    @classmethod
    def of(cls, scan: np.ndarray) -> Limits:
        """Of a scan of any real dtype."""
        every = (0, 1, 2)
        low, high = (extreme(scan.astype(np.float32), every, function) for function in (np.minimum, np.maximum))
        flat = low == high
        return cls(low, high, extreme(extreme(flat, every, np.maximum), every, np.maximum))  # as the bounds of results have it


def _counted(limits: Limits, shape: Sequence[int], parts: Iterable[tuple[int, np.ndarray]], span: float) -> Overshoot:
    """Slices of a result: the number of the first of them, and they."""
    places = [sources(fine, (0, count), fine / count) for fine, count in zip(shape, limits.low.shape)]
    beyond, dots, largest = 0, 0, 0.0
    for first, part in parts:
        lines = [_Line.of(place) for place in (places[0][first : first + len(part)], *places[1:])]
        for far, beside in _far(part, limits, lines, _EXACT * span):
            beyond += len(far)
            dots += int(np.count_nonzero(far[beside] > DOT * span))
            largest = max(largest, float(far.max(initial=0.0)))
    return Overshoot(prod(shape), beyond, largest, dots)


@dataclass(frozen=True)
class _Line:
    """Along an axis: the scan's voxels in which voxels of a part lie, the first of these in each, and how many."""

    voxels: np.ndarray
    starts: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, places: np.ndarray) -> _Line:
        return cls(*np.unique(places, return_index=True, return_counts=True))

    @property
    def members(self) -> list[slice | np.ndarray]:
        """The first in each voxel, the second ...; where there are fewer, the last again."""
        most = int(self.counts.max())
        if (self.counts == most).all():
            return [slice(number, None, most) for number in range(most)]
        return [self.starts + np.minimum(number, self.counts - 1) for number in range(most)]


def _far(part: np.ndarray, limits: Limits, lines: Sequence[_Line], least: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """How far the voxels of a part (k, j, i) that lie beyond their limits do so, if farther than ``least``, and whether a region of one value is near them.

    Most voxels of a scan hold none such: all are looked at as a whole first.
    """
    at = np.ix_(*(line.voxels for line in lines))
    doubtful = np.nonzero((_in_each(part, lines, np.maximum) > limits.high[at] + least) | (_in_each(part, lines, np.minimum) < limits.low[at] - least))
    voxels = tuple(line.voxels[index] for line, index in zip(lines, doubtful))
    low, high, beside = limits.low[voxels], limits.high[voxels], limits.beside[voxels]
    for number in np.ndindex(*(int(line.counts.max()) for line in lines)):
        there = np.logical_and.reduce([line.counts[index] > n for line, index, n in zip(lines, doubtful, number)])
        values = part[tuple(line.starts[index[there]] + n for line, index, n in zip(lines, doubtful, number))].astype(np.float32)
        far = np.maximum(values - high[there], low[there] - values)
        yield far[far > least], beside[there][far > least]


def _in_each(part: np.ndarray, lines: Sequence[_Line], function: Callable[..., np.ndarray]) -> np.ndarray:
    """The least or the largest (``np.minimum``, ``np.maximum``) of a part's voxels in each voxel of the scan that holds any."""
    for axis, line in enumerate(lines):
        part = reduce(function, [part[(slice(None),) * axis + (member,)] for member in line.members])
    return part


def fit_of(scan: Volume, result: Volume, modality: str) -> dict[str, Any]:
    """All of it, in figures ready for JSON.

    Args:
        scan, result: the same field of view.
        modality: "CT" or "MR"; another word counts as MR.

    Returns:
        residual_rms, residual_rms_lanczos (within the body), residual_share (over the span), residual_mean, residual_largest: the scan's units;
        beyond_share, beyond_largest, dots: see :class:`Overshoot`; dots_lanczos: those that Lanczos makes (0 where the result has none); outside_models: share of the scan's voxels that lie outside what the networks take.
    """
    modality = modality if modality == "CT" else "MR"
    _, span = value_range(scan.voxels, modality)
    body = body_mask(scan.voxels, modality)
    off, lanczos = residual(scan.voxels, result.voxels)[body], residual_of_lanczos(scan.voxels, result.voxels.shape)[body]
    limits = Limits.of(scan.voxels)
    found = overshoot(scan.voxels, result.voxels, span, limits)
    scale = intensity_scale(scan.voxels, modality)
    outside = scale.split(scale.normalise(scan.voxels))[1]
    return {
        "residual_rms": _rms(off),
        "residual_rms_lanczos": _rms(lanczos),
        "residual_share": _rms(off) / span,
        "residual_mean": float(off.mean(dtype=np.float64)),
        "residual_largest": float(np.abs(off).max()),
        "beyond_share": found.beyond / found.voxels,
        "beyond_largest": found.largest,
        "dots": found.dots,
        "dots_lanczos": overshoot_of_lanczos(scan.voxels, result.voxels.shape, span, limits).dots if found.dots else 0,
        "outside_models": 0.0 if outside is None else float(np.mean(outside != 0)),
    }


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def residual_map(scan: Volume, result: Volume) -> Volume:
    """The residual as a volume on the scan's grid, float32, in its units."""
    return replace(scan, voxels=residual(scan.voxels, result.voxels), notes=())


def sentences_of_fit(found: dict[str, Any], unit: str) -> list[str]:
    """What was found in words.

    Args:
        found: by :func:`fit_of`.
        unit: "HU" or "".
    """
    unit = f" {unit}" if unit else ""
    lines = [
        f"Averaged over the scan's voxels the result is {found['residual_rms']:.3g}{unit} from the scan (root mean square in the body; Lanczos {found['residual_rms_lanczos']:.3g}).",
        f"{100 * found['beyond_share']:.2g} % of its voxels lie outside the range of the scan's 27 voxels around them, by {found['beyond_largest']:.3g}{unit} at most.",
    ]
    if found["dots"]:
        beside = "look at the rim before you believe a dot there" if found["dots"] > found["dots_lanczos"] else "no more than an interpolation makes"
        lines.append(f"{found['dots']} voxels stand out beside masked or padded places (Lanczos {found['dots_lanczos']}): {beside}.")
    if found["outside_models"] > 0.001:
        lines.append(f"{100 * found['outside_models']:.1f} % of the scan lies outside the intensities that the networks take; there it is only interpolated.")
    return lines
