"""Files in and out: geometry against SimpleITK, refusals, and writing that never leaves a half."""

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from superres3d import Volume, read_volume, upscale, write_volume
from superres3d.errors import InputError, ResourceError
from superres3d.scan.nifti_writer import write_nifti
from superres3d.scan.volume import accepted

from .conftest import smooth_noise, write

SUFFIXES = [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["int16", "uint8", "uint16", "int32", "float32"])
def test_round_trip_keeps_everything(tmp_path, scan, suffix, dtype):
    volume = Volume(scan.voxels.astype(dtype), scan.spacing, scan.origin, scan.direction)
    path = tmp_path / f"scan{suffix}"
    write_volume(volume, path)
    back = read_volume(path)
    np.testing.assert_array_equal(back.voxels, volume.voxels)
    assert back.voxels.dtype == volume.voxels.dtype
    for name in ("spacing", "origin", "direction"):
        np.testing.assert_allclose(getattr(back, name), getattr(volume, name), atol=1e-4)
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_voxels_in_the_other_byte_order(tmp_path, scan, suffix):
    write_volume(Volume(scan.voxels.astype(">i2"), scan.spacing), tmp_path / f"scan{suffix}")
    there = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"scan{suffix}")))
    np.testing.assert_array_equal(there, scan.voxels)
    assert there.dtype == scan.voxels.dtype and accepted(Volume(scan.voxels.astype(">i2")), "The scan").voxels.dtype == np.int16


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype, becomes", [("bool", "uint8"), ("float16", "float32")])
def test_types_that_files_do_not_have(tmp_path, suffix, dtype, becomes):
    voxels = np.round(smooth_noise((4, 5, 6)) * 4).astype(dtype)
    write_volume(Volume(voxels), tmp_path / f"scan{suffix}")
    there = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"scan{suffix}")))
    np.testing.assert_array_equal(there, voxels.astype(becomes))
    assert there.dtype == becomes


def test_lists_become_arrays(tmp_path):
    volume = Volume([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], [1, 1, 2], [0, 0, 0], np.eye(3).tolist())  # type: ignore[arg-type]
    assert accepted(volume, "The scan").voxels.dtype == np.int32
    with pytest.raises(ValueError, match="expected 3"):
        Volume(volume.voxels, (1.0, 1.0))  # type: ignore[arg-type]


