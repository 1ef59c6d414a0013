#!/usr/bin/env python
"""The training of the small network of the error map.

    python Testing/Benchmarks/error_head.py gather SCANS split.csv TRACES --subset train --preset fast --seed 0
    python Testing/Benchmarks/error_head.py teach TRACES models/error-map

``gather`` upscales a part of each scan of a subset that lost its detail in a way of ``acquisitions.py`` drawn at random (antialiased bicubic in two of five, noise
of 1 % in a quarter), and keeps what there is to see (``trust/traces.py``) and the true local error of some cells inside the body.  ``teach`` trains on those of training
subjects, tells the rank correlation on validation subjects, and, for each source of scans, that on it after training without it.  Levels of the error are
settled afterwards: ``error_map.py fit --scaled``.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from acquisitions import _TASKS, WAYS, coarsened
from error_map import _AXES, _middle, _source
from scipy.stats import rankdata, spearmanr
from superres3d import read_volume
from superres3d.errors import SuperResolutionError
from superres3d.evaluation.metrics import make_reference
from superres3d.evaluation.protocol import Subject, read_subjects
from superres3d.resampling.degradation import interval_means
from superres3d.resampling.regridding import apply_along
from superres3d.scan.volume import find_slice_axis
from superres3d.trust.body import body_mask
from superres3d.trust.expected import local_error
from superres3d.trust.head import TOLD, Head
from superres3d.trust.traces import NAMES, cells_of, traces
from superres3d.upscaling import upscale

_CELLS = 4000  # of a run
_UNITS, _STEPS, _RUNS, _EACH = 16, 1500, 12, 400
app = typer.Typer(add_completion=False)


@app.command()
def gather(
    data: Path, split: Path, out: Path,
    subset: Annotated[str, typer.Option()] = "train",
    preset: Annotated[str, typer.Option()] = "fast",
    seed: Annotated[int, typer.Option()] = 0,
) -> None:  # fmt: skip
    """Keep what there is to see, and the true errors, of a run of each subject and factor."""
    random, names = np.random.default_rng(seed), list(WAYS)
    out.mkdir(parents=True, exist_ok=True)
    for number, subject in enumerate(read_subjects(data, split, subset)):
        for scale in (2, 4):
            task = "in-plane" if "openms" in subject.name else ("in-plane", "3-D", "through-plane")[(seed + number + scale // 2) % 3]
            way, noise = names[0] if random.random() < 0.4 else str(random.choice(names)), 0.01 * (random.random() < 0.25)
            path = out / f"{subset}-{subject.name}-{scale}-{task}-{way}-{noise}-{preset}-{seed}.npz".replace(" ", "_")
            try:
                if not path.exists():  # else of a run that was stopped
                    np.savez(path, subset=subset, subject=subject.name, modality=subject.modality, **_gathered(subject, scale, task, way, noise, preset))
            except SuperResolutionError as error:
                print(path.stem, error, flush=True)


def _gathered(subject: Subject, scale: int, task: str, way: str, noise: float, preset: str) -> dict[str, np.ndarray]:
    volume = read_volume(subject.path)
    axis = find_slice_axis(volume.spacing)
    factors = _TASKS[task].factors(scale, axis)
    truth = _middle(volume, axis, factors, (48, 128) if scale == 2 else (64, 176))
    reference = make_reference(truth.voxels, subject.modality, axis)
    low = replace(_TASKS[task].low_resolution(truth, factors, axis), voxels=coarsened(truth.voxels, factors, WAYS[way], noise * reference.data_range, subject.modality == "MR"))
    done = upscale(low, scale, spread=True, axes=_AXES[task], modality=subject.modality, slice_axis="kji"[axis], preset=preset)
    drawn, cells = done.volume.voxels, cells_of(low.voxels.shape, done.volume.voxels.shape)
    shape = [-(-n // cell) for n, cell in zip(low.voxels.shape, cells)]
    spread = done.spread if done.spread is not None and done.spread.any() else None
    level, seen = np.empty(shape, np.float32), np.full((*shape, len(NAMES)), np.nan, np.float32)
    for trace in traces(low.voxels, drawn, spread, 0, shape[0]):
        level[trace.place] = trace.level
        for name, logarithm in trace.logarithms.items():
            seen[(*trace.place, slice(None), NAMES.index(name))] = logarithm
    true = _in_cells(np.square(local_error(drawn, truth.voxels.astype(np.float32))), shape, cells)
    inside = (_in_cells(body_mask(truth.voxels, subject.modality).astype(np.float32), shape, cells) > 0.5) & (level > 0) & (true > 0)
    kept = np.random.default_rng(0).choice(np.flatnonzero(inside), _CELLS)
    refined = sum(factor > 1 for factor in factors)
    told = np.array([max(factors) == 4, refined == 1, refined == 3, preset != "fast", spread is not None], np.float32)
    return {"seen": seen.reshape(-1, len(NAMES))[kept], "told": told, "level": np.log(level.ravel()[kept]), "true": np.log(true.ravel()[kept])}


def _in_cells(fine: np.ndarray, shape: list[int], cells: tuple[int, ...]) -> np.ndarray:
    for axis, (count, cell) in enumerate(zip(shape, cells)):
        if cell == 2 and fine.shape[axis] % 2:
            fine = np.pad(fine, [(0, 1) if number == axis else (0, 0) for number in range(3)], mode="edge")
        fine = apply_along(fine, axis, interval_means(fine.shape[axis], count))
    return fine


@app.command()
def teach(kept: Path, model: Path) -> None:
    """Train, tell how well it ranks, and put it into the model."""
    from safetensors.numpy import load, save

    tensors = {name: tensor for name, tensor in load((model / "weights.safetensors").read_bytes()).items() if "transfer" in name or name == "bounds"}
    rows = [dict(np.load(path)) for path in sorted(kept.glob("*.npz"))]
    for modality in ("MR", "CT"):
        here = [row for row in rows if row["modality"] == modality]
        sources = sorted({_source(row) for row in here})
        for source in sources if len(sources) > 1 else ():
            told, other = ([row for row in here if (_source(row) == source) == wanted] for wanted in (True, False))
            print(f"{modality} without {source}: {_ranks(_taught(other), told)}", flush=True)
        head = _taught([row for row in here if row["subset"] == "train"])
        print(f"{modality}, validation: {_ranks(head, [row for row in here if row['subset'] == 'val'])}", flush=True)
        numbers = {"mean": head.mean, "deviation": head.deviation, "hidden.weight": head.hidden, "hidden.bias": head.hidden_bias, "output.weight": head.output, "output.bias": [head.output_bias]}
        tensors |= {f"{modality.lower()}.{name}": np.ascontiguousarray(number, np.float32) for name, number in numbers.items()}
    content, card = save(tensors), json.loads((model / "card.json").read_text())
    card["sha256"] = hashlib.sha256(content).hexdigest()
    (model / "weights.safetensors").write_bytes(content)
    (model / "card.json").write_text(json.dumps(card, indent=2) + "\n")


def _inputs(row: dict[str, Any]) -> np.ndarray:
    return np.concatenate([row["seen"], np.broadcast_to(row["told"], (_CELLS, len(TOLD)))], axis=1)


def _ranks(head: Head, rows: list[dict[str, Any]]) -> str:
    found = []
    for row in rows:
        near = np.nan_to_num(np.clip((_inputs(row) - head.mean) / head.deviation, -4, 4))
        found.append(spearmanr(np.maximum(near @ head.hidden.T + head.hidden_bias, 0) @ head.output + row["level"], row["true"])[0])
    return f"rank correlation {np.mean(found):.3f} (least {np.min(found):.2f}) of {len(found)} runs"


def _taught(rows: list[dict[str, Any]]) -> Head:
    """What it says is compared with the logarithms of true errors within a run: by correlation with their ranks, mostly; each source counts by the root of its runs."""
    import torch

    torch.manual_seed(0)
    random, counts = np.random.default_rng(0), Counter(_source(row) for row in rows)
    chances = np.array([counts[_source(row)] ** -0.5 for row in rows])
    values = np.stack([_inputs(row) for row in rows])
    mean, deviation = (function(values, axis=(0, 1)).astype(np.float32) for function in (np.nanmean, np.nanstd))
    deviation += np.float32(1e-3)
    inputs = torch.tensor(np.nan_to_num(np.clip((values - mean) / deviation, -4, 4)), dtype=torch.float32)
    level, true = (torch.tensor(np.stack([row[name] for row in rows]), dtype=torch.float32) for name in ("level", "true"))
    ranks = torch.tensor(np.stack([rankdata(row["true"]) for row in rows]), dtype=torch.float32)
    net = torch.nn.Sequential(torch.nn.Linear(inputs.shape[-1], _UNITS), torch.nn.ReLU(), torch.nn.Linear(_UNITS, 1))
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=_STEPS, pct_start=0.1)
    for _ in range(_STEPS):
        runs = torch.tensor(random.choice(len(rows), _RUNS, p=chances / chances.sum()))[:, None]
        cells = torch.tensor(random.choice(_CELLS, _EACH))[None]
        said = net(inputs[runs, cells])[..., 0] + level[runs, cells]
        off, (one, other) = said - true[runs, cells], (x - x.mean(1, True) for x in (said, ranks[runs, cells]))
        alike = (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1) + 1e-6)
        loss = (1 - alike + 0.05 * off.var(1) + 0.02 * off.mean(1) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    hidden, hidden_bias, output, bias = (parameter.detach().numpy() for parameter in net.parameters())
    return Head(mean, deviation, hidden, hidden_bias, output[0], float(bias[0]), False)


if __name__ == "__main__":
    app()
