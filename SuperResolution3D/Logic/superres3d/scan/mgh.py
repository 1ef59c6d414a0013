"""FreeSurfer's MGH and MGZ: header by nibabel, voxels from exactly the file that was named."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from .deflate import GZIP
from .geometry import FLIP, grid_of
from .nifti import nibabel
from .several import chosen
from .stored import RAW, head, is_gzipped, stored_voxels
from .volume import Volume

_DATA = 284  # bytes before the voxels
_FOOTER = 1 << 30  # times and text, of any length


def is_mgh(path: Path) -> bool:
    """By its name: the content has no mark of its own."""
    return path.name.lower().endswith((".mgh", ".mgz", ".mgh.gz"))


@np.errstate(all="ignore")  # numbers that make no place are refused with the rest
def read_mgh(path: Path, volume: int | None = None) -> Volume:
    """Read a file of FreeSurfer; ``volume`` is a number from 1, of several frames.

    Raises:
        InputError: damaged, incomplete, several frames and none chosen, no sizes and place (goodRASFlag), or nibabel is missing.
    """
    package = nibabel(path)
    block = head(path, _DATA)
    header = package.freesurfer.mghformat.MGHHeader(block, check=False) if len(block) == _DATA else None
    if header is None or int(header["version"]) != 1 or int(header["type"]) not in package.freesurfer.mghformat.data_type_codes.code:
        raise InputError(f"{path} cannot be read as an image: its header is none of FreeSurfer's MGH.")
    shape = tuple(int(n) for n in header["dims"])
    if min(shape) < 1:
        raise InputError(f"{path} is damaged: its header names sizes of {' x '.join(map(str, shape))} voxels; fetch or copy it again.")
    if not int.from_bytes(block[28:30], "big"):
        raise InputError(f"{path} does not tell the size of its voxels and where they lie; convert it with FreeSurfer's mri_convert first.")
    index = chosen(shape[3], volume, path)
    voxels = stored_voxels(path, shape[::-1], np.dtype(header.get_data_dtype()), GZIP if is_gzipped(path) else RAW, skip=_DATA, index=index, spare=_FOOTER)
    return Volume(voxels, **grid_of(FLIP @ np.asarray(header.get_affine(), dtype=float)))
