"""Label maps that come along with the scans of a batch, and networks that go on learning on each scan."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from superres3d import read_labels, read_volume, upscale, upscale_labels
from superres3d.batch.labels import place_of
from superres3d.cli import app
from typer.testing import CliRunner

from .batch_scans import SHAPE, SPACING, batch, bids, images, results, series, table
from .conftest import write
from .test_batch_bids import validated
from .test_batch_survives import times
from .test_detail import anatomy


def label_map(path: Path, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Path:
    """Two blocks, elsewhere for each seed, (k, j, i)."""
    voxels = np.zeros(shape, np.uint8)
    voxels[1:4, 2 + seed : 7, 3:9] = 1
    voxels[3:, 8:, 2:6] = 2
    path.parent.mkdir(parents=True, exist_ok=True)
    return write(path, voxels, SPACING)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Scans with and without a label map beside them."""
    source = images(tmp_path / "in", "a.nii.gz", "b.nrrd", "deep/c.mha")
    label_map(source / "a_seg.nii.gz")
    label_map(source / "deep" / "c_seg.nrrd", 1)
    return source


def expected(scan: Path, labels: Path) -> np.ndarray:
    """What the package makes of both, (k, j, i)."""
    volume = read_volume(scan)
    return upscale_labels(read_labels(labels), upscale(volume, 2, method="cubic").volume).voxels


def test_label_maps_lie_on_the_results(folder, tmp_path):
    out = tmp_path / "out"
    done = batch(folder, out, "--labels", "{name}_seg.n*")
    assert done.returncode == 0, done.stderr
    tag = "_cubic-x2-labelled"
    assert results(out) == {f"a{tag}.nii.gz", f"a{tag}_labels.nii.gz", f"b{tag}.nrrd", f"deep/c{tag}.mha", f"deep/c{tag}_labels.mha"}
    for stem, scan, labels in (("a", "a.nii.gz", "a_seg.nii.gz"), ("deep/c", "deep/c.mha", "deep/c_seg.nrrd")):
        suffix = scan.partition(".")[2]
        result, made = (sitk.ReadImage(str(out / f"{stem}{tag}{end}.{suffix}")) for end in ("", "_labels"))
        assert (made.GetSize(), made.GetOrigin(), made.GetSpacing(), made.GetDirection()) == (result.GetSize(), result.GetOrigin(), result.GetSpacing(), result.GetDirection())
        np.testing.assert_array_equal(sitk.GetArrayFromImage(made), expected(folder / scan, folder / labels))
    rows = table(out)
    assert rows["a_seg.nii.gz"]["messages"] == "a label map" and rows["a_seg.nii.gz"]["state"] == "left out"
    assert "No label map fits" in rows["b.nrrd"]["messages"] and rows["a.nii.gz"]["messages"] == ""
    assert json.loads((out / "batch" / "scans" / f"a{tag}.nii.gz.json").read_text())["labels"]["source"] == str(folder / "a_seg.nii.gz")


def test_without_the_option_nothing_is_a_label_map(folder, tmp_path):
    assert batch(folder, tmp_path / "out").returncode == 1  # label maps are refused as scans, as ever
    assert not any("labels" in name for name in results(tmp_path / "out"))


def test_another_run_keeps_them_and_sees_what_changed(folder, tmp_path):
    out, asked = tmp_path / "out", ("--labels", "{name}_seg.n*")
    batch(folder, out, *asked)
    before = times(out)
    assert batch(folder, out, *asked).returncode == 0 and times(out) == before
    label_map(folder / "a_seg.nii.gz", 2)
    (out / "deep" / "c_cubic-x2-labelled_labels.mha").unlink()
    assert batch(folder, out, *asked).returncode == 0
    assert {name for name in before if times(out)[name] == before[name]} == {"b_cubic-x2-labelled.nrrd"}
    np.testing.assert_array_equal(read_labels(out / "a_cubic-x2-labelled_labels.nii.gz").voxels, expected(folder / "a.nii.gz", folder / "a_seg.nii.gz"))
    (out / "a_cubic-x2-labelled_labels.nii.gz").write_bytes(b"edited")
    done = batch(folder, out, *asked)
    assert done.returncode == 1 and "a_cubic-x2-labelled_labels.nii.gz is there and is not what this command wrote" in done.stderr
    assert (out / "a_cubic-x2-labelled_labels.nii.gz").read_bytes() == b"edited"


