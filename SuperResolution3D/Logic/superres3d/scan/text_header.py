"""Headers of lines, as NRRD and MetaImage have them: read with limits, before any library sees them."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

#: what is told of a header without a place
NO_PLACE = "The header does not tell where in the patient the scan lies; its axes were taken as left, posterior, superior from {origin} mm."
LONGEST = 1 << 20  # bytes of a header; the text of a whole DICOM header fits
_MOST_AXES = 16  # of NRRD
#: millimetres of a unit, by its names in lower case
UNITS = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers", "micrometre", "micrometres"), 1e-3),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1e-6),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 10.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1000.0),
    **dict.fromkeys(("in", "inch", "inches"), 25.4),
}
_PLAIN = re.compile(r"[\x21-\x7e \t]*")  # Python takes more for white space, and more for digits
_UNTOLD = ("", "?", "???", "none", "unknown")


@dataclass(frozen=True)
class TextHeader:
    """Fields of a header by name.

    Attributes:
        path: the file, for messages.
        fields: name to text.
        size: bytes before the voxels, where they are in the same file.
    """

    path: Path
    fields: dict[str, str]
    size: int

    def word(self, *names: str) -> str:
        """The text of the first of the fields that is there, else ""."""
        return next((self.fields[name] for name in names if name in self.fields), "")

    def numbers(self, name: str, count: int) -> list[float]:
        """So many numbers (InputError: other text, or another count); NaN is a number here."""
        return [self.number(name, part) for part in self._parts(name, count)]

    def integers(self, name: str, count: int) -> list[int]:
        """So many whole numbers (InputError)."""
        return [int(number) if abs(number) < 2**53 and number == int(number) else self.wrong(name) for number in self.numbers(name, count)]

    def number(self, name: str, text: str) -> float:
        """One number out of the text of a field (InputError)."""
        try:
            number = float(text)
        except ValueError:
            number = math.inf
        return self.wrong(name) if math.isinf(number) or "_" in text or not _PLAIN.fullmatch(text) else number

    def wrong(self, name: str) -> int:
        """Refuse the text of a field, or that it is not there (InputError)."""
        if name not in self.fields:
            raise InputError(f"{self.path} does not give {name}; add it to its header.")
        text = ascii(self.fields.get(name, ""))[1:-1]
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        raise InputError(f"{self.path} gives {shown!r} as {name}, which cannot be used; correct its header (numbers with a decimal point).")

    def axes(self, name: str) -> int:
        """The number of axes (InputError: none, or absurd)."""
        (axes,) = self.integers(name, 1)
        if axes < 3 or axes > _MOST_AXES:
            raise InputError(f"{self.path} is {axes}-D; give a 3-D volume.")
        return axes

    def sizes(self, name: str, axes: int) -> list[int]:
        """Voxels along each axis (InputError: below 1)."""
        sizes = self.integers(name, axes)
        return sizes if min(sizes) >= 1 else [self.wrong(name)]

    def data_file(self, name: str) -> Path:
        """The file of the voxels that a field names, beside the header (InputError: several files, or none)."""
        text = self.fields[name]
        if text.split()[:1] == ["LIST"] or "%" in text:
            raise InputError(f"{self.path} keeps its voxels in several files; save it as one file first.")
        file = self.path.parent / text
        if not os.path.isfile(file):
            shown = ascii(text)[1:-1][:80]
            raise InputError(f"{self.path} keeps its voxels in {shown}, which is not there; copy that file to the same place.")
        return file

    def _parts(self, name: str, count: int) -> list[str]:
        text = self.fields.get(name, "")
        parts = text.split()
        if len(parts) != count or not _PLAIN.fullmatch(text):
            self.wrong(name)
        return parts


def unit_of(text: str, path: Path) -> float | None:
    """Millimetres of a unit; None: it is not told (InputError: no unit of length)."""
    name = text.strip().strip('"').strip().lower()
    if name in _UNTOLD:
        return None
    if name not in UNITS:
        raise InputError(f"{path} gives its sizes in {ascii(text)[1:-1][:40]}; convert them to mm (cm, m, um, nm and inch are read, too).")
    return UNITS[name]


def begin_of(path: Path) -> bytes:
    """What may be the header."""
    with open(path, "rb") as file:
        return file.read(LONGEST)
