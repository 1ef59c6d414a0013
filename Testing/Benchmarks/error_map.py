#!/usr/bin/env python
"""Whether the error map tells where errors are, and whether its bound holds; what a calibration on the scan itself must be multiplied by.

    python Testing/Benchmarks/error_map.py measure SCANS split.csv PAIRS --subset val --preset fast
    python Testing/Benchmarks/error_map.py fit PAIRS models/error-map --kept train,val
    python Testing/Benchmarks/error_map.py table PAIRS --subset test

A part of each scan loses its detail in one of the ways of ``acquisitions.py``, drawn at random, at times with noise of 1 %; it is upscaled with an error map, and
the map is compared with the true local error inside the body.  ``measure`` keeps pairs of both, of the run itself and of its calibration; ``fit`` needs those
of training and validation scans alone.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from acquisitions import _TASKS, WAYS, coarsened
from scipy.stats import spearmanr
from superres3d import Volume, read_volume
from superres3d.errors import SuperResolutionError
from superres3d.evaluation.metrics import make_reference
from superres3d.evaluation.protocol import Subject, read_subjects
from superres3d.methods import DEFAULT_METHOD
from superres3d.scan.volume import find_slice_axis
from superres3d.trust import calibration
from superres3d.trust.body import body_mask
from superres3d.trust.calibration import calibrate, compared, root_mean_square
from superres3d.trust.expected import Transfer, bound_of, expected_error, local_error, transfer_of
from superres3d.trust.head import head_of
from superres3d.upscaling import plan_for, upscale

_AXES = {"3-D": "all", "in-plane": "in-plane", "through-plane": "through-plane"}
_KEPT = 6000  # pairs
_SLOPE, _EVEN, _FALL = 0.4, 1.0, -0.7  # of the transfer: chosen by leaving out a source at a time
_FALLS = (-9.0, -0.6, -0.25)  # scans from the one up to the next are held together: how far errors are off differs between soft and sharp ones
_SCANS = 0.95  # of them, for which the bound is to hold for 90 % of the voxels or more
_TOLD = (0.05, 0.95)  # of them: what a bound held for
_COUNTS = 3  # so many scans weigh as much as all groups together in the start of a group
app = typer.Typer(add_completion=False)


@app.command()
def measure(
    data: Path, split: Path, pairs: Path,
    subset: Annotated[str, typer.Option()] = "val",
    preset: Annotated[str, typer.Option()] = "fast",
    task: Annotated[str, typer.Option(help="in-plane, 3-D or through-plane; drawn if not given.")] = "",
    way: Annotated[str, typer.Option(help="A row of acquisitions.py; drawn if not given.")] = "",
    noise: Annotated[float, typer.Option(help="Share of the data range; below 0: 1 % in a quarter of the runs.")] = -1.0,
    seed: Annotated[int, typer.Option()] = 0,
    modality: Annotated[str, typer.Option()] = "",
    method: Annotated[str, typer.Option()] = DEFAULT_METHOD,
) -> None:  # fmt: skip
    """Keep pairs of expected and true local errors of every subject of a subset."""
    random, names = np.random.default_rng(seed), list(WAYS)
    pairs.mkdir(parents=True, exist_ok=True)
    for subject in read_subjects(data, split, subset):
        for scale in (2, 4) if modality in subject.modality else ():
            drawn = (str(random.choice(list(_TASKS), p=(0.25, 0.5, 0.25))), names[0] if random.random() < 0.4 else str(random.choice(names)), 0.01 * (random.random() < 0.25))
            chosen = ("in-plane" if "openms" in subject.name else task or drawn[0], way or drawn[1], noise if noise >= 0 else drawn[2])
            name = f"{subset}-{subject.name}-{scale}-{chosen[0]}-{chosen[1]}-{chosen[2]}-{preset}".replace(" ", "_")
            if (pairs / f"{name}.npz").exists():  # of a run that was stopped
                continue
            try:
                found = _pairs(subject, scale, *chosen, preset, method)
            except SuperResolutionError as error:
                print(name, error, flush=True)
                continue
            np.savez(pairs / f"{name}.npz", subset=subset, subject=subject.name, modality=subject.modality, scale=scale, task=chosen[0], way=chosen[1], noise=chosen[2], preset=preset, **found)
            print(name, f"rank correlation {_rank(found['expected'], found['true']):.2f}", flush=True)


def _pairs(subject: Subject, scale: int, task: str, way: str, noise: float, preset: str, method: str) -> dict[str, np.ndarray]:
    volume = read_volume(subject.path)
    axis = find_slice_axis(volume.spacing)
    factors = _TASKS[task].factors(scale, axis)
    truth = _middle(volume, axis, factors, (48, 128) if scale == 2 else (64, 176))
    reference = make_reference(truth.voxels, subject.modality, axis)
    low = replace(
        _TASKS[task].low_resolution(truth, factors, axis), voxels=coarsened(truth.voxels, factors, WAYS[way], noise * reference.data_range, subject.modality == "MR")
    )
    asked: dict[str, Any] = {"method": method, "preset": preset}
    place: dict[str, Any] = {"scale": scale, "axes": _AXES[task], "modality": subject.modality, "slice_axis": "kji"[axis]}
    plan, _ = plan_for(low, **place, **asked)
    kept: list[dict[str, np.ndarray]] = []

    def keep(true: np.ndarray, expected: np.ndarray, where: np.ndarray, *given: Any) -> calibration.Calibration:
        step = max(1, int(where.sum()) // _KEPT)
        kept.append({"expected": expected[where][::step].copy(), "true": true[where][::step].copy()})
        return compared(true, expected, where, *given)

    calibration.compared = keep
    found = calibrate(low, plan, asked)
    done = upscale(low, spread=True, **place, **asked)
    expected = expected_error(low.voxels, done.volume.voxels, done.spread, head_of(subject.modality, plan.preset.ensemble != "none"))
    keep(local_error(done.volume.voxels, truth.voxels.astype(np.float32)), expected, body_mask(truth.voxels, subject.modality))
    told = np.array([found.growth, found.floor, found.bound, *found.checked])
    return {**kept[-1], "found": told, "fall": np.array(np.nan if found.fall is None else found.fall)}


def _middle(volume: Volume, axis: int, factors: tuple[int, int, int], sizes: tuple[int, int]) -> Volume:
    lengths = [min(n, sizes[0] if number == axis else sizes[1]) // f * f for number, (n, f) in enumerate(zip(volume.voxels.shape, factors))]
    starts = [(n - length) // 2 for n, length in zip(volume.voxels.shape, lengths)]
    return replace(volume, voxels=np.ascontiguousarray(volume.voxels[tuple(slice(start, start + length) for start, length in zip(starts, lengths))]))


def _rank(expected: np.ndarray, true: np.ndarray) -> float:
    return float(spearmanr(expected, true)[0])


def _read(pairs: Path, subsets: str) -> Iterator[dict[str, Any]]:
    for path in sorted(pairs.glob("*.npz")):
        with np.load(path) as file:
            row = {name: file[name][()] if file[name].ndim == 0 else file[name] for name in file.files}
        if row["subset"] in subsets.split(","):
            yield row


def _group(row: dict[str, Any]) -> str:
    return f"{row['modality'].lower()}.transfer.{row['scale']}.{'across' if row['task'] == 'through-plane' else 'within'}"


def _found(row: dict[str, Any]) -> calibration.Calibration:
    growth, floor, bound, asked, by = row["found"]
    fall = None if np.isnan(row["fall"]) else float(row["fall"])
    return calibration.Calibration(float(growth), float(floor), float(bound), (int(asked), int(by)), 0, fall=fall)


@app.command()
def fit(
    pairs: Path, model: Path,
    kept: Annotated[str, typer.Option()] = "train,val",
    scaled: Annotated[bool, typer.Option(help="Also change the factor of the whole; --careful goes by it.")] = False,
    narrower: Annotated[bool, typer.Option(help="Bounds may become narrower than they are; not where they were fitted on more scans than there are now.")] = True,
) -> None:  # fmt: skip
    """Put into the model how a calibration carries over from the scan made coarser to the scan's own result, and how far it may be off."""
    from safetensors.numpy import load, save

    tensors = dict(load((model / "weights.safetensors").read_bytes()))
    rows = list(_read(pairs, kept))
    if scaled:
        _fit_scales(tensors, rows)
    transfers = _transfers(rows)
    for group, transfer in transfers.items():
        tensors[group] = np.array([transfer.start, transfer.slope, transfer.even, transfer.fall], np.float32)
        print(f"{group}: start {transfer.start:.2f} of {sum(_group(row) == group for row in rows)} scans")
    tensors["bounds"] = np.array(_bounds(rows, [] if narrower else tensors["bounds"].astype(np.float64).tolist()), np.float32)
    content, card = save(tensors), json.loads((model / "card.json").read_text())
    card["sha256"] = hashlib.sha256(content).hexdigest()
    card["weights"] = {name: [round(float(value), 5) for value in values.ravel()] for name, values in sorted(tensors.items()) if "transfer" in name or name == "bounds"}
    (model / "weights.safetensors").write_bytes(content)
    (model / "card.json").write_text(json.dumps(card, indent=2) + "\n")


