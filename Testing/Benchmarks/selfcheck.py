#!/usr/bin/env python
"""Whether the self-check tells on a scan what upscaling it will gain.

    python Testing/Benchmarks/selfcheck.py SCANS split.csv --subset val --out rows.csv

A scan (the truth) loses its detail in one of several ways, with or without noise. The self-check sees what is left, and nothing else. Then that is upscaled, and the
gain over Lanczos within the body is measured on the truth. A row a case; the table tells how often the sign is right, and how far off the size is.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from acquisitions import WAYS, Way, coarsened, gaussian_way, spectral_way
from superres3d import read_volume, upscale
from superres3d.detail.measure import measure_detail
from superres3d.errors import InputError, SuperResolutionError
from superres3d.evaluation.protocol import Subject, central_crop, read_subjects
from superres3d.evaluation.tasks import TASKS
from superres3d.resampling.interpolation import resize
from superres3d.scan.volume import Volume, find_slice_axis
from superres3d.trust.body import body_mask, regions_of, value_range
from superres3d.trust.closeness import Tally
from superres3d.trust.ground import threshold_of
from superres3d.trust.selfcheck import check

_AXES = {"in-plane": TASKS["in-plane"], "all": TASKS["3-D"], "through-plane": replace(TASKS["3-D"], name="through-plane", axes="through-plane")}
_SHOWN = ("antialiased bicubic", "means", "Gaussian, FWHM 1", "Gaussian, FWHM 1.4", "spectrum cut", "65 %, zero-filled", "Hamming")
_LEVEL = 0.05  # dB: nearer to zero is neither ahead nor behind
_NEAR = 0.5


def main(
    data: Path,
    split: Path,
    subset: Annotated[str, typer.Option()] = "val",
    subject: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")] = None,
    axes: Annotated[list[str] | None, typer.Option(help="in-plane, through-plane or all; may be repeated; default: in-plane.")] = None,
    scale: Annotated[list[int] | None, typer.Option(help="May be repeated; default: 2 and 4.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="May be repeated; default: two-stage-residual, two-stage-told and georgescu2020.")] = None,
    noise: Annotated[list[float] | None, typer.Option(help="Standard deviation of white noise, share of the data range; may be repeated; default: 0 and 0.01.")] = None,
    way: Annotated[list[str] | None, typer.Option(help=f"Of losing detail, see acquisitions.py; may be repeated; default: {', '.join(_SHOWN)}.")] = None,
    drawn: Annotated[int, typer.Option(help="So many ways and noises drawn at random for each scan, in place of those.")] = 0,
    slices: Annotated[int, typer.Option(help="Central slices of each scan.")] = 12,
    pixels: Annotated[int, typer.Option(help="Central pixels of each slice, along rows and columns.")] = 192,
    preset: Annotated[str, typer.Option()] = "fast",
    out: Annotated[Path | None, typer.Option(help="CSV for all rows; rows that are there are not computed again.")] = None,
) -> None:
    """Print the table."""
    try:
        subjects = read_subjects(data, split, subset, tuple(subject or ()))
        cases = list(product(axes or ("in-plane",), scale or (2, 4), way or _SHOWN, noise or (0.0, 0.01)))
        methods = method or ["two-stage-residual", "two-stage-told", "georgescu2020"]
        rows = _read(out)
        for found, case in [(found, case) for number, found in enumerate(subjects) for case in (_drawn(number, drawn, axes or ["in-plane"], scale or [2]) if drawn else cases)]:
            missing = [name for name in methods if not any(_is(row, found.name, case, name) for row in rows)]
            for row in _rows(found, case, missing, slices, pixels, preset) if missing else ():
                rows.append(row)
                _write(out, rows)
        print(table(rows))
    except SuperResolutionError as error:
        raise SystemExit(f"Error: {error}") from None


def _drawn(seed: int, count: int, axes: Sequence[str], scales: Sequence[int]) -> list[tuple[str, int, str, float]]:
    """Cases whose way and noise are drawn at random: Gaussian profiles, and spectra that end and are filtered."""
    random = np.random.default_rng(seed)
    cases = []
    for _ in range(count):
        gaussian, width, extent, window = random.random() < 0.5, random.uniform(0.4, 1.6), min(1.0, random.uniform(0.55, 1.2)), random.uniform(0.5, 1.0)
        way = f"Gaussian {width:.2f}" if gaussian else f"spectrum {extent:.2f} {window:.2f}"
        noise = 0.0 if random.random() < 0.4 else round(random.uniform(0.0, 0.015), 4)
        cases.append((str(random.choice(list(axes))), int(random.choice(list(scales))), way, noise))
    return cases


def _way(name: str) -> Way:
    """By its name in the table of ways, or as :func:`_drawn` calls it."""
    kind, *numbers = name.split()
    if name in WAYS:
        return WAYS[name]
    return gaussian_way(*map(float, numbers)) if kind == "Gaussian" else spectral_way(*map(float, numbers))


def _is(row: dict[str, Any], subject: str, case: Sequence[Any], method: str) -> bool:
    return [row[key] for key in ("subject", "axes", "scale", "way", "noise_share", "method")] == [str(value) for value in (subject, *case, method)]


def _rows(subject: Subject, case: tuple[str, int, str, float], methods: Sequence[str], slices: int, pixels: int, preset: str) -> Iterator[dict[str, Any]]:
    axes, scale, way, noise = case
    volume = read_volume(subject.path)
    axis = find_slice_axis(volume.spacing)
    factors = _AXES[axes].factors(scale, axis)
    truth = _cut(central_crop(volume, axis, slices, factors), axis, pixels)
    _, span = value_range(truth.voxels, subject.modality)
    voxels = coarsened(truth.voxels, factors, _way(way), noise * span, subject.modality == "MR")
    coarse = replace(_AXES[axes].low_resolution(truth, factors, axis), voxels=voxels)
    detail = measure_detail(np.moveaxis(voxels, axis, 0), subject.modality)
    for method in methods:
        choices = {"scale": scale, "axes": axes, "method": method, "modality": subject.modality, "preset": preset, "slice_axis": "kji"[axis]}
        try:
            foretold = check(coarse, **choices)
        except InputError as error:
            print(f"{subject.name}, {case}: {error}")
            return
        true = true_gain(truth, coarse, factors, axis, choices, span)
        row = {"subject": subject.name, "modality": subject.modality, "axes": axes, "scale": scale, "way": way, "noise_share": noise, "method": method, "true_db": true}
        row |= {"checked_at": max(foretold.factors_ijk), "expected_db": foretold.expected_db, "mean_db": foretold.gain_db, "agreed": foretold.agreed}
        row |= {f"{key}_{found.way}": getattr(found, f"{key}_db") for found in foretold.ways for key in ("gain", "clean")}
        for name in ("across", "rows", "columns"):
            part = getattr(detail, name)
            if part is not None:
                row |= {f"{name}_{n}": share for n, share in enumerate(part.transfer)} | {f"{name}_{key}": getattr(part, key) for key in ("extent", "noise", "unsure")}
        print(f"{subject.name} {case} {method}: true {true:+.2f}, checked {foretold.gain_db:+.2f}, expected {foretold.expected_db}", flush=True)
        yield {key: str(value) for key, value in row.items()}


def _cut(volume: Volume, slice_axis: int, pixels: int) -> Volume:
    """Its slices cut to their middle."""
    starts = [0 if axis == slice_axis else max(0, (n - pixels) // 8 * 4) for axis, n in enumerate(volume.voxels.shape)]
    return replace(volume, voxels=volume.voxels[tuple(slice(start, None if axis == slice_axis else start + pixels) for axis, start in enumerate(starts))])


def true_gain(truth: Volume, coarse: Volume, factors: tuple[int, int, int], axis: int, choices: dict[str, Any], span: float) -> float:
    """Of a method over Lanczos within the body of the truth, dB."""
    arrays = [upscale(coarse, **choices).volume.voxels, resize(coarse.voxels, factors), truth.voxels]
    result, lanczos, real = (np.moveaxis(array, axis, 0).astype(np.float32) for array in arrays)
    modality = choices["modality"]
    if modality == "CT":
        result, lanczos, real = (np.clip(array, -1024, 3071) for array in (result, lanczos, real))
    body = body_mask(real, modality)
    tally = Tally(span, (0, 1, 2), False, threshold_of(modality, span))
    tally.add(real, {"result": result, "baseline": lanczos}, body, regions_of(real, body, modality, span, (0, 1, 2)))
    return tally.gain() or 0.0


def _read(out: Path | None) -> list[dict[str, Any]]:
    if out is None or not out.exists():
        return []
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


def _write(out: Path | None, rows: list[dict[str, Any]]) -> None:
    if out is None:
        return
    names = list(dict.fromkeys(key for row in rows for key in row))
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Shares of the rows, by modality, axes, factor and method."""
    lines = ["| | rows | sign right | where the ways agree | within 0.5 dB | mean of errors, dB | four of five within, dB |", "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    keys = ("modality", "axes", "scale", "method")
    for group in [*dict.fromkeys(tuple(row[key] for key in keys) for row in rows), ()]:
        chosen = [row for row in rows if not group or tuple(row[key] for key in keys) == group]
        known = [row for row in chosen if row["expected_db"] not in ("", "None")]
        true, expected = (np.array([float(row[key]) for row in known]) for key in ("true_db", "expected_db"))
        if len(known):
            right, off = same_side(true, expected), np.abs(true - expected)
            agreed = np.array([row["agreed"] == "True" for row in known])
            sure = f"{right[agreed].mean():.0%} of {agreed.sum()}" if agreed.any() else "-"
            lines.append(f"| {', '.join(group) or 'all'} | {len(known)} | {right.mean():.0%} | {sure} | {np.mean(off <= _NEAR):.0%} | {off.mean():.2f} | {np.quantile(off, 0.8):.2f} |")
    return "\n".join(lines)


def same_side(true: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Whether both are ahead or both behind; within 0.05 dB of zero either will do."""
    return (np.sign(true) == np.sign(expected)) | (np.abs(true) <= _LEVEL) | (np.abs(expected) <= _LEVEL)


if __name__ == "__main__":
    typer.run(main)
