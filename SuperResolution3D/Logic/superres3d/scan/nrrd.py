"""NRRD, attached (.nrrd) and detached (.nhdr): header and voxels, without a library.

The format is Teem's: https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from ..errors import InputError
from .deflate import GZIP
from .geometry import grid_of
from .several import chosen
from .stored import BZIP2, RAW, stored_voxels
from .text_header import NO_PLACE, TextHeader, begin_of, unit_of
from .volume import Volume

_MAGIC = re.compile(rb"NRRD000[1-5]\r?\n")
_TYPES = {
    "int8": ("signed char", "int8", "int8_t"),
    "uint8": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "int16": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "uint16": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "int32": ("int", "signed int", "int32", "int32_t"),
    "uint32": ("uint", "unsigned int", "uint32", "uint32_t"),
    "int64": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "uint64": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "float32": ("float",),
    "float64": ("double",),
}
_DTYPES = {name: dtype for dtype, names in _TYPES.items() for name in names}
_FIELDS = {
    "dimension", "type", "blocksize", "encoding", "endian", "content", "min", "max", "oldmin", "oldmax", "datafile", "lineskip", "byteskip", "number",
    "sampleunits", "space", "spacedimension", "spaceunits", "spaceorigin", "spacedirections", "measurementframe", "sizes", "spacings", "thicknesses",
    "axismins", "axismaxs", "centers", "centerings", "labels", "units", "kinds",
}  # fmt: skip
_PACKINGS = {"raw": RAW, "gz": GZIP, "gzip": GZIP, "bz2": BZIP2, "bzip2": BZIP2}
_SPACES = {
    **dict.fromkeys(("left-posterior-superior", "lps"), (1.0, 1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las"), (1.0, -1.0, 1.0)),
    **dict.fromkeys(("right-anterior-superior", "ras"), (-1.0, -1.0, 1.0)),
}
_UNTOLD_SPACES = ("", "scanner-xyz", "3d-right-handed", "3d-left-handed")
_SPATIAL, _LISTED, _ANY = ("domain", "space"), ("list", "time", "stub", "scalar"), ("", "none", "???")


def is_nrrd(begin: bytes) -> bool:
    """By its first line."""
    return begin[:7] == b"NRRD000"


def read_nrrd(path: Path, volume: int | None = None) -> Volume:
    """Read a NRRD file.  Sizes in other units become millimetres; RAS and LAS become LPS.

    Args:
        path: .nrrd, or a .nhdr with its data file.
        volume: number from 1, of several (an axis of the kind list or time, or one without a direction).

    Raises:
        InputError: damaged, incomplete, not scalar, several volumes and none chosen, no size of the voxels, an unknown unit or
            space, or voxels as text or in several files.
    """
    header = _header(path)
    axes = header.axes("dimension")
    sizes = header.sizes("sizes", axes)
    spatial = _spatial_axes(header, sizes)
    matrix, notes = _placed(header, axes, spatial)
    voxels = _voxels(header, sizes, spatial, volume)
    return Volume(voxels, **grid_of(matrix), modality=header.word("0008|0060").strip(), notes=tuple(notes))


def mapped_nrrd(path: Path) -> np.ndarray:
    """The voxels (k, j, i) of a NRRD that this package wrote, on the disk: a part is read when it is looked at.

    Args:
        path: of one volume, not packed, in one file.

    Raises:
        InputError: it is another kind of file, or incomplete.
    """
    header = _header(path)
    sizes = header.sizes("sizes", 3)
    if header.word("encoding").lower() != "raw" or "datafile" in header.fields:
        header.wrong("encoding")
    if path.stat().st_size - header.size < math.prod(sizes) * _dtype(header).itemsize:
        raise InputError(f"{path} is incomplete.")
    return np.memmap(path, _dtype(header), "r", header.size, tuple(sizes[::-1]))


def _header(path: Path) -> TextHeader:
    begin = begin_of(path)
    if not _MAGIC.match(begin):
        raise InputError(f"{path} cannot be read as an image: its header is no NRRD header of version 1 to 5.")
    end = re.search(rb"\r?\n\r?\n", begin)
    text = begin[: end.start() if end else len(begin)].decode("utf-8", "surrogateescape")
    fields: dict[str, str] = {}
    for line in text.replace("\r\n", "\n").split("\n")[1:]:
        if not line or line.startswith("#") or fields.get("datafile", "").startswith("LIST"):
            continue
        name, value = _field(line)
        if name in fields or name not in _FIELDS and ":=" not in line:
            fault = "twice" if name in fields else "which is no field of NRRD,"
            raise InputError(f"{path} gives {ascii(name)[1:-1][:40]!r} {fault} in its header; correct it.")
        fields[name] = value
    header = TextHeader(path, fields, end.end() if end else len(begin))
    if not end and "datafile" not in fields:
        raise InputError(f"{path} is incomplete: its header does not end; fetch or copy it again.")
    return header


def _field(line: str) -> tuple[str, str]:
    """Name without spaces, as fields are written in several ways; of a key its own name."""
    key, mark, value = line.partition(":=")
    if mark and ": " not in key:
        return key, value
    name, _, value = line.partition(": ")
    return name.rstrip(":").replace(" ", ""), value.strip(" \t")


def _kinds(header: TextHeader, axes: int) -> list[str]:
    kinds = header.word("kinds").lower().split()
    if kinds and len(kinds) != axes:
        header.wrong("kinds")
    return kinds or [""] * axes


def _directions(header: TextHeader, axes: int) -> list[str]:
    """The text of each axis' direction: a vector in brackets, or none; an axis of time in a space with time counts as none."""
    parts = re.findall(r"none|\([^()]*\)", header.word("spacedirections"))
    if "spacedirections" in header.fields and (len(parts) != axes or re.sub(r"none|\([^()]*\)|\s", "", header.word("spacedirections"))):
        header.wrong("spacedirections")
    return ["none" if _has_time(header) and text != "none" and not any(_vector(header, "spacedirections", text)) else text for text in parts]


