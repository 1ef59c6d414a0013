#!/usr/bin/env python
"""Table II of Georgescu 2020 on other data: the plane network 2x without one of its parts at a time.

    python Testing/Benchmarks/ablation.py SCANS split.csv --out ablation --steps 3000 --seeds 3

Every variant is trained with the same samples and steps (a run that was interrupted goes on where it stopped), then measured on the
subset as ``superres3d evaluate`` does it, in-plane 2x, without self-ensemble as in that table.  A seed decides the first weights and the samples; differences are to the whole network of
the same seed, with the standard error of their mean over the seeds.  Beside them stand the paper's (CT, 2-D, 2x).
"""

from __future__ import annotations

import json
import math
import os
import statistics
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from superres3d.evaluation.metrics import make_reference, measure
from superres3d.evaluation.protocol import Protocol, Subject, central_crop, read_subjects
from superres3d.evaluation.run import plan_cells, refined
from superres3d.scan.images import read_volume

RECIPE = Path(__file__).resolve().parents[2] / "models" / "recipes" / "georgescu2020.toml"
SAMPLES = {"patch": 24, "patch_across": 24, "batch": 16, "schedule": "cosine", "precision": "bf16-mixed"}


class Variant(NamedTuple):
    """A change of the recipe; what the paper lost without the part, in dB (None: it does not say)."""

    name: str
    change: dict[str, object]
    published: float | None
    ensemble: str = "none"


VARIANTS = (
    Variant("whole network", {}, 0.0),
    Variant("with self-ensemble", {}, 0.17, "8"),
    Variant("without the second block", {"second_block": False}, -0.28),
    Variant("blur of one sigma (0.5)", {"blur_variable": False}, -0.53),
    Variant("without the long skip", {"long_skip": False}, -0.11),
    Variant("without the intermediate loss", {"intermediate_weight": 0.0}, -0.07),
    Variant("without the short skips", {"short_skips": False}, -0.05),
    Variant("none of these", {"second_block": False, "short_skips": False, "long_skip": False, "blur_variable": False}, -0.64),
    Variant("64 filters", {"filters": 64}, 0.06),
)
FIRST_SEED = 2020
Found = dict[str, tuple[float, float]]  # subject -> (PSNR, SSIM)


def main(
    data: Annotated[Path, typer.Argument(help="Folder of the scans.")],
    split: Annotated[Path, typer.Argument(help="CSV with id, split, modality.")],
    out: Annotated[Path, typer.Option(help="Folder for trainings and results.")] = Path("ablation"),
    modality: Annotated[str, typer.Option()] = "CT",
    subset: Annotated[str, typer.Option()] = "test",
    steps: Annotated[int, typer.Option()] = 3000,
    seeds: Annotated[int, typer.Option(help="Trainings of each variant.", min=1)] = 1,
    slices: Annotated[int, typer.Option(help="Central slices of a scan that are measured.")] = 48,
    without: Annotated[list[str] | None, typer.Option(help="Variants to leave out; may be repeated.")] = None,
    train_only: Annotated[bool, typer.Option("--train-only")] = False,
) -> None:
    """Train, measure, print the table."""
    variants = [variant for variant in VARIANTS if variant.name not in (without or ())]
    runs = {(variant.name, seed): _folder(out, modality, variant, FIRST_SEED + seed) for seed in range(seeds) for variant in variants}
    trainings = {runs[variant.name, seed]: {**variant.change, "seed": FIRST_SEED + seed} for seed in range(seeds) for variant in variants}  # two variants may share one
    for folder, change in trainings.items():
        _train(folder, data, modality, steps, change)
    if not train_only:
        found = {variant.name: [_measure(runs[variant.name, seed], data, split, modality, subset, variant.ensemble, slices) for seed in range(seeds)] for variant in variants}
        print(_table(variants, found))


def _folder(out: Path, modality: str, variant: Variant, seed: int) -> Path:
    return out / "-".join([modality.lower(), *(f"{name}-{value}" for name, value in variant.change.items()), *([f"seed-{seed}"] if seed != FIRST_SEED else [])])


def _train(folder: Path, data: Path, modality: str, steps: int, change: dict[str, object]) -> None:
    if (folder / "models").is_dir():
        return
    from superres3d.training.export import export_model
    from superres3d.training.fit import fit
    from superres3d.training.recipe import load_recipe

    settings = {**SAMPLES, "modality": modality, "stage": "plane", "scale": 2, "steps": steps, **change}
    recipe = load_recipe(RECIPE, {name: value if isinstance(value, str) else json.dumps(value) for name, value in settings.items()})
    export_model(fit(recipe, data, folder / "run"), recipe, data, folder / "models")


def _measure(folder: Path, data: Path, split: Path, modality: str, subset: str, ensemble: str, slices: int) -> Found:
    kept = folder / f"results-{subset}-{ensemble}.json"
    if not kept.exists():
        os.environ["SUPERRES3D_MODELS"] = str((folder / "models").resolve())
        protocol = Protocol(methods=("georgescu2020",), scales=(2,), tasks=("in-plane",), slices=slices, ensemble=ensemble)
        found = {subject.name: _of_subject(subject, protocol) for subject in read_subjects(data, split, subset) if subject.modality == modality}
        kept.write_text(json.dumps(found), encoding="utf-8")
    return {subject: (psnr, ssim) for subject, (psnr, ssim) in json.loads(kept.read_text(encoding="utf-8")).items()}


def _of_subject(subject: Subject, protocol: Protocol) -> tuple[float, float]:
    (cell,) = plan_cells(subject, protocol)
    truth = central_crop(read_volume(subject.path), cell.slice_axis, protocol.slices, cell.factors)
    reference = make_reference(truth.voxels, subject.modality, cell.slice_axis)
    values = measure(reference, refined(cell, cell.kind.low_resolution(truth, cell.factors, cell.slice_axis), protocol.methods[0], protocol, lambda _: None)[0])
    return values["psnr"], values["ssim"]


def _table(variants: list[Variant], found: dict[str, list[Found]]) -> str:
    whole = found[VARIANTS[0].name]
    lines = ["| variant | PSNR, dB | SSIM | difference, dB | of each subject | published difference, dB |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for variant in variants:
        here = found[variant.name]
        psnr, ssim = (statistics.mean(values[index] for run in here for values in run.values()) for index in (0, 1))
        differences = {subject: [run[subject][0] - base[subject][0] for run, base in zip(here, whole)] for subject in whole[0]}
        of_seeds = [statistics.mean(values) for values in zip(*differences.values())]
        each = ", ".join(_with_error(values) for values in differences.values())
        lines.append(f"| {variant.name} | {psnr:.2f} | {ssim:.4f} | {_with_error(of_seeds)} | {each} | {variant.published:+.2f} |")
    return "\n".join(lines)


def _with_error(values: list[float]) -> str:
    """Mean over the seeds, with its standard error where there are several."""
    mean = f"{statistics.mean(values):+.2f}"
    return f"{mean} ± {statistics.stdev(values) / math.sqrt(len(values)):.2f}" if len(values) > 1 else mean


if __name__ == "__main__":
    typer.run(main)
