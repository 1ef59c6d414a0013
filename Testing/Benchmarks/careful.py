#!/usr/bin/env python
"""What is added over Lanczos without ground in the truth, by the default and with --careful, and what careful costs.

    python Testing/Benchmarks/careful.py SCANS split.csv --subset val --preset fast --task 3-D

A central part of each scan is made coarser by antialiased bicubic (``--way`` names another row of acquisitions.py) and upscaled again.  RMSE is that of careful
over that of the method alone, over the foreground.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from acquisitions import _TASKS, WAYS, coarsened
from error_map import _AXES, _middle
from superres3d import read_volume
from superres3d.evaluation.metrics import make_reference
from superres3d.evaluation.protocol import Subject, read_subjects
from superres3d.methods import DEFAULT_METHOD
from superres3d.resampling.interpolation import resize
from superres3d.scan.volume import find_slice_axis
from superres3d.trust.careful import Restraint, careful
from superres3d.trust.expected import expected_error
from superres3d.trust.ground import figures_of
from superres3d.trust.head import head_of
from superres3d.upscaling import plan_for, upscale

_SHARES = ("added", "ungrounded", "half_grounded", "recall", "ungrounded_air", "ungrounded_soft", "ungrounded_bone")


def main(
    data: Path, split: Path,
    subset: Annotated[str, typer.Option()] = "val",
    preset: Annotated[str, typer.Option()] = "fast",
    task: Annotated[str, typer.Option(help="in-plane, 3-D or through-plane.")] = "3-D",
    way: Annotated[str, typer.Option()] = "antialiased bicubic",
    method: Annotated[str, typer.Option()] = DEFAULT_METHOD,
    strengths: Annotated[str, typer.Option(help="Others to try, such as 0.1,0.3.")] = "",
) -> None:  # fmt: skip
    """Print a table, a line a subject, factor and strength, and the means."""
    print(f"| subject, {task}, {preset} | method | {' | '.join(_SHARES)} | RMSE |\n| --- | --- | {'---: | ' * len(_SHARES)}---: |")
    means: dict[tuple[str, int, str], list[dict[str, float]]] = {}
    for subject in read_subjects(data, split, subset):
        for scale in (2, 4):
            if task != "in-plane" and "openms" in subject.name:
                continue
            for name, found in _measured(subject, scale, task, way, preset, method, [float(k) for k in strengths.split(",") if k]).items():
                means.setdefault((subject.modality, scale, name), []).append(found)
                print(_line(f"{subject.name} {scale}x", name, found), flush=True)
    for (modality, scale, name), rows in sorted(means.items()):
        mean = {share: float(np.mean([row[share] for row in rows if share in row])) for share in (*_SHARES, "rmse") if any(share in row for row in rows)}
        print(_line(f"**{modality} ({len(rows)}) {scale}x, mean**", name, mean))


def _measured(subject: Subject, scale: int, task: str, way: str, preset: str, method: str, strengths: list[float]) -> dict[str, dict[str, float]]:
    volume = read_volume(subject.path)
    axis = find_slice_axis(volume.spacing)
    factors = _TASKS[task].factors(scale, axis)
    truth = _middle(volume, axis, factors, (48, 160) if scale == 2 else (64, 192))
    reference = make_reference(truth.voxels, subject.modality, axis)
    low = replace(_TASKS[task].low_resolution(truth, factors, axis), voxels=coarsened(truth.voxels, factors, WAYS[way], 0.0, subject.modality == "MR"))
    asked: dict[str, Any] = {"scale": scale, "axes": _AXES[task], "modality": subject.modality, "slice_axis": "kji"[axis], "method": method, "preset": preset}
    plan, done = plan_for(low, **asked)[0], upscale(low, spread=True, **asked)
    drawn, true, lanczos = done.volume.voxels, truth.voxels.astype(np.float32), resize(low.voxels, factors, "lanczos")
    expected = expected_error(low.voxels, drawn, done.spread, head_of(subject.modality, plan.preset.ensemble != "none"))
    restraint = Restraint.of(low.voxels, subject.modality, [factors[axis], *(factor for other, factor in enumerate(factors) if other != axis)])
    results = {"alone": drawn, "careful": careful(low.voxels, drawn, expected, restraint)}
    results |= {f"k {k:g}": careful(low.voxels, drawn, expected, replace(restraint, strength=k)) for k in strengths}
    foreground = np.moveaxis(reference.foreground, 0, axis)
    errors = {name: float(np.sqrt(np.mean(np.square((voxels - true)[foreground], dtype=np.float64)))) for name, voxels in results.items()}
    return {
        name: figures_of(true, lanczos, voxels, subject.modality, reference.data_range) | {"rmse": errors[name] / errors["alone"] - 1} for name, voxels in results.items()
    }


def _line(subject: str, name: str, found: dict[str, float]) -> str:
    shares = " | ".join(f"{found[share]:.1%}" if share in found else "" for share in _SHARES)
    return f"| {subject} | {name} | {shares} | {found['rmse']:+.1%} |"


if __name__ == "__main__":
    typer.run(main)
