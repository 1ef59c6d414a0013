"""Voxels as they lie in a file: exactly as many as the header names, or a refusal.

A header is a stranger's word, so memory is taken only for bytes that are there.
"""

from __future__ import annotations

import bz2
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import InputError
from .deflate import GZIP, ZLIB, Damaged, unpacker

RAW, BZIP2 = "raw", "bzip2"
_GZIPPED = b"\x1f\x8b"  # the first bytes of each member
_CHUNK = 1 << 20
_DENSEST = 1040  # deflate cannot make more than 1032 bytes of one
_DEFLATED = (GZIP, ZLIB)


def is_gzipped(path: Path) -> bool:
    """Whether the content is gzip, whatever the name says."""
    with open(path, "rb") as file:
        return file.read(2) == _GZIPPED


def head(path: Path, count: int) -> bytes:
    """The first bytes, unpacked where the content is gzip; fewer where there are fewer."""
    with open(path, "rb") as file:
        content = file.read(max(count, 1 << 16))
    return _gunzipped_head(content, count) if content[:2] == _GZIPPED else content[:count]


def _gunzipped_head(content: bytes, count: int) -> bytes:
    """Perhaps out of several members."""
    begin = b""
    while content[:2] == _GZIPPED and len(begin) < count:
        member = unpacker(plain=True)
        try:
            begin += member.decompress(content, count - len(begin))
        except Damaged:
            return b""
        content = member.unused_data
    return begin


def stored_voxels(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], packing: str = RAW, *, begin: int = 0, skip: int = 0, index: int = 0, spare: int | None = None,
) -> np.ndarray:  # fmt: skip
    """Exactly the voxels that a header names.

    Args:
        path: the file that holds them.
        shape: (number of volumes, k, j, i); any other number of axes after the first will do.
        dtype: with its byte order; the result has the machine's.
        packing: "raw", "gzip", "zlib" or "bzip2".
        begin: bytes before the packed content.
        skip: bytes before the first voxel, after unpacking.
        index: of the volume to read, from 0; the others are counted, not kept.
        spare: bytes that may follow the last voxel; None: less than a slice.

    Returns:
        One volume (k, j, i).

    Raises:
        InputError: fewer or more voxels than the header names, or damaged content.
    """
    one = math.prod(shape[1:]) * dtype.itemsize
    spare = max(one // shape[1], 1) - 1 if spare is None else spare
    end = skip + shape[0] * one
    _check_possible(path, end, os.path.getsize(path) - begin, packing)
    content, position = bytearray(), 0
    with open(path, "rb") as file:
        file.seek(begin)
        for chunk in _unpacked(file, packing, path):
            kept = (max(at - position, 0) for at in (skip + index * one, skip + (index + 1) * one))
            content += memoryview(chunk)[slice(*kept)]
            position += len(chunk)
            if position > end + spare:
                raise InputError(f"{path} holds more voxels than its header names; correct the header, or export the scan again.")
    if position < end:
        raise _incomplete(path, end - skip, f"{max(position - skip, 0):,}")
    return np.frombuffer(content, dtype).reshape(shape[1:]).astype(dtype.newbyteorder("="), copy=False)


def _check_possible(path: Path, needed: int, size: int, packing: str) -> None:
    """Before any memory is taken: could a file of this size hold that many bytes?"""
    if packing == RAW and size < needed:
        raise _incomplete(path, needed, f"{max(size, 0):,}")
    if packing in _DEFLATED and size * _DENSEST < needed:
        raise _incomplete(path, needed, "fewer")


def _incomplete(path: Path, needed: int, found: str) -> InputError:
    return InputError(f"{path} is incomplete: its header names {needed:,} bytes of voxels, and {found} are there; fetch or copy it again.")


def _unpacked(file: BinaryIO, packing: str, path: Path) -> Iterator[bytes]:
    if packing in _DEFLATED:
        return _inflated(file, packing, path)
    return _bunzipped(file, path) if packing == BZIP2 else iter(lambda: file.read(_CHUNK), b"")


def _inflated(file: BinaryIO, packing: str, path: Path) -> Iterator[bytes]:
    """Deflated content, whose checksums are compared.  Gzip may come in several members; what follows and is no gzip is left."""
    member, pending = unpacker(packing), b""
    while True:
        pending = pending or file.read(_CHUNK)
        if member.eof:
            if packing != GZIP or pending[:2] != _GZIPPED:
                return
            member = unpacker(packing)
        try:
            chunk = member.decompress(pending, _CHUNK)
        except Damaged:
            raise _damaged(path) from None
        if not (pending or chunk or member.eof):
            raise _ends_early(path)
        pending = member.unused_data if member.eof else member.unconsumed_tail
        yield chunk


def _bunzipped(file: BinaryIO, path: Path) -> Iterator[bytes]:
    try:
        with bz2.open(file) as unpacked:
            yield from iter(lambda: unpacked.read(_CHUNK), b"")
    except EOFError:
        raise _ends_early(path) from None
    except OSError:
        raise _damaged(path) from None


def _ends_early(path: Path) -> InputError:
    return InputError(f"{path} is incomplete: its compressed content ends too early; fetch or copy it again.")


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is damaged: its compressed content cannot be unpacked, or does not agree with its checksum; fetch or copy it again.")
