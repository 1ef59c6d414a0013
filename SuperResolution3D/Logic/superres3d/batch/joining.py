"""One large scan in slabs: each is computed by itself, the scan's whole surroundings known, and the slabs are put together.

A slab is a region of the scan as :func:`superres3d.upscaling.upscale` takes one: what is measured (intensities, detail, noise) is measured on the whole scan.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.tiling import cut, on_grid
from ..errors import InputError
from ..files import replace_text
from ..scan.volume import Volume
from ..staging import unwritable
from ..upscaling import Result


def slab_file(parts: Path, number: int) -> Path:
    """Where a finished slab lies."""
    return parts / f"{number}.npy"


def _digest_of(scan: Volume) -> str:
    """Of all that the networks see of a scan and of its place: every process reads the file for itself."""
    running = hashlib.sha256(repr((scan.voxels.shape, str(scan.voxels.dtype), scan.spacing, scan.origin, np.asarray(scan.direction).tolist(), scan.modality)).encode())
    for piece in scan.voxels:
        running.update(piece.tobytes())
    return running.hexdigest()


def keep_slab(result: Result, scan: Volume, parts: Path, number: int, work: Path) -> None:
    """Leave a slab for :func:`joined`; it comes to its place last, whole.

    Args:
        result: of :func:`superres3d.upscaling.upscale` with a region.
        scan: that it was made from.
        parts: folder of the scan's slabs.
        number: of the slab.
        work: folder for what is not whole yet, on the same disk.

    Raises:
        ResourceError: the disk refuses.
    """
    final = slab_file(parts, number)
    staged = work / final.name
    try:
        parts.mkdir(parents=True, exist_ok=True)
        np.save(staged, result.volume.voxels)
        replace_text(final.with_suffix(".json"), json.dumps({"scan": _digest_of(scan), "report": result.report}))
        os.replace(staged, final)
    except OSError as error:
        raise unwritable(final, error) from None


def joined(parts: Path, scan: Volume, begun: float) -> Result:
    """The whole result.

    Args:
        parts: folder with all slabs.
        scan: that they were made from.
        begun: when the first slab was given out (:func:`time.time`).

    Raises:
        InputError: not all of them were made from this very scan: its file changed meanwhile; or they were made with different networks.
    """
    told = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(parts.glob("*.json"), key=lambda path: int(path.stem))]
    if {slab["scan"] for slab in told} != {_digest_of(scan)}:
        raise InputError("The scan changed while it was computed; leave it as it is, and give the same command again.")
    reports = [slab["report"] for slab in told]
    if len({report["method"] for report in reports}) > 1:  # one machine found larger networks ahead on the scan, and another by a hair did not
        raise InputError("The slabs were computed with different networks, as the machines that share this work did not agree on them; compute this scan with two-stage-told.")
    given = scan.voxels.shape
    shape = tuple(round(n * factor) for n, factor in zip(given, reports[0]["factors_ijk"][::-1]))
    voxels = np.empty(shape, scan.voxels.dtype)
    for number, report in enumerate(reports):
        region = tuple((start, stop) for start, stop in report["region"]["voxels_ijk"][::-1])
        cut(voxels, on_grid(region, given, shape))[...] = np.load(slab_file(parts, number), mmap_mode="r", allow_pickle=False)
    return Result(scan.refined(voxels, [count / n for n, count in zip(given, shape)]), _report(reports, shape, time.time() - begun))


def _report(reports: list[dict[str, Any]], shape: tuple[int, ...], seconds: float) -> dict[str, Any]:
    """Of the whole: what every slab tells alike stays, times are added up, and each note is told once."""
    names = dict.fromkeys(name for report in reports for name in report["seconds"])
    spent = {name: round(sum(report["seconds"].get(name, 0.0) for report in reports), 3) for name in names}
    told = {name: ", ".join(dict.fromkeys(str(report[name]) for report in reports)) for name in ("device", "engine", "precision") if reports[0][name]}
    return {
        **reports[0], **told,
        "output": {**reports[0]["output"], "shape_ijk": list(shape[::-1])},
        "region": None,
        "slabs": len(reports),
        "blocks": sum(report["blocks"] for report in reports),
        "seconds": {**spent, "total": round(seconds, 3)},
        "peak_memory_bytes": max(report["peak_memory_bytes"] for report in reports),
        "warnings": list(dict.fromkeys(note for report in reports for note in report["warnings"])),
    }  # fmt: skip
