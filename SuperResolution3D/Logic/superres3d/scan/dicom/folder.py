"""The DICOM files of a folder, or one by its name: their headers, and what was left out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InputError
from . import values
from .content import SUFFIXES, is_dicom

if TYPE_CHECKING:
    from pydicom import Dataset

_SHOWN = 3
_AFTER_SIZE = 0x00280012  # the tag after Columns
_DIRECTORY, _DEFLATED = "1.2.840.10008.1.3.10", "1.2.840.10008.1.2.1.99"


@dataclass(frozen=True, eq=False)
class DicomFile:
    """A file with its header.

    Attributes:
        path: the file.
        header: all elements before the pixels.
        end: byte at which the header ends and the pixels' element begins; 0 where the file is deflated.
    """

    path: Path
    header: Dataset
    end: int

    @property
    def series(self) -> str:
        """Series Instance UID (0020,000E), "" where there is none."""
        return values.text(self.header, "SeriesInstanceUID") or ""

    @property
    def syntax(self) -> str:
        """Transfer Syntax UID (0002,0010), implicit little endian where there is none."""
        meta = getattr(self.header, "file_meta", None)
        return (values.text(meta, "TransferSyntaxUID") if meta is not None else None) or "1.2.840.10008.1.2"


def find_files(path: Path) -> tuple[list[DicomFile], list[str]]:
    """The DICOM images at a path, in the order of their names.

    Args:
        path: a folder (not those in it) or a file.

    Returns:
        (files that hold images, notes on what was left out).

    Raises:
        InputError: no DICOM image, or a file that is damaged or cannot be opened.
    """
    paths, others = _dicom_files(path)
    kinds = {file: kind_of(file) for file in map(read_header, paths)}
    images = [file for file, kind in kinds.items() if kind == "image"]
    if not images:
        raise InputError(_nothing(path, set(kinds.values()) - {"directory"}))
    series = {file.series for file in images}
    for file, kind in kinds.items():
        if kind == "unknown" and file.series in series:  # a damaged slice, rather than a maker's object
            raise _without_size(file)
    beside = (file.path for file, kind in kinds.items() if kind not in ("image", "directory"))
    return images, _left_out("that are no DICOM", others) + _left_out("that hold no scan", beside)


def read_header(path: Path) -> DicomFile:
    """Everything before the pixels.

    Raises:
        InputError: no DICOM, or a damaged header.
    """
    import pydicom

    try:
        with open(path, "rb") as file:
            header = pydicom.dcmread(file, stop_before_pixels=True, force=True)
            end = file.tell()
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror or 'damaged'}); check it and its permissions.") from None
    except Exception:  # pydicom has no base class for what a damaged file makes it raise
        raise InputError(f"{path} is damaged: its DICOM header cannot be read; copy or export it again.") from None
    found = DicomFile(path, header, end)
    return replace(found, end=0) if found.syntax == _DEFLATED else found


def _dicom_files(path: Path) -> tuple[list[Path], list[Path]]:
    """(DICOM files, others that are not hidden)."""
    if not path.is_dir():
        if not _holds_dicom(path):
            raise InputError(f"{path} {_state(path)}; copy or export it again.")
        return [path], []
    candidates = sorted(file for file in _entries(path) if file.is_file() and not file.name.startswith(".") and file.name.upper() != "DICOMDIR")
    dicom = [file for file in candidates if _holds_dicom(file)]
    others = sorted(set(candidates) - set(dicom))
    patterns = {name_pattern(file) for file in dicom}
    for file in others:
        if file.suffix.lower() in SUFFIXES or name_pattern(file) in patterns or (not file.stat().st_size and file.suffix in {other.suffix for other in dicom}):
            raise InputError(f"{file} {_state(file)}, and is named like a slice; copy or export it again, or remove it.")
    return dicom, others


def _state(file: Path) -> str:
    return "is damaged or no DICOM" if file.stat().st_size else "is empty"


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be read ({error.strerror}); check its permissions.") from None


def _holds_dicom(file: Path) -> bool:
    try:
        return is_dicom(file)
    except OSError as error:
        raise InputError(f"{file} cannot be opened ({error.strerror}); check its permissions, or remove it.") from None


def name_pattern(file: Path) -> str:
    """The name with its numbers left out: slices of one series are named alike."""
    return re.sub(r"\d+", "#", file.name.lower())


def kind_of(file: DicomFile) -> str:
    """ "image", "directory", "segmentation", "other", or "unknown": a maker's own object, or a damaged image.

    Raises:
        InputError: an image whose header lacks what every image has.
    """
    name = _class_name(_class(file)) or _class_name(_class_of_meta(file))
    if _class(file) == _DIRECTORY:
        return "directory"
    if "Segmentation" in name or values.text(file.header, "Modality") == "SEG":
        return "segmentation"
    if "Rows" in file.header:
        return "image"
    whole = "StudyInstanceUID" in file.header
    goes_on = whole and max(file.header.keys()) >= _AFTER_SIZE and file.end == file.path.stat().st_size  # beyond the size, and without pixels
    if not whole or "Image" in name or name == "RT Dose Storage" or not (name or goes_on):
        raise _without_size(file)
    return "other" if name else "unknown"


def _without_size(file: DicomFile) -> InputError:
    return InputError(f"{file.path} is damaged: its header does not tell the size of an image; copy or export it again, or remove it.")


def _class_name(uid: str) -> str:
    """As the standard has it, "" where it has none."""
    from pydicom.uid import UID_dictionary

    return UID_dictionary[uid][0] if uid in UID_dictionary else ""


def _class(file: DicomFile) -> str:
    """SOP Class UID (0008,0016), or (0002,0002) where the header does not reach so far."""
    return values.text(file.header, "SOPClassUID") or _class_of_meta(file)


def _class_of_meta(file: DicomFile) -> str:
    meta = getattr(file.header, "file_meta", None)
    return (values.text(meta, "MediaStorageSOPClassUID") if meta is not None else None) or ""


def _nothing(path: Path, kinds: set[str]) -> str:
    if "segmentation" in kinds:
        return f"{path} holds a segmentation, not a scan; give the scan itself."
    if kinds:
        return f"{path} holds no DICOM images, only other DICOM objects; give the scan itself."
    if not path.is_dir():
        return f"{path} is a directory of DICOM files, not a scan; give the folder with the slices."
    below = sorted(entry.name for entry in path.iterdir() if entry.is_dir())
    if below:
        return f"The folder {path} holds no DICOM series itself, and its folders ({_names(below)}) are not searched; give the one with the slices."
    return f"The folder {path} holds no DICOM series; give a folder of DICOM slices or an image file."


def _left_out(what: str, paths: Iterable[Path]) -> list[str]:
    names = [path.name for path in paths]
    return [f"Files {what} were left out: {_names(names)}."] if names else []


def _names(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
