#!/usr/bin/env python
"""Perceptual measures without a reference (Chen 2020, tables 2 and 4), and beside them what spectra say.

    pip install --no-deps absolutely-not-scikit-video pypiqe opencv-python-headless
    python Testing/Benchmarks/perceptual.py SCANS split.csv --task k-space --method mdcsrn --method two-stage-told

NIQE (Mittal 2012) and PIQE (Venkatanath 2015) come from packages that hold all that they need: the statistics of photographs, or nothing.
Ma's score (Ma 2017), and with it the perceptual index PI = (10 - Ma + NIQE) / 2, cannot be had so: its random forests exist for MATLAB, and the
packages that compute it load weights from a hub.  For both, lower is said to be better.

They know photographs, not scans.  So the table also judges the truth, the truth with white noise, and the truth blurred: a measure that does not
put the truth first says nothing of closeness to it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy.ndimage import gaussian_filter
from superres3d.evaluation.metrics import Reference, make_reference, measure, measure_detail
from superres3d.evaluation.protocol import Protocol, central_crop, read_subjects
from superres3d.evaluation.run import Cell, plan_cells, refined
from superres3d.evaluation.texture import measure_texture
from superres3d.scan.images import read_volume

_BODY = 0.25  # of a slice: smaller ones are left out (Chen 2020, section 4.1)
_LEAST_SIDE = 194  # pixels that NIQE needs
_COLUMNS = ("niqe", "piqe", "blur", "sharpness", "power", "met", "psnr", "ssim")


def main(
    data: Annotated[Path, typer.Argument(help="Folder of the scans.")],
    split: Annotated[Path, typer.Argument(help="CSV with id, split, modality.")],
    task: Annotated[str, typer.Option()] = "k-space",
    scale: Annotated[int, typer.Option()] = 2,
    method: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    subject: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")] = None,
    subset: Annotated[str, typer.Option()] = "test",
    slices: Annotated[int, typer.Option(help="Central slices of a scan.")] = 48,
    every: Annotated[int, typer.Option(help="Of these slices, every n-th is judged.")] = 4,
) -> None:
    """Print the table."""
    missing = [name for name in ("skvideo", "pypiqe", "cv2") if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"The packages {', '.join(missing)} are missing; see the head of this file.")
    protocol = Protocol(methods=tuple(method or ("two-stage-told",)), scales=(scale,), tasks=(task,), slices=slices, preset="fast")
    rows: dict[str, list[dict[str, float]]] = {}
    for found in read_subjects(data, split, subset, tuple(subject or ())):
        for cell in plan_cells(found, protocol):
            if not cell.skip:
                for name, values in _judged(cell, protocol, every):
                    rows.setdefault(name, []).append(values)
                    print(found.name, name, {key: round(value, 3) for key, value in values.items()}, file=sys.stderr, flush=True)
    print(_table(rows))


def _judged(cell: Cell, protocol: Protocol, every: int) -> Iterator[tuple[str, dict[str, float]]]:
    truth = central_crop(cell.kind.thin(read_volume(cell.subject.path), cell.slice_axis), cell.slice_axis, protocol.slices, cell.factors)
    reference = make_reference(truth.voxels, cell.subject.modality, cell.slice_axis)
    low = cell.kind.low_resolution(truth, cell.factors, cell.slice_axis)
    scan = truth.voxels.astype(np.float32)
    noise = np.random.default_rng(2020).standard_normal(scan.shape, np.float32)
    yield "truth", _values(reference, cell, scan, every)
    yield "truth, noise of 1 %", _values(reference, cell, scan + 0.01 * reference.data_range * noise, every)
    yield "truth, blurred (sigma 0.7)", _values(reference, cell, gaussian_filter(scan, 0.7), every)
    for method in cell.conditions:
        yield method, _values(reference, cell, refined(cell, low, method, protocol, lambda _: None)[0], every)


def _values(reference: Reference, cell: Cell, voxels: np.ndarray, every: int) -> dict[str, float]:
    result = reference.prepare(voxels)
    ordered = (cell.factors[cell.slice_axis], *(factor for axis, factor in enumerate(cell.factors) if axis != cell.slice_axis))
    if ordered[0] > 1:  # judged are cuts across the slices, which show them
        result, body = np.moveaxis(result, 1, 0), np.moveaxis(reference.foreground, 1, 0)
    else:
        body = reference.foreground
    shown = [number for number in range(0, len(result), every) if body[number].mean() > _BODY]
    images = [np.clip(result[number] / reference.data_range * 255.0, 0, 255) for number in shown]
    judged = {name: statistics.mean(judge(image) for image in images) for name, judge in _judges().items()} if images else {}
    detail = {name: value for name, value in measure_detail(reference, voxels, cell.factors).items() if name == "blur"}
    return {**judged, **detail, **measure_texture(reference.slices, reference.prepare(voxels), ordered), **measure(reference, voxels)}


def _judges() -> dict[str, Callable[[np.ndarray], float]]:
    from pypiqe import piqe
    from skvideo.measure import niqe

    def by_niqe(image: np.ndarray) -> float:
        missing = [max(0, _LEAST_SIDE - side) for side in image.shape]
        whole = np.pad(image, [(need // 2, need - need // 2) for need in missing], mode="symmetric")
        with contextlib.redirect_stdout(sys.stderr):
            return float(niqe(whole[None, :, :, None].astype(np.float32))[0])

    return {"niqe": by_niqe, "piqe": lambda image: float(piqe(np.rint(image).astype(np.uint8))[0])}


def _table(rows: dict[str, list[dict[str, float]]]) -> str:
    lines = ["| | " + " | ".join(_COLUMNS) + " |", "| --- |" + " ---: |" * len(_COLUMNS)]
    for name, found in rows.items():
        means = [[values[column] for values in found if column in values] for column in _COLUMNS]
        lines.append(f"| {name} | " + " | ".join(f"{statistics.mean(values):.3f}" if values else "n.a." for values in means) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
