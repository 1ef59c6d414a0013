"""Scans from files and from SimpleITK images: NIfTI, NRRD and MetaImage here, DICOM in :mod:`.dicom`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from .dicom.content import holds_dicom
from .metaimage import is_metaimage, read_metaimage
from .mgh import is_mgh, read_mgh
from .nifti import LONGEST_HEADER, is_nifti, is_nifti_name, read_nifti
from .nrrd import is_nrrd, read_nrrd
from .stored import head
from .volume import Volume, accepted
from .writing import WRITABLE_SUFFIXES


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
    if path.is_dir() or holds_dicom(path):
        return accept(_read_dicom(path, series, volume), str(path))
    if series is not None:
        raise InputError(f"{path} is no DICOM, which alone has series; leave out --series.")
    read = _reader(path)
    if read:
        return accept(read(path, volume), str(path))
    image, modality = _read_file(path)
    return from_image(image, str(path), modality, accept)


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


def _reader(path: Path) -> Callable[[Path, int | None], Volume] | None:
    """The reader of the file's format; None: SimpleITK's."""
    try:
        begin = head(path, LONGEST_HEADER)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    if is_mgh(path):
        return read_mgh
    if is_nifti(begin) or is_nifti_name(path):
        return read_nifti
    if is_nrrd(begin):
        return read_nrrd
    return read_metaimage if is_metaimage(begin) or path.suffix.lower() in (".mha", ".mhd") else None


def from_image(image: sitk.Image, name: str, modality: str = "", accept: Callable[[Volume, str], Volume] = accepted) -> Volume:
    """A :class:`Volume` from a SimpleITK image; ``name`` is what error messages call it.

    Raises:
        InputError: as :func:`read_volume`.
    """
    if image.GetNumberOfComponentsPerPixel() != 1:
        count = image.GetNumberOfComponentsPerPixel()
        raise InputError(f"{name} has {count} components per voxel (colour or vector); give a scalar CT or MR volume.")
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    if image.GetDimension() != 3:
        raise InputError(f"{name} is {image.GetDimension()}-D; give a 3-D volume, or extract one frame of a time series.")
    if "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"{name} holds complex numbers; give its magnitude.")
    direction = np.asarray(image.GetDirection()).reshape(3, 3)
    volume = Volume(sitk.GetArrayFromImage(image), image.GetSpacing(), image.GetOrigin(), direction, modality)
    return accept(volume, name)


def find_volume(name: str, folder: str | os.PathLike) -> Path:
    """The scan ``folder/name`` with any readable suffix, or a DICOM folder of that name.

    Raises:
        InputError: there is none.
    """
    for suffix in (*WRITABLE_SUFFIXES, ""):
        path = Path(folder) / f"{name}{suffix}"
        if path.exists():
            return path
    raise InputError(f"No scan named {name} in {folder}; check the folder and the name.")


def _read_file(path: Path) -> tuple[sitk.Image, str]:
    """A single DICOM file; other formats that SimpleITK reads do not all tell the size of a voxel, and it fills in 1 mm."""
    if head(path, 132)[128:] != b"DICM":
        raise InputError(f"{path} cannot be read as an image: it is no NIfTI, Analyze, MGH, NRRD, MetaImage or DICOM file; convert it to one of these first.")
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(f"{path} cannot be read as an image: {_reason(error)}.") from None
    modality = image.GetMetaData("0008|0060").strip() if image.HasMetaDataKey("0008|0060") else ""
    return image, modality if modality in ("CT", "MR") else ""


def _reason(error: Exception) -> str:
    """The telling line of an ITK or operating-system error."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).removeprefix("sitk::ERROR: ").rstrip(".")
