"""The scan: voxels with their place in the patient; reading and writing.

Nobody else in the package knows file formats.  Voxel arrays are (k, j, i): slices, rows,
columns.  ``spacing``, ``origin`` and the columns of ``direction`` are in the order (i, j, k)
and in LPS millimetres, as SimpleITK has them.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .dicom import read_dicom_series
from .errors import InputError, ResourceError

WRITABLE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
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

    def refined(self, voxels: np.ndarray, factors: tuple[int, int, int]) -> "Volume":
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
    voxels, notes = _supported_dtype(sitk.GetArrayFromImage(image), name)
    direction = np.asarray(image.GetDirection()).reshape(3, 3)
    volume = Volume(voxels, image.GetSpacing(), image.GetOrigin(), direction, modality, notes)
    check_volume(volume, name)
    return volume


def check_volume(volume: Volume, name: str) -> None:
    """Refuse what cannot be upscaled sensibly.

    Raises:
        InputError: fewer than two voxels along an axis, NaN or infinity, a constant, or axes
            that are not orthonormal.
    """
    voxels = volume.voxels
    if voxels.ndim != 3:
        raise InputError(f"{name} has {voxels.ndim} axes; give a 3-D volume.")
    if min(voxels.shape) < 2:
        size = " x ".join(str(n) for n in voxels.shape[::-1])
        raise InputError(f"{name} is a single slice ({size} voxels); give a volume of at least 2 voxels along each axis.")
    if not np.allclose(volume.direction.T @ volume.direction, np.eye(3), atol=1e-3):
        raise InputError(f"{name} has axes that are not at right angles; resample it to an orthogonal grid first.")
    low, high = voxels.min(), voxels.max()  # NaN and infinity come through a minimum and a maximum
    if not np.isfinite([float(low), float(high)]).all():
        raise InputError(f"{name} contains NaN or infinite values; replace them (for example by 0) first.")
    if low == high:
        raise InputError(f"{name} has the same value ({low}) everywhere; check that the right volume was chosen.")


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


def check_output_folder(path: str | os.PathLike) -> None:
    """Refuse a file path whose folder is missing or read-only (InputError)."""
    folder = Path(path).resolve().parent
    if not folder.is_dir():
        raise InputError(f"The output folder {folder} does not exist; create it first.")
    if Path(path).is_dir():
        raise InputError(f"{path} is a folder; give a file name.")
    probe = folder / f".superres3d-{uuid.uuid4().hex}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"The output folder {folder} cannot be written to ({error.strerror}).") from None


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
    suffix = next(s for s in WRITABLE_SUFFIXES if str(path).lower().endswith(s))
    if suffix in (".mhd", ".nhdr"):
        _write_pair(image, path)
        return
    beside = path.with_name(f".{uuid.uuid4().hex}{suffix}")
    try:
        sitk.WriteImage(image, str(beside), useCompression=suffix == ".nii.gz")
        _check_complete(beside, volume.voxels, suffix)
        os.replace(beside, path)
    except (RuntimeError, OSError) as error:
        raise ResourceError(f"{path} could not be written: {_reason(error)}; check the free space on that disk.") from None
    finally:
        beside.unlink(missing_ok=True)


def to_image(volume: Volume) -> sitk.Image:
    """The volume as a SimpleITK image (shares no memory)."""
    image = sitk.GetImageFromArray(volume.voxels)
    image.SetSpacing(volume.spacing)
    image.SetOrigin(volume.origin)
    image.SetDirection(np.asarray(volume.direction).ravel().tolist())
    return image


def _write_pair(image: sitk.Image, path: Path) -> None:
    """A header that names its data file: both are written beside; the header is renamed last."""
    folder = path.parent / f".{uuid.uuid4().hex}"
    try:
        folder.mkdir()
        sitk.WriteImage(image, str(folder / path.name), useCompression=False)
        written = sorted(folder.iterdir(), key=lambda file: file.name == path.name)
        for file in written:
            os.replace(file, path.parent / file.name)
    except (RuntimeError, OSError) as error:
        raise ResourceError(f"{path} could not be written: {_reason(error)}; check the free space on that disk.") from None
    finally:
        if folder.is_dir():
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()


def _check_complete(path: Path, voxels: np.ndarray, suffix: str) -> None:
    """ITK's writers do not notice a full disk: an uncompressed file must hold every voxel."""
    if suffix != ".nii.gz":
        complete = path.stat().st_size >= voxels.nbytes
    else:
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        with open(path, "rb") as file:  # the last four bytes of gzip hold the length modulo 2^32
            file.seek(-4, os.SEEK_END)
            length = int.from_bytes(file.read(4), "little")
        complete = (length - voxels.nbytes) % 2**32 <= 65536
    if not complete:
        raise OSError("the file is incomplete")


def _read_file(path: Path) -> tuple[sitk.Image, str]:
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(f"{path} cannot be read as an image: {_reason(error)}.") from None
    modality = image.GetMetaData("0008|0060").strip() if image.HasMetaDataKey("0008|0060") else ""
    return image, modality if modality in ("CT", "MR") else ""


def _supported_dtype(voxels: np.ndarray, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Convert what the networks' result cannot keep: bool, int64, uint64, float64."""
    if str(voxels.dtype) in _KEPT_DTYPES:
        return voxels, ()
    if voxels.dtype.kind not in "biuf":
        raise InputError(f"{name} has voxels of type {voxels.dtype}; give integers or floating-point numbers.")
    target = "uint8" if voxels.dtype == bool else "float32"
    if voxels.dtype.kind in "iu" and abs(voxels).max() < 2**31:
        target = "int32"
    return voxels.astype(target), (f"Voxels were converted from {voxels.dtype} to {target}.",)


def _reason(error: Exception) -> str:
    """The telling line of an ITK or operating-system error."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).removeprefix("sitk::ERROR: ").rstrip(".")
