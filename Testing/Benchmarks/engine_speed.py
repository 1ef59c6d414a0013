"""Seconds and peak memory of the engine against a plain eager per-slice loop, in one run.

The plain loop is what a reader of the paper would write: one slice at a time, channels first,
eight turned copies, numpy.median.  Each of its slices costs the same, so it is timed on evenly
spaced ones and scaled up; the engine runs the whole volume.  Results are compared on those slices.

    python Testing/Benchmarks/engine_speed.py                       the small scan, x2
    python Testing/Benchmarks/engine_speed.py --workload small-x4 --workload ct-x2 --slices 16
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter
from superres3d.intensity import intensity_scale
from superres3d.upscaling import upscale
from superres3d.volume import Volume
from superres3d.weights import find_model, load_network


@dataclass(frozen=True)
class Workload:
    """A scan of ``shape`` (k, j, i) to be refined on all axes."""

    shape: tuple[int, int, int]
    scale: int
    modality: str


WORKLOADS = {
    "small-x2": Workload((64, 256, 256), 2, "MR"),
    "small-x4": Workload((64, 256, 256), 4, "MR"),
    "ct-x2": Workload((200, 512, 512), 2, "CT"),
}


def synthetic_scan(workload: Workload, slices: int | None) -> Volume:
    """Band-limited texture over the intensity range of the modality, float32."""
    shape = (min(slices or workload.shape[0], workload.shape[0]), *workload.shape[1:])
    texture = gaussian_filter(np.random.default_rng(0).standard_normal(shape, dtype=np.float32), 1.5)
    low, high = (-1000, 1500) if workload.modality == "CT" else (0, 1000)
    texture = np.clip(texture, *np.percentile(texture, (0.3, 99.3)))  # inside the networks' range
    texture = (texture - texture.min()) / np.ptp(texture) * (high - low) + low
    return Volume(texture.astype(np.float32), (0.7, 0.7, 1.5), modality=workload.modality)


class PlainLoop:
    """One slice at a time, as the paper's text reads."""

    def __init__(self, method: str, workload: Workload, device: str):
        modality = workload.modality.lower()
        self._device = device
        self._nets = {stage: load_network(find_model(f"{method}-{modality}-{stage}-x{workload.scale}")).to(device) for stage in ("plane", "depth")}

    def plane(self, image: np.ndarray) -> np.ndarray:
        """Median of eight: four quarter turns, each with and without a flip."""
        members = []
        for quarter in range(4):
            for flip in (False, True):
                turned = np.rot90(image, quarter)
                output = self._run("plane", turned[:, ::-1] if flip else turned)
                members.append(np.rot90(output[:, ::-1] if flip else output, -quarter))
        return np.median(members, axis=0)

    def depth(self, image: np.ndarray) -> np.ndarray:
        """Median of four: flips along either axis; rows run along the depth."""
        turns = [(rows, columns) for rows in (1, -1) for columns in (1, -1)]
        return np.median([self._run("depth", image[::r, ::c])[::r, ::c] for r, c in turns], axis=0)

    def _run(self, stage: str, image: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self._nets[stage](torch.from_numpy(np.ascontiguousarray(image)).to(self._device)[None, None])[0, 0].cpu().numpy()


def measure(name: str, slices: int | None, samples: int, method: str, device: str) -> dict:
    """Time both on one workload; returns a row of the table."""
    workload = WORKLOADS[name]
    scan = synthetic_scan(workload, slices)
    options = {"method": method, "modality": workload.modality, "device": device}
    report = upscale(scan, workload.scale, **options).report
    middle = upscale(scan, (workload.scale, 1), **options).volume
    intensities = intensity_scale(scan.voxels, workload.modality)
    normalised, between = (intensities.split(intensities.normalise(v.voxels))[0] for v in (scan, middle))
    plain = PlainLoop(method, workload, device)
    started = time.perf_counter()
    chosen = np.linspace(0, scan.voxels.shape[0] - 1, samples).astype(int)
    planes = [plain.plane(normalised[k]) for k in chosen]
    plane_seconds = (time.perf_counter() - started) / samples * scan.voxels.shape[0]
    error = max(np.abs(p - intensities.normalise(middle.voxels[k])).max() for p, k in zip(planes, chosen))
    started = time.perf_counter()
    rows = np.linspace(0, between.shape[1] - 1, samples).astype(int)
    columns = np.linspace(0, between.shape[2] - 1, samples).astype(int)
    for row, column in zip(rows, columns):
        plain.depth(between[:, row])
        plain.depth(between[:, :, column])
    depth_seconds = (time.perf_counter() - started) / samples * (between.shape[1] + between.shape[2]) / 2
    seconds = report["seconds"]
    return {
        "workload": f"{name}, {' x '.join(map(str, scan.voxels.shape[::-1]))}",
        "device": device if device != "cpu" else f"cpu, {torch.get_num_threads()} threads",
        "engine_seconds": {stage: seconds[stage] for stage in ("plane", "depth")},
        "plain_seconds": {"plane": plane_seconds, "depth": depth_seconds},
        "ratio": {
            "plane": plane_seconds / seconds["plane"],
            "depth": depth_seconds / seconds["depth"],
            "both": (plane_seconds + depth_seconds) / (seconds["plane"] + seconds["depth"]),
        },
        "peak_memory_GiB": report["peak_memory_bytes"] / 2**30,
        "largest_difference_of_255": float(error * 255),
    }


def show(rows: list[dict]) -> None:
    table = Table("workload", "device", "engine s (plane + depth)", "plain loop s", "plane", "depth", "times as fast", "peak GiB", "difference of 255")
    for row in rows:
        engine, plain, ratio = row["engine_seconds"], row["plain_seconds"], row["ratio"]
        table.add_row(
            row["workload"], row["device"], f"{engine['plane']:.1f} + {engine['depth']:.1f}", f"{plain['plane']:.1f} + {plain['depth']:.1f}",
            f"{ratio['plane']:.2f}", f"{ratio['depth']:.2f}", f"{ratio['both']:.2f}", f"{row['peak_memory_GiB']:.2f}", f"{row['largest_difference_of_255']:.4f}",
        )  # fmt: skip
    Console(width=180).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", action="append", choices=WORKLOADS)
    parser.add_argument("--slices", type=int, help="only so many slices of the scan")
    parser.add_argument("--samples", type=int, default=6, help="slices on which the plain loop is timed")
    parser.add_argument("--method", default="two-stage-residual")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps; both sides run on it")
    parser.add_argument("--json", type=Path, help="append the rows to this file, one JSON object a line")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:  # in a process of its own, for its own peak memory
        print(json.dumps(measure(arguments.one, arguments.slices, arguments.samples, arguments.method, arguments.device)))
        return
    rows = []
    for name in arguments.workload or ["small-x2"]:
        command = [sys.executable, __file__, "--one", name, "--samples", str(arguments.samples), "--method", arguments.method, "--device", arguments.device]
        command += ["--slices", str(arguments.slices)] if arguments.slices else []
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]))
        if arguments.json:
            with open(arguments.json, "a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    show(rows)


if __name__ == "__main__":
    main()
