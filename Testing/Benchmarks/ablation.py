#!/usr/bin/env python
"""Table II of Georgescu 2020 on other data: the plane network 2x without one of its parts at a time.

    python Testing/Benchmarks/ablation.py SCANS split.csv --out ablation --steps 3000

Every variant is trained with the same samples and steps (a run that was interrupted goes on where it stopped), then measured on the
subset by ``superres3d evaluate``, in-plane 2x.  Differences are to the whole network; beside them stand the paper's (CT, 2-D, 2x).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

RECIPE = Path(__file__).resolve().parents[2] / "models" / "recipes" / "georgescu2020.toml"
SAMPLES = {"patch": 24, "patch_across": 24, "batch": 16, "schedule": "cosine", "precision": "bf16-mixed"}


class Variant(NamedTuple):
    """A change of the recipe; what the paper lost without the part, in dB (None: it does not say)."""

    name: str
    change: dict[str, object]
    published: float | None
    ensemble: str = "8"


VARIANTS = (
    Variant("whole network", {}, 0.0),
    Variant("without self-ensemble", {}, -0.17, "none"),
    Variant("without the second block", {"second_block": False}, -0.28),
    Variant("blur of one sigma (0.5)", {"blur_variable": False}, -0.53),
    Variant("without the long skip", {"long_skip": False}, -0.11),
    Variant("without the intermediate loss", {"intermediate_weight": 0.0}, -0.07),
    Variant("without the short skips", {"short_skips": False}, -0.05),
    Variant("64 filters", {"filters": 64}, 0.06),
)


def main(
    data: Annotated[Path, typer.Argument(help="Folder of the scans.")],
    split: Annotated[Path, typer.Argument(help="CSV with id, split, modality.")],
    out: Annotated[Path, typer.Option(help="Folder for trainings and results.")] = Path("ablation"),
    modality: Annotated[str, typer.Option()] = "CT",
    subset: Annotated[str, typer.Option()] = "test",
    steps: Annotated[int, typer.Option()] = 3000,
    jobs: Annotated[int, typer.Option(help="Trainings at a time.")] = 1,
) -> None:
    """Train, measure, print the table."""
    folders = {variant.name: out / "-".join([modality.lower(), *(f"{name}-{value}" for name, value in variant.change.items())]) for variant in VARIANTS}
    changes = {folders[variant.name]: variant.change for variant in VARIANTS}  # two variants may share a training
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda folder: _train(folder, data, modality, steps, changes[folder]), changes))
    found = {variant.name: _measure(folders[variant.name], data, split, modality, subset, variant.ensemble) for variant in VARIANTS}
    print(_table(found))


def _train(folder: Path, data: Path, modality: str, steps: int, change: dict[str, object]) -> None:
    if (folder / "models").is_dir():
        return
    settings = {**SAMPLES, "modality": modality, "stage": "plane", "scale": 2, "steps": steps, **change}
    pairs = [text for name, value in settings.items() for text in ("--set", f"{name}={json.dumps(value) if not isinstance(value, str) else value}")]
    _run("train", RECIPE, "--data", data, "--out", folder / "run", "--export", folder / "models", *pairs)


def _measure(folder: Path, data: Path, split: Path, modality: str, subset: str, ensemble: str) -> dict[str, tuple[float, float]]:
    """Subject -> (PSNR, SSIM)."""
    results = folder / f"results-{ensemble}"
    options = ["--method", "georgescu2020", "--task", "in-plane", "--scale", "2", "--subset", subset, "--ensemble", ensemble]
    _run("evaluate", data, split, "--out", results, *options, models=folder / "models", subjects=_subjects(split, subset, modality))
    rows = json.loads((results / "results.json").read_text(encoding="utf-8"))["results"]
    return {row["subject"]: (row["psnr"], row["ssim"]) for row in rows if row["method"] == "georgescu2020"}


def _subjects(split: Path, subset: str, modality: str) -> list[str]:
    import csv

    with open(split, newline="", encoding="utf-8") as file:
        return [row["id"] for row in csv.DictReader(file) if (row["split"], row["modality"]) == (subset, modality)]


def _run(command: str, *arguments: object, models: Path | None = None, subjects: list[str] | None = None) -> None:
    chosen = [text for subject in subjects or () for text in ("--subject", subject)]
    environment = {**os.environ, **({"SUPERRES3D_MODELS": str(models.resolve())} if models else {})}
    subprocess.run([sys.executable, "-m", "superres3d.cli", command, *map(str, arguments), *chosen], check=True, env=environment)


def _table(found: dict[str, dict[str, tuple[float, float]]]) -> str:
    whole = found[VARIANTS[0].name]
    lines = ["| variant | PSNR, dB | SSIM | difference, dB | of each subject | published difference, dB |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for variant in VARIANTS:
        here = found[variant.name]
        psnr, ssim = (sum(values[index] for values in here.values()) / len(here) for index in (0, 1))
        differences = [here[subject][0] - whole[subject][0] for subject in here]
        each = ", ".join(f"{value:+.2f}" for value in differences)
        lines.append(f"| {variant.name} | {psnr:.2f} | {ssim:.4f} | {sum(differences) / len(differences):+.2f} | {each} | {variant.published:+.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
