"""Less invented structure: what networks add over Lanczos is shrunk where the error to expect exceeds it.

With the square c of what is added and the square e of the expected error, both under the window of the error map, the share c / (c + k e)
of it stays (a Wiener filter's form).  Sure detail stays nearly whole, doubtful detail comes out about as Lanczos leaves it.  k was chosen on
training and validation scans.  Which additions have no ground can hardly be told from a scan (models/EXPERIMENTS.md): all of them are made smaller.
"""

from __future__ import annotations

import numpy as np

from ..engine.chain import finished
from .expected import slabs, windowed

#: (modality, largest factor) -> k
STRENGTH = {("CT", 2): 0.5, ("CT", 4): 0.75, ("MR", 2): 0.9, ("MR", 4): 1.3}
_TINY = np.float32(1e-12)


def strength_of(modality: str, factor: float) -> float:
    """k for a modality and the largest factor of a run."""
    return STRENGTH[modality, 4 if factor > 2 else 2]


def careful(scan: np.ndarray, result: np.ndarray, expected: np.ndarray, strength: float, floor: float | None = None) -> np.ndarray:
    """A result with doubtful detail taken back.

    Args:
        scan: (k, j, i), any real dtype.
        result: finer, over the same extent; not changed.
        expected: of the result's shape; see :func:`superres3d.trust.expected.expected_error`.
        strength: k; 0 changes nothing.
        floor: what no value must be below, as Lanczos alone can be; None: anything may be.

    Returns:
        (k, j, i), of the result's shape and dtype; a voxel that equals Lanczos stays.
    """
    shrunk = np.empty_like(result)
    for slab in slabs(scan, result.shape):
        added = result[slice(*slab.around)].astype(np.float32) - slab.lanczos
        kept = windowed(slab.padded(np.square(added)), slab.borders)
        kept /= kept + np.float32(strength) * np.square(expected[slab.first : slab.last]) + _TINY
        inner = slice(slab.first - slab.around[0], slab.last - slab.around[0])
        shrunk[slab.first : slab.last] = finished(slab.lanczos[inner] + added[inner] * kept, result.dtype, floor)
    return shrunk
