"""A segmentation with its place: read, compared with the scan, brought to the grid of the result."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from superres3d import Volume, read_labels, read_volume, upscale, upscale_labels, write_volume
from superres3d.errors import Cancelled, InputError
from superres3d.resampling.labels import coarser_labels, refine_labels
from superres3d.scan.labels import on_grid_of


def blobs(shape: tuple[int, ...], count: int = 3) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return np.argmax([gaussian_filter(np.random.default_rng(n).standard_normal(shape), 1.5) for n in range(count)], axis=0).astype(np.uint8)


@pytest.fixture
def segmentation(scan: Volume) -> Volume:
    return Volume(blobs(scan.voxels.shape), scan.spacing, scan.origin, scan.direction)


@pytest.mark.parametrize(
    "asked", [{"scale": 2}, {"scale": (4, 2)}, {"scale": 4, "axes": "through-plane"}, {"scale": 2, "axes": "in-plane"}, {"slice_spacing": 1.3}, {"spacing": (0.8, 0.5, 1.3)}], ids=lambda asked: "-".join(map(str, asked.values()))
)
def test_the_grid_is_exactly_the_results(scan, segmentation, asked):
    result = upscale(scan, method="linear", **asked).volume
    labels = upscale_labels(segmentation, result)
    assert labels.voxels.shape == result.voxels.shape
    assert (labels.spacing, labels.origin) == (result.spacing, result.origin)
    np.testing.assert_array_equal(labels.direction, result.direction)
    np.testing.assert_array_equal(labels.voxels, refine_labels(segmentation.voxels, result.voxels.shape, scan.spacing[::-1]))


def test_the_places_of_labels_are_those_of_itk(scan, segmentation, tmp_path):
    """Nearest neighbour by ITK in millimetres differs at borders alone, by at most half of what is there."""
    result = upscale(scan, 2, method="linear").volume
    write_volume(upscale_labels(segmentation, result), tmp_path / "fine.nrrd")
    write_volume(segmentation, tmp_path / "coarse.nrrd")
    coarse, fine = sitk.ReadImage(str(tmp_path / "coarse.nrrd")), sitk.ReadImage(str(tmp_path / "fine.nrrd"))
    nearest = sitk.GetArrayFromImage(sitk.Resample(coarse, fine, sitk.Transform(), sitk.sitkNearestNeighbor))
    assert 0 < (sitk.GetArrayFromImage(fine) != nearest).mean() < 0.15


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, -1, -1)])
def test_axes_in_another_order_or_direction(scan, segmentation, axes, flips):
    """As other programs write them: the same places, stored in another order; ITK permutes and flips."""
    image = sitk.GetImageFromArray(segmentation.voxels)
    image.SetSpacing(segmentation.spacing)
    image.SetOrigin(segmentation.origin)
    image.SetDirection(segmentation.direction.ravel().tolist())
    image = sitk.Flip(sitk.PermuteAxes(image, axes), [flip < 0 for flip in flips])
    other = Volume(sitk.GetArrayFromImage(image), image.GetSpacing(), image.GetOrigin(), np.reshape(image.GetDirection(), (3, 3)))
    back = on_grid_of(other, scan, "labels")
    np.testing.assert_array_equal(back.voxels, segmentation.voxels)
    np.testing.assert_allclose([*back.spacing, *back.origin, *back.direction.ravel()], [*scan.spacing, *scan.origin, *scan.direction.ravel()], atol=1e-9)
    result = upscale(scan, 2, method="linear").volume
    np.testing.assert_array_equal(upscale_labels(other, result).voxels, upscale_labels(segmentation, result).voxels)


def test_another_grid_is_refused(scan, segmentation):
    moved = Volume(segmentation.voxels, scan.spacing, (scan.origin[0] + 0.2, *scan.origin[1:]), scan.direction)
    with pytest.raises(InputError, match=r"seg.nii lies up to 0.2 mm away from the scan"):
        on_grid_of(moved, scan, "seg.nii")
    nearly = Volume(segmentation.voxels, scan.spacing, (scan.origin[0] + 0.02, *scan.origin[1:]), scan.direction)
    assert on_grid_of(nearly, scan, "seg.nii") is not None
    with pytest.raises(InputError, match=r"seg.nii has 21 x 18 x 9 voxels and the scan 22 x 18 x 9"):
        on_grid_of(Volume(segmentation.voxels[..., 1:], scan.spacing, scan.origin, scan.direction), scan, "seg.nii")
    with pytest.raises(InputError, match=r"up to .* mm away"):
        on_grid_of(Volume(segmentation.voxels, scan.spacing, scan.origin, np.eye(3)), scan, "seg.nii")
    with pytest.raises(InputError, match=r"same voxels as the scan"):
        on_grid_of(scan, scan, "seg.nii")


def test_another_field_of_view_than_the_results_is_refused(scan, segmentation):
    result = upscale(scan, 2, method="linear").volume
    with pytest.raises(InputError, match=r"22 x 18 x 9 voxels\) does not fill the field of view of the result \(44 x 36 x 18\)"):
        upscale_labels(Volume(segmentation.voxels, scan.spacing, (0, 0, 0), scan.direction), result)


def test_a_coarser_grid_takes_the_label_that_fills_most(scan, segmentation):
    """Back to the scan's grid: at least half of every voxel kept its label."""
    back = upscale_labels(upscale_labels(segmentation, upscale(scan, 2, method="linear").volume), scan)
    assert (back.voxels == segmentation.voxels).mean() > 0.97 and back.spacing == scan.spacing
    result = upscale(scan, spacing=(1.6, 1.8, 1.5), method="linear").volume
    labels = upscale_labels(segmentation, result)
    assert (labels.voxels.shape, labels.spacing, labels.origin) == ((18, 9, 11), result.spacing, result.origin)


