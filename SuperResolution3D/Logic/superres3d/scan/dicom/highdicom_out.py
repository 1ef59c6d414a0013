"""What is common to DICOM objects that highdicom makes beside a derived series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ... import __version__
from ...errors import InputError
from ...staging import Staging, unwritable
from ..volume import Volume
from . import values

SUFFIX = ".dcm"
#: the General Equipment (C.7.5.1) and the number, for highdicom
EQUIPMENT: dict[str, Any] = {
    "instance_number": 1,
    "manufacturer": "SuperResolution3D",
    "manufacturer_model_name": "superres3d",
    "software_versions": __version__,
    "device_serial_number": "0",
}


def is_dicom_name(path: Path) -> bool:
    """Whether an output is to be a DICOM object."""
    return path.name.lower().endswith(SUFFIX)


def highdicom_for(what: str) -> ModuleType:
    """The package (InputError: it is missing); ``what`` is written with it, such as "A DICOM segmentation"."""
    try:
        import highdicom
    except ImportError:
        raise InputError(f"{what} is written with the package highdicom, which is not installed here; run: pip install highdicom") from None
    return highdicom


def in_order(images: Sequence[Path], volume: Volume) -> list[Any]:
    """Headers of the slices of a series, along the axis k of what lies on its grid."""
    import pydicom

    headers = [pydicom.dcmread(image, stop_before_pixels=True) for image in images]
    return sorted(headers, key=lambda header: float(np.dot(np.array(header.ImagePositionPatient, float), volume.direction[:, 2])))


def stage_dataset(make: Callable[[list[Any]], Any], images: Sequence[Path], volume: Volume, path: Path, staging: Staging, refusal: str) -> None:
    """Write what ``make`` makes of the headers of a series, among outputs that appear together.

    Args:
        make: of the headers along k the dataset.
        images: the files of the series, in any order.
        volume: what lies on its grid.
        path: where it shall be.
        staging: brings all outputs to their places together.
        refusal: what a user is told where highdicom cannot describe it.

    Raises:
        InputError: that.
        ResourceError: the disk refuses.
    """
    staged = staging.path(path, SUFFIX)
    with values.quiet():
        series = in_order(images, volume)
        try:
            dataset = make(series)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise InputError(refusal) from None
        try:
            dataset.save_as(staged, enforce_file_format=True)
        except OSError as error:
            raise unwritable(path, error) from None
