"""Scans to files: the name is checked before the work, the file is staged and comes to its place whole."""

from __future__ import annotations

import errno
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..files import check_output_file
from ..staging import Staging, unwritable
from .companions import owners, same_file, split_name, twins
from .nifti_writer import write_nifti
from .volume import Volume, placed

NIFTI_SUFFIXES = (".nii.gz", ".nii")
WRITABLE_SUFFIXES = (*NIFTI_SUFFIXES, ".nrrd", ".nhdr", ".mha", ".mhd")

_DATA_LINES = {".nhdr": b"data file: ", ".mhd": b"ElementDataFile = "}  # formats of two files: the header names the other one
_SMALLEST = {"bool": "uint8", "float16": "float32"}  # types that the formats do not have
_AMPLE = 3  # times what is needed: then a disk is not asked, because asking writes the whole file on some
_ONE_FILE = {".nhdr": ".nrrd", ".mhd": ".mha"}
# What the readers of these formats take for a list, a pattern of numbers, a path, or leave out.
_UNREADABLE = re.compile(r"^LIST|^\s|\s$|[%\\:\x00-\x1f]", re.IGNORECASE)


def check_writable(path: str | os.PathLike, or_series: bool = False) -> Path:
    """Refuse an output path before any work starts.

    Args:
        path: of a file.
        or_series: in its place there might be the name of a folder, for a DICOM series.

    Raises:
        InputError: unknown suffix (of any letter case), a folder that is missing or cannot be written to, a write-protected file,
            a second file (.raw of .mhd and .nhdr) whose name another scan has, or a twin such as scan.nii.gz of scan.nii.
    """
    path = Path(path)
    if not split_name(path, WRITABLE_SUFFIXES)[1]:
        folder = ", or the name of a folder, with / at its end, for DICOM" if or_series else ""
        raise InputError(f"{path} has no suffix that can be written; use one of {', '.join(WRITABLE_SUFFIXES)}{folder}.")
    check_output_file(path)
    _check_second_file(path)
    others = twins(path)
    if others:
        raise InputError(f"{path} would lie beside {others[0].name}, and many programs open the one for the other; give another name.")
    return path


def try_writing(path: Path, or_series: bool = False) -> None:
    """Write a tiny scan the way a real one is written, beside ``path`` and not at its place; it is removed again.  Arguments as :func:`check_writable`.

    Raises:
        InputError: as :func:`check_writable`.
        ResourceError: the disk refuses.
    """
    with Staging() as staging:
        stage_volume(Volume(np.arange(8, dtype=np.int16).reshape(2, 2, 2)), check_writable(path, or_series), staging)


def written_files(path: Path) -> list[Path]:
    """All files that writing to ``path`` makes: the second file first, then ``path`` itself."""
    stem, suffix = split_name(path, WRITABLE_SUFFIXES)
    return [path.with_name(f"{stem}.raw"), path] if suffix in _DATA_LINES else [path]


def write_volume(volume: Volume, path: str | os.PathLike, metadata: dict[str, str] | None = None) -> None:
    """Write a scan: ``path`` is either the old file or the whole new one.

    Args:
        volume: what to write, with its dtype (bool as uint8, float16 as float32).
        path: NIfTI, NRRD or MetaImage; ``.gz`` is compressed, all others are not.
        metadata: text fields for formats that keep them (NRRD, MetaImage; of NIfTI only
            the key ``ITK_FileNotes``).

    Raises:
        InputError: see :func:`check_writable`; or the volume is not 3-D, has no real numbers, or a place that is none.
        ResourceError: the disk is full or the write failed.
    """
    volume = _keepable(volume)
    with Staging() as staging:
        stage_volume(volume, check_writable(path), staging, metadata)
        staging.commit()


def _keepable(volume: Volume) -> Volume:
    voxels = volume.voxels
    if voxels.ndim != 3 or not voxels.size:
        raise InputError(f"The volume has {' x '.join(str(n) for n in voxels.shape[::-1])} voxels; give a 3-D volume.")
    if voxels.dtype.kind not in "biuf" or voxels.dtype.itemsize > 8:
        raise InputError(f"The volume has voxels of type {voxels.dtype}; give integers or floating-point numbers of up to 64 bits.")
    return placed(replace(volume, voxels=voxels.astype(_SMALLEST.get(str(voxels.dtype), voxels.dtype), copy=False)), "The volume")