def _fit_scales(tensors: dict[str, np.ndarray], rows: list[dict[str, Any]]) -> None:
    """So that errors were right in the mean of the scans without noise; changes the rows as well."""
    for modality in sorted({row["modality"] for row in rows}):
        here = [row for row in rows if row["modality"] == modality]
        growths = [compared(row["true"], row["expected"], np.ones(row["true"].shape, bool)).growth for row in here if row["noise"] == 0]
        scale = float(np.exp(np.median(np.log(growths))))
        name = f"{modality.lower()}.output.bias"  # of the logarithm of a square
        tensors[name] = tensors[name] + np.float32(2 * np.log(scale))
        for row in here:
            row["expected"], row["found"] = row["expected"] * scale, row["found"] / np.array([scale, 1, 1, 1, 1])


def _transfers(rows: list[dict[str, Any]]) -> dict[str, Transfer]:
    """Starts by group, drawn towards that of all."""
    blank = Transfer(0.0, _SLOPE, _EVEN, _FALL)
    starts = [_log_growth(row) - float(np.log(_found(row).carried_over(blank, 0.0).growth)) for row in rows]
    middle = float(np.median(starts))
    transfers = {}
    for group in sorted({_group(row) for row in rows}):
        here = [start for row, start in zip(rows, starts) if _group(row) == group]
        transfers[group] = replace(blank, start=(sum(here) + _COUNTS * middle) / (len(here) + _COUNTS))
    return transfers


