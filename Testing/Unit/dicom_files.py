"""Small DICOM scans made by pydicom, for the tests of reading and writing DICOM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
)

from .conftest import smooth_noise

ROOT = "1.2.826.0.1.3680043.8.498.77"
CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage, "PT": PositronEmissionTomographyImageStorage}
ENHANCED = {"CT": EnhancedCTImageStorage, "MR": EnhancedMRImageStorage}
Change = Callable[[Dataset, int], Any]


def stored(count: int = 6, rows: int = 14, columns: int = 12, seed: int = 0) -> np.ndarray:
    """(k, j, i), int16, other in every voxel's place."""
    return np.rint(smooth_noise((count, rows, columns), seed) * 2000 - 500).astype(np.int16)


def image_header(shape: tuple[int, int], modality: str = "CT", syntax: str = ExplicitVRLittleEndian) -> Dataset:
    """What every image has, without position and pixels."""
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = CLASSES.get(modality, CTImageStorage)
    header.Modality, header.PatientID, header.PatientName, header.StudyDate, header.StudyTime = modality, "T", "TEST^TEST", "20200101", "120000"
    header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = f"{ROOT}.1", f"{ROOT}.1.1", f"{ROOT}.2"
    header.SeriesNumber, header.SamplesPerPixel, header.PhotometricInterpretation = 1, 1, "MONOCHROME2"
    header.Rows, header.Columns = shape
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 1
    return header


def name_instance(header: Dataset, number: int) -> None:
    """Number and UID of a slice or file."""
    header.InstanceNumber = number
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = f"{header.SeriesInstanceUID}.{number}"


def write_series(
    folder: Path,
    voxels: np.ndarray,
    places: Sequence[float] | None = None,
    *,
    modality: str = "CT",
    axes: Sequence[float] = (1, 0, 0, 0, 1, 0),
    shift: Callable[[int], Sequence[float]] = lambda k: (0, 0),
    change: Change | None = None,
    first: int = 1,
    name: str = "IM{:04d}.dcm",
) -> Path:
    """A classic series, 0.7 mm between rows and 0.8 mm between columns.

    Args:
        folder: made where it is not there.
        voxels: stored values (k, j, i).
        places: millimetres of each slice along the normal; 2.5 mm apart where not given.
        modality: Modality (0008,0060).
        axes: Image Orientation (Patient).
        shift: millimetres (along a row, along a column) by which slice k lies beside the first.
        change: called with each header and k before it is written.
        first: Instance Number of the first slice.
        name: of the file of each Instance Number.
    """
    folder.mkdir(exist_ok=True, parents=True)
    row, column = np.array(axes[:3], float), np.array(axes[3:], float)
    for k, slice_ in enumerate(voxels):
        header = image_header(slice_.shape, modality)
        name_instance(header, first + k)
        place = 2.5 * k if places is None else places[k]
        position = np.array([-11.0, -25.0, 60.0]) + np.cross(row, column) * place + shift(k)[0] * row + shift(k)[1] * column
        header.ImagePositionPatient = [f"{value:.9g}" for value in position]
        header.ImageOrientationPatient, header.PixelSpacing, header.SliceThickness = [f"{value:.9f}"[:16] for value in axes], [0.7, 0.8], 2.5
        header.RescaleSlope, header.RescaleIntercept = 1, 0
        header.PixelData = slice_.tobytes()
        if change:
            change(header, k)
        header.save_as(folder / name.format(first + k), enforce_file_format=True)
    return folder


def item(**elements: Any) -> Dataset:
    """A sequence's item."""
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def enhanced(voxels: np.ndarray, places: Sequence[float] | None = None, modality: str = "MR", change: Change | None = None) -> Dataset:
    """A multi-frame file of the same grid; ``change`` is called with the functional groups of each frame."""
    header = image_header(voxels.shape[1:], modality)
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = ENHANCED[modality]
    name_instance(header, 1)
    header.ImageType, header.NumberOfFrames = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], len(voxels)
    header.SharedFunctionalGroupsSequence = [
        item(
            PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
            PixelMeasuresSequence=[item(PixelSpacing=[0.7, 0.8], SliceThickness=2.5)],
            PixelValueTransformationSequence=[item(RescaleIntercept=0, RescaleSlope=1, RescaleType="US")],
        )
    ]
    frames = []
    for k in range(len(voxels)):
        place = 2.5 * k if places is None else places[k]
        frame = item(FrameContentSequence=[item(StackID="1", InStackPositionNumber=k + 1)], PlanePositionSequence=[item(ImagePositionPatient=[-11, -25, 60 + place])])
        if change:
            change(frame, k)
        frames.append(frame)
    header.PerFrameFunctionalGroupsSequence = frames
    header.PixelData = voxels.tobytes()
    return header


def save(header: Dataset, path: Path) -> Path:
    """Write a file."""
    path.parent.mkdir(exist_ok=True, parents=True)
    header.save_as(path, enforce_file_format=True)
    return path


def by_pydicom(folder: Path) -> np.ndarray:
    """The values of a classic series by another way: slice by slice, in the order of z, float64."""
    headers = sorted((pydicom.dcmread(file) for file in folder.iterdir()), key=lambda header: float(header.ImagePositionPatient[2]))
    return np.array([header.pixel_array.astype(float) * float(header.RescaleSlope) + float(header.RescaleIntercept) for header in headers])
