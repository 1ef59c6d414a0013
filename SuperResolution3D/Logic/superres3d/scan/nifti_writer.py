"""NIfTI out: the places of the scan that was read, for the grid of the result, with their codes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .deflate import gzip_writer
from .geometry import FLIP, matrix_of
from .nifti import nibabel
from .nifti_forms import NiftiForms

if TYPE_CHECKING:
    from .volume import Volume

_LONGEST_SIDE = 2**15 - 1  # of NIfTI-1; NIfTI-2 takes what is longer
_SCANNER = 1  # the code of a place that comes from another format
_NO_EXTENSIONS = bytes(4)


def write_nifti(volume: Volume, path: Path, description: str = "") -> None:
    """Write a single NIfTI file (.nii, .nii.gz), sizes in millimetres.

    A volume that was read from NIfTI keeps both of its places (sform and qform) with their codes, refined to its grid as it is now; a
    code that was 0 stays 0.  Others get their place in both forms, with code 1 (scanner).

    Args:
        volume: what to write, with its dtype.
        path: replaced if it exists; gzipped if it ends in .gz.
        description: for the field descrip; 79 bytes of it are kept.

    Raises:
        InputError: nibabel is missing.
        OSError: the disk refuses.
    """
    header = _header(volume, path, description)
    begin = header.binaryblock + _NO_EXTENSIONS
    with open(path, "wb") as plain:
        packed = gzip_writer(plain) if path.name.lower().endswith(".gz") else None
        with packed or plain as file:
            file.write(begin)
            for piece in volume.voxels:
                file.write(np.ascontiguousarray(piece).data)


def _header(volume: Volume, path: Path, description: str) -> Any:
    package = nibabel(path)
    shape = volume.voxels.shape[::-1]
    header = (package.Nifti1Header if max(shape) <= _LONGEST_SIDE else package.Nifti2Header)(endianness="<")
    header.set_data_dtype(volume.voxels.dtype)
    header.set_data_shape(shape)
    header.set_zooms(volume.spacing)
    header.set_xyzt_units("mm")
    header["descrip"] = description.encode("ascii", "replace")[:79]
    header["magic"], header["vox_offset"] = header.single_magic, header.single_vox_offset
    header.set_slope_inter(1.0, 0.0)
    _place(header, volume)
    return header


def _place(header: Any, volume: Volume) -> None:
    """Both forms and their codes; pixdim belongs to the qform, where there is one."""
    if isinstance(volume.source, NiftiForms):
        forms = volume.source
        (sform, qform), (sform_code, qform_code) = forms.of(volume), (forms.sform_code, forms.qform_code)
    else:
        sform = qform = FLIP @ matrix_of(volume)
        sform_code = qform_code = _SCANNER
    if qform is not None:
        header.set_qform(qform, qform_code)
    if sform is not None:
        header.set_sform(sform, sform_code)
