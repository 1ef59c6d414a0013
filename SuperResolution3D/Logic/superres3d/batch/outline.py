"""The grid of a file from its header alone, so that a plan costs milliseconds a scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .scans import Outline

_BY_NIBABEL = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz", ".mgz", ".mgh")


def outline_of(path: Path) -> Outline | None:
    """None where the header cannot be read: then the run itself will say what is wrong.

    Args:
        path: NIfTI, Analyze, MGH, NRRD or MetaImage.
    """
    try:
        return _by_nibabel(path) if path.name.lower().endswith(_BY_NIBABEL) else _by_itk(path)
    except Exception:  # libraries raise anything on a damaged header
        return None


def _by_nibabel(path: Path) -> Outline | None:
    import nibabel

    header: Any = nibabel.load(path).header
    shape = tuple(int(n) for n in header.get_data_shape())
    if len(shape) < 3 or any(n > 1 for n in shape[3:]):
        return None
    return Outline(shape[2::-1], tuple(float(size) for size in header.get_zooms()[:3]), _kept(str(header.get_data_dtype().newbyteorder("="))))


def _by_itk(path: Path) -> Outline | None:
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    size, spacing = reader.GetSize(), reader.GetSpacing()
    if len(size) != 3 or reader.GetNumberOfComponents() != 1:
        return None
    return Outline(tuple(size[::-1]), tuple(spacing), _kept(sitk.GetPixelIDValueAsString(reader.GetPixelID())))


def _kept(told: str) -> str:
    """The type of the result: what networks cannot keep becomes float."""
    words = {"8": "int8", "16": "int16", "32": "int32"}
    width = next((name for bits, name in words.items() if bits in told), "float32")
    return "float32" if "float" in told else width
