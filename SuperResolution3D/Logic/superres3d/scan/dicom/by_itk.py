"""JPEG and JPEG-LS by SimpleITK, where no plug-in of pydicom decodes them: the one that does is under the GPL, and nobody has to install it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

if TYPE_CHECKING:
    from pydicom import Dataset

#: transfer syntaxes: JPEG baseline, extended, lossless (14 and 14 SV1), JPEG-LS (also near-lossless), JPEG 2000 (also lossless)
SYNTAXES = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91))
_KEPT = ("SamplesPerPixel", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")


def decoded_by_itk(header: Dataset, syntax: str, frame: bytes) -> np.ndarray:
    """The stored values of one frame, (rows, columns).

    SimpleITK reads files alone, and applies slope, intercept and MONOCHROME1; so it gets a file with the frame and without these.

    Args:
        header: of the file; how its pixels are stored is taken from it.
        syntax: one of :data:`SYNTAXES`.
        frame: one compressed frame.

    Raises:
        RuntimeError: it cannot be decoded.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.dcm"
        _file(header, syntax, frame).save_as(path, enforce_file_format=True)
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        values: np.ndarray = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    return values[0] if values.ndim == 3 else values


def _file(header: Dataset, syntax: str, frame: bytes) -> Dataset:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, SecondaryCaptureImageStorage

    single = Dataset()
    single.file_meta = FileMetaDataset()
    single.file_meta.TransferSyntaxUID = UID(syntax)
    single.SOPClassUID = single.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    single.SOPInstanceUID = single.file_meta.MediaStorageSOPInstanceUID = UID("2.25.1")
    for keyword in _KEPT:
        setattr(single, keyword, header.get(keyword))
    single.PhotometricInterpretation = "MONOCHROME2"
    single.PixelData = encapsulate([frame])
    return single
