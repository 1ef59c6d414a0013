"""Scans in files and as SimpleITK images: NIfTI, NRRD and MetaImage here, DICOM in :mod:`.dicom`."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError, ResourceError
from ..files import check_output_folder
from .dicom.series import read_dicom_series
from .mgh import is_mgh, read_mgh
from .nifti import LONGEST_HEADER, is_nifti, is_nifti_name, read_nifti
from .nifti_writer import write_nifti
from .stored import head
from .volume import Volume, accepted

NIFTI_SUFFIXES = (".nii.gz", ".nii")
WRITABLE_SUFFIXES = (*NIFTI_SUFFIXES, ".nrrd", ".nhdr", ".mha", ".mhd")


def read_volume(path: str | os.PathLike, *, volume: int | None = None) -> Volume:
    """Read a NIfTI, Analyze, MGH, NRRD or MetaImage file, or a folder that holds one DICOM series.

    Args:
        path: the file or folder; of a file the content counts more than the name.
        volume: number, from 1, of the volume to read from a file that holds several.

    Raises:
        InputError: no such file, not an image, not a scalar 3-D volume, several volumes and none chosen, or a DICOM series
            with missing slices, mixed series or gantry tilt.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; give a NIfTI, MGH, NRRD or MetaImage file or a DICOM folder.")
    if path.is_dir():
        image, modality, source = read_dicom_series(path)
        return replace(from_image(image, str(path), modality), source=source)
    read = _reader(path)
    if read:
        return accepted(read(path, volume), str(path))
    image, modality = _read_file(path)
    return from_image(image, str(path), modality)


def _reader(path: Path) -> Callable[[Path, int | None], Volume] | None:
    """The reader of the file's format; None: SimpleITK's."""
    try:
        begin = head(path, LONGEST_HEADER)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    if is_mgh(path):
        return read_mgh
    return read_nifti if is_nifti(begin) or is_nifti_name(path) else None


def from_image(image: sitk.Image, name: str, modality: str = "") -> Volume:
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
    return accepted(volume, name)


def check_writable(path: str | os.PathLike) -> Path:
    """Refuse an output path before any work starts.

    Raises:
        InputError: unknown suffix, no such folder, or a folder that cannot be written to.
    """
    path = Path(path)
    if not str(path).lower().endswith(WRITABLE_SUFFIXES):
        raise InputError(f"{path} has no suffix that can be written; use one of {', '.join(WRITABLE_SUFFIXES)}.")
    check_output_folder(path)
    return path


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


def write_volume(volume: Volume, path: str | os.PathLike, metadata: dict[str, str] | None = None) -> None:
    """Write beside, then rename: ``path`` is either the old file or the whole new one.

    Args:
        volume: what to write, with its dtype.
        path: NIfTI, NRRD or MetaImage; ``.gz`` is compressed, all others are not.
        metadata: text fields for formats that keep them (NRRD, MetaImage; of NIfTI only
            the key ``descrip``).

    Raises:
        InputError: see :func:`check_writable`.
        ResourceError: the disk is full or the write failed.
    """
    path = check_writable(path)
    image = to_image(volume)
    for key, value in (metadata or {}).items():
        image.SetMetaData(key, value)
    beside = path.parent / f".{uuid.uuid4().hex}"  # a folder: some formats write two files
    try:
        beside.mkdir()
        compressed = path.name.lower().endswith(".gz")
        if path.name.lower().endswith(NIFTI_SUFFIXES):
            write_nifti(volume, beside / path.name, (metadata or {}).get("ITK_FileNotes", ""))
        else:
            sitk.WriteImage(image, str(beside / path.name), useCompression=compressed)
        _check_complete(beside / path.name, volume.voxels.nbytes, compressed)
        for file in sorted(beside.iterdir(), key=lambda file: file.name == path.name):  # the header last
            os.replace(file, path.parent / file.name)
    except (RuntimeError, OSError) as error:
        raise ResourceError(f"{path} could not be written: {_reason(error)}; check the free space on that disk.") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def to_image(volume: Volume) -> sitk.Image:
    """The volume as a SimpleITK image (shares no memory)."""
    image = sitk.GetImageFromArray(volume.voxels)
    image.SetSpacing(volume.spacing)
    image.SetOrigin(volume.origin)
    image.SetDirection(np.asarray(volume.direction).ravel().tolist())
    return image


def _check_complete(path: Path, voxel_bytes: int, compressed: bool) -> None:
    """ITK's writers do not notice a full disk: the files must hold every voxel (OSError)."""
    if compressed:
        with open(path, "rb") as file:  # the last four bytes of gzip hold the length modulo 2^32
            file.seek(-4, os.SEEK_END)
            length = int.from_bytes(file.read(4), "little")
        complete = (length - voxel_bytes) % 2**32 <= 65536  # what is more is the header
    else:
        complete = sum(file.stat().st_size for file in path.parent.iterdir()) >= voxel_bytes
    if not complete:
        raise OSError(errno.ENOSPC, "the file is incomplete")


def _read_file(path: Path) -> tuple[sitk.Image, str]:
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
