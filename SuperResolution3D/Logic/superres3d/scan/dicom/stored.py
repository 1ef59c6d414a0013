"""The values of frames as they are stored: how many bits, where in the file, and whether all of them are there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ...errors import InputError
from . import values
from .decoding import decoded
from .folder import DicomFile
from .frame import Frame

if TYPE_CHECKING:
    from pydicom import Dataset

_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")  # little endian, as the values lie in the file
_PIXELS = b"\xe0\x7f\x10\x00"
_FLOATS = {b"\xe0\x7f\x08\x00": "f4", b"\xe0\x7f\x09\x00": "f8"}
_LONG_FORMS = (b"OB", b"OW", b"UN")  # two bytes of nothing and four of length follow
_PADDING = 3  # bytes that may follow the pixels
_THREADS = 4


@dataclass(frozen=True)
class PixelFormat:
    """How a file stores its pixels: Bits Allocated, Bits Stored and Pixel Representation, (0028,0100) to (0028,0103).

    Attributes:
        allocated: bits of a word.
        stored: bits of a value, the lowest of a word.
        signed: whether values may be negative.
        overlays: the bits of a word that hold overlays, as old files have them (60xx,0102), one bit each.
    """

    allocated: int
    stored: int
    signed: bool
    overlays: int = 0

    @property
    def dtype(self) -> np.dtype:
        """Of the values as they are stored."""
        return np.dtype(f"{'i' if self.signed else 'u'}{self.allocated // 8}")

    def used(self, words: np.ndarray) -> np.ndarray | None:
        """The values in the bits that are used; None if something else stands in the others than zeros, the sign or overlays."""
        spare = self.allocated - self.stored
        if not spare:
            return words
        used, unsigned = (words << spare) >> spare, f"u{self.allocated // 8}"
        told, expected = words.view(unsigned), used.view(unsigned)
        if self.overlays:
            others = told.dtype.type(2**self.allocated - 1 - self.overlays)
            told, expected = told & others, expected & others
        return used if np.array_equal(expected, told) or not (told >> self.stored).any() else None


def pixel_format(file: DicomFile) -> PixelFormat:
    """What a file says of its pixels.

    Raises:
        InputError: colour, a palette, single bits, a table in place of slope and intercept, or numbers that contradict each other.
    """
    header, path = file.header, file.path
    _check_grey(file)
    allocated, stored = values.whole(header, "BitsAllocated", path), values.whole(header, "BitsStored", path)
    high, sign = values.whole(header, "HighBit", path, stored - 1), values.whole(header, "PixelRepresentation", path)
    if allocated not in (8, 16, 32) or not 1 <= stored <= allocated or high != stored - 1 or sign not in (0, 1):
        raise InputError(f"{path} stores its pixels in a way that is not read ({allocated} bits, {stored} used up to bit {high}, sign {sign}); export it again.")
    return PixelFormat(allocated, stored, sign == 1, _overlays(file.header, allocated, stored))


def _overlays(header: Dataset, allocated: int, stored: int) -> int:
    """The bits above the values that hold overlays: those of groups 6000 to 601E without data of their own (60xx,3000)."""
    mask = 0
    for group in range(0x60000000, 0x60200000, 0x20000):
        bit = values.text_at(header, group | 0x0102) or ""
        if (group | 0x3000) not in header and bit.isdigit() and stored <= int(bit) < allocated:
            mask |= 1 << int(bit)
    return mask


def stored_values(frames: Sequence[Frame]) -> np.ndarray:
    """The stored values, (n, rows, columns), in a type that holds those of all frames.

    Raises:
        InputError: a file is damaged, holds another amount of data than its header asks for, or is compressed in an unknown way.
    """
    where: dict[DicomFile, list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        where[frame.file].append(index)
    starts = {file: _start(file) for file in where}
    result = np.empty((len(frames), *frames[0].shape), dtype=np.result_type(*{start.dtype for start in starts.values()}))
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(lambda file: _fill(result, where[file], frames, starts[file]), where))
    return result


def same_pixels(one: Frame, other: Frame) -> bool:
    """Whether two frames store the same values."""
    return bool(np.array_equal(stored_values([one]), stored_values([other])))


@dataclass(frozen=True)
class _Start:
    """Where the values of a file begin, None where a decoder must find them; their type; their form, None of floating-point numbers."""

    byte: int | None
    dtype: np.dtype
    form: PixelFormat | None


def _check_grey(file: DicomFile) -> None:
    samples = values.whole(file.header, "SamplesPerPixel", file.path, 1)
    meant = (values.text(file.header, "PhotometricInterpretation") or "").upper()
    if samples != 1 or meant not in ("MONOCHROME1", "MONOCHROME2"):
        kind = f"{samples} values a pixel" if samples != 1 else f"the photometric interpretation {values.printable(meant) or 'left out'}"
        raise InputError(f"{file.path} holds a picture in colour or with a palette ({kind}), not grey values; give the scan itself.")
    if values.sequence(file.header, "ModalityLUTSequence", file.path):
        raise InputError(f"{file.path} gives its values by a table (Modality LUT) in place of slope and intercept; export it again with these.")


def _start(file: DicomFile) -> _Start:
    with _opened(file.path) as stream:
        stream.seek(file.end)
        beginning = stream.read(12)
    if beginning[:4] in _FLOATS and file.end:
        _check_grey(file)
        return _Start(None, np.dtype(_FLOATS[beginning[:4]]), None)
    form = pixel_format(file)
    if file.end and beginning[:4] != _PIXELS and file.header.original_encoding[1]:
        raise InputError(f"{file.path} is damaged or cut: it holds no pixels; copy or export it again, or remove it.")
    return _Start(_native_byte(file, beginning, form) if file.syntax in _UNCOMPRESSED else None, form.dtype, form)


def _opened(path: Path) -> BinaryIO:
    try:
        return open(path, "rb", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}); check it and its permissions.") from None


def _native_byte(file: DicomFile, beginning: bytes, form: PixelFormat) -> int | None:
    """The first byte of values that lie in the file as they are, after their amount was checked."""
    implicit, little = file.header.original_encoding
    if not file.end or not little or not (implicit or beginning[4:6] in _LONG_FORMS):
        return None
    header = 8 if implicit else 12
    length = int.from_bytes(beginning[header - 4 : header], "little")
    check_amount(file, length, form)
    begin = file.end + header
    if begin + length - _PADDING > file.path.stat().st_size:
        raise InputError(f"{file.path} is cut: {file.path.stat().st_size - begin} of its {length} bytes of pixels are there; copy or export it again, or remove it.")
    return begin


def check_amount(file: DicomFile, length: int, form: PixelFormat) -> None:
    """Refuse pixels that are not compressed and are more or fewer than rows, columns, frames and bits ask for (InputError)."""
    header, path = file.header, file.path
    rows, columns, frames = (values.whole(header, keyword, path, 1) for keyword in ("Rows", "Columns", "NumberOfFrames"))
    wanted = rows * columns * frames * form.allocated // 8
    if not 0 <= length - wanted <= _PADDING:
        raise InputError(
            f"{path} holds {length} bytes of pixels where its header asks for {wanted} ({columns} x {rows} pixels, {frames} frame{'s' * (frames > 1)}, {form.allocated} bits); export it again."
        )


def _fill(result: np.ndarray, places: Sequence[int], frames: Sequence[Frame], start: _Start) -> None:
    """The frames of one file at their places in the result."""
    file, shape = frames[places[0]].file, frames[places[0]].shape
    indices = [frames[place].index for place in places]
    read = decoded(file, indices, shape) if start.byte is None else _native(file, start, indices, shape)
    for place, words in zip(places, read):
        result[place] = words if start.form is None else _used(words.astype(start.dtype, copy=False), start.form, file)


def _used(words: np.ndarray, form: PixelFormat, file: DicomFile) -> np.ndarray:
    used = form.used(words)
    if used is None:
        raise InputError(f"{file.path} holds more in its pixels than the {form.stored} bits that its header tells (Bits Stored); export it again.")
    return used


def _native(file: DicomFile, start: _Start, indices: Sequence[int], shape: tuple[int, int]) -> list[np.ndarray]:
    read = []
    with _opened(file.path) as stream:
        for index in indices:
            words = np.empty(shape, start.dtype.newbyteorder("<"))
            stream.seek((start.byte or 0) + words.nbytes * index)
            if stream.readinto(words.data.cast("B")) != words.nbytes:  # type: ignore[attr-defined]
                raise InputError(f"{file.path} is cut, or changed while it was read; copy or export it again.")
            read.append(words)
    return read
