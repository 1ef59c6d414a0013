"""Folders of small scans for the tests of ``superres3d batch``, and what they ask of a run."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from . import dicom_scans
from .conftest import run_cli, smooth_noise, write

SHAPE, SPACING = (6, 12, 14), (1.0, 1.0, 4.0)


def voxels(seed: int = 0) -> np.ndarray:
    """Of an MR-like scan, (k, j, i)."""
    return np.rint(smooth_noise(SHAPE, seed) * 900).astype(np.int16)


def images(folder: Path, *names: str) -> Path:
    """A folder with a scan under each name, all different."""
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(folder / name, voxels(seed), SPACING)
    return folder


def series(folder: Path, patient: str, number: int, description: str = "T2", image: Any = dicom_scans.mr_image, slices: int = dicom_scans.SHAPE[0], **changes: Any) -> Path:
    """A DICOM series with UIDs of its own; the files are named by slice."""
    folder.mkdir(parents=True, exist_ok=True)
    uid = f"1.2.3.{sum(map(ord, patient))}"
    for k in range(slices):
        head = {"PatientID": patient, "StudyInstanceUID": f"{uid}.1", "SeriesInstanceUID": f"{uid}.1.{number}", "SOPInstanceUID": f"{uid}.1.{number}.{k + 1}", "SeriesNumber": number}
        dicom_scans.save(dicom_scans.slice_of(image(), k, SeriesDescription=description, **{**head, **changes}), folder / f"{number}-{k}.dcm")
    return folder


def bids(folder: Path, *names: str) -> Path:
    """A raw data set with a scan under each name, such as "sub-01/anat/sub-01_T2w.nii.gz"."""
    images(folder, *names)
    authors = ["Doe, Jane", "Roe, Richard"]
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "Small", "BIDSVersion": "1.9.0", "License": "CC0", "Authors": authors}))
    (folder / "README").write_text("Made up.")
    return folder


def batch(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """``superres3d batch`` with a quick method, in a process of its own."""
    method = () if "--method" in arguments else ("--method", "cubic")
    return run_cli("batch", *arguments, *method, "--progress", "none", **environment)


def table(out: Path) -> dict[str, dict[str, str]]:
    """scans.csv by the names of the scans."""
    with open(out / "batch" / "scans.csv", encoding="utf-8", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def results(out: Path) -> set[str]:
    """Every file of the output folder that is not the batch's own; a batch may be at work in it."""
    found = (Path(place, name).relative_to(out) for place, _, names in os.walk(out) for name in names)
    return {path.as_posix() for path in found if "batch" not in path.parts[:1]}
