"""Less invented structure: what networks add over Lanczos is made smaller where the error to expect exceeds it.

With the square c of what is added and the square e of the expected error, both under the window of the error map, the share c / (c + k e)
of it stays (a Wiener filter's form).  Sure detail stays nearly whole, doubtful detail comes out about as Lanczos leaves it.  What is left may
go far from Lanczos only where it is several times the expected error; elsewhere it ends at a limit, just below what counts as an addition in
the tables (100 HU, 5 % of the range).  All was chosen on training and validation scans.  Which additions have no ground can hardly be told from
a scan (models/EXPERIMENTS.md): all of them are made smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..engine.chain import finished
from ..resampling.bounds import REACH, limits_of, margin_of, sources
from .body import value_range
from .expected import slabs, windowed
from .ground import threshold_of

#: (axes that are refined, modality, largest factor) -> k, and how many times the expected error an addition must be to go beyond the limit
_CHOSEN = {
    ("across", "CT", 2): (0.4, 1.75), ("across", "CT", 4): (0.75, 2.0), ("across", "MR", 2): (0.0, 1.25), ("across", "MR", 4): (0.02, 1.0),
    ("within", "CT", 2): (0.2, 1.5), ("within", "CT", 4): (0.5, 1.75), ("within", "MR", 2): (0.25, 3.0), ("within", "MR", 4): (0.25, 3.0),
    ("all", "CT", 2): (0.3, 1.75), ("all", "CT", 4): (0.3, 2.5), ("all", "MR", 2): (0.25, 3.0), ("all", "MR", 4): (0.25, 3.0),
}  # fmt: skip
_LIMIT = 0.95  # of what counts as an addition; the range of a scan is measured, and is not quite that of its truth
_SLOPE = 0.1  # of that many times: over so much more the limit is lifted
_TINY = np.float32(1e-12)


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
    places = [sources(fine, (0, count), fine / count) for fine, count in zip(result.shape, scan.shape)]
    margin = margin_of([fine / count for fine, count in zip(result.shape, scan.shape)])
    for slab in slabs(scan, result.shape):
        added = result[slice(*slab.around)].astype(np.float32) - slab.lanczos
        kept = windowed(slab.padded(np.square(added)), slab.borders)
        error = expected[slab.first : slab.last]
        kept /= kept + np.float32(restraint.strength) * np.square(error) + _TINY
        inner = slice(slab.first - slab.around[0], slab.last - slab.around[0])
        mixed = slab.lanczos[inner] + restraint.held(added[inner] * kept, error)
        _bound(mixed, result[slab.first : slab.last], scan, [places[0][slab.first : slab.last], *places[1:]], margin)
        shrunk[slab.first : slab.last] = finished(mixed, result.dtype, floor)
    return shrunk


def _bound(mixed: np.ndarray, result: np.ndarray, scan: np.ndarray, places: Sequence[np.ndarray], margin: float) -> None:
    """Nothing leaves the range of the scan's voxels around it that did not do so before: beside masks Lanczos rings, and the result was brought back from there; in place."""
    first, last = max(0, int(places[0][0]) - REACH), int(places[0][-1]) + REACH + 1
    at = np.ix_(places[0] - first, *places[1:])
    low, high = limits_of(scan[first:last].astype(np.float32), (0, 1, 2), margin)
    np.clip(mixed, np.minimum(low[at], result), np.maximum(high[at], result), out=mixed)
