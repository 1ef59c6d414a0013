"""Whether a file is DICOM: told by what it holds, never by its name."""

from __future__ import annotations

from pathlib import Path

from ...errors import InputError

SUFFIXES = (".dcm", ".ima", ".dicom")
_BEGINNING = 132
_WITHOUT_PREAMBLE = (b"\x08\x00", b"\x02\x00")  # the first group of an old file that begins with its first element, little endian


def holds_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its content, or is named so: then it is damaged, and the reader says it.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.suffix.lower() in SUFFIXES or is_dicom(path)
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}); check it and its permissions.") from None


def is_dicom(path: Path) -> bool:
    """Whether a file holds "DICM" at byte 128 (PS3.10 7.1), or begins with a DICOM element as files older than that do.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        start = file.read(_BEGINNING)
    return start[128:] == b"DICM" or (start[:2] in _WITHOUT_PREAMBLE and start[3:4] == b"\x00" and len(start) == _BEGINNING)
