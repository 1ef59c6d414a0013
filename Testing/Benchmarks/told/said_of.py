#!/usr/bin/env python
"""What the estimator says of scans whose loss of detail is known, in a file that travels to a graphics card (Testing/Benchmarks/gpu/said.py).

    python Testing/Benchmarks/told/said_of.py OUT.npz --pack mr.pack --plane plane.npz --plane-held plane_held.npz --depth depth.npz --depth-held depth_held.npz

SAMPLES and HELD are files of simulate.py and fit_detail.py.  Kept are what is true of each simulated scan, by how much the estimate is off beyond what
the scan's own softness explains, how unsure it was, and whether the loss seemed clear; and how soft the packed scans seem.  Estimates too unsure to be told are left out.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

sys.path.insert(0, str(Path(__file__).parents[1] / "gpu"))
sys.path.insert(0, str(Path(__file__).parent))

from groups import are_clear
from mild import sharpness
from pack import read_pack
from superres3d.detail.estimator import FREQUENCIES
from train import with_reduced

_SQUARES = np.square(FREQUENCIES)
_MOST_UNSURE = 0.2  # what is so unsure is not told, see superres3d/detail/telling.py
_LEAST = 0.1  # transfer from which a softness can be read


def said_of(samples: Path, held: Path, modality: str) -> dict[str, np.ndarray]:
    """Of simulated scans of one stage."""
    with np.load(samples) as simulated, np.load(held) as estimated:
        said = estimated["told"]
        truth, names = simulated["truth"][: len(said)], simulated["names"][: len(said)]
    true, clear = truth[:, :, :4], are_clear(said, modality)
    softness = _softness(true, said[:, :, :4])
    own = {name: float(np.median(softness[(names == name) & ~clear])) for name in np.unique(names)}
    seems = true * np.exp(np.array([own[name] for name in names])[:, None, None] * _SQUARES)
    unsure = said[:, :, 6:10].mean(2)
    arrays = {
        "truth": np.concatenate([true, truth[:, :, 5:6]], 2).reshape(len(true), -1), "off": np.where(true < 0.05, 0.0, said[:, :, :4] - seems),
        "unsure": unsure, "clear": clear,
    }  # fmt: skip
    return {name: array[unsure.max(1) < _MOST_UNSURE] for name, array in arrays.items()}


def _softness(true: np.ndarray, said: np.ndarray) -> np.ndarray:
    """(N, axes): s, as an estimate is the truth times exp(s f^2)."""
    counts = true > _LEAST
    off = np.log(np.maximum(said, 0.02) / np.maximum(true, 0.02)) * counts
    return (off @ _SQUARES) / np.maximum((counts * _SQUARES**2).sum(2), 1e-6)


def main(
    out: Path, packed: Annotated[Path, typer.Option("--pack")], plane: Annotated[Path, typer.Option()], plane_held: Annotated[Path, typer.Option()],
    depth: Annotated[Path, typer.Option()], depth_held: Annotated[Path, typer.Option()],
) -> None:  # fmt: skip
    """See above."""
    modality, scans = read_pack(packed)
    volumes = [volume for scan, values in scans if scan.subset == "train" for volume in with_reduced(scan, values, "cpu")]
    arrays = {f"sharpness-{scale}": np.array([sharpness(values, modality, scale) for values, *_ in volumes]) for scale in (2, 4)}
    for stage, samples, held in (("plane", plane, plane_held), ("depth", depth, depth_held)):
        arrays |= {f"{stage}-{name}": array for name, array in said_of(samples, held, modality).items()}
    np.savez_compressed(out, **{f"{modality.lower()}-{name}": array.astype(np.float16) for name, array in arrays.items()})


if __name__ == "__main__":
    typer.run(main)