def _has_time(header: TextHeader) -> bool:
    """Whether places are four numbers, as ITK writes volumes one after another."""
    return header.word("spacedimension").strip() == "4" or header.word("space").lower().endswith("-time")


def _spatial_axes(header: TextHeader, sizes: list[int]) -> list[int]:
    """The three axes of space; what is neither space nor a list of volumes is refused (InputError)."""
    kinds, directions = _kinds(header, len(sizes)), _directions(header, len(sizes))
    if directions:
        spatial = [axis for axis, text in enumerate(directions) if text != "none"]
    else:
        spatial = [axis for axis, kind in enumerate(kinds) if kind in (*_SPATIAL, *_ANY)][:3]
    for axis, kind in enumerate(kinds):
        if kind == "complex":
            raise InputError(f"{header.path} holds complex numbers; give its magnitude.")
        if axis not in spatial and sizes[axis] > 1 and kind not in (*_LISTED, *_SPATIAL, *_ANY):
            raise InputError(f"{header.path} has {sizes[axis]} components per voxel (colour or vector); give a scalar CT or MR volume.")
    if len(spatial) != 3 or any(kinds[axis] not in (*_SPATIAL, *_ANY) for axis in spatial):
        raise InputError(f"{header.path} does not have three axes of space; give a 3-D volume.")
    return spatial


def _placed(header: TextHeader, axes: int, spatial: list[int]) -> tuple[np.ndarray, list[str]]:
    """The LPS matrix (4, 4) in millimetres, and notes."""
    space = header.word("space").lower().removesuffix("-time")
    if space not in _SPACES and space not in _UNTOLD_SPACES:
        raise InputError(f"{header.path} lies in the space {ascii(space)[1:-1][:40]}, which is not read; save it in left-posterior-superior.")
    matrix, unit = np.eye(4), _unit(header, axes, spatial)
    if "spacedirections" in header.fields:
        directions = _directions(header, axes)
        columns = [_vector(header, "spacedirections", directions[axis]) for axis in spatial]
        matrix[:3, :3] = np.array(columns).T * unit
    else:
        spacings = header.numbers("spacings", axes) if "spacings" in header.fields else [math.nan] * axes
        matrix[:3, :3] = np.diag([spacings[axis] * unit for axis in spatial])
    if np.isnan(matrix).any():
        raise InputError(f"{header.path} does not tell the size of its voxels; add spacings or space directions to its header.")
    told = bool(_SPACES.get(space)) and "spaceorigin" in header.fields
    if "spaceorigin" in header.fields:
        matrix[:3, 3] = np.multiply(_vector(header, "spaceorigin", header.word("spaceorigin")), unit)
    matrix[:3] *= np.array(_SPACES.get(space, (1.0, 1.0, 1.0)))[:, None]
    if np.isnan(matrix).any():
        header.wrong("spaceorigin")
    notes = [] if told else [NO_PLACE.format(origin=", ".join(f"{x:g}" for x in matrix[:3, 3]))]
    return matrix, notes + ([] if unit == 1.0 else ["Sizes were converted to millimetres."])


