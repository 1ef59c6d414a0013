"""Where the body is, and which parts of it are told apart: edges, flat places, small bright structures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..resampling.bounds import extreme
from ..scan.intensity import CT_RANGE_HU

REGIONS = ("edges", "flat", "bright")
#: of the body's voxels, by the gradient: the steepest are edges, the least steep are flat
EDGES, FLAT = 0.15, 0.4
#: a structure of one or two voxels stands out so far above its surroundings (HU, or share of an MR scan's range), and more than most of the body's voxels do
BRIGHT, BRIGHTEST = {"CT": 100.0, "MR": 0.05}, 0.05
_BODY = {"CT": -300.0, "MR": 0.1}  # HU, or share of the range
_MOST_VOXELS = 2_000_000  # that are looked at: the body is large
_LEAST_VOXELS, _TENTH, _ENOUGH_SLICES = 600_000, 10, 96  # a tenth of a smaller scan will do
_LEAST_SHARE = 0.002
_MR_PERCENTILE = 99.9
_SAMPLE, _QUANTILE_SAMPLE = 1_000_000, 500_000


def value_range(voxels: np.ndarray, modality: str) -> tuple[float, float]:
    """(least value, span): the range against which errors are told, as in the tables of results.

    Args:
        voxels: any shape.
        modality: "CT": -1024 to 3071 HU; else the least value and the 99.9 percentile.
    """
    if modality == "CT":
        low, high = CT_RANGE_HU
        return low, high - low
    step = max(1, voxels.size // _SAMPLE)
    low, high = float(voxels.min()), float(np.percentile(voxels.reshape(-1)[::step], _MR_PERCENTILE))
    return low, (high - low) or float(voxels.max()) - low or 1.0


def body_mask(voxels: np.ndarray, modality: str) -> np.ndarray:
    """Where the body is, lungs and other cavities included.

    Args:
        voxels: (slices, rows, columns), any real dtype.
        modality: "CT" or "MR".

    Returns:
        bool, of the same shape; where no body can be told, everything.
    """
    steps = _steps(voxels.shape)
    sample = voxels[tuple(slice(None, None, step) for step in steps)].astype(np.float32)
    low, span = value_range(voxels, modality)
    found = _largest(sample > (_BODY["CT"] if modality == "CT" else low + _BODY["MR"] * span))
    if found.mean() < _LEAST_SHARE:
        return np.ones(voxels.shape, bool)
    for axis, step in enumerate(steps):
        found = found.repeat(step, axis=axis)
    return found[tuple(slice(0, n) for n in voxels.shape)]


def _steps(shape: Sequence[int]) -> tuple[int, ...]:
    """Of the voxels that are looked at: every second, third ... within the slices first, which are finer."""
    voxels = shape[0] * shape[1] * shape[2]
    most = min(_MOST_VOXELS, max(_LEAST_VOXELS, voxels // _TENTH))
    through = max(1, shape[0] // _ENOUGH_SLICES) if voxels > most else 1
    within = max(1, round((voxels / through / most) ** 0.5))
    return through, within, within


def _largest(bright: np.ndarray) -> np.ndarray:
    """The largest connected part, its holes filled slice by slice."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(bright.astype(np.uint8))
    opened = sitk.BinaryMorphologicalOpening(image, (1, 1, 0))
    parts = sitk.RelabelComponent(sitk.ConnectedComponent(opened), sortByObjectSize=True)
    return filled(sitk.GetArrayFromImage(parts) == 1)


def filled(body: np.ndarray) -> np.ndarray:
    """A body (slices, rows, columns), bool, with its holes filled slice by slice: what is not of it, and not connected with the border of its slice by faces."""
    import SimpleITK as sitk

    apart = np.zeros((2 * len(body), *body.shape[1:]), np.uint8)  # with a slice between any two, so that nothing is connected through them
    apart[::2] = ~body
    parts = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(apart)))[::2]
    outside = np.zeros(int(parts.max()) + 1, bool)
    for side in (parts[:, 0], parts[:, -1], parts[:, :, 0], parts[:, :, -1]):
        outside[np.unique(side)] = True
    outside[0] = False
    return ~outside[parts]


def regions_of(voxels: np.ndarray, body: np.ndarray, modality: str, span: float, axes: Sequence[int]) -> dict[str, np.ndarray]:
    """The parts of a body, bool masks by name (:data:`REGIONS`); they may overlap.

    Args:
        voxels: (slices, rows, columns) float32.
        body: bool, of that shape.
        modality: "CT" or "MR".
        span: of the scan's values; see :func:`value_range`.
        axes: along which voxels are neighbours.
    """
    steepness = sum(np.square(np.gradient(voxels, axis=axis)) for axis in axes if voxels.shape[axis] > 1)
    if not body.any():
        return {name: np.zeros(body.shape, bool) for name in REGIONS}
    flat, edge = _quantiles(np.asarray(steepness)[body], FLAT, 1.0 - EDGES)
    above = voxels - extreme(extreme(voxels, axes, np.minimum), axes, np.maximum)
    stands_out = BRIGHT["CT"] if modality == "CT" else BRIGHT["MR"] * span
    (most,) = _quantiles(above[body], 1.0 - BRIGHTEST)
    return {"edges": body & (steepness >= edge), "flat": body & (steepness <= flat), "bright": body & (above > max(stands_out, most))}


def _quantiles(values: np.ndarray, *shares: float) -> np.ndarray:
    return np.quantile(values[:: max(1, values.size // _QUANTILE_SAMPLE)], shares)
