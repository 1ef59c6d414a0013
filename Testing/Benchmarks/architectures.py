#!/usr/bin/env python
"""The networks of Chen 2020 (tables 1 and 2) and Kudo 2019 (table 1) under one schedule, so that the tables compare architectures.

    python Testing/Benchmarks/architectures.py SCANS split.csv --out architectures

Every network of a table meets the same samples in the same order (the seed's), for the same number of steps, with the same learning rates (the
last convolution's depends on whether it makes the scan or what is to be added to it).
The weights after the last step are taken: no checkpoint is chosen.  A training that was interrupted goes on where it stopped.
Each is then measured on the subset, in the task of its paper, as ``superres3d evaluate`` does it.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from skimage.metrics import normalized_root_mse
from superres3d import methods
from superres3d.evaluation.metrics import Reference, make_reference, measure
from superres3d.evaluation.protocol import Protocol, central_crop, read_subjects
from superres3d.evaluation.run import Cell, plan_cells, refined
from superres3d.methods import find_method
from superres3d.networks.weights import find_model
from superres3d.scan.images import read_volume
from superres3d.scan.volume import Volume
from superres3d.training.recipe import AnyRecipe, load_recipe

RECIPES = Path(__file__).resolve().parents[2] / "models" / "recipes"
_BRAINS = [*(f"mr_t1_ds000011_sub{n:02d}" for n in (1, 5)), *(f"mr_t1_ds002748_sub{n}" for n in (10, 23))]
_INTERPOLATIONS = ("linear", "lanczos")
_ALONE = "alone"  # after a method's name: without the back-projection that its results end with
_KEPT = "means kept"
_GIVEN = {"linear": "", "lanczos": "", "spline": "32.34, 0.878 (bicubic)"}  # interpolations that are told beside the networks
_GAIN = "gain over Lanczos [each subject]"
_FIGURES = {False: ("PSNR", "SSIM", "NRMSE", _GAIN), True: ("PSNR", "SSIM", _GAIN, "PSNR, means kept", "SSIM, means kept")}  # by whether the results end with a step
Row = dict[str, Any]
FIRST_SEED = 2020


class Network(NamedTuple):
    """A row of a table.

    Attributes:
        name: in words.
        method: of the catalogue, by which it is measured.
        family, change: as the recipe takes them.
        published: PSNR and SSIM of the paper, on its own scans.
    """

    name: str
    method: str
    family: str
    change: Mapping[str, Any] = MappingProxyType({})
    published: str = ""


class Table(NamedTuple):
    """Networks that are compared, and what they have in common.

    Attributes:
        recipe: a file of models/recipes, whose samples all of them meet.
        schedule: fields of the recipe, the same for all.
        task, scales: of ``superres3d evaluate``.
        subjects: how the ids of the measured subjects begin.
    """

    recipe: str
    schedule: dict[str, Any]
    task: str
    scales: tuple[int, ...]
    subjects: tuple[str, ...]
    networks: tuple[Network, ...]


def _mdcsrn(name: str, **options: object) -> Network:
    return Network(f"mDCSRN {name}", "mdcsrn", "mdcsrn", {"options": options})


# Without high-frequency prediction: the last convolution has to make the whole scan, not a hundredth of its range, and learns as fast as the others.
_WHOLE: dict[str, Any] = {"residual": False, "last_rate": 1.0}
_VTS = {"options": {"filters": 16}}
_PIX2PIX = {"options": {"filters": 16, "levels": 5}}
_JUDGED: dict[str, Any] = {"adversarial": "conditional", "voxel_weight": 100.0, "adversarial_weight": 1.0, "discriminator_filters": 16}
TABLES = {
    "chen2020": Table(
        "baselines-mr.toml",
        {"volumes": _BRAINS, "all_axes": [], "validation": [], "patch": 20, "patch_depth": 20, "batch": 1, "steps": 1500, "learning_rate": 5e-4, "last_rate": 0.3},
        "k-space", (2,), ("mr_t1_ds",),
        (
            Network("FSRCNN", "fsrcnn-3d", "fsrcnn"),
            Network("SRCNN 9-1-5", "fsrcnn-3d", "srcnn"),
            _mdcsrn("b4u4"),
            _mdcsrn("b4u4-r", reconstruction=True),
            _mdcsrn("b6u4", blocks=6),
            Network("SRDenseNet", "srdensenet-3d", "srdensenet"),
            _mdcsrn("b8u4", blocks=8),
            _mdcsrn("b1u12-r (DCSRN)", blocks=1, units=12, reconstruction=True),
            _mdcsrn("b1u16-r (DCSRN)", blocks=1, units=16, reconstruction=True),
            Network("SRResNet, 8 blocks of 32 channels", "srresnet-3d", "srresnet", {"options": {"blocks": 8, "filters": 32}}),
            Network("SRResNet", "srresnet-3d", "srresnet"),
        ),
    ),
    "kudo2019": Table(
        "virtual-thin-slice.toml", {"validation": [], "slice_factors": [4, 8], "patch": 32, "patch_depth": 32, "batch": 2, "steps": 300, "last_rate": 0.1}, "thick-slice", (4, 8), ("ct_",),
        (
            Network("SRCNN 9-1-5", "srcnn-3d", "srcnn", {**_WHOLE, "options": {}}, "33.73, 0.904"),
            Network("SRCNN 9-1-5, with HF prediction", "srcnn-3d", "srcnn", {"options": {}}),
            Network("Pix2Pix, without discriminator", "pix2pix-3d", "pix2pix", {**_PIX2PIX, **_WHOLE}),
            Network("Pix2Pix", "pix2pix-3d", "pix2pix", {**_PIX2PIX, **_WHOLE, **_JUDGED, "adversarial": "patch"}, "35.14, 0.925"),
            Network("VTS", "virtual-thin-slice-gan", "virtual-thin-slice", {**_VTS, **_JUDGED}, "35.73, 0.933"),
            Network("VTS without condition", "virtual-thin-slice-gan", "virtual-thin-slice", {**_VTS, **_JUDGED, "condition": False}, "35.17, 0.924"),
            Network("VTS without HF prediction", "virtual-thin-slice-gan", "virtual-thin-slice", {**_VTS, **_JUDGED, **_WHOLE}, "33.70, 0.905"),
            Network("VTS without discriminator", "virtual-thin-slice", "virtual-thin-slice", _VTS),
            Network("VTS without discriminator, without HF prediction", "virtual-thin-slice", "virtual-thin-slice", {**_VTS, **_WHOLE}),
            Network("VTS without discriminator, with layers on the full grid", "virtual-thin-slice", "virtual-thin-slice", {"options": {"filters": 16, "detail": 16}}),
        ),
    ),
}  # fmt: skip


def main(
    data: Annotated[Path, typer.Argument(help="Folder of the scans.")],
    split: Annotated[Path, typer.Argument(help="CSV with id, split, modality.")],
    out: Annotated[Path, typer.Option(help="Folder for trainings and results.")] = Path("architectures"),
    table: Annotated[list[str] | None, typer.Option(help=f"{', '.join(TABLES)}; may be repeated; default: all.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Networks by name; may be repeated; default: all.")] = None,
    subset: Annotated[str, typer.Option(help="On which they are measured; empty: they are trained alone.")] = "",
    slices: Annotated[int, typer.Option(help="Central slices of a scan that are measured.")] = 48,
    seed: Annotated[int, typer.Option(help="Of the first weights and the samples.")] = FIRST_SEED,
    setting: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Of every recipe: another schedule.")] = None,
) -> None:
    """Train, measure, print the tables."""
    for name in table or TABLES:
        chosen = [network for network in TABLES[name].networks if not only or network.name in only]
        for network in chosen:
            _train(folder_of(out, name, network, seed), data, TABLES[name], network, [f"seed={seed}", *(setting or [])])
        if subset:
            print(f"{name}\n\n{_table(name, out, data, split, subset, slices, chosen, seed)}\n")


def folder_of(out: Path, table: str, network: Network, seed: int) -> Path:
    words = network.name if seed == FIRST_SEED else f"{network.name} seed {seed}"
    return out / table / "".join(letter if letter.isalnum() else "-" for letter in words)


def _train(folder: Path, data: Path, table: Table, network: Network, more: list[str]) -> None:
    if (folder / "models").is_dir():
        return
    from superres3d.training.export import export_model
    from superres3d.training.fit import fit

    recipe = recipe_of(table, network, more)
    began = time.process_time()
    net = fit(recipe, data, folder / "run")
    export_model(net, recipe, data, folder / "models")
    (folder / "seconds.txt").write_text(f"{time.process_time() - began:.0f}\n")
    print(f"{network.name}: {time.process_time() - began:.0f} s of the processor", file=sys.stderr)


def recipe_of(table: Table, network: Network, more: list[str]) -> AnyRecipe:
    """The table's samples and schedule, with the network's own fields; ``more`` are FIELD=VALUE."""
    settings = {**table.schedule, "method": network.method, "family": network.family, **network.change}
    return load_recipe(RECIPES / table.recipe, {**{name: _toml(value) for name, value in settings.items()}, **dict(pair.split("=", 1) for pair in more)})


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {json.dumps(item)}" for name, item in value.items()) + "}"
    return value if isinstance(value, str) else json.dumps(value)


def _table(name: str, out: Path, data: Path, split: Path, subset: str, slices: int, networks: list[Network], seed: int) -> str:
    table = TABLES[name]
    after = find_method(table.networks[0].method).keeps_means
    rows: dict[str, list[Row]] = {}
    for row in _measured(out / name / "interpolations", data, split, subset, slices, table, _INTERPOLATIONS):
        rows.setdefault(row["method"].removesuffix(f", {_KEPT}"), []).append(row)
    given = [[label, "", "", published] for label, published in _GIVEN.items() if label in rows]
    lines = []
    for network in networks:
        folder = folder_of(out, name, network, seed)
        if (folder / "models").is_dir():
            rows[network.name] = _measured(folder, data, split, subset, slices, table, (network.method,))
            lines.append([network.name, f"{rows[network.name][0]['parameters']:,}", (folder / "seconds.txt").read_text().strip(), network.published])
    heading = ["network", "parameters", "seconds", *(f"{scale}x {text}" for scale in table.scales for text in _FIGURES[after]), "published"]
    filled = [[*head, *(text for scale in table.scales for text in _texts(rows[head[0]], rows["lanczos"], scale, after)), last] for *head, last in (*given, *lines)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heading, ["---"] + ["---:"] * (len(heading) - 1), *filled))


def _texts(mine: list[Row], lanczos: list[Row], scale: int, after: bool) -> list[str]:
    """What :data:`_FIGURES` names, at one factor."""
    here = [row for row in mine if row["scale"] == scale]
    alone = [row for row in here if row["method"].endswith(_ALONE)] or [row for row in here if not row["method"].endswith(_KEPT)]
    ended = [row for row in here if row not in alone]
    base = {row["subject"]: row["psnr"] for row in lanczos if row["scale"] == scale}
    gains = [row["psnr"] - base[row["subject"]] for row in alone]
    gain = f"{statistics.mean(gains):+.2f} [{', '.join(f'{gain:+.2f}' for gain in gains)}]"
    if after:
        return [_mean(alone, "psnr", 2), _mean(alone, "ssim", 4), gain, _mean(ended, "psnr", 2), _mean(ended, "ssim", 4)]
    return [_mean(alone, "psnr", 2), _mean(alone, "ssim", 4), _mean(alone, "nrmse", 4), gain]


def _mean(rows: list[Row], metric: str, digits: int) -> str:
    return f"{statistics.mean(row[metric] for row in rows):.{digits}f}" if rows else ""


def _measured(folder: Path, data: Path, split: Path, subset: str, slices: int, table: Table, names: tuple[str, ...]) -> list[Row]:
    """A row a subject, factor and method; kept in the folder, which may hold the methods' models."""
    kept = folder / f"results-{subset}.json"
    if kept.exists():
        return json.loads(kept.read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["SUPERRES3D_MODELS"] = str((folder / "models").resolve())
    protocol = Protocol(methods=names, scales=table.scales, tasks=(table.task,), slices=slices, preset="fast")
    rows = []
    for subject in read_subjects(data, split, subset, tuple(_subjects(split, subset, table.subjects))):
        volume = read_volume(subject.path)
        for cell in plan_cells(subject, protocol):
            truth = central_crop(cell.kind.thin(volume, cell.slice_axis), cell.slice_axis, slices, cell.factors)
            low = cell.kind.low_resolution(truth, cell.factors, cell.slice_axis)
            reference = make_reference(truth.voxels, subject.modality, cell.slice_axis)
            for name, voxels in _results(cell, low, protocol, names) if not cell.skip else ():
                parameters = _parameters(cell, name.removesuffix(f" {_ALONE}"))
                rows.append({"subject": subject.name, "scale": cell.scale, "method": name, "parameters": parameters, **measure(reference, voxels), "nrmse": _nrmse(reference, voxels)})
                np.save(folder / f"{subject.name}-{cell.scale}-{name}.npy", _picture(reference, voxels, table))
    kept.write_text(json.dumps(rows), encoding="utf-8")
    return rows


def _results(cell: Cell, low: Volume, protocol: Protocol, names: tuple[str, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """A name and the voxels: of every method, and of those that keep the means what the network alone has made.  (A protocol's methods always hold Lanczos.)"""
    for name in names:
        yield name, refined(cell, low, name, protocol, lambda _: None)[0]
        if methods.METHODS[name].keeps_means:
            with _without_means(name):
                yield f"{name} {_ALONE}", refined(cell, low, name, protocol, lambda _: None)[0]
    for name in () if methods.METHODS[names[0]].networks else cell.kind.references:
        yield name, refined(cell, low, name, protocol, lambda _: None)[0]


@contextlib.contextmanager
def _without_means(name: str) -> Iterator[None]:
    kept = methods.METHODS[name]
    methods.METHODS[name] = replace(kept, keeps_means=False)
    try:
        yield
    finally:
        methods.METHODS[name] = kept


def _nrmse(reference: Reference, voxels: np.ndarray) -> float:
    result = reference.prepare(voxels)
    return float(np.mean([normalized_root_mse(reference.slices[n], result[n]) for n in reference.measured]))


def _picture(reference: Reference, voxels: np.ndarray, table: Table) -> np.ndarray:
    """To be looked at: the middle slice, or a cut across the slices where these are refined."""
    result = reference.prepare(voxels) / np.float32(reference.data_range)
    return result[len(result) // 2] if table.task == "k-space" else result[:, result.shape[1] // 2]


def _parameters(cell: Cell, method: str) -> int:
    return sum(find_model(model["name"]).card["parameters"] for model in cell.conditions[method]["models"].values())


def _subjects(split: Path, subset: str, beginnings: tuple[str, ...]) -> list[str]:
    with open(split, newline="", encoding="utf-8") as file:
        return [row["id"] for row in csv.DictReader(file) if row["split"] == subset and row["id"].startswith(beginnings)]


if __name__ == "__main__":
    typer.run(main)
