"""A result against another stack: shifts, scales and slices that are known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from pydicom.dataset import Dataset
from scipy import ndimage
from superres3d import Volume, write_volume
from superres3d.errors import InputError
from superres3d.resampling.degradation import interval_means
from superres3d.scan.dicom.source import DicomSource
from superres3d.trust.against import _slices_along_k, against
from superres3d.trust.coarser import WAYS, made_coarser
from superres3d.trust.profile import profile_matrix, profile_way, thickness_of
from superres3d.trust.selfcheck import check
from superres3d.trust.stacks import overlap, seen_by, shift_between

from .conftest import run_cli, smooth_noise


@pytest.fixture(scope="module")
def truth() -> Volume:
    """A textured ball of 48 mm on a dark ground, 1 mm voxels, obliquely placed."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 48)] * 3, indexing="ij"))
    ball = np.square(grid).sum(axis=0) < 0.8
    voxels = 100 + ball * (300 + 900 * ndimage.gaussian_filter(smooth_noise((48, 48, 48), seed=4), 0.5))
    angle = np.radians(10)
    direction = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return Volume(voxels.astype(np.float32), (1.0, 1.0, 1.0), (-20.0, 5.0, 30.0), direction, "MR")


def sagittal(truth: Volume, factor: int = 4) -> Volume:
    """Slices that are means over ``factor`` voxels along i."""
    return made_coarser(truth, (1, 1, factor), WAYS["means"])


def moved(volume: Volume, shift) -> Volume:
    return replace(volume, origin=tuple(np.asarray(volume.origin) + shift))


def test_the_truth_itself_leaves_nothing(truth):
    found = against(truth, sagittal(truth))
    assert found.overlap == 1 and np.linalg.norm(found.shift_mm) < 0.02
    assert found.result.correlation > 0.9999 and found.scale == pytest.approx(1, abs=1e-3) and found.result.error < 2
    assert list(found.result.recovered.values()) == pytest.approx([1, 1, 1], abs=0.01) and set(found.result.recovered) == {"left-right", "front-back", "head-foot"}


def test_shift_and_scale_are_found(truth):
    shift = np.array([1.3, -0.7, 2.1])
    other = sagittal(truth)
    found = against(truth, moved(replace(other, voxels=other.voxels * 0.5 + 20), -shift))
    np.testing.assert_allclose(found.shift_mm, shift, atol=0.05)
    assert found.scale == pytest.approx(0.5, abs=0.005) and found.offset == pytest.approx(20, abs=2) and found.result.correlation > 0.999


def test_hounsfield_units_are_not_matched(truth):
    ct = replace(truth, modality="CT", voxels=truth.voxels - 400)
    other = sagittal(ct)
    found = against(ct, replace(other, voxels=other.voxels + 30))
    assert found.unit == "HU" and found.scale == 1 and found.result.mean_error == pytest.approx(30, abs=1) and "HU" in found.sentences[0]


def test_the_blur_of_a_result_is_seen_where_it_is(truth):
    """Slices of 4 mm along k, interpolated: head-foot is lost, the rest is not; against Lanczos of the scan it is the same."""
    scan = made_coarser(truth, (4, 1, 1), WAYS["means"])
    blurred = scan.refined(np.repeat(scan.voxels, 4, axis=0), (4, 1, 1))
    found = against(blurred, sagittal(truth), scan=scan)
    assert found.result.recovered["head-foot"] < found.result.recovered["front-back"] - 0.1
    assert found.lanczos.error < found.result.error
    same = against(Volume(scan.voxels, scan.spacing, scan.origin, scan.direction, "MR"), sagittal(truth), scan=scan)
    assert same.lanczos.error == pytest.approx(same.result.error)


def test_little_agreement_is_said(truth):
    other = sagittal(truth)
    assert not against(truth, other).notes
    noise = np.random.default_rng(0).normal(0, 300, other.voxels.shape)
    doubtful = against(truth, replace(other, voxels=(other.voxels + noise).astype(np.float32)))
    assert 0.4 < doubtful.result.correlation < 0.8 and "agree little" in doubtful.notes[-1]


def test_a_scan_that_the_result_was_not_made_from_is_refused(truth):
    scan = made_coarser(truth, (4, 1, 1), WAYS["means"])
    part = replace(scan, voxels=scan.voxels[:, 4:], origin=tuple(scan.position((0, 4, 0))))
    for wrong in (part, moved(scan, (0, 0, 3))):
        with pytest.raises(InputError, match="covers another place than the result"):
            against(truth, sagittal(truth), scan=wrong)
    assert against(truth, sagittal(truth), scan=moved(scan, (0.01, 0, 0))).lanczos


def test_a_stack_sees_the_mean_over_its_slices(truth):
    other = _slices_along_k(sagittal(truth))
    seen = seen_by(truth, other, np.zeros(3), 4.0)
    inside = np.s_[2:-2, 4:-4, 4:-4]
    np.testing.assert_allclose(seen[inside], other.voxels[inside], atol=0.1)
    wider = seen_by(truth, other, np.zeros(3), 8.0)
    assert np.std(np.diff(wider[inside], axis=0)) < np.std(np.diff(seen[inside], axis=0))


