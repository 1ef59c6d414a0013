"""A volume as a folder of DICOM slices, derived from the series that it was read from."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...files import check_new_folder
from ...staging import Staging, unwritable
from ..volume import Volume
from .derived import Derivation, check_derivable
from .provenance import Provenance
from .uids import IMPLEMENTATION_CLASS_UID
from .values import quiet

if TYPE_CHECKING:
    from pydicom import Dataset

_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_VERSION_NAME = "SUPERRES3D"


def write_dicom_series(volume: Volume, folder: str | os.PathLike, report: dict[str, Any] | None = None, *, anonymize: bool = False, moment: datetime | None = None) -> list[Path]:
    """Write a derived series, a file a slice: CT or MR Image Storage (PS3.3 A.3, A.4), whatever form the source had.

    Patient, study and frame of reference are the source's; series and instances are new (C.7.3.1), and their UIDs are made from a hash of the
    source's UIDs, the choices in ``report``, the grid and the voxels: the same result has the same UIDs, any other has others.  How the
    images came about is told by Image Type (0008,0008), Derivation Description (0008,2111) and Code Sequence (0008,9215), Source Image
    Sequence (0008,2112) (C.7.6.1, C.12.4) and Contributing Equipment Sequence (0018,A001) (C.12.1.1.5).  Values come back exactly where they are
    whole numbers within 16 bits, else within half a step of 65,535 over their span (C.11.1).

    Args:
        volume: (k, j, i), read from DICOM, or made of such a volume by :meth:`Volume.refined`.
        folder: an empty folder, or one that is made; its parent exists.  It appears whole, or not at all.
        report: of :func:`superres3d.upscale`.
        anonymize: leave out the patient (PS3.15 E.2); the pixels stay as they are.
        moment: of the derivation; None: now.

    Returns:
        The files, in the order of their instance numbers.

    Raises:
        InputError: the volume does not come from a CT or MR in DICOM, the folder is not empty, or words are part of the pictures and
            nobody shall be told.
        ResourceError: the disk is full or the write failed.
    """
    folder = Path(folder)
    check_derivable(volume, anonymize)
    check_new_folder(folder)
    with Staging() as staging:
        staged = stage_dicom_series(volume, folder, staging, report, anonymize=anonymize, moment=moment)
        staging.commit()
    return [folder / file.name for file in staged]


def stage_dicom_series(
    volume: Volume, folder: Path, staging: Staging, report: dict[str, Any] | None = None, *, anonymize: bool = False, moment: datetime | None = None
) -> list[Path]:
    """:func:`write_dicom_series` among other outputs that appear together; returns the files where they are staged."""
    derivation = Derivation(volume, Provenance(report or {}), anonymize, moment or datetime.now(timezone.utc))
    staged = staging.folder(folder)
    try:
        with quiet():
            return [_write(dataset, staged) for dataset in derivation.datasets()]
    except OSError as error:
        raise unwritable(folder, error) from None


def _write(dataset: Dataset, folder: Path) -> Path:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(_EXPLICIT_LITTLE_ENDIAN)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.ImplementationClassUID, meta.ImplementationVersionName = UID(IMPLEMENTATION_CLASS_UID), _VERSION_NAME
    dataset.file_meta = meta
    file = folder / f"IM{dataset.InstanceNumber:04d}.dcm"
    dataset.save_as(file, enforce_file_format=True)
    return file
