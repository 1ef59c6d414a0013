"""The grid of a file from its header alone, so that a plan costs milliseconds a scan."""

from __future__ import annotations

import re
from math import hypot
from pathlib import Path
from typing import Any

from .scans import Outline

_MOST_HEADER = 1 << 16  # bytes that are looked at
#: whole numbers by the names that the formats give them; signs make no difference here
_BITS = {r"float|double|64|long.?long": 0, r"char|int8": 8, r"short|int16": 16, r"int|long": 32}
_BY_NIBABEL = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz", ".mgz", ".mgh")


def outline_of(path: Path) -> Outline | None:
    """None where the header cannot be read: then the run itself will say what is wrong.

    Args:
        path: NIfTI, Analyze, MGH, NRRD or MetaImage.
    """
    try:
        return _by_nibabel(path) if path.name.lower().endswith(_BY_NIBABEL) else _by_text(path)
    except Exception:  # libraries raise anything on a damaged header
        return None


def _by_nibabel(path: Path) -> Outline | None:
    import nibabel

    header: Any = nibabel.load(path).header
    shape = tuple(int(n) for n in header.get_data_shape())
    if len(shape) < 3 or any(n > 1 for n in shape[3:]):
        return None
    return Outline(shape[2::-1], tuple(float(size) for size in header.get_zooms()[:3]), _kept(str(header.get_data_dtype().newbyteorder("="))))


def _by_text(path: Path) -> Outline | None:
    """Of NRRD and MetaImage, without a library: one that is written in C may end this process over a strange file."""
    with open(path, "rb") as file:
        head = file.read(_MOST_HEADER).decode("latin-1")
    sizes = [int(number) for number in _field(head, "sizes", "DimSize").split()]
    vectors = re.findall(r"\(([^)]*)\)", _field(head, "space directions"))
    lengths = [hypot(*map(float, vector.split(","))) for vector in vectors]
    spacing = lengths or [float(number) for number in _field(head, "spacings", "ElementSpacing", "ElementSize").split()]
    if len(sizes) != 3 or len(spacing) != 3:
        return None
    return Outline(tuple(sizes[::-1]), tuple(spacing), _kept(_field(head, "type", "ElementType").lower()))


def _field(head: str, *names: str) -> str:
    """The text of the first of the fields that is there, else ""."""
    found = re.search(rf"^(?:{'|'.join(names)})[ \t]*[:=][ \t]*(.*?)[ \t\r]*$", head, flags=re.MULTILINE)
    return found[1] if found else ""


def _kept(told: str) -> str:
    """The type of the result, by any name of the scan's: what networks cannot keep becomes float."""
    bits = next((bits for words, bits in _BITS.items() if re.search(words, told)), 0)
    return f"int{bits}" if bits else "float32"
