"""A DICOM folder or file as a volume."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import InputError
from ..volume import Volume, triple
from . import values
from .choice import choose
from .folder import DicomFile, find_files, read_header
from .frame import Frame, frames_of
from .regrid import evened, untilted
from .scaled import scaled_values
from .source import DicomSource
from .stack import Stack, stack_of
from .stored import pixel_format, same_pixels, stored_values
from .volumes import volumes_of

_DISAGREE = 0.05


def read_dicom(path: Path, series: str | int | None = None, volume: str | int | None = None) -> Volume:
    """Read one volume of a DICOM folder or file.

    Args:
        path: a folder with slices or multi-frame files, or one file.
        series: number (from 1 on) or Series Instance UID of one of several series.
        volume: number of one of several volumes of the series.

    Returns:
        The volume: slope and intercept applied, its slices along increasing normal, with notes on what was resampled, left out or is odd.

    Raises:
        InputError: what cannot be read for certain; see the modules beside this one.
    """
    with values.quiet():
        files, notes = find_files(path)
        chosen, told = _series(files, series, path)
        return _one_volume(chosen, volume, told, notes, path)


def read_series(paths: Sequence[Path], volume: str | int | None = None) -> Volume:
    """As :func:`read_dicom`, of a series whose files are known, in whichever folders they lie.

    Args:
        paths: all of its files.
        volume: number of one of several volumes of the series.
    """
    with values.quiet():
        return _one_volume([read_header(path) for path in paths], volume, [], [], paths[0].parent)


def _one_volume(files: Sequence[DicomFile], wanted: str | int | None, told: list[str], notes: list[str], path: Path) -> Volume:
    frames = [frame for file in files for frame in _frames(file)]
    groups, found = volumes_of(frames, same_pixels, path)
    number, group = choose([("", str(group), group) for group in groups], wanted, "volumes", "--volume", path)
    chose = [f"Volume {number} of {len(groups)}: {group}."] if len(groups) > 1 else []
    stack = stack_of(group.frames, path)
    return _volume(stack, [*told, *chose, *notes, *found], path)


def _series(files: Sequence[DicomFile], wanted: str | int | None, path: Path) -> tuple[list[DicomFile], list[str]]:
    by_uid: dict[str, list[DicomFile]] = defaultdict(list)
    for file in files:
        by_uid[file.series].append(file)
    ordered = sorted(by_uid.items(), key=lambda item: (_series_number(item[1][0]), item[0]))
    items = [(uid, _told(members), members) for uid, members in ordered]
    number, members = choose(items, wanted, "DICOM series", "--series", path)
    return members, [f"Series {number} of {len(items)}: {_told(members)}."] if len(items) > 1 else []


def _series_number(file: DicomFile) -> int:
    told = values.text(file.header, "SeriesNumber") or ""
    return int(told) if told.isdigit() and len(told) < 12 else 0


def _told(files: Sequence[DicomFile]) -> str:
    header = files[0].header
    description = str(values.read(header, "SeriesDescription") or "").strip()
    words = [values.text(header, "Modality") or "", f"{len(files)} file{'s' * (len(files) > 1)}", description]
    return ", ".join(word for word in words if word)


def _frames(file: DicomFile) -> list[Frame]:
    if "BitsStored" in file.header:  # colour is told before a missing position is
        pixel_format(file)
    return frames_of(file)


def _volume(stack: Stack, notes: list[str], path: Path) -> Volume:
    frames, first = stack.frames, stack.frames[0]
    scales = _scales(frames, path)
    voxels = scaled_values(stored_values(frames), scales)
    origin = first.position
    if stack.tilt:
        voxels, origin, note = _untilted(voxels, stack, scales[0])
        notes = [*notes, note]
    if not stack.even:
        count = round(stack.places[-1] / stack.step) + 1
        notes = [*notes, _uneven_note(stack, count)]
        voxels = evened(voxels, stack.places, count)
    direction = np.column_stack([*first.axes, first.normal])
    spacing = (first.spacing[1], first.spacing[0], stack.step)
    source = _source(frames)
    return Volume(voxels, spacing, triple(origin), direction, _modality(first), (*notes, *_remarks(stack)), source)


def _scales(frames: Sequence[Frame], path: Path) -> list[tuple[float, float]]:
    told = [frame.scale for frame in frames]
    without = [frame.path for frame in frames if frame.scale is None]
    if without and len(without) < len(frames):
        raise InputError(f"{path} tells slope and intercept of its values for some slices and not for others (such as {without[0].name}); export it again.")
    return [scale or (1.0, 0.0) for scale in told]


def _untilted(voxels: np.ndarray, stack: Stack, scale: tuple[float, float]) -> tuple[np.ndarray, np.ndarray, str]:
    first = stack.frames[0]
    pixels = np.array(first.spacing[::-1])
    fill = _outside(first, voxels, scale)
    moved, start = untilted(voxels, stack.shifts / pixels, fill)
    origin = first.position + (start * pixels) @ first.axes
    more = np.array(moved.shape[:0:-1]) - np.array(voxels.shape[:0:-1])
    wider = " and ".join(f"{count} {what}" for count, what in zip(more, ("columns", "rows")) if count)
    note = f"The slices are tilted by {stack.tilt:.1f} degrees (gantry tilt) and were resampled to a right-angled grid that is {wider} larger; what no slice covers holds {fill:g}."
    return moved, origin, note


def _outside(frame: Frame, voxels: np.ndarray, scale: tuple[float, float]) -> float:
    """The padding value of the scan, or its lowest."""
    told = values.read(frame.file.header, "PixelPaddingValue")
    low, high = float(voxels.min()), float(voxels.max())
    padding = float(told) * scale[0] + scale[1] if isinstance(told, (int, float)) else low
    return padding if low <= padding <= high else low


def _uneven_note(stack: Stack, count: int) -> str:
    steps = np.diff(stack.places)
    return f"The slices lie {steps.min():.2f} to {steps.max():.2f} mm apart; they were resampled (linear) to {count} slices {stack.step:.3g} mm apart."


def _remarks(stack: Stack) -> list[str]:
    """What the header says of thickness and distance, where the places say something else, and what was lost before."""
    thickness, distance = stack.frames[0].thickness, stack.frames[0].distance
    step = float(np.median(np.diff(stack.places)))
    remarks = []
    if thickness and abs(thickness - step) > _DISAGREE * step:
        how = f"overlap by {thickness - step:.3g} mm" if thickness > step else f"leave gaps of {step - thickness:.3g} mm"
        remarks.append(f"The slices are {thickness:.3g} mm thick and {step:.3g} mm apart: they {how}.")
    if distance and abs(distance - step) > _DISAGREE * step:
        remarks.append(f"The header gives {distance:.3g} mm between the slices, their positions {step:.3g} mm; the positions were used.")
    if any(values.text(frame.file.header, "LossyImageCompression") == "01" for frame in stack.frames):
        remarks.append("The scan was compressed with loss before.")
    return remarks


def _modality(frame: Frame) -> str:
    told = frame.apart["modality"].strip().upper()
    return told if told.isalnum() and len(told) <= 16 else ""


def _source(frames: Sequence[Frame]) -> DicomSource:
    taken: dict[DicomFile, list[int]] = {}
    for frame in frames:
        taken.setdefault(frame.file, []).append(frame.index)
    return DicomSource(tuple(file.header for file in taken), tuple(file.path for file in taken), tuple(map(tuple, taken.values())))
