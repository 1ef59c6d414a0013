"""The scan: voxels with their place in the patient; reading and writing.

Nobody else in the package knows file formats.  Voxel arrays are (k, j, i): slices, rows,
columns.  ``spacing``, ``origin`` and the columns of ``direction`` are in the order (i, j, k)
and in LPS millimetres, as SimpleITK has them.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError, ResourceError
from .files import check_output_folder

if TYPE_CHECKING:
    import SimpleITK as sitk

WRITABLE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_MOST_LABELS, _LABEL_EQUALITY = 256, 0.8
_CLEARLY_COARSER = 1.2
_KEPT_DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32")


@dataclass(frozen=True)
class Volume:
    """A scalar scan.

    Attributes:
        voxels: (k, j, i), one of int8 ... uint32, float32.
        spacing: millimetres along (i, j, k).
        origin: LPS position of the centre of voxel (0, 0, 0).
        direction: (3, 3); column n is the LPS direction of index axis n of (i, j, k).
        modality: "CT", "MR" or "" where the file does not tell.
        notes: what was converted while reading, one sentence each.
    """

    voxels: np.ndarray
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: np.ndarray = field(default_factory=lambda: np.eye(3))
    modality: str = ""
    notes: tuple[str, ...] = ()

    def position(self, index_ijk: tuple[float, float, float]) -> np.ndarray:
        """LPS position in millimetres of a (fractional) index (i, j, k)."""
        return np.asarray(self.origin) + self.direction @ (np.asarray(index_ijk) * np.asarray(self.spacing))

    def refined(self, voxels: np.ndarray, factors: tuple[int, int, int]) -> Volume:
        """The same field of view on a grid finer by ``factors`` (k, j, i).

        The new first voxel is smaller, so its centre moves by (1/r - 1)/2 old voxels along
        every refined axis.
        """
        factors_ijk = np.asarray(factors[::-1], dtype=float)
        return replace(
            self,
            voxels=voxels,
            spacing=tuple(float(s) for s in np.asarray(self.spacing) / factors_ijk),
            origin=tuple(float(p) for p in self.position((1.0 / factors_ijk - 1.0) / 2.0)),
        )


def read_volume(path: str | os.PathLike) -> Volume:
    """Read a NIfTI, NRRD or MetaImage file, or a folder that holds one DICOM series.

    Raises:
        InputError: no such file, not an image, not a scalar 3-D volume, or a DICOM series
            with missing slices, mixed series or gantry tilt.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; give a NIfTI, NRRD or MetaImage file or a DICOM folder.")
    if path.is_dir():
        from .dicom import read_dicom_series

        image, modality = read_dicom_series(path)
    else:
        image, modality = _read_file(path)
    return from_image(image, str(path), modality)


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
    import SimpleITK as sitk

    volume = Volume(sitk.GetArrayFromImage(image), image.GetSpacing(), image.GetOrigin(), direction, modality)
    return accepted(volume, name)


def accepted(volume: Volume, name: str) -> Volume:
    """The volume in a dtype that can be kept, or a refusal of what cannot be upscaled sensibly.

    Raises:
        InputError: not 3-D, fewer than two voxels along an axis, NaN or infinity, a constant, a
            label map, or axes that are not orthonormal.
    """
    volume = _with_supported_dtype(volume, name)
    voxels = volume.voxels
    if voxels.ndim != 3:
        raise InputError(f"{name} has {voxels.ndim} axes; give a 3-D volume.")
    if min(voxels.shape) < 2:
        size = " x ".join(str(n) for n in voxels.shape[::-1])
        raise InputError(f"{name} is a single slice ({size} voxels); give a volume of at least 2 voxels along each axis.")
    if not np.allclose(volume.direction.T @ volume.direction, np.eye(3), atol=1e-3):
        raise InputError(f"{name} has axes that are not at right angles; resample it to an orthogonal grid first.")
    if min(volume.spacing) <= 0 or not np.isfinite(volume.spacing).all():
        raise InputError(f"{name} has a spacing of {volume.spacing} mm; correct its header first.")
    low, high = voxels.min(), voxels.max()  # NaN and infinity come through a minimum and a maximum
    if not np.isfinite([float(low), float(high)]).all():
        raise InputError(f"{name} contains NaN or infinite values; replace them (for example by 0) first.")
    if low == high:
        raise InputError(f"{name} has the same value ({low}) everywhere; check that the right volume was chosen.")
    if _is_label_map(voxels):
        raise InputError(f"{name} looks like a label map or segmentation; give the scan itself (to upscale it all the same, convert it to float).")
    return volume


def find_slice_axis(spacing: Sequence[float]) -> int:
    """Array axis (0 = k, 1 = j, 2 = i) of the slices: the clearly coarsest one, else k.

    Args:
        spacing: millimetres along (i, j, k).
    """
    kji = np.asarray(spacing, dtype=float)[::-1]
    coarsest = int(np.argmax(kji))
    return coarsest if kji[coarsest] >= _CLEARLY_COARSER * np.delete(kji, coarsest).max() else 0


def _is_label_map(voxels: np.ndarray) -> bool:
    """Few integer values, and neighbours off the background nearly always equal."""
    if voxels.dtype.kind not in "iu":
        return False
    step = max(1, voxels.shape[0] // 16)
    sample = voxels[step // 2 :: step]
    values, counts = np.unique(sample, return_counts=True)
    if len(values) > _MOST_LABELS:
        return False
    background = values[np.argmax(counts)]
    left, right = sample[..., :-1], sample[..., 1:]
    foreground = (left != background) & (right != background)
    pairs = int(foreground.sum())
    return pairs > 0 and int((foreground & (left == right)).sum()) > _LABEL_EQUALITY * pairs


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
    import SimpleITK as sitk

    path = check_writable(path)
    image = to_image(volume)
    for key, value in (metadata or {}).items():
        image.SetMetaData(key, value)
    beside = path.parent / f".{uuid.uuid4().hex}"  # a folder: some formats write two files
    try:
        beside.mkdir()
        compressed = path.name.lower().endswith(".gz")
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
    import SimpleITK as sitk

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
    import SimpleITK as sitk

    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(f"{path} cannot be read as an image: {_reason(error)}.") from None
    modality = image.GetMetaData("0008|0060").strip() if image.HasMetaDataKey("0008|0060") else ""
    return image, modality if modality in ("CT", "MR") else ""


def _with_supported_dtype(volume: Volume, name: str) -> Volume:
    """Convert what the networks' result cannot keep: bool, int64, uint64, float16, float64."""
    voxels = volume.voxels
    if str(voxels.dtype) in _KEPT_DTYPES:
        return volume
    if voxels.dtype.kind not in "biuf":
        raise InputError(f"{name} has voxels of type {voxels.dtype}; give integers or floating-point numbers.")
    fits = voxels.dtype.kind in "iu" and voxels.size and -(2**31) <= int(voxels.min()) and int(voxels.max()) < 2**31
    target = "int32" if fits else "float32"
    note = f"Voxels were converted from {voxels.dtype} to {target}."
    return replace(volume, voxels=voxels.astype(target), notes=(*volume.notes, note))


def _reason(error: Exception) -> str:
    """The telling line of an ITK or operating-system error."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).removeprefix("sitk::ERROR: ").rstrip(".")