def test_label_maps_in_a_tree_of_their_own(tmp_path):
    source = images(tmp_path / "in", "one/a.nrrd", "two/a.nrrd")
    series(source / "dicom", "P1", 1)
    for seed, name in enumerate(("one", "two")):
        label_map(tmp_path / "maps" / name / "a.nii.gz", seed)
    out = tmp_path / "out"
    done = batch(source, out, "--labels", str(tmp_path / "maps" / "{folder}" / "{name}.nii.gz"))
    assert done.returncode == 0, done.stderr
    first, second = (read_labels(out / name / "a_cubic-x2-labelled_labels.nrrd").voxels for name in ("one", "two"))
    np.testing.assert_array_equal(second, expected(source / "two" / "a.nrrd", tmp_path / "maps" / "two" / "a.nii.gz"))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    "spoil,words",
    [
        (lambda source: label_map(source / "a_seg.nii.gz", shape=(6, 12, 13)), "13 x 12 x 6 voxels and the scan 14 x 12 x 6"),
        (lambda source: (source / "a_seg.nii.gz").write_text("none"), "a_seg.nii.gz"),
    ],
    ids=["elsewhere", "broken"],
)
def test_a_label_map_that_does_not_fit_is_the_scan_s_failure(spoil, words, folder, tmp_path):
    spoil(folder)
    done = batch(folder, tmp_path / "out", "--labels", "{name}_seg.n*")
    assert done.returncode == 1 and words in done.stderr and "2 of 3 scans have their result" in done.stderr
    assert not any(name.startswith("a_") for name in results(tmp_path / "out"))


@pytest.mark.parametrize(
    "pattern,words",
    [("all.nii.gz", "--labels all.nii.gz names one file for all scans; write {name}"), ("{name}_*", "2 files fit the label map of a.nii.gz")],
)
def test_patterns_that_cannot_be_meant(pattern, words, folder, tmp_path):
    label_map(folder / "a_other.nrrd")
    done = batch(folder, tmp_path / "out", "--labels", pattern)
    assert done.returncode == 2 and words in done.stderr and not (tmp_path / "out").exists()


def test_a_bids_data_set_with_segmentations(tmp_path):
    source, out = bids(tmp_path / "raw", "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T2w.nii.gz"), tmp_path / "out"
    label_map(source / "derivatives" / "manual" / "sub-01" / "anat" / "sub-01_dseg.nii.gz")
    done = batch(source, out, "--labels", str(source / "derivatives" / "manual" / "{folder}" / "{name}_dseg.nii.gz"))
    assert done.returncode == 0, done.stderr
    made = {name for name in results(out) if name.endswith("_dseg.nii.gz")}
    assert made == {f"sub-01/anat/sub-01_res-x2_desc-cubicLabelled{suffix}_dseg.nii.gz" for suffix in ("T1w", "T2w")}
    assert not validated(out)


@pytest.mark.parametrize(
    "result,is_bids,place",
    [
        ("a_x2.nii.gz", False, "a_x2_labels.nii.gz"),
        ("deep/er/a.b_x2.mha", False, "deep/er/a.b_x2_labels.mha"),
        ("P1/2021-study/1-T2_x2", False, "P1/2021-study/1-T2_x2_labels.nii.gz"),
        ("P1/1-T2_slices-0.5mm", False, "P1/1-T2_slices-0.5mm_labels.nii.gz"),
        ("sub-1/anat/sub-1_res-x2_desc-cubic_T2w.nii", True, "sub-1/anat/sub-1_res-x2_desc-cubicT2w_dseg.nii"),
    ],
)
def test_where_they_lie(result, is_bids, place):
    assert place_of(result, is_bids) == place


def test_networks_go_on_learning_on_each_scan(tmp_path):
    """Named by it, planned with it, and kept the next time though its weights are installed nowhere."""
    pytest.importorskip("torch")
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    means = ndimage.uniform_filter1d(ndimage.gaussian_filter(anatomy((64, 64, 60), 5), 0.7), 4, axis=0)[::2]
    write(source / "a.nrrd", np.rint(900 * means).astype(np.int16), (1.0, 1.0, 2.0))
    asked = ["--method", "two-stage-residual", "--scale", "1,2", "--modality", "MR", "--preset", "fast"]
    adapted = [*asked, "--adapt", "2"]
    plans = [json.loads(CliRunner().invoke(app, ["batch", str(source), str(out), *words, "--dry-run", "--progress", "json"]).output)["scans"][0] for words in (asked, adapted)]
    assert plans[1]["seconds"] == pytest.approx(plans[0]["seconds"] + 2) and plans[1]["memory"] > plans[0]["memory"]
    done = batch(source, out, *adapted)
    assert done.returncode == 0, done.stderr
    [name] = results(out)
    assert "adapt2s" in name and json.loads((out / "batch" / "scans" / f"{name}.json").read_text())["adaptation"]["asked_seconds"] == 2.0  # how far it came is the machine's affair
    again = batch(source, out, *adapted)
    assert again.returncode == 0 and "1 of them from before" in again.stderr and "other weights" not in again.stderr
