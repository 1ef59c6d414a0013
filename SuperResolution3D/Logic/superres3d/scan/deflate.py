"""Deflate, the packing of .gz, by the fastest library at hand.

ISA-L (the package isal) writes gzip five times as fast as zlib at the same size, and on several threads; where it is not installed, zlib of the standard library does the same.
"""

from __future__ import annotations

import gzip
import os
import zlib
from typing import Any, BinaryIO

igzip_threaded: Any
isal_zlib: Any
try:
    from isal import igzip_threaded, isal_zlib
except ImportError:
    igzip_threaded = isal_zlib = None

GZIP, ZLIB = "gzip", "zlib"
_WINDOWS = {GZIP: 31, ZLIB: 47}  # zlib's word for the two containers; 47 is either, as MetaImage may have it
_LEVEL = 2  # of both: higher ones gain little on scans and take long
_MOST_THREADS = 4  # a GB a second: no disk is faster

#: what unpacking damaged content raises
Damaged: tuple[type[Exception], ...] = (zlib.error, *([isal_zlib.error] if isal_zlib else []))


def unpacker(container: str = GZIP, *, plain: bool = False) -> Any:
    """An object as ``zlib.decompressobj`` makes it, for one member: its checksum is compared at the end.

    ``plain`` asks for zlib, which gives all that comes before damage; ISA-L looks ahead.
    """
    return (zlib if plain else isal_zlib or zlib).decompressobj(_WINDOWS[container])


def gzip_writer(file: BinaryIO) -> Any:
    """A file to write to, whose content goes to ``file`` as one gzip member without name or time: the same voxels make the same bytes, on any number of threads."""
    if igzip_threaded:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return igzip_threaded.open(file, "wb", _LEVEL, threads=min(_MOST_THREADS, cores))
    return gzip.GzipFile("", "wb", _LEVEL, file, mtime=0)