UNWRITABLE = {
    "2-D": {"voxels": np.ones((4, 5), np.int16)},
    "empty": {"voxels": np.ones((0, 4, 5), np.int16)},
    "complex": {"voxels": np.ones((3, 4, 5), np.complex64)},
    "no size": {"spacing": (1.0, 1.0, 0.0)},
    "no place": {"origin": (float("nan"), 0.0, 0.0)},
    "sheared": {"direction": np.array([[1.0, 0.2, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])},
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", UNWRITABLE)
def test_volumes_that_make_no_file(tmp_path, suffix, kind):
    volume = Volume(**{"voxels": np.ones((3, 4, 5), np.int16), **UNWRITABLE[kind]})
    with pytest.raises(InputError, match=r"^The volume [^;]+; [^;]+\.$"):
        write_volume(volume, tmp_path / f"scan{suffix}")
    assert not list(tmp_path.iterdir())


def test_position_is_simpleitks(scan, tmp_path):
    write_volume(scan, tmp_path / "scan.nrrd")
    image = sitk.ReadImage(str(tmp_path / "scan.nrrd"))
    for index in ((0, 0, 0), (3, 2, 1), (-0.5, 4.25, 2.5)):
        np.testing.assert_allclose(scan.position(index), image.TransformContinuousIndexToPhysicalPoint(index), atol=1e-9)


def test_provenance_stays_in_the_file(scan, tmp_path):
    for suffix in (".nrrd", ".mha"):
        write_volume(scan, tmp_path / f"a{suffix}", {"SuperResolution3D": "not for diagnosis"})
        image = sitk.ReadImage(str(tmp_path / f"a{suffix}"))
        assert image.GetMetaData("SuperResolution3D") == "not for diagnosis"
    write_volume(scan, tmp_path / "a.nii.gz", {"ITK_FileNotes": "not for diagnosis"})
    assert "not for diagnosis" in sitk.ReadImage(str(tmp_path / "a.nii.gz")).GetMetaData("ITK_FileNotes")


@pytest.mark.parametrize("dtype, becomes", [("int64", "int32"), ("uint64", "int32"), ("float64", "float32")])
def test_large_types_are_converted_and_said(tmp_path, dtype, becomes):
    voxels = (smooth_noise((4, 5, 6)) * 1000).astype(dtype)
    volume = read_volume(write(tmp_path / "scan.nrrd", voxels))
    assert volume.voxels.dtype == becomes
    assert f"from {dtype} to {becomes}" in volume.notes[0]


def test_a_mask_is_a_label_map():
    with pytest.raises(InputError, match="label map"):
        accepted(Volume(np.indices((8, 8, 8)).sum(0) > 10), "The mask")


def test_values_beyond_float32_are_refused_without_a_warning():
    with pytest.raises(InputError, match="infinite"):
        accepted(Volume(smooth_noise((4, 5, 6)).astype(float) * 1e300), "The scan")


def test_huge_integers_become_floats():
    huge = accepted(Volume(np.arange(27).reshape(3, 3, 3) * 10**12), "The scan")
    assert huge.voxels.dtype == np.float32


def labels() -> np.ndarray:
    seeds = smooth_noise((12, 24, 24))
    return np.digitize(seeds, [0.4, 0.5, 0.6]).astype(np.uint8)


BAD_FILES = {
    "single slice": (lambda: smooth_noise((1, 8, 8)), "single slice"),
    "2-D": (lambda: smooth_noise((8, 8)), "2-D; give a 3-D volume|single slice"),
    "NaN": (lambda: np.where(smooth_noise((4, 8, 8)) > 0.9, np.nan, 1.0).astype(np.float32), "NaN or infinite"),
    "infinite": (lambda: np.where(smooth_noise((4, 8, 8)) > 0.9, np.inf, 1.0).astype(np.float32), "NaN or infinite"),
    "constant": (lambda: np.full((4, 8, 8), 7, np.int16), "same value"),
    "label map": (labels, "label map"),
    "complex": (lambda: smooth_noise((4, 8, 8)).astype(np.complex64), "complex"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files_are_refused_in_one_sentence(tmp_path, kind):
    make, sentence = BAD_FILES[kind]
    path = write(tmp_path / "scan.nrrd", make())
    with pytest.raises(InputError, match=sentence) as raised:
        read_volume(path)
    assert "\n" not in str(raised.value) and str(path) in str(raised.value)


def test_colour_and_time_series_are_refused(tmp_path):
    colour = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    sitk.WriteImage(colour, str(tmp_path / "colour.nrrd"))
    with pytest.raises(InputError, match="3 components per voxel"):
        read_volume(tmp_path / "colour.nrrd")
    series = sitk.GetImageFromArray(smooth_noise((3, 4, 5, 6)), isVector=False)
    sitk.WriteImage(series, str(tmp_path / "series.nii.gz"))
    with pytest.raises(InputError, match="holds 3 volumes"):
        read_volume(tmp_path / "series.nii.gz")


def test_real_scans_are_no_label_maps():
    """8-bit texture with few grey levels, and CT with a third of its voxels padded."""
    grey = np.rint(smooth_noise((12, 32, 32)) * 80).astype(np.uint8)
    accepted(Volume(grey), "The scan")
    padded = np.rint(smooth_noise((12, 32, 32)) * 3000 - 1000).astype(np.int16)
    padded[:, :12] = -3024
    accepted(Volume(padded), "The scan")


def test_skewed_axes_are_refused():
    skewed = np.array([[1, 0.3, 0], [0, 1, 0], [0, 0, 1.0]])
    with pytest.raises(InputError, match="not at right angles"):
        accepted(Volume(smooth_noise((4, 4, 4)), direction=skewed), "The scan")


def test_skewed_axes_in_a_file_are_refused(tmp_path):
    voxels = smooth_noise((4, 4, 4))
    header = "NRRD0004\ntype: float\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 4 4\n"
    header += "space directions: (1,0,0) (0.5,1,0) (0,0,1)\nendian: little\nencoding: raw\nspace origin: (0,0,0)\n\n"
    (tmp_path / "skew.nrrd").write_bytes(header.encode() + voxels.tobytes())
    with pytest.raises(InputError):
        read_volume(tmp_path / "skew.nrrd")


def test_missing_damaged_and_empty_files(tmp_path):
    with pytest.raises(InputError, match="does not exist; give a NIfTI"):
        read_volume(tmp_path / "no.nii")
    for name in ("broken.nii.gz", "broken.nrrd", "broken.txt", "broken.mha"):
        (tmp_path / name).write_bytes(b"no image at all")
        with pytest.raises(InputError, match="cannot be read as an image"):
            read_volume(tmp_path / name)
    whole = write(tmp_path / "whole.nrrd", smooth_noise((8, 20, 20))).read_bytes()
    (tmp_path / "cut.nrrd").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="incomplete"):
        read_volume(tmp_path / "cut.nrrd")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no DICOM series"):
        read_volume(tmp_path / "empty")


def test_output_paths_are_checked(tmp_path, scan):
    with pytest.raises(InputError, match="no suffix that can be written"):
        write_volume(scan, tmp_path / "scan.jpg")
    with pytest.raises(InputError, match="does not exist; create it"):
        write_volume(scan, tmp_path / "no" / "scan.nii")
    (tmp_path / "folder.nii").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        write_volume(scan, tmp_path / "folder.nii")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(tmp_path, scan):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written to"):
        write_volume(scan, tmp_path / "scan.nii")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_the_old_file(tmp_path, scan, suffix, monkeypatch):
    """The writer stops half-way, as ITK does when the disk is full, with and without an error."""
    path = tmp_path / f"scan{suffix}"
    write_volume(scan, path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    nifti = ".nii" in suffix
    real, place = (write_nifti, "superres3d.scan.writing.write_nifti") if nifti else (sitk.WriteImage, "SimpleITK.WriteImage")

    def half(image, name, *args, **kwargs):
        real(image, name, *args, **kwargs)
        files = [file for file in Path(name).parent.iterdir() if file.is_file()]
        largest = max(files, key=lambda file: file.stat().st_size)
        largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])

    def failing(image, name, *args, **kwargs):
        half(image, name, *args, **kwargs)
        raise RuntimeError("No space left on device")

    for writer in (half, failing):
        monkeypatch.setattr(place, writer)
        with pytest.raises(ResourceError, match="could not be written"):
            write_volume(scan, path)
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_whole_numbers_of_32_bits_are_only_too_far_from_zero_for_networks():
    """Interpolations compute them in double precision."""
    voxels = (np.rint(np.random.default_rng(0).random((6, 24, 24)) * 10_000) + 3_000_000_000).astype("uint32")
    voxels[0, 0, 0] = 3_000_010_001  # more than 256 values, and no label map
    assert accepted(Volume(voxels), "The scan").voxels is voxels
    with pytest.raises(InputError, match=r"too far from 0 to be told apart"):
        upscale(Volume((voxels - 3_000_000_000) // 100 + 3_000_000_000, modality="MR"), 2)
    assert upscale(Volume(voxels, modality="MR"), 2, method="nearest").volume.voxels[0, 0, 0] == 3_000_010_001


@pytest.mark.parametrize("dtype", ["int64", "float64", "float32"])
def test_values_too_far_from_zero(dtype):
    voxels = (np.rint(smooth_noise((6, 7, 8)) * 1000) + 3_000_000_000).astype(dtype)
    with pytest.raises(InputError, match=r"too far from 0 to be told apart"):
        accepted(Volume(voxels), "The scan")
    near = (np.rint(smooth_noise((6, 7, 8)) * 1000) + 10_000).astype(dtype)
    np.testing.assert_array_equal(accepted(Volume(near), "The scan").voxels, near)
