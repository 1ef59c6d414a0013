"""A part of a scan: asked for in millimetres of the patient or in voxels, and cut out.

>>> import numpy as np
>>> from superres3d import Volume
>>> scan = Volume(np.zeros((10, 20, 20), np.int16), spacing=(0.5, 0.5, 3.0))
>>> asked_region("ijk=4:12,0:20,2:6").voxels(scan)
((2, 6), (0, 20), (4, 12))
>>> asked_region("lps=2:6,0:9,5:17").voxels(scan)
((2, 7), (0, 19), (4, 13))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from ..errors import InputError
from .volume import Volume, triple

Spans = tuple[tuple[int, int], ...]  # (start, stop) along (k, j, i)
_FRAMES = {"ras": (-1.0, -1.0, 1.0), "lps": (1.0, 1.0, 1.0)}  # signs to LPS
_FEWEST = 2  # voxels along an axis of a volume
_TOUCHING = 1e-3  # of a voxel: what reaches into it by less does not
_FORM = "give three ranges after their frame, such as ras=-40:20,10:70,-300:-250 (millimetres), lps=... or ijk=100:200,80:180,0:30 (voxels)"


@dataclass(frozen=True)
class AskedRegion:
    """A box.

    Attributes:
        frame: "ras" or "lps", millimetres along the patient's axes; or "ijk", voxels along the scan's, from 0, the last one not included.
        low, high: its ends along the three axes of the frame.
    """

    frame: str
    low: tuple[float, float, float]
    high: tuple[float, float, float]

    def voxels(self, volume: Volume) -> Spans:
        """The voxels of a scan that the box touches; what reaches out of the scan is left out.

        On a scan that lies obliquely in the patient these are more than the box: all that are needed to cover it.

        Raises:
            InputError: it lies outside the scan, or holds less than two voxels along an axis.
        """
        spans = touched(self._edges(volume), volume.voxels.shape)
        if spans is None:
            raise InputError(f"The region lies outside the scan, which fills {_filled(volume, self.frame)}; give a region inside it.")
        return checked_spans(spans, volume.voxels.shape)

    def _edges(self, volume: Volume) -> np.ndarray:
        """(2, 3): the least and the largest edge along (i, j, k), in voxels."""
        if self.frame == "ijk":
            return np.array([self.low, self.high], float)
        signs = np.array(_FRAMES[self.frame])
        corners = np.array(list(product(*zip(self.low, self.high)))) * signs
        places = (corners - np.asarray(volume.origin)) @ volume.direction / np.asarray(volume.spacing) + 0.5
        return np.array([places.min(axis=0), places.max(axis=0)])


def touched(edges: np.ndarray, shape: Sequence[int]) -> Spans | None:
    """The voxels between two edges, rounded outwards; None: they lie outside.

    Args:
        edges: (2, 3), the least and the largest along (i, j, k); voxel n lies between n and n + 1.
        shape: of the scan, (k, j, i).
    """
    first = np.clip(np.floor(edges[0] + _TOUCHING), 0, shape[::-1]).astype(int)
    last = np.clip(np.ceil(edges[1] - _TOUCHING), 0, shape[::-1]).astype(int)
    return None if (last <= first).any() else tuple((int(a), int(b)) for a, b in zip(first[::-1], last[::-1]))


def asked_region(text: str) -> AskedRegion:
    """From what was typed (InputError: it cannot be understood, or is empty)."""
    frame, _, ranges = text.strip().lower().partition("=")
    try:
        ends = [tuple(float(end) for end in part.split(":")) for part in ranges.split(",")]
        low, high = (triple(values) for values in zip(*ends, strict=True))
    except ValueError:
        raise InputError(f"The region {text!r} cannot be understood; {_FORM}.") from None
    if frame not in (*_FRAMES, "ijk") or not np.isfinite([low, high]).all() or any(len(part) != 2 for part in ends):
        raise InputError(f"The region {text!r} cannot be understood; {_FORM}.")
    if any(a >= b for a, b in zip(low, high)):
        raise InputError(f"The region {text!r} is empty; the second number of each range is the larger one.")
    if frame == "ijk" and any(end != int(end) for end in (*low, *high)):
        raise InputError(f"The region {text!r} counts voxels, which are whole numbers; give lps= or ras= for millimetres.")
    return AskedRegion(frame, low, high)


def checked_spans(spans: Sequence[Sequence[int]], shape: Sequence[int]) -> Spans:
    """A region of a scan of this shape, both (k, j, i) (InputError: it reaches out, or holds less than two voxels along an axis)."""
    region = tuple((int(start), int(stop)) for start, stop in spans)
    for name, (start, stop), length in zip("kji", region, shape):
        if start < 0 or stop > length:
            raise InputError(f"The region holds the voxels {start} to {stop - 1} along {name}, and the scan has {length}; give a region inside the scan.")
        if stop - start < _FEWEST:
            raise InputError(f"The region holds {max(0, stop - start)} of the scan's voxels along {name}; give a region of at least {_FEWEST} along each axis.")
    return region


def in_words(spans: Spans) -> str:
    """Voxels (k, j, i) as :func:`asked_region` takes them."""
    return "ijk=" + ",".join(f"{start}:{stop}" for start, stop in spans[::-1])


def cut_out(volume: Volume, region: Spans) -> Volume:
    """A part of a volume, where it lies; a view, nothing is copied.

    Args:
        volume: (k, j, i).
        region: (start, stop) along (k, j, i).
    """
    first = [start for start, _ in region[::-1]]
    voxels = volume.voxels[tuple(slice(*span) for span in region)]
    return replace(volume, voxels=voxels, origin=triple(volume.position(first)))


def in_report(volume: Volume, region: Spans, kept: Spans) -> dict[str, object]:
    """Ready for JSON: the voxels along (i, j, k), the last one not included, of the scan and of the whole result; and between which millimetres (LPS) their edges lie."""
    corners = np.array([volume.position(np.array(corner) - 0.5) for corner in product(*region[::-1])])
    return {
        "voxels_ijk": [list(span) for span in region[::-1]],
        "result_ijk": [list(span) for span in kept[::-1]],
        "lps_mm": [[round(float(low), 3), round(float(high), 3)] for low, high in zip(corners.min(axis=0), corners.max(axis=0))],
    }


def _filled(volume: Volume, frame: str) -> str:
    """A scan's own box, in a frame."""
    shape = volume.voxels.shape[::-1]
    if frame == "ijk":
        return in_words(tuple((0, n) for n in shape[::-1]))
    corners = np.array([volume.position(np.array(corner) - 0.5) for corner in product(*((0, n) for n in shape))]) * _FRAMES[frame]
    ends = zip(corners.min(axis=0), corners.max(axis=0))
    return f"{frame}=" + ",".join(f"{low:.1f}:{high:.1f}" for low, high in ends)