def _bounds(rows: list[dict[str, Any]], before: list[list[float]]) -> list[list[float]]:
    """Bounds as claimed, and the shares that they held for, are not narrower than those of before.  A line for each of the ranges of falls, as :func:`superres3d.trust.expected.bound_of` reads them: each source is told by the others."""
    ratios: dict[float, list[tuple[str, np.ndarray]]] = {fall: [] for fall in _FALLS}
    for source in sorted({_source(row) for row in rows}):
        transfers = _transfers([row for row in rows if _source(row) != source])
        for row in rows:
            if _source(row) == source and not np.isnan(row["fall"]):
                ratios[max(fall for fall in _FALLS if fall <= row["fall"])].append((source, _ratio(row, transfers.get(_group(row)) or transfers[min(transfers)])))
    lines = []
    for fall, found in ratios.items():
        counts = Counter(source for source, _ in found)
        weights = np.array([1 / counts[source] for source, _ in found])  # a scan of a new source is what a bound is for
        needed = [float(np.quantile(ratio, calibration.COVERAGE)) for _, ratio in found]
        middle, most = _quantiles(needed, weights, (0.5, _SCANS))
        earlier = next((line for line in before if np.isclose(line[0], fall)), [])
        times = middle, max([most, *earlier[4:5]])
        held = [[float(np.mean(ratio <= by)) for _, ratio in found] for by in times]
        told = [_quantiles(shares, weights, _TOLD) for shares in held]
        for (low, high), place in zip(told if earlier else (), (2, 5)):
            told[place // 5] = [min(low, earlier[place]), max(high, earlier[place + 1])]
        lines.append([fall, *(value for by, shares in zip(times, told) for value in (by, *shares))])
        print(f"falls from {fall:g}: {len(found)} scans, {times[0]:.2f} times in the middle, {times[1]:.2f} for {_SCANS:.0%}; held for at least {min(held[1]):.0%}; deviation {np.std(np.log(needed)):.2f}")
    return lines


def _quantiles(values: list[float], weights: np.ndarray, shares: tuple[float, ...]) -> list[float]:
    order = np.argsort(values)
    upto = np.cumsum(weights[order])
    return [float(np.asarray(values)[order][min(int(np.searchsorted(upto, share * upto[-1])), len(values) - 1)]) for share in shares]


def _source(row: dict[str, Any]) -> str:
    """Subjects of one are alike."""
    return str(row["subject"]).rsplit("_", 1)[0]


def _log_growth(row: dict[str, Any]) -> float:
    return float(np.log(compared(row["true"], row["expected"], np.ones(row["true"].shape, bool)).growth))


def _ratio(row: dict[str, Any], transfer: Transfer) -> np.ndarray:
    """True errors over those of the map."""
    carried = _found(row).carried_over(transfer, root_mean_square(row["expected"]))
    return row["true"] / np.maximum(carried.applied(row["expected"].astype(np.float64)), np.finfo(np.float32).tiny)


@app.command()
def table(pairs: Path, subset: Annotated[str, typer.Option()] = "val") -> None:
    """Rank correlation and coverage, a line a run."""
    print("| subject | lost by | noise | preset | rank correlation | bound | it holds for | that of the middle holds for | told |\n| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    sums: dict[str, list[tuple[float, float, float, float]]] = {}
    for row in _read(pairs, subset):
        ratio, rank = _ratio(row, transfer_of(row["modality"], int(row["scale"]), row["task"] == "through-plane")), _rank(row["expected"], row["true"])
        told, held = "| | | |", (np.nan, np.nan)
        if not np.isnan(row["fall"]):
            bound = bound_of(float(row["fall"]))
            held = float(np.mean(ratio <= bound.most)), float(np.mean(ratio <= bound.middle))
            least, largest = bound.middle_held
            told = f"| {bound.most:.2f} | {held[0]:.0%} | {held[1]:.0%} | {least:.0%} to {largest:.0%} |"
        sums.setdefault(f"{row['modality']} {row['preset']}", []).append((rank, *held, least <= held[1] <= largest if held[0] == held[0] else np.nan))
        print(f"| {row['subject']}, {row['task']} {row['scale']}x | {row['way']} | {row['noise']:.0%} | {row['preset']} | {rank:.2f} {told}")
    for name, values in sorted(sums.items()):
        ranks, most, middle, within = np.array(values).T
        claimed = most[~np.isnan(most)]
        print(
            f"{name}: rank correlation {ranks.mean():.2f} (least {ranks.min():.2f}); a bound is claimed for {len(claimed)} of {len(most)} and holds for 90 % or more on "
            f"{np.count_nonzero(claimed >= calibration.COVERAGE)}, for {claimed.min(initial=1.0):.0%} on the worst, {np.median(claimed) if len(claimed) else 0.0:.0%} in the middle; "
            f"that of the middle holds for {np.nanmin(middle):.0%} to {np.nanmax(middle):.0%}, {np.nansum(within):.0f} within what is told"
        )


if __name__ == "__main__":
    app()
