#!/usr/bin/env python
"""Estimators and told networks to model folders with their cards.

    python Testing/Benchmarks/told/export.py TRAINED SCANS models

TRAINED holds mr-plane.safetensors ... (estimators) and told-mr-plane-x2.safetensors ... (networks), whichever are new; SCANS a catalogue.csv in it or above it.
MORE lists further scans (id, repo, licence) that the networks given learnt from.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from safetensors.numpy import load_file, save

sys.path.insert(0, str(Path(__file__).parents[1] / "gpu"))

from superres3d import __version__
from superres3d.detail.telling import FOR_SHARP, OF_MILD
from superres3d.methods import METHODS
from superres3d.networks.families import Architecture
from superres3d.networks.stored import packed
from superres3d.networks.told import MIXING, VARIANTS
from superres3d.networks.weights import CARD, WEIGHTS
from superres3d.training.export import read_attribution
from told import LARGE, SIZES

_COMMON = {"software": f"SuperResolution3D {__version__}", "intended_use": "Research; not for diagnosis."}
_LOSSES = "antialiased bicubic with blur, means, Gaussian profiles, cut, zero-filled and filtered spectra, along each axis its own; white noise; see Testing/Benchmarks/told"


def main(
    trained: Path, data: Path, models: Path, split: Annotated[Path, typer.Option()], more: Annotated[Path | None, typer.Option()] = None, also: Annotated[list[str] | None, typer.Option()] = None
) -> None:  # fmt: skip
    """See above; ``also`` names those of MORE."""
    attribution = read_attribution(data)
    with open(split, newline="", encoding="utf-8") as file:
        subjects = [row for row in csv.DictReader(file)]
    for modality in ("mr", "ct"):
        told = [{"id": row["id"], **attribution.get(row["id"], {})} for row in subjects if row["split"] == "train" and row["modality"].lower() == modality]
        told += [subject for subject in _more(more, also or []) if subject.pop("modality").lower() == modality]
        common = {**_COMMON, "modality": modality.upper(), "training_subjects": told, "degradation": _LOSSES}
        estimator(trained, models, modality, common)
        for stage, scale in SIZES:
            for suffix in ("-sharp", "", "-large"):  # that of scans with sharp kernels first: the other's card names it
                source = trained / f"told-{modality}-{stage}-x{scale}{suffix}.safetensors"
                method = "two-stage-large" if suffix == "-large" else "two-stage-told"
                name = METHODS[method].model_name(modality.upper(), stage, scale) + suffix.removesuffix("-large")
                if source.is_file():
                    network(source, models / name, {**common, "method": method, "stage": stage, "scale": scale})


def network(source: Path, folder: Path, card: dict[str, Any]) -> None:
    """Of one stage and factor, in 8 bits; one with variants in single precision, and those in half."""
    large = card["method"] == "two-stage-large"
    filters, blocks = LARGE if large else SIZES[card["stage"], card["scale"]]
    architecture = Architecture.make("edsr", {"filters": filters, "blocks": blocks}, True, (card["scale"], card["scale"] if card["stage"] == "plane" else 1))
    whole = load_file(source)
    mixed = f"{MIXING}weight" in whole
    tensors = {name: tensor.astype(np.float16) if name.startswith(VARIANTS) else tensor for name, tensor in whole.items()} if mixed else packed(whole)
    card |= {OF_MILD: mixed, "parameters": int(sum(tensor.size for tensor in whole.values())), "network": {"form": "edsr", "factors": list(architecture.factors), "filters": filters, "blocks": blocks}}
    sharp = folder.with_name(f"{folder.name}-sharp")
    card |= {FOR_SHARP: sharp.name} if sharp.is_dir() else {}
    write(folder, tensors, {**card, "multiply_accumulates_per_pixel": architecture.multiply_accumulates})


def estimator(trained: Path, models: Path, modality: str, common: dict[str, Any]) -> None:
    """Of the detail, where a new one is there."""
    tensors: dict[str, np.ndarray] = {}
    for stage in ("plane", "depth"):
        source = trained / f"{modality}-{stage}.safetensors"
        for name, tensor in (load_file(source) if source.is_file() else {}).items():
            tensors[f"{stage}.{name}"] = tensor.astype(np.float16) if name.endswith(".weight") else tensor
    if tensors:
        write(models / f"detail-{modality}", tensors, {**common, "stage": "estimator"})


def _more(path: Path | None, names: list[str]) -> list[dict[str, str]]:
    if path is None:
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [{"id": row["id"], "modality": row["modality"], "licence": row["licence"], "source": row["repo"]} for row in csv.DictReader(file) if row["id"] in names]


def write(folder: Path, tensors: dict[str, np.ndarray], card: dict[str, Any]) -> None:
    """Weights, card, and a page to read."""
    folder.mkdir(parents=True, exist_ok=True)
    content = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
    (folder / WEIGHTS).write_bytes(content)
    card = {"name": folder.name, "parameters": int(sum(tensor.size for tensor in tensors.values())), **card, "sha256": hashlib.sha256(content).hexdigest()}
    if card["stage"] == "estimator":
        card |= {"network": {"estimator": "perceptrons"}, "multiply_accumulates_per_pixel": 0}
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(page(card), encoding="utf-8")


def _of_mild(card: dict[str, Any]) -> str:
    if card[OF_MILD]:
        return ", of mild losses too, with convolutions that are mixed by what is told; it refines scans that are sharp by nature"
    return "; of mild losses the noise alone is told"


def _layers(card: dict[str, Any]) -> str:
    network = card["network"]
    return f"{network['blocks']} residual blocks of {network['filters']} filters (see `superres3d/networks/edsr.py`; stored in {'half precision in part' if card[OF_MILD] else '8 bits'})"


def page(card: dict[str, Any]) -> str:
    """A card as Markdown."""
    what = (
        f"Estimates from the power spectra of a {card['modality']} scan how it lost its detail along each axis, and its noise; see `superres3d/detail`."
        if card["stage"] == "estimator"
        else f"The {card['stage']} network of the method `{card['method']}` for {card['modality']}, factor {card['scale']}: {_layers(card)}, told of the scan by what\n"
        f"`detail-{card['modality'].lower()}` estimates. Trained on a graphics card with what that would say{_of_mild(card)} (Testing/Benchmarks/gpu and told)."
    )
    rows = "\n".join(f"| {subject['id']} | {subject.get('licence', 'unknown')} | {subject.get('source', 'unknown')} |" for subject in card["training_subjects"])
    return (
        f"# {card['name']}\n\nResearch software, not for diagnosis.\n\n{what}\n\n- Losses of detail in training: {card['degradation']}.\n- Parameters: {card['parameters']:,}.\n"
        f"- SHA-256 of `weights.safetensors`: `{card['sha256']}`.\n- Measured: models/EXPERIMENTS.md, docs/results.md.\n\n## Training subjects\n\n| subject | licence | source |\n|---|---|---|\n{rows}\n"
    )


if __name__ == "__main__":
    typer.run(main)
