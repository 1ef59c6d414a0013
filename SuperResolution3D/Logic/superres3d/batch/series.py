"""The DICOM series of a tree: grouped by patient, study and series, whichever folders their files lie in."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..methods import MODALITIES
from ..scan.dicom import values
from ..scan.dicom.content import SUFFIXES, is_dicom
from ..scan.dicom.folder import DicomFile, kind_of, name_pattern, read_header
from ..scan.dicom.provenance import is_own
from .scans import BatchScan, Found, LeftOut, Outline, digest, plural, relative_name

if TYPE_CHECKING:
    from pydicom import Dataset

_SCOUTS = ("LOCALIZER", "SCOUT", "TOPOGRAM", "LOCALISER", "SURVEY")
_LONGEST_PART = 40  # of a name made from a header
_NAMES_UNIT = re.compile(r"[^A-Za-z0-9]+")


@dataclass
class _Slice:
    """What is kept of a file's header."""

    path: Path
    instance: str
    frames: int
    place: float
    frame_step: float


@dataclass
class _Series:
    """A series as it grows; the header is that of its first file."""

    header: Dataset
    slices: list[_Slice] = field(default_factory=list)
    trouble: str = ""


class SeriesCollector:
    """Takes folder after folder, and in the end has the series.

    Args:
        root: of the tree; names are told relative to it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._series: dict[str, _Series] = {}
        self._notes = Found()

    def take(self, folder: Path, files: Sequence[Path]) -> int:
        """The files of one folder; returns how many of them are no DICOM."""
        patterns: dict[str, set[str]] = defaultdict(set)
        damaged: dict[Path, str] = {}
        strangers = []
        with values.quiet():
            for path in files:
                if not is_dicom(path):
                    strangers.append(path)
                    continue
                try:
                    uid = self._take_file(path)
                except InputError as error:
                    damaged[path] = str(error)
                    continue
                if uid:
                    patterns[name_pattern(path)].add(uid)
        damaged |= {path: _state(path) for path in strangers if path.suffix.lower() in SUFFIXES or name_pattern(path) in patterns}
        for path, reason in damaged.items():
            self._doubt(path, reason, patterns.get(name_pattern(path), set()))
        return sum(path not in damaged for path in strangers)

    def _take_file(self, path: Path) -> str:
        """The UID of its series, "" if it is none of an image (InputError: damaged)."""
        file = read_header(path)
        if kind_of(file) != "image" or not file.series:
            self._notes.leave_out(relative_name(path, self._root), "a DICOM object that holds no scan")
            return ""
        series = self._series.setdefault(file.series, _Series(file.header))
        series.slices.append(_slice(file))
        return file.series

    def _doubt(self, path: Path, reason: str, owners: set[str]) -> None:
        """A file that should have been a slice: of the series whose files are named like it, which then lack one."""
        for uid in owners:
            self._series[uid].trouble = reason
        if not owners:
            self._notes.leave_out(relative_name(path, self._root), reason, broken=True)

    def finish(self, found: Found) -> None:
        """Add the series, and what was left out."""
        found.left_out += _together(self._notes)
        for uid, series in sorted(self._series.items(), key=lambda item: _order(item[1], item[0])):
            scan, reason = _scan(uid, series), _reason(series)
            if series.trouble or reason:
                found.leave_out(scan.name, series.trouble or reason, broken=bool(series.trouble) and not reason)
            else:
                found.scans.append(scan)


def _state(path: Path) -> str:
    state = "is damaged or no DICOM" if path.stat().st_size else "is empty"
    return f"{path} {state}, and is named like a slice; copy or export it again, or remove it."


def _slice(file: DicomFile) -> _Slice:
    header = file.header
    position, axes = (_numbers(header, keyword, count) for keyword, count in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6)))
    place = float(np.dot(np.cross(axes[:3], axes[3:]), position)) if position and axes else 0.0
    frames = values.text(header, "NumberOfFrames") or "1"
    thickness = (_numbers(header, "SpacingBetweenSlices", 1) or _numbers(header, "SliceThickness", 1) or (1.0,))[0]
    return _Slice(file.path, values.text(header, "SOPInstanceUID") or str(file.path), int(frames) if frames.isdigit() else 1, place, thickness)


def _numbers(header: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """None where they are missing or none: the reader will say it."""
    try:
        return values.numbers(header, keyword, count, "")
    except InputError:
        return None


def _reason(series: _Series) -> str:
    """Why a series is not upscaled, "" if it is: its kind, not its state."""
    header = series.header
    modality = (values.text(header, "Modality") or "").upper()
    told = " ".join((values.text(header, "ImageType") or "", values.text(header, "SeriesDescription") or "")).upper()
    if is_own(header):
        return "a series that this program derived"
    if modality not in MODALITIES:
        return f"modality {modality or 'not told'}; the networks are for {' and '.join(MODALITIES)}"
    if any(word in told for word in _SCOUTS):
        return "a scout or localiser"
    if sum(part.frames for part in series.slices) < 2:
        return "a single slice"
    return ""


def _scan(uid: str, series: _Series) -> BatchScan:
    header = series.header
    patient = _part(header, "PatientID", "PatientName") or "patient"
    study = _joined(_part(header, "StudyDate"), _part(header, "StudyDescription", "StudyID")) or "study"
    number = _joined(_part(header, "SeriesNumber"), _part(header, "SeriesDescription", "ProtocolName")) or "series"
    files = sorted(series.slices, key=lambda part: (part.place, str(part.path)))
    told = f"{patient} / {study} / {number} ({plural(len(files), 'file')})"
    return BatchScan(
        told, uid, tuple(str(part.path.absolute()) for part in files), f"{patient}/{study}", number, "", (values.text(header, "Modality") or "").upper(),
        _outline(series), digest(sorted(part.instance for part in files)), {}, "DICOM",
    )  # fmt: skip


def _outline(series: _Series) -> Outline | None:
    header, parts = series.header, series.slices
    size = tuple(int(values.text(header, keyword) or 0) for keyword in ("Rows", "Columns"))
    pixels = _numbers(header, "PixelSpacing", 2) or (1.0, 1.0)
    places = np.unique(np.round([part.place for part in parts], 3))
    step = float(np.median(np.diff(places))) if len(places) > 1 else parts[0].frame_step
    count = sum(part.frames for part in parts)
    return Outline((count, *size), (pixels[1], pixels[0], step), "int16") if min(size) > 1 else None


def _order(series: _Series, uid: str) -> tuple[str, str, int, str]:
    number = values.text(series.header, "SeriesNumber") or ""
    return _part(series.header, "PatientID"), _part(series.header, "StudyDate"), int(number) if number.isdigit() and len(number) < 12 else 0, uid


def _part(header: Dataset, *keywords: str) -> str:
    """The first of the attributes that says anything, in letters that every disk takes."""
    told = next((text for keyword in keywords if (text := (values.text(header, keyword) or "").strip())), "")
    return _NAMES_UNIT.sub("-", told)[:_LONGEST_PART].strip("-")


def _joined(*parts: str) -> str:
    return "-".join(filter(None, parts))


def _together(notes: Found) -> list[LeftOut]:
    """Harmless files of one folder and reason told once: an archive may hold thousands."""
    grouped: dict[tuple[str, str], int] = defaultdict(int)
    told = [note for note in notes.left_out if note.broken]
    for note in notes.left_out:
        if not note.broken:
            grouped[note.name.rpartition("/")[0], note.reason] += 1
    summary = Found()
    for (folder, reason), count in grouped.items():
        summary.leave_out(f"{plural(count, 'file')} in {folder or 'the folder'}", reason)
    return told + summary.left_out
