"""What a compressed frame itself says: RLE unpacked strictly, and the size that a JPEG stream tells, whatever the header of the file says."""

from __future__ import annotations

import numpy as np

_RLE_HEADER = 64
#: start of frame in JPEG and JPEG-LS: all of C0 to CF but the tables C4 and CC and the reserved C8
_STARTS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})


def unpacked(frame: bytes, shape: tuple[int, int], itemsize: int) -> np.ndarray:
    """A frame of one sample a pixel in DICOM's RLE (PS3.5 annex G).

    Args:
        frame: header of 64 bytes and one segment a byte of the words, the highest first.
        shape: (rows, columns).
        itemsize: bytes of a word.

    Returns:
        Unsigned words (rows, columns).

    Raises:
        ValueError: another number of segments, or another number of bytes in one.
    """
    header = np.frombuffer(frame[:_RLE_HEADER], "<u4")
    if header.size != _RLE_HEADER // 4 or header[0] != itemsize:
        raise ValueError("segments")
    edges = [*(int(offset) for offset in header[1 : itemsize + 1]), len(frame)]
    planes = [np.frombuffer(_segment(frame[start:end], shape[0] * shape[1]), np.uint8) for start, end in zip(edges, edges[1:])]
    return np.stack(planes, axis=-1).view(f">u{itemsize}").reshape(shape).astype(f"u{itemsize}")


def _segment(packed: bytes, length: int) -> bytes:
    """PackBits; a last byte more is padding."""
    parts, place, total = [], 0, 0
    while place < len(packed) and total < length:
        control = packed[place]
        if control < 128:
            part = packed[place + 1 : place + 2 + control]
            place += 2 + control
        else:
            part = packed[place + 1 : place + 2] * (257 - control) if control > 128 else b""
            place += 2 if control > 128 else 1
        parts.append(part)
        total += len(part)
    if total != length or len(packed) - place > 1:
        raise ValueError("length")
    return b"".join(parts)


def told_size(frame: bytes) -> tuple[int, int] | None:
    """(rows, columns) by the stream of JPEG, JPEG-LS or JPEG 2000; None where none is found."""
    found = frame.find(b"\xff\x4f\xff\x51", 0, 256)
    if found >= 0:  # JPEG 2000: SIZ begins with the length, the capabilities, and the far corner of the grid
        right, bottom, left, top = (int.from_bytes(frame[found + 8 + 4 * index :][:4], "big") for index in range(4))
        return bottom - top, right - left
    place = 2
    while frame[place : place + 1] == b"\xff" and place + 9 <= len(frame):
        if frame[place + 1] in _STARTS:
            return int.from_bytes(frame[place + 5 : place + 7], "big"), int.from_bytes(frame[place + 7 : place + 9], "big")
        place += 1 if frame[place + 1] == 0xFF else 2 + int.from_bytes(frame[place + 2 : place + 4], "big")
    return None
