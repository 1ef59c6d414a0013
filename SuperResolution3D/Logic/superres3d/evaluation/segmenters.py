"""What draws the labels that are compared: a network of the user's, k-means of tissue, or the surfaces of CT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..scan.volume import Volume
from .agreement import agreement
from .meshnet import MeshNet
from .metrics import MR_FOREGROUND, MR_PERCENTILE
from .surfaces import prepare_surfaces

TISSUE = "tissue"
_TISSUES = 3
_FEWEST_LABELS = 3
STATEMENT = (
    f"Segmenter {TISSUE}: {_TISSUES} classes by k-means of the intensities (SimpleITK's ScalarImageKmeans, begun at the same values for all), for each result by itself, within the truth's foreground.",
)
Measure = Callable[[np.ndarray], dict[str, float]]


class Tissue:
    """Labels by intensity alone.

    Attributes:
        name: as the command line takes it.
        identity: what its labels depend on, ready for JSON.
    """

    name = TISSUE

    def __init__(self) -> None:
        self.identity: dict[str, Any] = {"name": TISSUE, "classes": _TISSUES}

    def prepare(self, truth: Volume) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[float, ...]]:
        """A function that labels voxels on the truth's grid, and the spacing of its result, uint8 (k, j, i), 0 outside the truth's foreground."""
        voxels = truth.voxels.astype(np.float32)
        least = float(voxels.min())
        body = voxels > least + MR_FOREGROUND * (float(np.percentile(voxels, MR_PERCENTILE)) - least)
        means = [float(value) for value in np.quantile(voxels[body], (np.arange(_TISSUES) + 0.5) / _TISSUES)]
        return lambda values: _classes(values, body, means), truth.spacing[::-1]


def _classes(voxels: np.ndarray, body: np.ndarray, means: list[float]) -> np.ndarray:
    """1 for the darkest class."""
    import SimpleITK as sitk

    line = sitk.GetImageFromArray(voxels[body].astype(np.float32)[None])
    found = sitk.GetArrayFromImage(sitk.ScalarImageKmeans(line, means))[0]
    order = np.argsort(np.argsort([voxels[body][found == number].mean() if (found == number).any() else means[number] for number in range(len(means))]))
    labels = np.zeros(voxels.shape, np.uint8)
    labels[body] = order[found] + 1
    return labels


Segmenter = Tissue | MeshNet


def find_segmenter(name: str) -> Segmenter:
    """By the word tissue, or by a folder (InputError if it does not hold a network that is known here)."""
    return Tissue() if name == TISSUE else MeshNet(Path(name))


def prepare(segmenter: Segmenter, truth: Volume, modality: str) -> tuple[Measure, str]:
    """How results on the truth's grid are compared with it, and why they cannot be, as the end of a sentence (empty if they can)."""
    if modality == "CT":
        compare = prepare_surfaces(truth.voxels, truth.spacing[::-1])
        return compare, "" if compare(truth.voxels) else "it shows neither bone nor lung"
    labelled, spacing = segmenter.prepare(truth)
    own = labelled(truth.voxels)
    few = np.count_nonzero(np.bincount(own.ravel())[1:]) < _FEWEST_LABELS
    return lambda voxels: agreement(own, labelled(voxels), spacing), f"the segmenter {segmenter.name} finds too little in it" if few else ""
