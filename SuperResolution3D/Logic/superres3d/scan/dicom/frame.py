"""What one slice is: where it lies, how its values are scaled, what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import InputError
from . import values
from .header import FrameHeader, frame_headers
from .labels import labels_apart, labels_in_turn
from .offsets import frame_positions
from .values import parsed

if TYPE_CHECKING:
    from .folder import DicomFile


@dataclass(frozen=True)
class Frame:
    """One slice.

    Attributes:
        file: the file that holds it.
        index: which of the file's frames it is.
        shape: (rows, columns).
        position: (3,), LPS millimetres of the centre of its first pixel.
        axes: (2, 3); the LPS directions of a row (along increasing columns) and of a column, made orthonormal.
        spacing: millimetres between (rows, columns): Pixel Spacing (0028,0030).
        scale: (slope, intercept), None where the file does not tell them.
        number: its place in the series by its own count, or None.
        thickness: Slice Thickness (0018,0050) in millimetres, or None.
        distance: Spacing Between Slices (0018,0088) in millimetres, or None.
        apart: see :func:`.labels.labels_apart`.
        in_turn: see :func:`.labels.labels_in_turn`.
    """

    file: DicomFile
    index: int
    shape: tuple[int, int]
    position: np.ndarray
    axes: np.ndarray
    spacing: tuple[float, float]
    scale: tuple[float, float] | None
    number: int | None
    thickness: float | None
    distance: float | None
    apart: dict[str, str]
    in_turn: dict[str, str]

    @property
    def path(self) -> Path:
        """The file's path."""
        return self.file.path

    @property
    def normal(self) -> np.ndarray:
        """(3,), the LPS direction across the slice: row times column."""
        return np.cross(self.axes[0], self.axes[1])


def frames_of(file: DicomFile) -> list[Frame]:
    """The frames of a file, in its order.

    Raises:
        InputError: a number that is none, positions, orientations or sizes of pixels that are not told, or frames that are counted wrongly.
    """
    count = values.whole(file.header, "NumberOfFrames", file.path, 1)
    if not 1 <= count <= 1_000_000:
        raise InputError(f"{file.path} counts {count} frames (Number of Frames); export it again.")
    shape = (values.whole(file.header, "Rows", file.path), values.whole(file.header, "Columns", file.path))
    if min(shape) < 1:
        raise InputError(f"{file.path} tells of {shape[0]} rows and {shape[1]} columns; export it again.")
    headers = frame_headers(file.header, count, file.path)
    if "MOSAIC" in (headers[0].text("ImageType") or "").upper().split("\\"):
        raise InputError(f"{file.path} is a mosaic (all slices of one time as tiles of one picture); convert it with dcm2niix first.")
    places = frame_positions(file.header, headers, file.path)
    return [_frame(file, index, shape, header, places) for index, header in enumerate(headers)]


def _frame(file: DicomFile, index: int, shape: tuple[int, int], header: FrameHeader, places: tuple[np.ndarray, np.ndarray]) -> Frame:
    return Frame(
        file, index, shape, places[0][index], places[1][index],
        spacing=_pixel_spacing(header, file.path),
        scale=_scale(header, file.path),
        number=_own_number(header),
        thickness=length_of(header, "SliceThickness"),
        distance=length_of(header, "SpacingBetweenSlices"),
        apart=labels_apart(header),
        in_turn=labels_in_turn(header),
    )  # fmt: skip


def _pixel_spacing(header: FrameHeader, path: Path) -> tuple[float, float]:
    told = header.text("PixelSpacing")
    if not told:
        hint = " (Imager Pixel Spacing alone is the detector's, not the patient's)" if header.text("ImagerPixelSpacing") else ""
        raise InputError(f"{path} does not tell the size of its pixels{hint}; export it again with Pixel Spacing.")
    rows, columns = parsed(told, "PixelSpacing", 2, path)
    if min(rows, columns) <= 0:
        raise InputError(f"{path} does not tell the size of its pixels (Pixel Spacing is {rows:g} x {columns:g} mm); export it again.")
    return rows, columns


def _scale(header: FrameHeader, path: Path) -> tuple[float, float] | None:
    """Rescale Slope (0028,1053) and Intercept (0028,1052), of a dose Dose Grid Scaling (3004,000E)."""
    dose = header.text("DoseGridScaling")
    if dose is not None and header.text("Modality") == "RTDOSE":
        return _slope(dose, "DoseGridScaling", path), 0.0
    slope, intercept = header.text("RescaleSlope"), header.text("RescaleIntercept")
    if slope is None and intercept is None:
        return None
    return _slope(slope or "", "RescaleSlope", path), parsed(intercept or "", "RescaleIntercept", 1, path)[0]


def _slope(told: str, keyword: str, path: Path) -> float:
    (slope,) = parsed(told, keyword, 1, path)
    if slope == 0:
        raise InputError(f"{path} gives 0 as the {values.WORDS[keyword]}, which would make all values the same; export it again.")
    return slope


def _own_number(header: FrameHeader) -> int | None:
    told = header.of_frame("InStackPositionNumber") or header.text("InstanceNumber") or ""
    return int(told) if told.lstrip("+-").isdigit() and len(told) < 12 else None


def length_of(header: FrameHeader, keyword: str) -> float | None:
    """A length in millimetres that nothing depends on: None for what is no positive number."""
    try:
        length = float(header.text(keyword) or "nan")
    except ValueError:
        return None
    return length if 0 < length < 1e6 else None
