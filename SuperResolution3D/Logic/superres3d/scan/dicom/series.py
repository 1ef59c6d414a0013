"""A folder that holds one DICOM series, read with SimpleITK and checked for gaps and tilt.

Of the headers are read: Modality (0008,0060), Image Position (Patient) (0020,0032) and Image Orientation (Patient) (0020,0037), in LPS millimetres.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ...errors import InputError
from .source import DicomSource

_MODALITY, _POSITION, _ORIENTATION = "0008|0060", "0020|0032", "0020|0037"


def read_dicom_series(folder: Path) -> tuple[sitk.Image, str, DicomSource]:
    """Read the one series in ``folder``.

    Returns:
        (image with rescaled values, Hounsfield units for CT, its slices in the order of their places; modality "CT", "MR" or ""; where it came from).

    Raises:
        InputError: no DICOM, several series, a single slice, an unreadable file, no places or orientations in the headers, missing or
            repeated slices, uneven steps (more than a twentieth of the usual one), a gantry tilt above half a degree.
    """
    reader = sitk.ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(str(folder))
    if not series:
        raise InputError(f"The folder {folder} holds no DICOM series; give a folder of DICOM slices or an image file.")
    if len(series) > 1:
        raise InputError(f"The folder {folder} holds {len(series)} DICOM series; move the one to upscale into a folder of its own.")
    files = reader.GetGDCMSeriesFileNames(str(folder), series[0])
    if len(files) < 2:
        raise InputError(f"The DICOM series in {folder} has a single slice; give a volume of at least 2 slices.")
    headers = [_header(file) for file in files]
    _check_geometry(headers, folder)
    reader.SetFileNames(files)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"The DICOM series in {folder} cannot be read: {reason}") from None
    modality = headers[0].get(_MODALITY, "")
    return image, modality if modality in ("CT", "MR") else "", _source(files)


def _source(files: Sequence[str]) -> DicomSource:
    import pydicom

    return DicomSource(tuple(pydicom.dcmread(file, stop_before_pixels=True) for file in files), tuple(map(Path, files)))


def _header(file: str) -> dict[str, str]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        raise InputError(f"{file} cannot be read as DICOM; the file may be damaged or compressed in an unknown way.") from None
    keys = set(reader.GetMetaDataKeys())
    return {key: reader.GetMetaData(key).strip() for key in (_MODALITY, _POSITION, _ORIENTATION) if key in keys}


def _check_geometry(headers: list[dict[str, str]], folder: Path) -> None:
    if not all(_POSITION in header and _ORIENTATION in header for header in headers):
        raise InputError(f"The DICOM series in {folder} does not tell where its slices lie; export it again as CT or MR image storage.")
    positions = np.array([_numbers(header[_POSITION]) for header in headers])
    orientations = np.array([_numbers(header[_ORIENTATION]) for header in headers])
    if np.ptp(orientations, axis=0).max() > 1e-3:
        raise InputError(f"The DICOM series in {folder} has slices of different orientation; split it into one folder an orientation.")
    normal = np.cross(orientations[0, :3], orientations[0, 3:])
    distances = positions @ normal
    order = np.argsort(distances)
    steps = np.diff(distances[order])
    typical = float(np.median(steps))
    if typical < 1e-3 or steps.min() < 0.5 * typical:
        raise InputError(f"The DICOM series in {folder} has several slices at one position (a time or echo series?); keep one frame.")
    if steps.max() > 1.5 * typical:
        missing = int(np.round(steps / typical - 1).sum())
        raise InputError(f"The DICOM series in {folder} lacks {missing} slice(s): the steps reach {steps.max():.2f} mm where {typical:.2f} mm is usual.")
    if np.abs(steps - typical).max() > 0.05 * typical + 0.01:
        raise InputError(f"The DICOM series in {folder} has uneven slice steps ({steps.min():.2f} to {steps.max():.2f} mm); resample it first.")
    axis = positions[order[-1]] - positions[order[0]]
    tilt = np.degrees(np.arccos(np.clip(axis @ normal / np.linalg.norm(axis), -1, 1)))
    if tilt > 0.5:
        raise InputError(f"The DICOM series in {folder} has a gantry tilt of {tilt:.1f} degrees; correct the tilt first.")


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split("\\")]
