"""Less invented structure: what networks add over Lanczos is made smaller where the error to expect exceeds it.

With the square c of what is added and the square e of the expected error, both under the window of the error map, the share c / (c + k e)
of it stays (a Wiener filter's form).  Sure detail stays nearly whole, doubtful detail comes out about as Lanczos leaves it.  What is left may
go far from Lanczos only where it is several times the expected error; elsewhere it ends at a limit, just below what counts as an addition in
the tables (100 HU, 5 % of the range).  All was chosen on training and validation scans.  Which additions have no ground can hardly be told from
a scan (models/EXPERIMENTS.md): all of them are made smaller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..engine.chain import finished
from ..engine.memory import kept_heap, usable_cores
from ..resampling.bounds import REACH as NEAR
from ..resampling.bounds import limits_of, margin_of
from ..resampling.threads import in_parts
from .body import value_range
from .ground import threshold_of
from .window import REACH, Plane, on_rows, planes, smoothed

#: (axes that are refined, modality, largest factor) -> k, and how many times the expected error an addition must be to go beyond the limit
_CHOSEN = {
    ("across", "CT", 2): (1.0, 4.0), ("across", "CT", 4): (1.0, 6.0), ("across", "MR", 2): (0.0, 0.9), ("across", "MR", 4): (0.012, 1.0),
    ("within", "CT", 2): (0.05, 3.0), ("within", "CT", 4): (0.1, 7.0), ("within", "MR", 2): (0.1, 4.5), ("within", "MR", 4): (0.1, 10.0),
    ("all", "CT", 2): (0.1, 1.8), ("all", "CT", 4): (0.15, 3.5), ("all", "MR", 2): (0.065, 2.5), ("all", "MR", 4): (0.065, 2.6),
}  # fmt: skip
_LIMIT = 0.95  # of what counts as an addition; the range of a scan is measured, and is not quite that of its truth
_SLOPE = 0.1  # of that many times: over so much more the limit is lifted
_TINY = np.float32(1e-12)
_SLICES = 8  # of the scan, whose limits are made at a time


@dataclass(frozen=True)
class Restraint:
    """How much of what is added is taken back.

    Attributes:
        strength: k; with 0 the share of all that is added stays.
        sure: what is added is held at the limit up to so many times the expected error.
        limit: in the scan's units.
    """

    strength: float
    sure: float = 0.0
    limit: float = np.inf

    @classmethod
    def of(cls, scan: np.ndarray, modality: str, factors: Sequence[float]) -> Restraint:
        """That of ``--careful``.

        Args:
            scan: the whole of it, any real dtype; its range gives the limit of MR.
            modality: "CT" or "MR".
            factors: of the run, along (slices, rows, columns).
        """
        axes = "within" if factors[0] <= 1 else "across" if max(factors[1:]) <= 1 else "all"
        strength, sure = _CHOSEN[axes, modality, 4 if max(factors) > 2 else 2]
        return cls(strength, sure, _LIMIT * threshold_of(modality, value_range(scan, modality)[1]))

    def held(self, added: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """What is added, held at the limit where it is not sure; both of one shape."""
        inside = np.clip(added, np.float32(-self.limit), np.float32(self.limit))
        if not self.sure or np.isinf(self.limit):
            return added
        lifted = np.clip((np.abs(added) / (np.float32(self.sure) * expected + _TINY) - 1) / np.float32(_SLOPE), 0, 1)
        return inside + (added - inside) * lifted


def careful(scan: np.ndarray, result: np.ndarray, expected: np.ndarray, restraint: Restraint, floor: float | None = None) -> np.ndarray:
    """A result with doubtful detail taken back.

    Args:
        scan: (k, j, i), any real dtype.
        result: finer, over the same extent; not changed.
        expected: of the result's shape; see :func:`superres3d.trust.expected.expected_error`.
        restraint: how much.
        floor: what no value must be below, as Lanczos alone can be; None: anything may be.

    Returns:
        (k, j, i), of the result's shape and dtype; a voxel that equals Lanczos stays.
    """
    shrunk = np.empty_like(result)
    margin = margin_of([fine / count for fine, count in zip(result.shape, scan.shape)])

    def fill(begin: int, end: int) -> None:
        before, after = min(begin, REACH), min(len(result) - end, REACH)
        waiting: deque[tuple[Plane, np.ndarray]] = deque()
        limits = _Limits(scan, margin)
        for number, kept in enumerate(smoothed(_squares(scan, result, begin - before, end + after, waiting), before, after), begin):
            while waiting[0][0].number < number:
                waiting.popleft()
            (plane, added), error = waiting[0], expected[number]
            kept /= kept + np.float32(restraint.strength) * np.square(error) + _TINY
            kept *= added
            mixed = restraint.held(kept, error)
            mixed += plane.lanczos
            limits.bound(mixed, result[number], plane.source)
            shrunk[number] = finished(mixed, result.dtype, floor)

    with kept_heap():
        in_parts(fill, len(result), usable_cores())
    return shrunk


def _squares(scan: np.ndarray, result: np.ndarray, first: int, last: int, waiting: deque[tuple[Plane, np.ndarray]]) -> Iterator[np.ndarray]:
    """Of what is added in slices; what was squared waits to be used."""
    for plane in planes(scan, result.shape, first, last):
        added = result[plane.number].astype(np.float32) - plane.lanczos
        waiting.append((plane, added))
        yield np.square(added)


class _Limits:
    """Nothing leaves the range of the scan's voxels around it that did not do so before: beside masks Lanczos rings, and the result was brought back from there.

    Args:
        scan: (k, j, i), any real dtype.
        margin: see :func:`superres3d.resampling.bounds.limits_of`.
    """

    def __init__(self, scan: np.ndarray, margin: float):
        self._scan, self._margin, self._first = scan, margin, 0
        self._low, self._high = np.empty((0, *scan.shape[1:])), np.empty((0, *scan.shape[1:]))

    def bound(self, mixed: np.ndarray, result: np.ndarray, source: int) -> None:
        """A slice that lies in one of the scan, in place; ``result`` is what it was made from."""
        if not self._first <= source < self._first + len(self._low):
            start = max(0, source - NEAR)
            low, high = limits_of(self._scan[start : source + _SLICES + NEAR].astype(np.float32), (0, 1, 2), self._margin)
            self._first, kept = source, slice(source - start, source - start + _SLICES)
            self._low, self._high = low[kept], high[kept]
        for limits, function, within in ((self._low, np.minimum, np.maximum), (self._high, np.maximum, np.minimum)):
            fine, limit = on_rows(mixed, limits[source - self._first])
            within(fine, function(limit, result.reshape(fine.shape)), out=fine)
