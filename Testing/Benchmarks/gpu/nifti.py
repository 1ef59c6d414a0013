"""Uncompressed NIfTI-1 of int16 (nifti.nimh.nih.gov/nifti-1), without a library: enough for a measurement."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

_WRITERS, _PIECE = 8, 32 << 20
_HEADER_BYTES = 352


def write_nifti(path: Path, voxels: np.ndarray, spacing: Sequence[float]) -> None:
    """Write a volume.

    Args:
        path: of the file.
        voxels: (k, j, i) int16.
        spacing: millimetres along (i, j, k).
    """
    header = bytearray(_HEADER_BYTES)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *voxels.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)  # DT_INT16, bits
    struct.pack_into("<8f", header, 76, 1.0, *spacing, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, _HEADER_BYTES, 1.0, 0.0)  # offset of the voxels, slope, intercept
    header[344:348] = b"n+1\0"
    path.write_bytes(header)
    content = memoryview(np.ascontiguousarray(voxels)).cast("B")
    with path.open("r+b") as file, ThreadPoolExecutor(_WRITERS) as pool:
        starts = range(0, len(content), _PIECE)
        list(pool.map(lambda start: os.pwrite(file.fileno(), content[start : start + _PIECE], len(header) + start), starts))


def read_nifti(path: Path) -> tuple[np.ndarray, tuple[float, float, float]]:
    """What :func:`write_nifti` was given."""
    header = path.open("rb").read(_HEADER_BYTES)
    shape = struct.unpack_from("<3h", header, 42)[::-1]
    i, j, k = struct.unpack_from("<3f", header, 80)
    return np.fromfile(path, np.int16, offset=_HEADER_BYTES).reshape(shape), (i, j, k)
