"""What a volume shows of its own resolution and noise, measured in a thread beside the window; numpy alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from slicer.i18n import tr as _
from superres3d.errors import SuperResolutionError
from superres3d.scan.volume import find_slice_axis

from . import wording

_MOST_VOXELS = 32 << 20  # that are copied: a few hundredths of a second


@dataclass(frozen=True)
class Measured:
    """In words: a line for the panel, empty where nothing can be told, and all of it for its tip."""

    line: str
    tip: str


class Measurement:
    """One measurement under way.

    Args:
        voxels: (k, j, i) of the scene; copied here, for the scene may let go of them meanwhile.
        spacing: millimetres along (i, j, k).
        modality: "CT" or "MR".
        measure: what is done with the copy.
    """

    def __init__(self, voxels: np.ndarray, spacing: Sequence[float], modality: str, measure: Callable[[np.ndarray, Sequence[float], str], Measured] | None = None):
        self._found = Measured("", "")
        self._arguments = (_middle(voxels, find_slice_axis(spacing)).copy(), tuple(spacing), modality)
        self._measure = measure or measured
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def found(self) -> Measured | None:
        """None as long as it is not known."""
        return None if self._thread.is_alive() else self._found

    def _run(self) -> None:
        try:
            self._found = self._measure(*self._arguments)
        except (SuperResolutionError, ImportError, MemoryError):
            pass  # a line less; the packages come with the first Apply


def _middle(voxels: np.ndarray, axis: int) -> np.ndarray:
    """As many slices about the middle as may be copied."""
    slices = np.moveaxis(voxels, axis, 0)
    count = min(len(slices), max(1, _MOST_VOXELS // max(1, slices[0].size)))
    first = (len(slices) - count) // 2
    return np.moveaxis(slices[first : first + count], 0, axis)


def measured(voxels: np.ndarray, spacing: Sequence[float], modality: str) -> Measured:
    """Of a volume, or of the middle of one; arguments as :class:`Measurement` takes them.

    Raises:
        ModelError: the estimator is missing or damaged.
        ImportError: a package is not installed yet.
    """
    from superres3d.detail.measured_grid import detail_with_ends
    from superres3d.detail.words import noise_of, resolutions, sentences

    axis = find_slice_axis(spacing)
    detail = detail_with_ends(np.moveaxis(voxels, axis, 0), modality)
    found = resolutions(detail, spacing, axis)
    if all(value is None for value in found):
        return Measured(_("The volume is too small or too empty to measure its resolution."), "")
    sizes = " \N{MULTIPLICATION SIGN} ".join("?" if value is None else f"{value:.2g}" for value in found)
    line = _("Measured: {found} mm (stored {stored}), noise about {noise}.").format(found=sizes, stored=wording.dimensions(spacing), noise=f"{noise_of(detail):.2g}")
    return Measured(line, "\n".join(sentences(detail, spacing, axis)))
