"""How far two segmentations of one body agree: overlap of labels and distance of their surfaces.

Chen 2020, section 4.1, compares segmentations by Dice and Jaccard; how far boundaries lie apart is told beside them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

LEAST_VOXELS = 100  # of the truth's label: of smaller ones a voxel is a percent and more
STATEMENT = (
    f"Agreement of labels: over the labels with {LEAST_VOXELS} voxels or more in the truth's segmentation, background left out. Dice: twice the common voxels over the sum of both; "
    "Jaccard: the common voxels over those of either; mean over the labels (of Dice the median, too). A label that the result has not counts as 0.",
    "Surface distance: from each voxel at the surface of a label to the nearest at the other's, both ways together, in mm: the mean, and the 95th percentile; mean over the labels that both have.",
)


def agreement(truth: np.ndarray, labels: np.ndarray, spacing: Sequence[float]) -> dict[str, float]:
    """All measures of a segmentation against the truth's.

    Args:
        truth: whole numbers, 0 the background; any number of axes.
        labels: likewise, of the same shape.
        spacing: millimetres along the array's axes.

    Returns:
        dice, dice_median, jaccard; surface_mm and surface95_mm, where a label is in both.

    Raises:
        ValueError: no label is large enough.
    """
    dice = overlaps(truth, labels)
    if not dice:
        raise ValueError(f"no label has {LEAST_VOXELS} voxels")
    found = {"dice": float(np.mean(list(dice.values()))), "dice_median": float(np.median(list(dice.values()))), "jaccard": float(np.mean([d / (2.0 - d) for d in dice.values()]))}
    apart = [surface_distances(truth == label, labels == label, spacing) for label, value in dice.items() if value > 0.0]
    if apart:
        found |= {"surface_mm": float(np.mean([a.mean() for a in apart])), "surface95_mm": float(np.mean([np.percentile(a, 95) for a in apart]))}
    return found


def overlaps(truth: np.ndarray, labels: np.ndarray) -> dict[int, float]:
    """Label -> Dice, of the labels that are large enough in the truth.

    >>> overlaps(np.repeat([0, 1], 100), np.repeat([0, 1, 1], [150, 30, 20]))
    {1: 0.6666666666666666}
    """
    count = int(max(truth.max(), labels.max())) + 1
    in_truth, in_labels, in_both = (np.bincount(array.ravel(), minlength=count) for array in (truth, labels, truth[truth == labels]))
    return {label: 2.0 * int(in_both[label]) / int(in_truth[label] + in_labels[label]) for label in range(1, count) if in_truth[label] >= LEAST_VOXELS}


def surface_distances(first: np.ndarray, second: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """From each voxel at the surface of a mask to the nearest at the other's, both ways, in the spacing's unit.

    Args:
        first, second: bool, of one shape, neither empty.
        spacing: along the array's axes.
    """
    window = _bounds(first | second)
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in (np.pad(array[window], 1) for array in (first, second))]
    return np.concatenate([ndimage.distance_transform_edt(~there, sampling=spacing)[here] for here, there in (surfaces, surfaces[::-1])])


def _bounds(mask: np.ndarray) -> tuple[slice, ...]:
    (window,) = ndimage.find_objects(mask.astype(np.uint8))
    return window
