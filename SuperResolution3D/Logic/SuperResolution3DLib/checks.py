"""What the module knows of a volume before a run, and what it refuses.

Every refusal is an ``InputError`` whose message is one sentence for the panel: what was given
and what to do.  Nothing here changes the scene.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _
from superres3d.errors import InputError
from superres3d.scan.uneven import Shares, uneven_shares
from superres3d.scan.volume import find_slice_axis

from .modality import ModalityGuess, guess_modality
from .sequences import current_frame


@dataclass(frozen=True)
class VolumeFacts:
    """What the panel tells of a volume.  Orders are (i, j, k).

    Attributes:
        name: of the node.
        shape: voxels.
        spacing: millimetres.
        dtype: of the voxels.
        modality: a guess, and where it comes from.
        slice_distance: millimetres between the slices.
        thickness: that distance over the width of the pixels.
        frame: of a sequence: (number from 1, count), else None.
        uneven: along (k, j, i): share of the slices that networks compute, see :func:`superres3d.scan.uneven.uneven_shares`.
    """

    name: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    dtype: np.dtype
    modality: ModalityGuess
    slice_distance: float
    thickness: float
    frame: tuple[int, int] | None
    uneven: Shares


def volume_facts(node: slicer.vtkMRMLScalarVolumeNode) -> VolumeFacts:
    """The facts of a volume that passed :func:`check_input`."""
    i, j, k = node.GetSpacing()
    spacing = (float(i), float(j), float(k))
    array = slicer.util.arrayFromVolume(node)
    slices = 2 - find_slice_axis(spacing)
    pixels = max(length for axis, length in enumerate(spacing) if axis != slices)
    return VolumeFacts(
        node.GetName(), tuple(array.shape[::-1]), spacing, array.dtype,
        guess_modality(node), spacing[slices], spacing[slices] / pixels, current_frame(node), _remembered(uneven_shares, node),
    )  # fmt: skip


def check_input(node: slicer.vtkMRMLNode | None) -> None:
    """Refuse what cannot be upscaled.

    Raises:
        InputError: nothing chosen; a label map; colour, vector or tensor voxels; no image
            data; a single slice; axes not at right angles; NaN or infinity; a constant.
    """
    if node is None:
        raise InputError(_("Choose an input volume."))
    name = node.GetName()
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(_('"{name}" is a label map; choose a CT or MR volume with grey values.').format(name=name))
    if not node.IsA("vtkMRMLScalarVolumeNode"):
        raise InputError(_('"{name}" is not a scalar volume; choose a CT or MR volume.').format(name=name))
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        raise InputError(_('"{name}" has no image data; load the scan again, or choose another volume.').format(name=name))
    components = image.GetNumberOfScalarComponents()
    if components != 1:
        raise InputError(
            _('"{name}" has {count} components per voxel (colour, vector or 4-D data); choose a scalar volume, or extract one component or frame.')
            .format(name=name, count=components)
        )  # fmt: skip
    _check_grid(node, image.GetDimensions())
    _check_values(node)


def check_output(output: slicer.vtkMRMLNode | None, source: slicer.vtkMRMLNode | None, what: str) -> None:
    """Refuse an existing node that must not be overwritten; ``what`` is how the panel calls it (InputError)."""
    if output is None:
        return
    name = output.GetName()
    if output is source:
        raise InputError(_('{what} is the input volume itself; choose another volume, or "Create new volume on Apply".').format(what=what))
    if output.IsA("vtkMRMLLabelMapVolumeNode") or not output.IsA("vtkMRMLScalarVolumeNode") or output.IsA("vtkMRMLVectorVolumeNode"):
        raise InputError(_('"{name}" cannot hold the result because it is not a scalar volume; choose another.').format(name=name))
    if current_frame(output):
        raise InputError(_('"{name}" shows a frame of a sequence and would be overwritten by it; choose another volume for the result.').format(name=name))


def _check_grid(node: slicer.vtkMRMLScalarVolumeNode, shape: tuple[int, int, int]) -> None:
    name = node.GetName()
    if min(shape) < 2:
        size = " x ".join(str(n) for n in shape)
        raise InputError(_('"{name}" is a single slice ({size} voxels); choose a volume of at least 2 voxels along each axis.').format(name=name, size=size))
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    axes = slicer.util.arrayFromVTKMatrix(matrix)[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    if min(lengths) <= 0 or not np.allclose((axes / lengths).T @ (axes / lengths), np.eye(3), atol=1e-3):
        raise InputError(_('"{name}" has axes that are not at right angles; resample it first (Crop Volume with interpolated cropping).').format(name=name))


def _check_values(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    name = node.GetName()
    low, high = value_range(node)
    if not np.isfinite([low, high]).all():
        raise InputError(_('"{name}" contains NaN or infinite values; replace them (for example by 0) first.').format(name=name))
    if low == high:
        raise InputError(_('"{name}" has the same value ({value}) everywhere; check that the right volume was chosen.').format(name=name, value=f"{low:g}"))


_known: dict[tuple[Callable, str], tuple[tuple[str, int], Any]] = {}


def value_range(node: slicer.vtkMRMLScalarVolumeNode) -> tuple[float, float]:
    """Minimum and maximum; NaN if any voxel is.  Remembered until the voxels change.

    VTK's own range skips NaN, and the panel asks at every change of a choice.
    """
    return _remembered(_range, node)


def _range(array: np.ndarray) -> tuple[float, float]:
    return float(array.min()), float(array.max())


def _remembered(look: Callable[[np.ndarray], Any], node: slicer.vtkMRMLScalarVolumeNode) -> Any:
    """What is seen in the voxels, as long as they stay the same."""
    image = node.GetImageData()
    state = (image.GetAddressAsString(""), image.GetMTime())
    known = _known.get((look, node.GetID()))
    if known and known[0] == state:
        return known[1]
    found = look(slicer.util.arrayFromVolume(node))
    _known[look, node.GetID()] = state, found
    return found