def test_slices_may_be_stored_along_any_axis(truth):
    other = sagittal(truth)
    turned = Volume(np.moveaxis(other.voxels, 2, 0), (other.spacing[0], other.spacing[1], other.spacing[2])[1:] + (other.spacing[0],), other.origin, other.direction[:, [1, 2, 0]], "MR")
    np.testing.assert_allclose(turned.position((5, 7, 3)), other.position((3, 5, 7)))
    one, two = against(truth, other), against(truth, turned)
    assert two.result.error == pytest.approx(one.result.error, rel=0.05) and two.result.recovered == pytest.approx(one.result.recovered, abs=0.01)


def test_overlap_in_closed_form(truth):
    half = truth.direction @ np.array([24.0, 0, 0])
    assert overlap(truth, moved(truth, half)) == pytest.approx(0.5, abs=0.02) and overlap(truth, moved(truth, 4 * half)) == 0


def test_a_shift_has_the_sign_of_the_movement(truth):
    np.testing.assert_allclose(shift_between(moved(truth, (2.0, 0, -1)), truth), (2, 0, -1), atol=0.05)


@pytest.mark.parametrize("change, words", [
    (lambda other: moved(other, (500, 0, 0)), r"lies elsewhere: 0 % of it"),
    (lambda other: replace(other, voxels=smooth_noise(other.voxels.shape, seed=9) * 500), r"shows something else .*\d+ % of it"),
    (lambda other: moved(other, other.direction @ np.array([44.0, 0, 0])), r"same body in \d+ voxels only|something else|mm from where"),
    (lambda other: replace(other, voxels=np.full(other.voxels.shape, 3.0)), "The other stack has the same value"),
])  # fmt: skip
def test_another_stack_is_refused_with_the_overlap(truth, change, words):
    with pytest.raises(InputError, match=words):
        against(truth, change(sagittal(truth)))


def test_a_scan_that_is_none_of_the_result_is_refused(truth):
    with pytest.raises(InputError, match="not made from it"):
        against(sagittal(truth), truth, scan=truth)


def test_on_the_command_line(truth, tmp_path):
    write_volume(truth, tmp_path / "result.nii.gz")
    write_volume(sagittal(truth), tmp_path / "other.nii.gz")
    write_volume(moved(sagittal(truth), (500, 0, 0)), tmp_path / "far.nii.gz")
    told = run_cli("check", tmp_path / "result.nii.gz", "--against", tmp_path / "other.nii.gz", "--modality", "MR")
    assert told.returncode == 0 and told.stdout.startswith("Against the other stack the error is") and "lay 0.0 mm apart" in told.stdout
    content = json.loads(run_cli("check", tmp_path / "result.nii.gz", "--against", tmp_path / "other.nii.gz", "--modality", "MR", "--json").stdout)
    assert content["result"]["correlation"] > 0.999 and content["lanczos"] is None
    refused = run_cli("check", tmp_path / "result.nii.gz", "--against", tmp_path / "far.nii.gz", "--modality", "MR")
    assert refused.returncode == 2 and "lies elsewhere" in refused.stderr
    assert run_cli("check", tmp_path / "result.nii.gz", "--scan", tmp_path / "other.nii.gz").returncode == 2


def dicom(scan: Volume, *thicknesses) -> Volume:
    headers = []
    for value in thicknesses:
        headers.append(Dataset())
        if value is not None:
            headers[-1].SliceThickness = value
    return replace(scan, source=DicomSource(tuple(headers), ()))


def test_the_thickness_of_slices_is_that_of_the_file(scan):
    assert thickness_of(scan) is None and thickness_of(dicom(scan, None)) is None
    assert thickness_of(dicom(scan, 5, 5)) == 5 and thickness_of(dicom(scan, 5, 4)) is None


def test_profiles():
    np.testing.assert_allclose(profile_matrix(8, 4, 1.0), interval_means(8, 2))
    half = profile_matrix(8, 4, 0.5)
    assert half[0].tolist() == [0, 0.5, 0.5, 0, 0, 0, 0, 0]
    assert profile_matrix(8, 2, 2.0)[1].tolist() == [0, 0.25, 0.25, 0.25, 0.25, 0, 0, 0]
    assert profile_way(None, 3.0) is None and profile_way(3.05, 3.0) is None and profile_way(90.0, 3.0) is None
    assert profile_way(6.0, 3.0).name == "profile"


def test_a_scan_with_gaps_is_made_coarser_with_gaps(truth):
    ways = [way.way for way in check(dicom(replace(truth, spacing=(1, 1, 2)), 1.0), (1, 2), method="cubic", slice_axis="k").ways]
    assert "profile" in ways and "profile" not in [way.way for way in check(truth, (1, 2), method="cubic", slice_axis="k").ways]
