"""The worked examples for pipelines: run where their packages are installed (make test-pipelines installs them), else only compiled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import nibabel
import numpy as np
import pytest

from .batch_scans import images

FOLDER = Path(__file__).resolve().parents[2] / "Examples" / "pipelines"


def run(*command: object, folder: Path) -> None:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run([sys.executable, *map(str, command)], cwd=folder, capture_output=True, text=True, env={**os.environ, "PATH": path}, timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.parametrize("script", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_compiles(script):
    compile(script.read_text(encoding="utf-8"), str(script), "exec")


@pytest.mark.skipif(find_spec("snakemake") is None, reason="needs the PyPI package snakemake")
def test_snakemake(tmp_path):
    images(tmp_path / "scans", "one.nii.gz", "two.nii.gz")
    run("-m", "snakemake", "-s", FOLDER / "Snakefile", "--cores", "1", "--config", "options=--spacing 1 --method cubic", folder=tmp_path)
    for name in ("one", "two"):
        assert nibabel.load(tmp_path / "upscaled" / f"{name}.nii.gz").shape == (14, 12, 24)
        assert json.loads((tmp_path / "upscaled" / f"{name}.json").read_text())["method"] == "cubic"


@pytest.mark.skipif(find_spec("nipype") is None, reason="needs the PyPI package nipype")
def test_nipype(tmp_path):
    scan = images(tmp_path, "one.nii.gz") / "one.nii.gz"
    code = f"""
import sys; sys.path.insert(0, {str(FOLDER)!r})
from pathlib import Path; from nipype_upscale import workflow
flow = workflow(Path({str(scan)!r}), Path("work")); flow.get_node("upscale").inputs.method = "cubic"; flow.run()
"""
    run("-c", code, folder=tmp_path)
    (result,) = (tmp_path / "work").rglob("one_upscaled.nii.gz")
    assert nibabel.load(result).shape == (14, 12, 24) and result.with_name("one_upscaled.json").exists()


@pytest.mark.skipif(find_spec("monai") is None, reason="needs the PyPI package monai")
def test_monai_labels_come_back_on_the_scans_grid(tmp_path):
    scan = images(tmp_path, "one.nii.gz") / "one.nii.gz"
    run(FOLDER / "segment_with_monai.py", scan, "labels.nii.gz", "MR", folder=tmp_path)
    on_the_scans_grid(tmp_path, scan)


def test_labels_come_back_on_the_scans_grid(tmp_path):
    scan = images(tmp_path, "one.nii.gz") / "one.nii.gz"
    run(FOLDER / "segment_at_1mm.py", scan, "labels.nii.gz", "MR", "cubic", folder=tmp_path)
    on_the_scans_grid(tmp_path, scan)


def on_the_scans_grid(folder: Path, scan: Path) -> None:
    """The label map, where nibabel has the scan, and of the bright voxels."""
    labels, own = nibabel.load(folder / "labels.nii.gz"), nibabel.load(scan)
    assert labels.shape == own.shape
    np.testing.assert_allclose(labels.affine, own.affine)
    values = own.get_fdata()
    assert np.mean((values > values.mean()) == (labels.get_fdata() > 0)) > 0.95
