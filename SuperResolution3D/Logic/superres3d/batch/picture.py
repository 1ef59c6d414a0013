"""A small picture of a scan and its result, side by side, as PNG."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..scan.volume import Volume

_HEIGHT, _WIDEST, _GAP = 150, 220, 4  # pixels


def write_picture(path: Path, scan: Volume, result: Volume) -> None:
    """The middle slices of both, in the plane across the slices where the result has more of them, else in that of the slices.

    Args:
        path: of the PNG.
        scan, result: of one field of view.
    """
    from PIL import Image

    axis = 0 if scan.voxels.shape[0] == result.voxels.shape[0] else 1
    window = _window(scan.voxels)
    panels = [_panel(volume, axis, window) for volume in (scan, result)]
    gap = np.full((_HEIGHT, _GAP), 255, np.uint8)
    Image.fromarray(np.hstack([panels[0], gap, panels[1]])).save(path, "PNG", optimize=True)


def _window(voxels: np.ndarray) -> tuple[float, float]:
    step = max(1, round((voxels.size / 200_000) ** (1 / 3)))
    low, high = np.percentile(voxels[::step, ::step, ::step], (1, 99.5))
    return float(low), float(high) if high > low else float(low) + 1.0


def _panel(volume: Volume, axis: int, window: tuple[float, float]) -> np.ndarray:
    """The middle slice with square pixels, fitted into the height, the head up where the slices run upwards."""
    plane = np.moveaxis(volume.voxels, axis, 0)[volume.voxels.shape[axis] // 2].astype(np.float32)
    plane = plane[::-1] if axis == 1 else plane
    across, along = (volume.spacing[0], volume.spacing[1 if axis == 0 else 2])
    width = int(np.clip(round(_HEIGHT * plane.shape[1] * across / (plane.shape[0] * along)), 8, _WIDEST))
    rows = (np.arange(_HEIGHT) * plane.shape[0]) // _HEIGHT
    columns = (np.arange(width) * plane.shape[1]) // width
    low, high = window
    return (np.clip((plane[np.ix_(rows, columns)] - low) / (high - low), 0, 1) * 255).astype(np.uint8)
