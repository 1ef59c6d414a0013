"""A small reader study of made-up scans, for several test files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from superres3d.study.making import Wishes, make_study

from .conftest import smooth_noise, write

METHODS = ("cubic", "lanczos")
SHAPE = (24, 40, 44)


def make_scans(folder: Path, count: int = 2) -> Path:
    """Scans with a body in the middle and air around it, two of each modality; returns the list of them."""
    rows = ["id,split,modality,body"]
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    inside = (1.3 * k) ** 4 + j**2 + i**2 < 0.6
    for number in range(count):
        texture = smooth_noise(SHAPE, seed=number)
        ct = np.where(inside, 400 * texture - 100, -1000) + 3 * texture
        mr = np.where(inside, 300 + 500 * texture, 5 * texture)
        for name, voxels in ((f"CT{number}", ct), (f"MR{number}", mr)):
            write(folder / f"{name}.nii.gz", np.rint(voxels).astype(np.int16), (1.0, 1.0, 2.5))
            rows.append(f"{name},test,{name[:2]},{'head' if number else 'chest'}")
    path = folder / "split.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def make_small(folder: Path, **wishes) -> Path:
    """A study of 12 cases at 2x, unless something else is wished; returns its folder."""
    split = make_scans(folder)
    made = Wishes(**{"methods": METHODS, "cases": 12, "apart": 2.5, "repeats": 4, "catches": 3, "readers": 4, "seed": 5, **wishes})
    make_study(folder, split, "test", folder / "study", made)
    return folder / "study"
