"""DICOM segmentations in (Segmentation and Label Map Segmentation Storage, PS3.3 A.51 and C.8.20): segments become labels by Segment Number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import InputError
from ..volume import Volume, triple
from . import values
from .content import holds_dicom, is_dicom
from .decoding import decoded
from .folder import DicomFile, read_header
from .frame import Frame, frames_of

if TYPE_CHECKING:
    from pydicom import Dataset

_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # Segmentation, Label Map Segmentation Storage
_ON_LATTICE = 0.05  # of a step: frames that are farther from their slice are refused
_SAME_AXES = 1e-3
_MOST_SLICES = 8192  # from the first to the last; a damaged position asks for more


@dataclass(frozen=True)
class SegmentationSource:
    """What a segmentation knows beyond its labels.

    Attributes:
        header: pydicom Dataset without pixels.
        kind: Segmentation Type (0062,0001): BINARY, FRACTIONAL or LABELMAP.
    """

    header: Dataset
    kind: str


def segmentation_file(path: Path) -> DicomFile | None:
    """The DICOM segmentation that a file is, or that lies alone in a folder; None: there is none.

    Raises:
        InputError: a damaged header.
    """
    if path.is_dir():
        try:
            files = [file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")]
        except OSError:  # the reader of folders says so
            return None
        path = files[0] if len(files) == 1 else path
    if path.is_dir() or not holds_dicom(path) or not is_dicom(path):
        return None
    with values.quiet():
        file = read_header(path)
        return file if values.text(file.header, "SOPClassUID") in _CLASSES else None


def read_segmentation(file: DicomFile, step: float | None = None) -> Volume:
    """A segmentation as a label map; 0 where no segment is.

    Args:
        file: from :func:`segmentation_file`.
        step: millimetres between the slices of the scan; None: as the file tells, or the smallest distance of its frames.  Empty slices may be left out of a file.

    Returns:
        uint8, or uint16 where there are more than 255 segments, from the first slice with a frame to the last one.

    Raises:
        InputError: segments that overlap, frames that lie on no even grid, damaged pixels, or no frames.
    """
    with values.quiet():
        kind = values.text(file.header, "SegmentationType") or ("LABELMAP" if values.text(file.header, "SOPClassUID") == _CLASSES[1] else "")
        if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
            raise InputError(f"{file.path} is a segmentation of an unknown type; export it again as a binary one.")
        frames = frames_of(file)
        slices, first, distance = _slices(frames, step, file.path)
        voxels, notes = _labels(file, kind, slices)
    axes, spacing = frames[0].axes, frames[0].spacing
    direction = np.column_stack([*axes, frames[0].normal])
    return Volume(voxels, (spacing[1], spacing[0], distance), triple(frames[first].position), direction, "SEG", tuple(notes), SegmentationSource(file.header, kind))


def _names(file: DicomFile) -> dict[int, str]:
    """Segment Label (0062,0005) by Segment Number (0062,0004)."""
    items = values.sequence(file.header, "SegmentSequence", file.path)
    return {values.whole(item, "SegmentNumber", file.path, 0): values.text(item, "SegmentLabel") or "" for item in items}


def _slices(frames: Sequence[Frame], step: float | None, path: Path) -> tuple[np.ndarray, int, float]:
    """(slice of each frame, from 0; a frame of the first slice; distance of the slices)."""
    start = frames[0]
    offsets = np.array([frame.position - start.position for frame in frames])
    if any(np.abs(frame.axes - start.axes).max() > _SAME_AXES or frame.shape != start.shape or frame.spacing != start.spacing for frame in frames):
        raise InputError(f"{path} has frames of several directions or sizes; export it again on the grid of one series.")
    places = offsets @ start.normal
    steps = np.diff(np.unique(np.round(places, 4)))
    distance = step or start.distance or (float(steps.min()) if len(steps) else start.thickness) or 1.0
    numbers = (places - places.min()) / distance
    slices = np.rint(numbers).astype(int)
    astray = np.linalg.norm(offsets - np.outer(places, start.normal), axis=1).max()
    if np.abs(numbers - slices).max() > _ON_LATTICE or slices.max() >= _MOST_SLICES or astray > _ON_LATTICE * min(start.spacing):
        raise InputError(f"{path} has frames that do not lie on slices {distance:.4g} mm apart, one above the other; export it again on the grid of the scan.")
    return slices, int(places.argmin()), float(distance)


def _labels(file: DicomFile, kind: str, slices: np.ndarray) -> tuple[np.ndarray, list[str]]:
    shape = (values.whole(file.header, "Rows", file.path), values.whole(file.header, "Columns", file.path))
    planes = decoded(file, range(len(slices)), shape)
    if kind == "LABELMAP":
        voxels = np.zeros((slices.max() + 1, *shape), planes[0].dtype)
        for place, plane in zip(slices, planes):
            voxels[place] = plane
        return voxels, []
    names = _names(file)
    numbers = list(_segment_numbers(file, names, len(slices)))
    whole = _whole(file) if kind == "FRACTIONAL" else 1
    voxels = np.zeros((slices.max() + 1, *shape), np.uint8 if max(numbers) < 256 else np.uint16)
    largest = np.zeros(voxels.shape, planes[0].dtype)
    for place, number, plane in zip(slices, numbers, planes):
        inside = (plane > 0) if kind == "BINARY" else 2 * plane.astype(int) >= whole
        taken = inside & (voxels[place] > 0) & (voxels[place] != number)
        if kind == "BINARY" and taken.any():
            others = int(voxels[place][taken][0])
            raise InputError(
                f"{file.path} has segments that overlap, {others} ({names.get(others, '')}) and {number} ({names.get(number, '')}), and a voxel can have one label; give them in a file each."
            )
        inside &= plane > largest[place]
        voxels[place][inside], largest[place][inside] = number, plane[inside]
    return voxels, ["Fractions of segments were taken as labels from one half on."] if kind == "FRACTIONAL" else []


def _whole(file: DicomFile) -> int:
    """Maximum Fractional Value (0062,000E), which stands for 1; one byte holds it (C.8.20.2)."""
    whole = values.whole(file.header, "MaximumFractionalValue", file.path, 0)
    if not 0 < whole < 256:
        raise InputError(f"{file.path} does not tell which value of its fractions is the whole (Maximum Fractional Value is {whole}); export it again.")
    return whole


def _segment_numbers(file: DicomFile, names: dict[int, str], count: int) -> Iterator[int]:
    """Referenced Segment Number (0062,000B) of each frame, one of those that are described."""
    shared = values.sequence(file.header, "SharedFunctionalGroupsSequence", file.path)
    own = values.sequence(file.header, "PerFrameFunctionalGroupsSequence", file.path)
    for index in range(count):
        groups = (*own[index : index + 1], *shared)
        found = [item for group in groups for item in values.sequence(group, "SegmentIdentificationSequence", file.path)]
        number = values.whole(found[0], "ReferencedSegmentNumber", file.path, 0) if found else 0
        if not 0 < number < 2**16 or number not in names:
            raise InputError(f"{file.path} does not tell to which segment each of its frames belongs; export it again.")
        yield number
