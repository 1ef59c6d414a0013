"""DICOM segmentations out, by highdicom: the segments of the one that was read, on the slices of a derived series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InputError
from ...staging import Staging
from ..volume import Volume
from .highdicom_out import EQUIPMENT, highdicom_for, stage_dataset
from .segmentation import SegmentationSource
from .uids import digest_of, uid_of

if TYPE_CHECKING:
    from types import ModuleType

_WHAT = "A DICOM segmentation"
_SERIES_AFTER = 50  # Series Number (0020,0011): that of the derived series and this
_DESCRIPTION = "segmentation, resampled, not for diagnosis"


def check_segmentation(labels: Volume, name: str) -> None:
    """Refuse, before the work, a label map that no DICOM segmentation can be made of.

    Args:
        labels: from :func:`superres3d.read_labels`.
        name: its file, for the message.

    Raises:
        InputError: it was not read from a DICOM segmentation, or highdicom is missing.
    """
    if not isinstance(labels.source, SegmentationSource):
        raise InputError(f"{name} does not tell what its labels are, as a DICOM segmentation must; give --labels-out a name such as labels.nii.gz.")
    highdicom_for(_WHAT)


def stage_segmentation(labels: Volume, images: Sequence[Path], path: Path, staging: Staging) -> None:
    """Write a segmentation that refers to the slices of a series, among outputs that appear together.

    Patient, study and frame of reference are those of the series (C.7.1.1, C.7.2.1, C.7.4.1); segments are described as in the segmentation that was read (C.8.20.4).
    Fractional segments and label maps become binary segments.

    Args:
        labels: (k, j, i); its source is a :class:`SegmentationSource`.
        images: the files of the series, on the grid of the labels, in any order.
        path: where it shall be.
        staging: brings all outputs to their places together.

    Raises:
        InputError: highdicom is missing, or cannot describe these segments.
        ResourceError: the disk refuses.
    """
    hd = highdicom_for(_WHAT)
    refusal = f"The segments of {path.name} cannot be described as DICOM wants it; give --labels-out a name such as labels.nii.gz."
    stage_dataset(lambda series: _dataset(hd, labels, series), images, labels, path, staging, refusal)


def _dataset(hd: ModuleType, labels: Volume, series: list[Any]) -> Any:
    source: SegmentationSource = labels.source
    segments = [hd.seg.SegmentDescription.from_dataset(item, copy=True) for item in source.header.SegmentSequence if item.SegmentNumber > 0]  # 0: a label map's background
    digest = digest_of([str(source.header.SOPInstanceUID), *(str(header.SOPInstanceUID) for header in series), np.ascontiguousarray(labels.voxels).tobytes()])
    dataset = hd.seg.Segmentation(
        source_images=series,
        pixel_array=labels.voxels,
        segmentation_type="BINARY",
        segment_descriptions=segments,
        series_instance_uid=uid_of("series", digest),
        series_number=int(series[0].SeriesNumber) + _SERIES_AFTER,
        sop_instance_uid=uid_of("instance", digest),
        content_description=_DESCRIPTION,
        omit_empty_frames=bool(labels.voxels.any()),
        **EQUIPMENT,
    )
    words = str(source.header.get("SeriesDescription", ""))[: 62 - len(_DESCRIPTION)].strip()
    dataset.SeriesDescription = f"{words}, {_DESCRIPTION}" if words else _DESCRIPTION
    return dataset
