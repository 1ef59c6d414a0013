"""How much of a scan is slices of one value, which networks skip: air that was set to zero, and padding."""

from __future__ import annotations

import numpy as np

Shares = tuple[float, float, float]
WHOLLY: Shares = (1.0, 1.0, 1.0)
_LOOKED_AT = 4  # of so many voxels along an axis, one


def uneven_shares(voxels: np.ndarray) -> Shares:
    """Of the slices across each axis of a scan (k, j, i), the share with more than one value; of a large slice a part is looked at."""
    shares = []
    for axis in range(3):
        across = tuple(other for other in range(3) if other != axis)
        looked_at = voxels[tuple(slice(None) if other == axis else slice(None, None, _LOOKED_AT) for other in range(3))]
        shares.append(float(np.mean(looked_at.min(axis=across) != looked_at.max(axis=across))))
    return shares[0], shares[1], shares[2]