def stage_volume(volume: Volume, path: Path, staging: Staging, metadata: dict[str, str] | None = None) -> None:
    """:func:`write_volume` without its check, and among other outputs that appear together (ResourceError; InputError: a second file that is another's is there by now)."""
    _, suffix = split_name(path, WRITABLE_SUFFIXES)
    staged = staging.path(path, suffix)  # a plain name: the writers go by letter case, and take % for a pattern
    try:
        if suffix in NIFTI_SUFFIXES:
            write_nifti(volume, staged, (metadata or {}).get("ITK_FileNotes", ""))
        else:
            if shutil.disk_usage(staged.parent).free < _AMPLE * volume.voxels.nbytes:
                _ask_for_room(staged, volume.voxels.nbytes)  # before ITK, which does not notice, or complains on the screen
            _write_itk(to_image(volume), staged, metadata or {})
        _check_complete(staged, volume.voxels.nbytes)
        if suffix in _DATA_LINES:
            _check_second_file(path)  # once more: the work may have taken hours
            _name_data(staged, _DATA_LINES[suffix], written_files(path)[0], staging)
    except (RuntimeError, OSError) as error:
        raise unwritable(path, error if isinstance(error, OSError) else _cause(staged, volume.voxels.nbytes)) from None


def to_image(volume: Volume) -> sitk.Image:
    """The volume as a SimpleITK image (shares no memory)."""
    image = sitk.GetImageFromArray(volume.voxels)
    image.SetSpacing(volume.spacing)
    image.SetOrigin(volume.origin)
    image.SetDirection(np.asarray(volume.direction).ravel().tolist())
    return image


def _check_second_file(path: Path) -> None:
    """The name that the voxels get beside a header must be free, or that of the very scan that is replaced."""
    data, header = (written_files(path)[0], path)
    if data == header:
        return
    suffix = path.suffix.lower()
    if _UNREADABLE.search(path.stem):
        raise InputError(f"{path} has a name that a {suffix} file cannot give to its voxels; use plain letters and digits, or {_ONE_FILE[suffix]}.")
    if path.is_symlink():
        raise InputError(f"{path} is a link, and a {suffix} file has a second one beside it; give the name of the file itself, or use {_ONE_FILE[suffix]}.")
    if not os.path.lexists(data):
        return
    if data.is_symlink():
        raise InputError(f"{path} would put its voxels into {data.name}, which is a link; give another name, or use {_ONE_FILE[suffix]}.")
    owned = owners(data)
    others = [owner for owner in owned if not same_file(owner, header)]
    if others or not owned:
        whose = f"belongs to {others[0].name}" if others else "is not this program's to replace"
        raise InputError(f"{path} would put its voxels into {data.name}, which is there and {whose}; give another name, or use {_ONE_FILE[suffix]}.")


def _write_itk(image: sitk.Image, staged: Path, metadata: dict[str, str]) -> None:
    for key, value in metadata.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(staged), useCompression=False)


def _name_data(staged: Path, line: bytes, data: Path, staging: Staging) -> None:
    """The header names the second file as it will be called."""
    second = staged.with_suffix(".raw")
    header = staged.read_bytes()
    staged.write_bytes(header.replace(line + os.fsencode(second.name), line + data.name.encode(), 1))
    staging.add(second, data)


def _check_complete(staged: Path, voxel_bytes: int) -> None:
    """ITK's writers do not notice a full disk: the files must hold every voxel (OSError)."""
    if staged.suffix == ".gz":
        with open(staged, "rb") as file:  # the last four bytes of gzip hold the length modulo 2^32
            file.seek(-4, os.SEEK_END)
            length = int.from_bytes(file.read(4), "little")
        complete = (length - voxel_bytes) % 2**32 <= 65536  # what is more is the header
    else:
        second = staged.with_suffix(".raw")
        complete = staged.stat().st_size + (second.stat().st_size if second.exists() else 0) >= voxel_bytes
    if not complete:
        raise RuntimeError


def _cause(staged: Path, needed: int) -> OSError:
    """Why a library could not write, which it keeps to itself: what the system says when it is asked for the room once more."""
    for file in (staged, staged.with_suffix(".raw")):
        file.unlink(missing_ok=True)
    try:
        _ask_for_room(staged, needed)
    except OSError as refused:
        return refused
    return OSError(0, "the file came out incomplete")


def _ask_for_room(staged: Path, needed: int) -> None:
    """Whether the system would give that many bytes here (OSError with its reason); no file is left."""
    try:
        with open(staged, "wb") as probe:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(probe.fileno(), 0, needed)
            elif shutil.disk_usage(staged.parent).free < needed:
                raise OSError(errno.ENOSPC, "")
    except OSError as refused:
        if refused.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # a disk that cannot tell
            raise
    finally:
        staged.unlink(missing_ok=True)
