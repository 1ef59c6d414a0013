"""Scans from files, by their content and name; each format has a file of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError
from .dicom.content import holds_dicom
from .metaimage import is_metaimage, read_metaimage
from .mgh import is_mgh, read_mgh
from .nifti import LONGEST_HEADER, is_nifti, is_nifti_name, read_nifti
from .nrrd import is_nrrd, read_nrrd
from .stored import head
from .volume import Volume, accepted
from .writing import WRITABLE_SUFFIXES

_ONLY_READ = (".hdr", ".mgz", ".mgh")


def read_volume(
    path: str | os.PathLike, *, series: str | int | None = None, volume: int | None = None, accept: Callable[[Volume, str], Volume] = accepted
) -> Volume:
    """Read a NIfTI, Analyze, MGH, NRRD, MetaImage or DICOM file, or a folder with DICOM files.

    Args:
        path: the file or folder; of a file the content counts more than the name.
        series: of DICOM, the number from 1, or the Series Instance UID, of one of several series.
        volume: number, from 1, of the volume to read from a file or DICOM series that holds several.
        accept: what refuses a volume that is of no use, or converts it; called with it and the name of the file.

    Raises:
        InputError: no such file, not an image, not a scalar 3-D volume, several volumes and none chosen, or DICOM slices
            that are damaged, missing, or do not make up a volume.
    """
    path = Path(path)
    check_there(path)
    if not (path.is_dir() or path.is_file()):
        raise InputError(f"{path} is neither a file nor a folder; save the scan as a file first.")
    if path.is_dir() or holds_dicom(path):
        return accept(_read_dicom(path, series, volume), str(path))
    if series is not None:
        raise InputError(f"{path} is no DICOM, which alone has series; leave out --series.")
    return accept(_reader(path)(path, volume), str(path))


def check_there(path: Path) -> None:
    """Refuse a file or folder that is not there, or closed, in words (InputError)."""
    try:
        path.stat()
        if path.is_file():
            open(path, "rb").close()
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path} does not exist; give a NIfTI, MGH, NRRD or MetaImage file or a DICOM folder.") from None
    except (OSError, ValueError) as error:
        named = str(path) if len(str(path)) < 256 else f"{str(path)[:60]}... ({len(str(path))} letters)"
        raise InputError(f"{named} cannot be opened ({getattr(error, 'strerror', None) or 'no file can have that name'}); check its name and its permissions.") from None


def _read_dicom(path: Path, series: str | int | None, volume: int | None) -> Volume:
    try:
        from .dicom.reading import read_dicom
    except ModuleNotFoundError as error:
        raise InputError(f"{path} is DICOM, and the package {error.name} to read it is not installed; run: pip install {error.name}") from None
    return read_dicom(path, series, volume)


def _reader(path: Path) -> Callable[[Path, int | None], Volume]:
    """The reader of the file's format; SimpleITK knows more, but not all of them tell the size of a voxel, and it fills in 1 mm."""
    try:
        begin = head(path, LONGEST_HEADER)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    if is_nrrd(begin):
        return read_nrrd
    if is_mgh(path):
        return read_mgh
    if is_nifti(begin) or is_nifti_name(path):
        return read_nifti
    if is_metaimage(begin) or path.suffix.lower() in (".mha", ".mhd"):
        return read_metaimage
    raise InputError(f"{path} cannot be read as an image: it is no NIfTI, Analyze, MGH, NRRD, MetaImage or DICOM file; convert it to one of these first.")


def find_volume(name: str, folder: str | os.PathLike) -> Path:
    """The scan ``folder/name`` with any readable suffix, or a DICOM folder of that name.

    Raises:
        InputError: there is none.
    """
    for suffix in (*WRITABLE_SUFFIXES, *_ONLY_READ, ""):
        path = Path(folder) / f"{name}{suffix}"
        if path.exists():
            return path
    raise InputError(f"No scan named {name} in {folder}; check the folder and the name.")
