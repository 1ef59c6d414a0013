"""What a DICOM scan knows beyond its grid, kept for writing it again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pydicom


@dataclass(frozen=True)
class DicomSource:
    """Where a DICOM volume came from.

    Attributes:
        headers: pydicom Datasets without pixel data: one a slice of a classic series, in the order in which the slices lie along array axis k (a stack
            that was resampled along k has another number of slices), or one a multi-frame file.
        files: the files they came from, in the same order.
        frames: of each file, which of its frames are the volume's, from 0 on, in the order along k; without an entry it is all of them.
    """

    headers: tuple[pydicom.Dataset, ...]
    files: tuple[Path, ...]
    frames: tuple[tuple[int, ...], ...] = ()
