"""Readers for :mod:`.server`: the product's, and independent ones.  Each gives voxels (k, j, i), the LPS matrix in millimetres, and notes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

Read = tuple[np.ndarray, np.ndarray, list[str]]
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
_METRES = {"": 1e-3, "mm": 1e-3, "um": 1e-6, "cm": 1e-2, "m": 1.0, "nm": 1e-9, "in": 0.0254, "inch": 0.0254}


def product(path: Path) -> Read:
    """superres3d."""
    from superres3d import read_volume
    from superres3d.scan.geometry import matrix_of

    volume = read_volume(path)
    return volume.voxels, matrix_of(volume), list(volume.notes)


def nibabel(path: Path) -> Read:
    """NIfTI, Analyze and MGH; the units are taken from the header, as nibabel leaves them out."""
    import nibabel as nib

    image = nib.load(path)
    units = image.header.get_xyzt_units()[0] if hasattr(image.header, "get_xyzt_units") else "mm"
    matrix = np.asarray(image.affine, dtype=float).copy()
    matrix[:3] *= {"meter": 1000.0, "micron": 1e-3}.get(units, 1.0)
    voxels = np.asarray(image.get_fdata())
    return voxels.reshape(voxels.shape[:3] if voxels.size == np.prod(voxels.shape[:3]) else voxels.shape).T, _FLIP @ matrix, []


def pynrrd(path: Path) -> Read:
    """NRRD, with its spaces and units."""
    import nrrd

    voxels, header = nrrd.read(str(path))
    space = str(header.get("space", "")).lower()
    flip = {"r": -1.0, "right": -1.0}.get(re.split("-", space)[0] if "-" in space else space[:1], 1.0), {"a": -1.0, "anterior": -1.0}.get(space.split("-")[1] if "-" in space else space[1:2], 1.0), 1.0
    units = [_METRES[unit] * 1000 for unit in header.get("space units", header.get("units", ["mm"] * 3))]
    matrix = np.eye(4)
    matrix[:3, :3] = header["space directions"].T if "space directions" in header else np.diag(header["spacings"])
    matrix[:3, 3] = header.get("space origin", 0)
    matrix[:3] *= np.multiply(flip, units)[:, None]
    return voxels.T, matrix, []


def simpleitk(path: Path) -> Read:
    """MetaImage, which SimpleITK reads without its unit."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), matrix, []
