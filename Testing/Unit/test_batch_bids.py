"""BIDS data sets: what is taken, and derivatives that the BIDS validator accepts."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from .batch_scans import batch, bids, images, results, table
from .test_batch import plan

pytest.importorskip("ancpbids", reason="needs the PyPI package ancpbids")
VALIDATOR = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent))
NAMES = ("sub-01/anat/sub-01_T2w.nii.gz", "sub-01/anat/sub-01_acq-x_T1w.nii.gz", "sub-02/ses-a/anat/sub-02_ses-a_T2w.nii")
OTHERS = ("sub-01/func/sub-01_task-rest_bold.nii.gz", "sub-01/anat/sub-01_T1map.nii.gz", "derivatives/x/sub-01/anat/sub-01_desc-x_T2w.nii.gz")


@pytest.fixture
def dataset(tmp_path):
    return bids(tmp_path / "raw data", *NAMES, *OTHERS)


def validated(folder: Path) -> str:
    """What the validator calls an error."""
    if not VALIDATOR:
        pytest.skip("needs the PyPI package bids-validator-deno")
    done = subprocess.run([VALIDATOR, str(folder), "--json"], capture_output=True, text=True)
    return " ".join(f"{issue['code']} {issue.get('subCode', '')} {issue['location']}" for issue in json.loads(done.stdout)["issues"]["issues"] if issue["severity"] == "error")


def test_a_derivative_that_the_validator_accepts(dataset, tmp_path):
    out = tmp_path / "derivatives"
    (dataset / "sub-01" / "anat" / "sub-01_T2w.json").write_text(json.dumps({"SkullStripped": True}))
    done = batch(dataset, out, "--slice-spacing", "1")
    assert done.returncode == 0, done.stderr
    ending = "res-slices1mm_desc-cubic"
    scans = {f"sub-01/anat/sub-01_{ending}_T2w.nii.gz", f"sub-01/anat/sub-01_acq-x_{ending}_T1w.nii.gz", f"sub-02/ses-a/anat/sub-02_ses-a_{ending}_T2w.nii"}
    assert {name for name in results(out) if ".nii" in name} == scans
    assert validated(out) == ""
    sidecar = json.loads((out / f"sub-01/anat/sub-01_{ending}_T2w.json").read_text())
    assert sidecar["Sources"] == ["bids:raw:sub-01/anat/sub-01_T2w.nii.gz"] and sidecar["SkullStripped"] is True
    assert sidecar["SuperResolution"]["method"] == "cubic" and sidecar["Resolution"].startswith("1 x 1 x 1 mm")
    with open(out / "sub-02/ses-a/sub-02_ses-a_scans.tsv", newline="") as file:
        (row,) = csv.DictReader(file, delimiter="\t")
    assert (out / "sub-02/ses-a" / row["filename"]).is_file() and row["source"] == f"bids:raw:{NAMES[2]}"
    np.testing.assert_allclose(nibabel.load(out / f"sub-01/anat/sub-01_{ending}_T2w.nii.gz").header.get_zooms(), (1, 1, 1))


def test_the_validator_would_have_seen_it(dataset, tmp_path):
    out = tmp_path / "derivatives"
    batch(dataset, out, "--suffix", "T1w")
    (sidecar,) = out.rglob("*_T1w.json")
    sidecar.unlink()
    assert "SIDECAR_KEY_REQUIRED" in validated(out)


def test_inside_the_raw_data_as_is_usual(dataset):
    out = dataset / "derivatives" / "superres3d"
    assert batch(dataset, out).returncode == 0
    assert batch(dataset, out).returncode == 0
    assert sum(".nii" in name for name in results(out)) == 3
    assert json.loads((out / "dataset_description.json").read_text())["DatasetLinks"] == {"raw": "../.."}
    assert validated(out) == ""


def test_another_option_set_is_another_result(dataset, tmp_path):
    out = tmp_path / "derivatives"
    for options in ((), ("--method", "linear"), ("--scale", "4"), ("--axes", "in-plane")):
        assert batch(dataset, out, "--participant-label", "sub-01", "--suffix", "T2w", *options).returncode == 0
    labels = ("res-x2_desc-cubic", "res-x2_desc-linear", "res-x4_desc-cubic", "res-x2InPlane_desc-cubic")
    assert {name for name in results(out) if ".nii" in name} == {f"sub-01/anat/sub-01_{label}_T2w.nii.gz" for label in labels}
    assert validated(out) == ""
    assert len((out / "sub-01" / "sub-01_scans.tsv").read_text().splitlines()) == 5


def test_what_is_taken_and_what_is_not(dataset, tmp_path):
    told = plan(dataset, tmp_path / "out", "--method", "cubic")
    states = {row["name"]: row["state"] for row in told["scans"]}
    assert {name for name, state in states.items() if state == "to do"} == set(NAMES)
    assert {name for name, state in states.items() if state == "left out"} == set(OTHERS[:2])
    bold = plan(dataset, tmp_path / "out", "--method", "cubic", "--suffix", "bold", "--participant-label", "01")
    assert [row["name"] for row in bold["scans"] if row["state"] == "to do"] == [OTHERS[0]]


def test_a_participant_who_is_not_there(dataset, tmp_path):
    done = batch(dataset, tmp_path / "out", "--participant-label", "77")
    assert done.returncode == 2 and "no images of the participant 77; those that it has are 01, 02" in done.stderr


def test_a_strange_data_set_is_not_written_into(dataset, tmp_path):
    other = bids(tmp_path / "other", NAMES[0])
    done = batch(dataset, other)
    assert done.returncode == 2 and "is there and is not of this command" in done.stderr
    assert not (other / "batch").exists()


def test_a_plain_folder_is_no_data_set(tmp_path):
    source, out = images(tmp_path / "in", *NAMES), tmp_path / "out"
    (source / "dataset_description.json").write_text("{}")
    assert batch(source, out).returncode == 0 and len(table(out)) == 4


@pytest.mark.parametrize("content", ['{"BIDSVersion": "1.9.0",}', "", "\x00"])
def test_a_broken_description_is_told(dataset, tmp_path, content):
    (dataset / "dataset_description.json").write_text(content)
    done = batch(dataset, tmp_path / "out")
    assert done.returncode == 2 and "dataset_description.json cannot be read as JSON" in done.stderr
    assert not (tmp_path / "out").exists()
