"""NIfTI out, against nibabel and ITK: both places of the scan, finer, with their codes."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from superres3d import Volume, read_volume, upscale, write_volume
from superres3d.scan.geometry import FLIP, matrix_of

from .conftest import smooth_noise
from .test_nifti import MOVED, SHAPE, grey, image, patched, placed, saved, sheared


def corners(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The outer corners of a grid in millimetres: half a voxel beyond the first and last centres."""
    ends = [(-0.5, n - 0.5) for n in shape[:3]]
    index = np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1)
    return (affine[:3, :3] @ index + affine[:3, 3:]).T


def refined(path, out, scale=2):
    """A scan upscaled from file to file."""
    write_volume(upscale(read_volume(path), scale, method="linear", modality="CT").volume, out)
    return nib.load(out)


@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (4, 1), (4, 4), (5, 2), (1, 0), (0, 1)])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_both_places_and_their_codes(tmp_path, codes, suffix):
    path = saved(tmp_path / f"scan{suffix}", image(sform=MOVED, codes=codes))
    before, after = nib.load(path), refined(path, tmp_path / f"out{suffix}")
    assert (int(after.header["sform_code"]), int(after.header["qform_code"])) == codes
    for get in ("get_sform", "get_qform"):
        old, new = getattr(before, get)(coded=True), getattr(after, get)(coded=True)
        assert (old[0] is None) == (new[0] is None)
        if old[0] is not None:
            np.testing.assert_allclose(corners(new[0], after.shape), corners(old[0], before.shape), atol=1e-3)
    assert after.shape == tuple(2 * n for n in SHAPE)
    assert after.header.get_xyzt_units()[0] == "mm"


def test_without_any_code_the_field_of_view_stays_for_nibabel(tmp_path):
    path = saved(tmp_path / "scan.nii", image(codes=(0, 0)))
    before, after = nib.load(path), refined(path, tmp_path / "out.nii")
    assert int(after.header["sform_code"]) == int(after.header["qform_code"]) == 0
    np.testing.assert_allclose(corners(after.affine, after.shape), corners(before.affine, before.shape), atol=1e-3)


def test_micrometres_become_millimetres(tmp_path):
    path = patched(saved(tmp_path / "scan.nii", image(sform=MOVED, codes=(2, 1))), 123, "B", 3)
    before, after = nib.load(path), refined(path, tmp_path / "out.nii")
    for get in ("get_sform", "get_qform"):
        np.testing.assert_allclose(corners(getattr(after, get)(), after.shape), corners(getattr(before, get)(), before.shape) / 1000, atol=1e-6)


def test_a_little_shear_stays_in_the_sform(tmp_path):
    path = saved(tmp_path / "scan.nii", image(sform=sheared(0.0008), codes=(1, 0)))
    after = refined(path, tmp_path / "out.nii")
    np.testing.assert_allclose(corners(after.get_sform(), after.shape), corners(sheared(0.0008), SHAPE), atol=0.005)


def test_from_another_format(tmp_path):
    volume = Volume(grey().T, (0.8, 0.9, 2.5), (3.0, -4.0, 5.0), (FLIP @ placed())[:3, :3] / (0.8, 0.9, 2.5))
    write_volume(volume, tmp_path / "out.nii.gz")
    there = nib.load(tmp_path / "out.nii.gz")
    for get in ("get_sform", "get_qform"):
        matrix, code = getattr(there, get)(coded=True)
        assert code == 1
        np.testing.assert_allclose(matrix, FLIP @ matrix_of(volume), atol=1e-5)


@pytest.mark.parametrize("mirrored", [0, 1, 2])
def test_left_handed_grids_are_itks(tmp_path, mirrored):
    direction = (FLIP @ placed())[:3, :3] / (0.8, 0.9, 2.5)
    direction[:, mirrored] *= -1
    volume = Volume(grey().T, (0.8, 0.9, 2.5), (3.0, -4.0, 5.0), direction)
    write_volume(volume, tmp_path / "out.nii")
    there = sitk.ReadImage(str(tmp_path / "out.nii"))
    np.testing.assert_allclose(np.reshape(there.GetDirection(), (3, 3)), direction, atol=1e-5)
    np.testing.assert_allclose(there.GetSpacing(), volume.spacing, rtol=1e-6)
    np.testing.assert_allclose(there.GetOrigin(), volume.origin, rtol=1e-5)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(there), volume.voxels)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32"])
def test_types_and_values(tmp_path, dtype):
    voxels = np.rint(smooth_noise(SHAPE[::-1]) * 120).astype(dtype)
    write_volume(Volume(voxels[::-1]), tmp_path / "out.nii.gz")
    there = nib.load(tmp_path / "out.nii.gz")
    assert there.header.get_data_dtype() == dtype
    np.testing.assert_array_equal(np.asarray(there.dataobj).T, voxels[::-1])


def test_the_same_again_and_the_description(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(Volume(grey().T), tmp_path / name, {"ITK_FileNotes": "made “so”" + "." * 100})
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert nib.load(tmp_path / "a.nii.gz").header["descrip"].item().startswith(b"made ?so?...")


def test_a_side_beyond_nifti_1(tmp_path):
    voxels = np.zeros((2, 2, 40000), np.int16)
    voxels[0, 0, :2000] = np.arange(2000)
    write_volume(Volume(voxels), tmp_path / "out.nii")
    there = nib.load(tmp_path / "out.nii")
    assert isinstance(there, nib.Nifti2Image)
    np.testing.assert_array_equal(np.asarray(there.dataobj).T, voxels)
    np.testing.assert_array_equal(read_volume(tmp_path / "out.nii").voxels, voxels)


def test_gzip_is_whole(tmp_path):
    write_volume(Volume(grey().T), tmp_path / "out.nii.gz")
    assert len(gzip.decompress((tmp_path / "out.nii.gz").read_bytes())) == 352 + 2 * np.prod(SHAPE)
