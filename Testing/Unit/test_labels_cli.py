"""``--labels`` and ``--labels-out`` as a user gives them."""

from __future__ import annotations

import json
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from superres3d import read_labels, read_volume, write_volume
from superres3d.cli.labels import Segmentation
from superres3d.errors import ResourceError
from superres3d.resampling.labels import refine_labels
from superres3d.scan.volume import Volume

from .conftest import run_cli


@pytest.fixture
def folder(tmp_path, scan, monkeypatch):
    """A scan and its segmentation, which has the scan's place in two forms."""
    labels = np.zeros(scan.voxels.shape, np.uint8)
    labels[2:7, 4:12, 5:15], labels[4, 6, 7] = 3, 200
    write_volume(scan, tmp_path / "in.nii.gz")
    write_volume(Volume(labels, scan.spacing, scan.origin, scan.direction), tmp_path / "seg.nii.gz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def run(*arguments):
    return run_cli("upscale", *arguments, "--method", "linear", "--progress", "json")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mhd"])
def test_the_label_map_has_the_grid_of_the_result(folder, suffix):
    done = run("in.nii.gz", f"out{suffix}", "--labels", "seg.nii.gz", "--labels-out", f"labels{suffix}", "--scale", "2,4", "--report", "r.json")
    assert done.returncode == 0, done.stderr
    result, labels, coarse = read_volume(folder / f"out{suffix}"), read_labels(folder / f"labels{suffix}"), read_labels("seg.nii.gz")
    assert (labels.spacing, labels.origin, labels.voxels.dtype) == (result.spacing, result.origin, np.uint8)
    np.testing.assert_array_equal(labels.direction, result.direction)
    np.testing.assert_array_equal(labels.voxels, refine_labels(coarse.voxels, (36, 36, 44), coarse.spacing[::-1]))
    told = json.loads((folder / "r.json").read_text())["labels"]
    assert told == {"source": "seg.nii.gz", "output": f"labels{suffix}", "dtype": "uint8", "notes": []}
    shares = [json.loads(line)["share"] for line in done.stdout.splitlines() if "share" in line]
    assert shares == sorted(shares)


def test_nibabel_finds_both_at_one_place(folder):
    assert run("in.nii.gz", "out.nii", "--labels", "seg.nii.gz", "--labels-out", "labels.nii", "--slice-spacing", "1.3").returncode == 0
    result, labels = nibabel.load("out.nii"), nibabel.load("labels.nii")
    assert result.shape == labels.shape
    np.testing.assert_array_equal(result.affine, labels.affine)
    assert set(np.unique(labels.dataobj)) == {0, 3, 200}


REFUSALS = {
    "labels alone": (["out.nii", "--labels", "seg.nii.gz"], "give both"),
    "output alone": (["out.nii", "--labels-out", "labels.nii"], "give both"),
    "the scan itself": (["out.nii", "--labels", "in.nii.gz", "--labels-out", "labels.nii"], "are the same"),
    "over the segmentation": (["out.nii", "--labels", "seg.nii.gz", "--labels-out", "seg.nii.gz"], "are the same"),
    "result over the segmentation": (["seg.nii.gz", "--labels", "seg.nii.gz", "--labels-out", "labels.nii"], "are the same"),
    "both at one place": (["out.nii", "--labels", "seg.nii.gz", "--labels-out", "out.nii"], "are the same"),
    "twins": (["out.nii", "--labels", "seg.nii.gz", "--labels-out", "out.nii.gz"], "many programs open the one for the other"),
    "no such file": (["out.nii", "--labels", "no.nii", "--labels-out", "labels.nii"], "no.nii does not exist"),
    "no suffix": (["out.nii", "--labels", "seg.nii.gz", "--labels-out", "labels.png"], "no suffix that can be written"),
    "another grid": (["out.nii", "--labels", "moved.nii", "--labels-out", "labels.nii"], "moved.nii lies up to 3 mm away from the scan"),
    "probabilities": (["out.nii", "--labels", "soft.nii", "--labels-out", "labels.nii"], "no whole numbers"),
    "memory": (["out.nii", "--labels", "seg.nii.gz", "--labels-out", "labels.nii", "--memory-limit", "0.3"], "The label map on the grid of the result needs"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_are_one_sentence_and_write_nothing(folder, case, scan):
    segmentation = read_labels("seg.nii.gz")
    write_volume(Volume(segmentation.voxels, scan.spacing, (scan.origin[0], scan.origin[1] + 3, scan.origin[2]), scan.direction), "moved.nii")
    write_volume(Volume(segmentation.voxels / np.float32(7), scan.spacing, scan.origin, scan.direction), "soft.nii")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    arguments, sentence = REFUSALS[case]
    done = run_cli("upscale", "in.nii.gz", *arguments, "--method", "linear", "--progress", "none")
    assert done.returncode not in (0, 1)
    assert sentence in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_memory_for_the_labels_is_looked_at_before_the_work(folder, scan):
    """Of 8e9 voxels, and of few."""
    segmentation = Segmentation.named(folder / "seg.nii.gz", folder / "labels.nii")
    with pytest.raises(ResourceError, match=r"needs 8.0 GiB of memory and 7.0 GiB are free or allowed"):
        segmentation.read(scan, SimpleNamespace(made_shape=(2000, 2000, 2000)), 7 << 30)
    assert segmentation.read(scan, SimpleNamespace(made_shape=(18, 36, 44)), 7 << 30).voxels.shape == scan.voxels.shape


def test_a_converted_label_map_is_told_in_the_report(folder, scan):
    segmentation = read_labels("seg.nii.gz")
    write_volume(Volume(segmentation.voxels.astype(np.float32), scan.spacing, scan.origin, scan.direction), "float.nii")
    assert run("in.nii.gz", "out.nii", "--labels", "float.nii", "--labels-out", "labels.nii", "--report", "r.json").returncode == 0
    assert json.loads((folder / "r.json").read_text())["labels"]["notes"] == ["Labels were converted from float32 to uint8."]
    assert nibabel.load("labels.nii").get_data_dtype() == np.uint8


def test_several_label_maps_in_one_file(folder):
    one = nibabel.load("seg.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.stack([one.dataobj] * 2, -1), one.affine), "layers.nii.gz")
    done = run("in.nii.gz", "out.nii.gz", "--labels", "layers.nii.gz", "--labels-out", "labels.nii.gz")
    assert done.returncode == 2 and "holds several volumes or series; save one label map as a file of its own." in done.stdout + done.stderr
    assert names(folder) == ["in.nii.gz", "layers.nii.gz", "seg.nii.gz"]