def _vector(header: TextHeader, name: str, text: str) -> list[float]:
    """Three numbers in brackets; of four in a space with time the first three (InputError: another count, or a direction of both)."""
    parts = text.strip(" \t")[1:-1].split(",")
    if len(parts) != 3 + _has_time(header) or not re.fullmatch(r"\([^()]*\)", text.strip(" \t")):
        header.wrong(name)
    numbers = [header.number(name, part.strip(" \t")) for part in parts]
    if name == "spacedirections" and any(numbers[:3]) and any(numbers[3:]):
        header.wrong(name)
    return numbers[:3]


def _unit(header: TextHeader, axes: int, spatial: list[int]) -> float:
    """Millimetres of the unit of the axes of space: that of the space, else of the axes; where none is told it is the millimetre."""
    name, count = ("spaceunits", 3 + _has_time(header)) if "spaceunits" in header.fields else ("units", axes)
    texts = re.findall(r'"[^"]*"', header.word(name))
    if name in header.fields and (len(texts) != count or re.sub(r'"[^"]*"|\s', "", header.word(name))):
        header.wrong(name)
    named = [texts[axis] for axis in (range(3) if name == "spaceunits" else spatial)] if texts else []
    units = {unit_of(text, header.path) or 1.0 for text in named}
    return units.pop() if len(units) == 1 else header.wrong(name) if units else 1.0


def _voxels(header: TextHeader, sizes: list[int], spatial: list[int], volume: int | None) -> np.ndarray:
    """One volume (k, j, i)."""
    others = [axis for axis in range(len(sizes)) if axis not in spatial]
    index = chosen(math.prod(sizes[axis] for axis in others), volume, header.path)
    if spatial == [0, 1, 2]:  # the volumes lie behind each other
        return _stored(header, (math.prod(sizes[3:]), *sizes[2::-1]), index)
    every = _stored(header, (1, *sizes[::-1]), 0).transpose([len(sizes) - 1 - axis for axis in (*others[::-1], *spatial[::-1])])
    places = np.unravel_index(index, every.shape[: len(others)])
    return np.ascontiguousarray(every[tuple(int(place) for place in places)])


def _stored(header: TextHeader, shape: tuple[int, ...], index: int) -> np.ndarray:
    packing = _PACKINGS.get(header.word("encoding").lower())
    if packing is None:
        raise InputError(f"{header.path} keeps its voxels as {ascii(header.word('encoding'))[1:-1][:40]}; save it with the encoding raw or gzip.")
    dtype = _dtype(header)
    file, begin = (header.data_file("datafile"), 0) if "datafile" in header.fields else (header.path, header.size)
    if header.word("lineskip") not in ("", "0"):
        raise InputError(f"{header.path} skips lines before its voxels; save it again without.")
    skip = header.integers("byteskip", 1)[0] if "byteskip" in header.fields else 0
    if skip == -1 and packing == RAW:
        begin, skip = max(file.stat().st_size - math.prod(shape) * dtype.itemsize, begin), 0
    if skip < 0:
        header.wrong("byteskip")
    return stored_voxels(file, shape, dtype, packing, begin=begin, skip=skip, index=index)


def _dtype(header: TextHeader) -> np.dtype:
    name = " ".join(header.word("type").lower().split())
    endian = header.word("endian").lower()
    if name not in _DTYPES:
        header.wrong("type")
    dtype = np.dtype(_DTYPES[name])
    if dtype.itemsize > 1 and endian not in ("little", "big"):
        header.wrong("endian")
    return dtype.newbyteorder(">" if endian == "big" else "<")
