#!/usr/bin/env python
"""What becomes of masked, defaced and padded borders: constant regions, and how far results go beyond the 27 voxels of the scan around them.

    python Testing/Benchmarks/rims.py SCAN ... --slices 24 --preset fast

Beside a region of one value (its voxels, and two around) the largest step beyond the neighbours is told for the method and for Lanczos, in shares of the scan's range
and of the neighbours' own; "dots" are voxels there that go farther beyond than Lanczos does anywhere beside such a region.  Constant regions: voxels whose 27
neighbours have one value, and how many of them came out as another.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from scipy.ndimage import binary_dilation, maximum_filter, minimum_filter
from superres3d import Volume, read_volume
from superres3d.methods import DEFAULT_METHOD
from superres3d.trust.error_map import upscale_with_doubt
from superres3d.upscaling import upscale


def main(
    scans: list[Path],
    slices: Annotated[int, typer.Option(help="Central slices of each scan; 0: all.")] = 0,
    preset: Annotated[str, typer.Option()] = "fast",
    scale: Annotated[int, typer.Option()] = 2,
    method: Annotated[str, typer.Option()] = DEFAULT_METHOD,
    axes: Annotated[str, typer.Option()] = "all",
    careful: Annotated[bool, typer.Option()] = False,
) -> None:
    """Print a table, a line a scan."""
    print(f"| scan, {scale}x, {axes}, {preset}{', careful' if careful else ''} | constant voxels | changed | beyond, of the scan's range: {method} | Lanczos | of the neighbours' range | Lanczos | dots |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for path in scans:
        volume = read_volume(path)
        start = max(0, (len(volume.voxels) - slices) // 2) if slices else 0
        part = replace(volume, voxels=np.ascontiguousarray(volume.voxels[start : start + slices] if slices else volume.voxels))
        print(_line(path.name.split(".")[0], part, preset, scale, method, axes, careful), flush=True)


def _line(name: str, volume: Volume, preset: str, scale: int, method: str, axes: str, careful: bool) -> str:
    modality = "CT" if volume.voxels.min() < -500 else "MR"
    scan = volume.voxels.astype(np.float32)
    low, high = minimum_filter(scan, 3, mode="nearest"), maximum_filter(scan, 3, mode="nearest")
    flat = low == high
    beside = binary_dilation(flat, iterations=2) & ~flat
    asked: dict[str, Any] = {"modality": modality, "preset": preset, "axes": axes}
    result, _ = upscale_with_doubt(volume, scale, method=method, errors=False, careful=True, **asked) if careful else (upscale(volume, scale, method=method, **asked), None)
    made = {method: result.volume.voxels.astype(np.float32), "lanczos": upscale(volume, scale, method="lanczos", **asked).volume.voxels.astype(np.float32)}

    def fine(array: np.ndarray) -> np.ndarray:
        for axis, (wanted, count) in enumerate(zip(result.volume.voxels.shape, scan.shape)):
            array = array.repeat(wanted // count, axis)
        return array

    reach = fine(high - low)
    changed = int(np.count_nonzero((made[method] != fine(scan)) & fine(flat)))
    rim = fine(beside)
    beyond = {by: np.maximum(np.maximum(voxels - fine(high), fine(low) - voxels), 0)[rim] for by, voxels in made.items()}
    span, near = float(np.ptp(scan)), np.maximum(reach[rim], 1e-6)
    worst = {by: (found.max(initial=0) / span, (found / near).max(initial=0)) for by, found in beyond.items()}
    dots = int(np.count_nonzero(beyond[method] > beyond["lanczos"].max(initial=0)))
    return f"| {name} | {int(fine(flat).sum()):,} | {changed:,} | {worst[method][0]:.3f} | {worst['lanczos'][0]:.3f} | {worst[method][1]:.3f} | {worst['lanczos'][1]:.3f} | {dots} |"


if __name__ == "__main__":
    typer.run(main)