def test_most_of_a_voxel_by_counting(segmentation):
    """Blocks of 2 x 2 voxels counted one by one; of several labels the smallest."""
    voxels = np.concatenate([segmentation.voxels] * 3)
    coarse = coarser_labels(voxels, (40, 9, 11))
    for k, j, i in np.ndindex(coarse.shape):
        counts = np.bincount(voxels[k, 2 * j : 2 * j + 2, 2 * i : 2 * i + 2].ravel(), minlength=3)
        assert coarse[k, j, i] == counts.argmax()
    assert coarse.shape == (27, 9, 11) and coarse.dtype == voxels.dtype


@pytest.mark.parametrize("stored, kept", [("uint8", "uint8"), ("int16", "int16"), ("uint16", "uint16"), ("int32", "int32"), ("float32", "uint8"), ("float64", "uint8"), ("int64", "uint8")])
def test_whole_numbers_of_any_type_are_read(segmentation, tmp_path, stored, kept):
    image = nibabel.Nifti1Image(segmentation.voxels.T.astype(stored), np.diag([1, 1, 3, 1]), dtype=stored)
    nibabel.save(image, tmp_path / "seg.nii.gz")
    labels = read_labels(tmp_path / "seg.nii.gz")
    assert labels.voxels.dtype == kept
    assert bool(labels.notes) == (stored != kept)
    np.testing.assert_array_equal(labels.voxels, segmentation.voxels)


@pytest.mark.parametrize("values, kept", [([-3.0, 400.0], "int16"), ([0.0, 70000.0], "int32"), ([0.0, 255.0], "uint8")])
def test_float_labels_become_the_smallest_integers_that_hold_them(tmp_path, values, kept):
    nibabel.save(nibabel.Nifti1Image(np.array(values * 4, np.float32).reshape(2, 2, 2), np.eye(4)), tmp_path / "seg.nii")
    labels = read_labels(tmp_path / "seg.nii")
    assert labels.voxels.dtype == kept
    assert sorted(set(labels.voxels.ravel())) == values


def test_what_is_no_label_map_is_refused(tmp_path):
    for value, number in ((0.5, "half"), (np.nan, "nan"), (np.inf, "infinite")):
        nibabel.save(nibabel.Nifti1Image(np.full((3, 3, 3), value, np.float32), np.eye(4)), tmp_path / f"{number}.nii")
        with pytest.raises(InputError, match="no whole numbers"):
            read_labels(tmp_path / f"{number}.nii")
    nibabel.save(nibabel.Nifti1Image(np.full((3, 3, 3), 2.0**40), np.eye(4)), tmp_path / "large.nii")
    with pytest.raises(InputError, match=r"labels up to 1099511627776; give labels that fit into 32 bits"):
        read_labels(tmp_path / "large.nii")


def test_constants_and_label_maps_are_fine_here_and_refused_as_scans(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3), np.uint8), np.eye(4)), tmp_path / "empty.nii")
    assert not read_labels(tmp_path / "empty.nii").voxels.any()
    with pytest.raises(InputError, match="same value"):
        read_volume(tmp_path / "empty.nii")
    nibabel.save(nibabel.Nifti1Image(np.repeat(blobs((9, 9, 9)), 4, 2), np.eye(4)), tmp_path / "map.nii")
    assert read_labels(tmp_path / "map.nii").voxels.max() == 2
    with pytest.raises(InputError, match="looks like a label map"):
        read_volume(tmp_path / "map.nii")


def test_progress_and_an_end_in_between(scan, segmentation):
    result = upscale(scan, 2, method="linear").volume
    told: list[tuple[str, float]] = []
    upscale_labels(segmentation, result, progress=lambda *step: told.append(step))
    assert told == [("labels", 1.0)]
    with pytest.raises(Cancelled):
        upscale_labels(segmentation, result, cancelled=lambda: True)
