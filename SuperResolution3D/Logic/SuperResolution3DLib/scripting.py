"""What a script leaves out is taken from the volume."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _
from superres3d.errors import InputError
from superres3d.methods import needs_modality
from superres3d.scan.region import Spans, asked_region

from .checks import check_input, volume_facts
from .modality import guess_modality
from .nodes import volume_from_node
from .regions import ROI_CLASS, roi_spans
from .request import Request, default_method


def request_for(node: slicer.vtkMRMLScalarVolumeNode | None, method: str, modality: str, slice_spacing: float | None, **choices: Any) -> Request:
    """The request for a volume.

    Args:
        node: to be upscaled.
        method: name in the catalogue; empty: the default for the volume.
        modality: "CT" or "MR"; empty: from DICOM, the units or the intensities.
        slice_spacing: millimetres between the slices of the result; None: a factor is used.
        choices: the other fields of :class:`.request.Request`.

    Raises:
        InputError: the volume cannot be upscaled, or a choice does not exist or fit the others.
    """
    check_input(node)
    if not modality:
        guess = guess_modality(node)
        if guess.doubt and needs_modality(method):
            raise InputError(guess.doubt)
        modality = guess.modality.value
    choices["region"] = _spans(node, choices.get("region"))
    method = method or default_method(modality, slice_spacing, volume_facts(node).slice_distance)
    return Request(slice_spacing=slice_spacing, method=method, modality=modality, **choices)


def _spans(node: slicer.vtkMRMLScalarVolumeNode, region: Any) -> Spans | None:
    """The voxels (k, j, i) of an ROI node, or of text (InputError)."""
    if region is None:
        return None
    if isinstance(region, str):
        return asked_region(region).voxels(volume_from_node(node))
    if not (hasattr(region, "IsA") and region.IsA(ROI_CLASS)):
        raise InputError(_("The region must be one ROI node of the scene, or text such as ras=-40:20,10:70,-300:-250."))
    return roi_spans(node, region)
