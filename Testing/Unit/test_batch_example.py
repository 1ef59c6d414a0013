"""The batch example for Slicer's Python, as a process of its own over real files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from .batch_scans import images, results, table
from .conftest import random_blueprint, save_blueprint, write

SCRIPT = Path(__file__).resolve().parents[2] / "Examples" / "batch_upscale.py"


def example(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, timeout=300)


@pytest.fixture
def scans(tmp_path):
    """Two good scans, one that is no scan, one that is a single slice, and a text file."""
    folder = images(tmp_path / "in", "a.nii.gz", "d.nrrd")
    (folder / "b.nrrd").write_text("not a scan")
    write(folder / "c.mha", np.arange(80, dtype=np.int16).reshape(1, 8, 10))
    (folder / "notes.txt").write_text("left alone")
    return folder


def test_goes_on_after_bad_files_and_says_so(scans, tmp_path):
    out = tmp_path / "out"
    done = example(scans, out, "--axes", "through-plane", "--method", "cubic")
    assert done.returncode == 1 and results(out) == {"a_cubic-x2-through-plane.nii.gz", "d_cubic-x2-through-plane.nrrd"}
    result = sitk.ReadImage(str(out / "a_cubic-x2-through-plane.nii.gz"))
    assert result.GetSize() == (14, 12, 12) and result.GetPixelID() == sitk.sitkInt16
    np.testing.assert_allclose(result.GetSpacing(), (1.0, 1.0, 2.0))
    np.testing.assert_allclose(result.GetOrigin(), (0.0, 0.0, -1.0))
    assert "b.nrrd: failed" in done.stderr and "single slice" in done.stderr and "2 of 4 scans have their result" in done.stderr


def test_slices_of_1_mm_and_another_method_are_other_results(scans, tmp_path):
    """What the old example mixed up: a second run with another method makes its own results."""
    for name in ("b.nrrd", "c.mha"):
        (scans / name).unlink()
    out = tmp_path / "out"
    assert example(scans, out, "--slice-spacing", "1", "--method", "linear").returncode == 0
    assert example(scans, out, "--slice-spacing", "1", "--method", "cubic").returncode == 0
    assert results(out) == {f"{name}_{method}-slices-1mm{suffix}" for method in ("linear", "cubic") for name, suffix in (("a", ".nii.gz"), ("d", ".nrrd"))}
    one, other = (sitk.ReadImage(str(out / f"d_{method}-slices-1mm.nrrd")) for method in ("linear", "cubic"))
    assert one.GetSize() == (14, 12, 24) and not np.array_equal(sitk.GetArrayFromImage(one), sitk.GetArrayFromImage(other))


def test_a_network_that_may_invent_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("SUPERRES3D_MODELS", str(tmp_path / "models"))
    save_blueprint(random_blueprint("mdcsrn", residual=True), "mdcsrn-gan-mr", tmp_path / "models")
    out = tmp_path / "out"
    done = example(images(tmp_path / "in", "a.nii.gz"), out, "--method", "mdcsrn-gan", "--preset", "fast", "--modality", "MR")
    assert done.returncode == 0 and "It is trained against a discriminator" in done.stderr
    assert "It is trained against a discriminator" in table(out)["a.nii.gz"]["messages"]


@pytest.mark.parametrize(
    "arguments,told",
    [
        ([], "Missing argument"),
        (["{missing}", "{out}"], "is not there"),
        (["{in}", "{in}"], "is the folder of the scans"),
        (["{in}", "{out}", "--scale", "3", "--suffix", "a"], "factor 3"),
        (["{in}", "{out}", "--axes", "sideways"], "sideways"),
        (["{empty}", "{out}"], "holds no scan"),
    ],
)
def test_arguments_that_cannot_be_used(scans, tmp_path, arguments, told):
    (tmp_path / "empty").mkdir()
    places = {"in": scans, "out": tmp_path / "out", "missing": tmp_path / "missing", "empty": tmp_path / "empty"}
    done = example(*(argument.format(**places) for argument in arguments))
    assert done.returncode == 2 and told in done.stderr and not (tmp_path / "out").exists()
