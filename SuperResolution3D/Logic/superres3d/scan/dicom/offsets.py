"""Where the frames of a file lie: from their functional groups, a dose's offsets, or the distance of nuclear medicine's slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...errors import InputError
from . import values
from .header import FrameHeader
from .values import parsed

if TYPE_CHECKING:
    from pydicom import Dataset

_CROOKED = 1e-3  # lengths of directions, and cosines between them
_PLACES = "does not tell where its slices lie; export it again as CT or MR image storage."

#: of what is seldom a volume: told as what it is
_NO_VOLUME = {
    kind: f"is {words} ({kind}), and does not tell where its pictures lie in the patient; give a volume, such as CT or MR."
    for kind, words in {"US": "ultrasound", "XA": "angiography", "RF": "fluoroscopy", "MG": "mammography", "CR": "an X-ray picture", "DX": "an X-ray picture"}.items()
}


def frame_positions(header: Dataset, frames: Sequence[FrameHeader], file: object) -> tuple[np.ndarray, np.ndarray]:
    """Positions and directions of all frames.

    Args:
        header: the file's pydicom Dataset.
        frames: the header of each frame.
        file: what messages call the file.

    Returns:
        (positions (n, 3), LPS millimetres; directions (n, 2, 3) of rows and columns, orthonormal).

    Raises:
        InputError: they are not told, are no numbers, or the directions are not at right angles.
    """
    _check_kind(values.text(header, "Modality"), frames, file)
    if len(frames) == 1 or frames[0].of_frame("ImagePositionPatient") is not None:
        axes = np.array([_axes(frame.text("ImageOrientationPatient"), file) for frame in frames])
        told = [frame.text("ImagePositionPatient") if len(frames) == 1 else frame.of_frame("ImagePositionPatient") for frame in frames]
        return np.array([_position(place, file) for place in told]), axes
    return _along_the_normal(header, frames[0], len(frames), file)


def _check_kind(kind: str | None, frames: Sequence[FrameHeader], file: object) -> None:
    told = frames[0].text("ImagePositionPatient") if len(frames) == 1 else frames[0].of_frame("ImagePositionPatient")
    if not told and kind in _NO_VOLUME:
        raise InputError(f"{file} {_NO_VOLUME[kind]}")


def _along_the_normal(header: Dataset, frame: FrameHeader, count: int, file: object) -> tuple[np.ndarray, np.ndarray]:
    """A first position, and steps across the slices."""
    kind = values.text(header, "Modality")
    detector = values.sequence(header, "DetectorInformationSequence", file)[:1] if kind == "NM" else ()
    place = FrameHeader(header, tuple(detector))
    if kind == "NM":
        steps = _of_nuclear_medicine(header, count, file)
    elif kind == "RTDOSE":
        steps = _of_dose(header, count, file)
    else:
        raise InputError(f"{file} {_PLACES}")
    axes = _axes(place.text("ImageOrientationPatient"), file)
    first = _position(place.text("ImagePositionPatient"), file)
    normal = np.cross(axes[0], axes[1])
    if kind == "RTDOSE" and steps[0] != 0:  # PS3.3 C.8.8.3.2: coordinates, not offsets
        steps = _from_coordinates(steps, first, normal, file)
    return first + steps[:, None] * normal, np.repeat(axes[None], count, axis=0)


def _of_dose(header: Dataset, count: int, file: object) -> np.ndarray:
    """Grid Frame Offset Vector (3004,000C)."""
    told = values.text(header, "GridFrameOffsetVector")
    if not told:
        raise InputError(f"{file} {_PLACES}")
    return np.array(parsed(told, "GridFrameOffsetVector", count, file))


def _from_coordinates(steps: np.ndarray, first: np.ndarray, normal: np.ndarray, file: object) -> np.ndarray:
    if abs(normal[2]) < 1 - _CROOKED or abs(steps[0] - first[2]) > 0.01 * abs(steps[1] - steps[0]):
        raise InputError(f"{file} gives positions of its frames (Grid Frame Offset Vector) that do not begin at its first slice; export it again.")
    return (steps - steps[0]) * np.sign(normal[2])


def _of_nuclear_medicine(header: Dataset, count: int, file: object) -> np.ndarray:
    """Spacing Between Slices (0018,0088), negative against the normal (PS3.3 C.8.4.15); of a reconstruction alone."""
    image_type = (values.text(header, "ImageType") or "").upper()
    if "RECON" not in image_type or "GATED" in image_type:
        kind = image_type.split("\\")[2] if image_type.count("\\") >= 2 else "unknown"
        raise InputError(f"{file} holds nuclear medicine frames of the kind {kind}, not the slices of one volume; give the reconstructed volume (RECON TOMO).")
    step = values.number(header, "SpacingBetweenSlices", file)
    if not step:
        raise InputError(f"{file} {_PLACES}")
    order = values.read(header, "SliceVector")
    places = np.array(order if hasattr(order, "__iter__") else range(1, count + 1), dtype=float)
    if len(places) != count:
        raise InputError(f"{file} counts {count} frames and numbers the slices of {len(places)} (Slice Vector); export it again.")
    return step * (places - 1)


def _position(told: str | None, file: object) -> np.ndarray:
    if not told:
        raise InputError(f"{file} {_PLACES}")
    return np.array(parsed(told, "ImagePositionPatient", 3, file))


def _axes(told: str | None, file: object) -> np.ndarray:
    """(2, 3), made exact where lengths and angle are right to a thousandth."""
    if not told:
        raise InputError(f"{file} {_PLACES}")
    row, column = np.array(parsed(told, "ImageOrientationPatient", 6, file)).reshape(2, 3)
    wrong = max(abs(row @ row - 1), abs(column @ column - 1), abs(row @ column))
    if not wrong <= 2 * _CROOKED:
        raise InputError(f"{file} gives directions of rows and columns (Image Orientation (Patient)) that are not at right angles; export it again.")
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    return np.array([row, column / np.linalg.norm(column)])
