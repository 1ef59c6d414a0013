"""MetaImage, attached (.mha) and detached (.mhd): header and voxels, without a library.

The format is MetaIO's: https://docs.itk.org/en/latest/learn/metaio.html
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ..errors import InputError
from .deflate import ZLIB
from .geometry import grid_of
from .several import chosen
from .stored import RAW, stored_voxels
from .text_header import NO_PLACE, TextHeader, begin_of, unit_of
from .volume import Volume

_DTYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_LAST = "ElementDataFile"
_ORDERS = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
_SIZES, _ORIGINS, _MATRICES = ("ElementSpacing", "ElementSize"), ("Offset", "Position", "Origin"), ("TransformMatrix", "Rotation", "Orientation")


def is_metaimage(begin: bytes) -> bool:
    """By a field that each must have, among lines of text."""
    return b"NDims" in begin and b"=" in begin and b"\0" not in begin.partition(b"NDims")[0]


def read_metaimage(path: Path, volume: int | None = None) -> Volume:
    """Read a MetaImage file.

    Args:
        path: .mha, or a .mhd with its data file.
        volume: number from 1, of several along the last axes.

    Raises:
        InputError: damaged, incomplete, not scalar, several volumes and none chosen, no size of the voxels, a scale of values,
            or voxels as text or in several files.
    """
    header = _header(path)
    _check(header)
    axes = header.axes("NDims")
    sizes = header.sizes("DimSize", axes)
    matrix, notes = _placed(header, axes)
    index = chosen(math.prod(sizes[3:]), volume, path)
    if int(_dtype(header).itemsize) > 1 and not any(name in header.fields for name in _ORDERS):
        notes.append("The header does not tell the order of the bytes; little-endian was taken.")
    if _true(header, "CompressedData", False) and "CompressedDataSize" not in header.fields:
        notes.append("The header does not tell the size of the compressed voxels; all that follows was taken.")
    voxels = _stored(header, (math.prod(sizes[3:]), *sizes[2::-1]), index)
    modality = header.word("0008|0060") or header.word("Modality").removeprefix("MET_MOD_")
    return Volume(voxels, **grid_of(matrix), modality="" if modality in ("UNKNOWN", "OTHER") else modality, notes=tuple(notes))


def _header(path: Path) -> TextHeader:
    begin, size = begin_of(path), 0
    fields: dict[str, str] = {}
    if not is_metaimage(begin):
        raise InputError(f"{path} cannot be read as an image: its header is no MetaImage header.")
    while _LAST not in fields:
        end = begin.find(b"\n", size)
        line = begin[size : end if end >= 0 else len(begin)]
        name, mark, value = (part.strip(" \t\r") for part in line.decode("utf-8", "surrogateescape").partition("="))
        if end < 0 and name != _LAST:
            raise InputError(f"{path} is incomplete: its header does not end; fetch or copy it again.")
        if line.strip() and not mark:
            raise InputError(f"{path} has a line without '=' in its header ({ascii(name)[1:-1][:40]!r}); correct it.")
        if name in fields and name != "Comment":
            raise InputError(f"{path} gives {ascii(name)[1:-1][:40]!r} twice in its header; correct it.")
        fields[name] = value
        size = end + 1 if end >= 0 else len(begin)
    return TextHeader(path, fields, size)


def _check(header: TextHeader) -> None:
    """Refuse (InputError) what is no scalar image, or not written as bytes."""
    if header.word("ObjectType") not in ("", "Image"):
        raise InputError(f"{header.path} cannot be read as an image: it holds another kind of object.")
    channels = header.integers("ElementNumberOfChannels", 1)[0] if "ElementNumberOfChannels" in header.fields else 1
    if channels != 1:
        raise InputError(f"{header.path} has {channels} components per voxel (colour or vector); give a scalar CT or MR volume.")
    if not _true(header, "BinaryData", True):
        raise InputError(f"{header.path} keeps its voxels as text; save it as binary data first.")
    for name, neutral in (("ElementToIntensityFunctionSlope", 1.0), ("ElementToIntensityFunctionOffset", 0.0)):
        if name in header.fields and header.numbers(name, 1) != [neutral]:
            raise InputError(f"{header.path} has a scale of values ({name}), which is not read; apply it to the voxels first.")


def _true(header: TextHeader, name: str, default: bool) -> bool:
    text = header.word(name).lower()
    if text not in ("", "true", "false", "1", "0"):
        header.wrong(name)
    return text in ("true", "1") if text else default


def _placed(header: TextHeader, axes: int) -> tuple[np.ndarray, list[str]]:
    """The LPS matrix (4, 4) in millimetres, and notes; of further axes nothing may be turned into space."""
    named, origin, turned = (next((name for name in names if name in header.fields), None) for names in (_SIZES, _ORIGINS, _MATRICES))
    sizes = header.numbers(named, axes) if named else [math.nan]
    if any(math.isnan(size) for size in sizes[:3]):
        raise InputError(f"{header.path} does not tell the size of its voxels; add ElementSpacing to its header.")
    unit = unit_of(header.word("DistanceUnits"), header.path) or 1.0
    directions = np.reshape(header.numbers(turned, axes * axes), (axes, axes)).T if turned else np.eye(axes)  # a row is the direction of an axis
    positions = header.numbers(origin, axes) if origin else [0.0] * axes
    if not np.isfinite(directions).all() or directions[:3, 3:].any() or directions[3:, :3].any():
        header.wrong(turned or "")
    if np.isnan(positions).any():
        header.wrong(origin or "")
    matrix = np.eye(4)
    matrix[:3, :3] = directions[:3, :3] * sizes[:3] * unit
    matrix[:3, 3] = np.multiply(positions[:3], unit)
    notes = [] if origin and turned else [NO_PLACE.format(origin=", ".join(f"{x:g}" for x in matrix[:3, 3]))]
    return matrix, notes + ([] if unit == 1.0 else ["Sizes were converted to millimetres."])


def _dtype(header: TextHeader) -> np.dtype:
    kind = header.word("ElementType")
    if kind not in _DTYPES:
        header.wrong("ElementType")
    orders = {_true(header, name, False) for name in _ORDERS if name in header.fields}
    if len(orders) > 1:
        header.wrong(_ORDERS[0])
    return np.dtype(_DTYPES[kind]).newbyteorder(">" if True in orders else "<")


def _stored(header: TextHeader, shape: tuple[int, ...], index: int) -> np.ndarray:
    dtype = _dtype(header)
    local = header.word(_LAST).upper() == "LOCAL"
    file, begin = (header.path, header.size) if local else (header.data_file(_LAST), 0)
    skip = header.integers("HeaderSize", 1)[0] if "HeaderSize" in header.fields else 0
    packing = ZLIB if _true(header, "CompressedData", False) else RAW
    if skip == -1 and packing == RAW:
        begin = max(file.stat().st_size - math.prod(shape) * dtype.itemsize, begin)
    elif skip < 0 or (skip and local):
        header.wrong("HeaderSize")
    begin += max(skip, 0)
    if packing == ZLIB and "CompressedDataSize" in header.fields:
        _check_packed_size(header, file, begin)
    return stored_voxels(file, shape, dtype, packing, begin=begin, index=index)


def _check_packed_size(header: TextHeader, file: Path, begin: int) -> None:
    named, there = header.integers("CompressedDataSize", 1)[0], file.stat().st_size - begin
    if named > there:
        raise InputError(f"{header.path} is incomplete: its header names {named:,} compressed bytes, and {there:,} are there; fetch or copy it again.")
    if named < there:
        raise InputError(f"{header.path} holds more compressed bytes than its header names ({there:,} for {named:,}); export the scan again.")
