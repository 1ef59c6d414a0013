"""Which part of a scan the self-check looks at: slices, or strips of rows through all slices, by what they may cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import numpy as np

#: of an array (slices, rows, columns); slices may be numbers
Box: TypeAlias = "tuple[slice | np.ndarray, slice, slice]"
Solid: TypeAlias = tuple[slice, slice, slice]

#: of the run's time, by the larger factor
SHARE_OF_RUN = {2: 0.22, 4: 0.045}
# Time is told in multiply-accumulates, so that a scan is looked at in the same places on every machine: 330e9 in a second of the processor, as on a fast core in half
# precision or 8 bits; on a slower one networks take longer, and the rest a smaller share.
_SECOND = 330e9
_START = 0.8 * _SECOND  # measuring, compiling
_MADE = 25e-9 * _SECOND  # of a voxel of a result, outside the networks
_COMPARED = 200e-9 * _SECOND  # of a voxel that is looked at, in each way
_COARSENED = 30e-9 * _SECOND  # of a voxel of the scan, in each way, where all of it is made coarser
_MOST_VOXELS = 4_000_000  # of the scan: more tell no more
_LEAST_VOXELS = 250_000  # fewer tell too little: with 120,000 the gain was up to 0.4 dB off
_WHOLE = 0.9
_STRIPS = 3
_STRIP_ROWS = 24  # coarse rows that a strip should have at least, before there is another one
_LEAST_ROWS = 12
_MARGIN = {True: 2, False: 4}  # coarse rows at a cut that are not measured, by whether strips are thin
_SLICES_TOGETHER = 8  # where a network looks at neighbouring slices
_AROUND_BODY = 8  # coarse voxels


@dataclass(frozen=True)
class Slab:
    """A part of the scan.

    Attributes:
        coarse: its voxels in the coarser scan.
        inner: those of its voxels (fine, counted within the slab) that are measured.
    """

    coarse: Box
    inner: Solid

    def fine(self, factors: Sequence[int]) -> Box:
        """Its voxels in the scan; slices that are named by number are not refined."""
        chosen, rows, columns = self.coarse
        return chosen if isinstance(chosen, np.ndarray) else _scaled(chosen, factors[0]), _scaled(rows, factors[1]), _scaled(columns, factors[2])


@dataclass(frozen=True)
class Sample:
    """What is looked at.

    Attributes:
        slabs: parts of the scan.
        share: of the scan's voxels that goes through the networks.
        words: for people.
    """

    slabs: tuple[Slab, ...]
    share: float
    words: str


def share_of_scan(factors: Sequence[int], ways: int, voxels: int, work: float) -> float:
    """How much of a scan may be looked at, so that the check takes a share of the run's time; but never less than tells something.

    Args:
        factors: of the refinement, slices first.
        ways: in how many ways it is made coarser.
        voxels: of the scan.
        work: multiply-accumulates of the run's networks for a voxel of the scan.
    """
    run = voxels * (work + _MADE * prod(factors))
    whole = ways * voxels * _COARSENED if factors[0] > 1 else 0.0
    left = SHARE_OF_RUN[2 if max(factors) <= 2 else 4] * run - _START - whole
    allowed = left / (ways * voxels * (work / prod(factors) + _COMPARED))
    return min(1.0, max(allowed, _LEAST_VOXELS / voxels), _MOST_VOXELS / voxels)


def sample_of(body: np.ndarray, factors: Sequence[int], ways: int, whole_slices: bool, work: float = 0.0) -> Sample:
    """Choose the slabs, spread evenly over the body.

    Args:
        body: bool (slices, rows, columns), each size a multiple of its factor.
        factors: of the refinement, slices first.
        ways: in how many ways the scan is made coarser.
        whole_slices: slices are refined one by one, so any of them will do.
        work: see :func:`share_of_scan`.
    """
    box = _coarse_box(body, factors)
    share = share_of_scan(factors, ways, body.size, work) / (prod(part.stop - part.start for part in box) * prod(factors) / body.size)
    if share >= _WHOLE:
        return _sample([Slab(box, _all(box, factors))], body, factors, "the whole scan")
    if factors[0] == 1:
        return _sample(_slices(box, body, factors, share, whole_slices), body, factors, "{count} of its {slices} slices")
    slabs = _strips(box, factors, share)
    return _sample(slabs, body, factors, f"{'a strip' if len(slabs) == 1 else f'{len(slabs)} strips'} of {{rows}} rows through all slices")


def _scaled(part: slice, factor: int) -> slice:
    return slice(part.start * factor, part.stop * factor)


def _length(part: slice | np.ndarray) -> int:
    return len(part) if isinstance(part, np.ndarray) else part.stop - part.start


def _sample(slabs: Sequence[Slab], body: np.ndarray, factors: Sequence[int], words: str) -> Sample:
    sizes = [tuple(_length(part) for part in slab.fine(factors)) for slab in slabs]
    share = sum(map(prod, sizes)) / body.size
    return Sample(tuple(slabs), share, words.format(count=sum(size[0] for size in sizes), slices=len(body), rows=sizes[0][1]))


def _coarse_box(body: np.ndarray, factors: Sequence[int]) -> Solid:
    """The body and a little around it within the slices, all slices, in coarse voxels."""
    parts = [slice(0, body.shape[0] // factors[0])]
    for axis in (1, 2):
        found = np.flatnonzero(body.any(axis=tuple(other for other in range(3) if other != axis)))
        length, factor = body.shape[axis] // factors[axis], factors[axis]
        first, last = (found[0] // factor, found[-1] // factor + 1) if found.size else (0, length)
        parts.append(slice(max(0, int(first) - _AROUND_BODY), min(length, int(last) + _AROUND_BODY)))
    return parts[0], parts[1], parts[2]


def _all(box: Box, factors: Sequence[int]) -> Solid:
    first, second, third = (slice(0, _length(part) * f) for part, f in zip(box, factors))
    return first, second, third


def _slices(box: Solid, body: np.ndarray, factors: Sequence[int], share: float, one_by_one: bool) -> list[Slab]:
    """Slices spread evenly over those that show the body, or a run of neighbours in the middle."""
    shown = np.flatnonzero(body.any(axis=(1, 2)))
    shown = shown if len(shown) > 1 else np.arange(len(body))
    wanted = min(len(shown), max(2, round(share * len(body))))
    if one_by_one:
        chosen: Box = (shown[((np.arange(wanted) + 0.5) * len(shown) / wanted).astype(int)], box[1], box[2])
    else:
        wanted = min(len(body), max(wanted, _SLICES_TOGETHER))
        start = max(0, min(int(shown[len(shown) // 2]) - wanted // 2, len(body) - wanted))
        chosen = (slice(start, start + wanted), box[1], box[2])
    return [Slab(chosen, _all(chosen, factors))]


def _strips(box: Solid, factors: Sequence[int], share: float) -> list[Slab]:
    rows = box[1].stop - box[1].start
    wanted = min(rows, max(_LEAST_ROWS, round(share * rows)))
    strips = max(1, min(_STRIPS, wanted // _STRIP_ROWS))
    height = wanted // strips
    margin = _MARGIN[height < _STRIP_ROWS]
    gap = (rows - strips * height) / (strips + 1)
    slabs = []
    for number in range(strips):
        start = box[1].start + round(gap * (number + 1)) + number * height
        part = (box[0], slice(start, start + height), box[2])
        slices, _, columns = _all(part, factors)
        slabs.append(Slab(part, (slices, slice(margin * factors[1], (height - margin) * factors[1]), columns)))
    return slabs
