"""Values out of a DICOM header, taken as they stand there: a library's guess at a damaged value is no value."""

from __future__ import annotations

import logging
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ...errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.tag import BaseTag

_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_TEXT = frozenset(["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"])
_WHOLE = re.compile(r"[+-]?\d{1,12}")
_FARTHEST = 1e9  # no number in a header that is used here is larger, but for damage

#: keyword -> what a user calls it
WORDS = {
    "ImagePositionPatient": "position of the slice (Image Position (Patient))",
    "ImageOrientationPatient": "orientation of the slice (Image Orientation (Patient))",
    "PixelSpacing": "size of the pixels (Pixel Spacing)",
    "RescaleSlope": "slope of the values (Rescale Slope)",
    "RescaleIntercept": "intercept of the values (Rescale Intercept)",
    "DoseGridScaling": "scaling of the dose (Dose Grid Scaling)",
    "GridFrameOffsetVector": "positions of the frames (Grid Frame Offset Vector)",
    "SpacingBetweenSlices": "distance of the slices (Spacing Between Slices)",
    "NumberOfFrames": "number of frames (Number of Frames)",
    "Rows": "number of rows (Rows)",
    "Columns": "number of columns (Columns)",
    "SamplesPerPixel": "number of samples a pixel (Samples per Pixel)",
    "BitsAllocated": "number of bits (Bits Allocated)",
    "BitsStored": "number of bits (Bits Stored)",
    "HighBit": "highest bit (High Bit)",
    "PixelRepresentation": "sign of the values (Pixel Representation)",
}


@contextmanager
def quiet() -> Iterator[None]:
    """The libraries' warnings and logs are about what is checked here; they are not a user's."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "pylibjpeg", "openjpeg", "libjpeg", "rle")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels):
                logger.setLevel(level)


def text(header: Dataset, keyword: str) -> str | None:
    """What stands in the header, parts divided by backslashes; "" for an empty value, None where there is none.

    Args:
        header: a pydicom Dataset.
        keyword: the name of a DICOM element, such as "PixelSpacing".
    """
    tag = _tag(keyword)
    return None if tag is None else text_at(header, tag)


@lru_cache(None)
def _tag(keyword: str) -> BaseTag | None:
    from pydicom.datadict import tag_for_keyword
    from pydicom.tag import Tag

    number = tag_for_keyword(keyword)
    return None if number is None else Tag(number)


def text_at(header: Dataset, tag: int) -> str | None:
    """As :func:`text`, of any tag (0xGGGGEEEE)."""
    if tag not in header:
        return None
    try:
        element = header.get_item(tag)
    except Exception:  # a damaged one, which pydicom reads again
        return ""
    value = element.value
    if isinstance(value, bytes):
        if _is_text(element.VR, tag):
            return value.decode("latin-1").strip(" \0\t")
        value = read(header, tag)
        value = value.decode("latin-1").strip(" \0") if isinstance(value, bytes) else value
    if value is None:
        return ""
    parts = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
    return "\\".join(str(part) for part in parts).strip()


def numbers(header: Dataset, keyword: str, count: int, file: object) -> tuple[float, ...] | None:
    """The decimal numbers of an element (VR DS), or None where it is absent or empty.

    Raises:
        InputError: another count of numbers, or what is no finite number.
    """
    told = text(header, keyword)
    return told and parsed(told, keyword, count, file) or None


def parsed(told: str, keyword: str, count: int, file: object) -> tuple[float, ...]:
    """``count`` finite numbers out of text with backslashes; any number of them where ``count`` is 0.

    Raises:
        InputError: see :func:`numbers`.
    """
    parts = [part.strip(" \0") for part in told.split("\\")]
    values = tuple(float(part) for part in parts if _DECIMAL.fullmatch(part))
    if len(values) != len(parts) or (count and len(values) != count) or not all(math.isfinite(value) and abs(value) < _FARTHEST for value in values):
        if not told:
            raise InputError(f"{file} does not tell the {WORDS.get(keyword, keyword)}; export it again.")
        meant = "a finite number" if count == 1 else f"{count or ''} finite numbers divided by backslashes".lstrip()
        raise InputError(f'{file} gives "{printable(told)}" as the {WORDS.get(keyword, keyword)}, which is not {meant}; export it again.')
    return values


def number(header: Dataset, keyword: str, file: object) -> float | None:
    """One decimal number; see :func:`numbers`."""
    values = numbers(header, keyword, 1, file)
    return values[0] if values else None


def whole(header: Dataset, keyword: str, file: object, default: int | None = None) -> int:
    """A whole number (VR US or IS); ``default`` stands for an absent one.

    Raises:
        InputError: absent without a default, or not one whole number.
    """
    value = read(header, keyword)
    told = str(value if value is not None else text(header, keyword) or "").strip()
    if not told and default is not None:
        return default
    if not told:
        raise InputError(f"{file} does not tell the {WORDS.get(keyword, keyword)}; export it again.")
    if not _WHOLE.fullmatch(told):
        raise InputError(f'{file} gives "{printable(told)}" as the {WORDS.get(keyword, keyword)}, which is not a whole number; export it again.')
    return int(told)


def _is_text(representation: str | None, tag: int) -> bool:
    """By the element's VR, or by the dictionary where the file does not tell it."""
    from pydicom.datadict import dictionary_VR

    try:
        return (representation or dictionary_VR(tag)) in _TEXT
    except KeyError:  # a private element, which pydicom may know
        return False


def read(header: Dataset, keyword: str | int) -> Any:
    """The value as pydicom reads it, by keyword or tag, or None where it is absent or cannot be read."""
    tag = _tag(keyword) if isinstance(keyword, str) else keyword
    try:
        return header[tag].value if tag is not None and tag in header else None
    except Exception:  # whatever a damaged element makes of it
        return None


def sequence(header: Dataset, keyword: str, file: object) -> Sequence[Dataset]:
    """The items of a sequence, none where it is absent.

    Raises:
        InputError: it is there and cannot be read.
    """
    from pydicom.sequence import Sequence as Items

    found = read(header, keyword)
    if keyword in header and not isinstance(found, Items):  # as damaged kinds of elements make it
        raise InputError(f"{file} is damaged: a part of its header ({keyword}) cannot be read; copy or export it again.")
    return found or ()


def printable(told: str, most: int = 64) -> str:
    """Text as it can stand in a sentence."""
    plain = "".join(char if char.isprintable() else "?" for char in told)
    return plain if len(plain) <= most else f"{plain[:most]}..."
