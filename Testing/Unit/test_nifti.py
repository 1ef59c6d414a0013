"""NIfTI, Analyze and MGH against nibabel: what it reads is read so, or refused in one sentence."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from superres3d import Volume, read_volume, write_volume
from superres3d.errors import InputError
from superres3d.scan.geometry import FLIP, matrix_of

from .conftest import run_cli, smooth_noise

SHAPE = (10, 9, 8)  # (i, j, k)


def placed(angle: float = 20.0, spacing: tuple[float, ...] = (0.8, 0.9, 2.5), origin: tuple[float, ...] = (-30.0, 12.0, 7.0)) -> np.ndarray:
    """An oblique RAS matrix."""
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[-c, s, 0], [s, c, 0], [0, 0, 1]]) * spacing
    matrix[:3, 3] = origin
    return matrix


def grey(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.rint(smooth_noise(shape, seed) * 1500 - 300).astype(np.int16)


def image(kind=nib.Nifti1Image, voxels: np.ndarray | None = None, sform: np.ndarray | None = None, qform: np.ndarray | None = None, codes: tuple[int, int] = (1, 1)):
    """With the forms and their codes (sform, qform)."""
    made = kind(grey() if voxels is None else voxels, None)
    made.set_qform(placed() if qform is None else qform, codes[1])
    made.set_sform(placed() if sform is None else sform, codes[0])
    made.header.set_xyzt_units("mm")
    return made


def saved(path: Path, made) -> Path:
    nib.save(made, path)
    return path


def patched(path: Path, offset: int, form: str, *values: float) -> Path:
    """Fields of the header overwritten, in a file that is not gzipped."""
    content = bytearray(path.read_bytes())
    struct.pack_into(f"<{form}", content, offset, *values)
    path.write_bytes(content)
    return path


def assert_as_nibabel(path: Path, volume: Volume | None = None, **tolerance: float) -> Volume:
    volume = volume or read_volume(path)
    there = nib.MGHImage.from_bytes(path.read_bytes()) if path.suffix == ".mgh" else nib.load(path)  # from_filename leaves that file open
    np.testing.assert_allclose(matrix_of(volume), FLIP @ there.affine, atol=1e-4)
    np.testing.assert_allclose(volume.voxels, there.get_fdata().reshape(volume.voxels.shape[::-1]).T, **{"rtol": 1e-6, **tolerance})
    return volume


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII", ".NII.GZ"])
def test_nifti_of_both_versions(tmp_path, kind, suffix):
    path = tmp_path / f"scan{suffix}"
    path.write_bytes(gzip.compress(image(kind).to_bytes()) if suffix.lower().endswith("gz") else image(kind).to_bytes())
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.voxels, grey().T)
    np.testing.assert_allclose(matrix_of(volume), FLIP @ placed(), atol=1e-5)
    assert volume.voxels.dtype == np.int16 and volume.notes == ()


@pytest.mark.parametrize("kind, named", [(nib.Nifti1Pair, "hdr"), (nib.Nifti1Pair, "img"), (nib.Nifti2Pair, "hdr")])
@pytest.mark.parametrize("packing", ["", ".gz"])
def test_pairs(tmp_path, kind, named, packing):
    saved(tmp_path / f"scan.img{packing}", image(kind))
    assert_as_nibabel(tmp_path / f"scan.{named}{packing}")


def test_half_a_pair_is_refused(tmp_path):
    saved(tmp_path / "scan.img", image(nib.Nifti1Pair))
    (tmp_path / "scan.img").rename(tmp_path / "gone")
    with pytest.raises(InputError, match=r"scan\.img is not beside it"):
        read_volume(tmp_path / "scan.hdr")


def test_the_other_byte_order(tmp_path):
    there = image()
    swapped = nib.Nifti1Image(there.dataobj, None, there.header.as_byteswapped())
    assert_as_nibabel(saved(tmp_path / "scan.nii", swapped))


def test_twins_are_not_confused(tmp_path):
    for name, seed in (("scan.nii", 1), ("scan.nii.gz", 2), ("scan.hdr", 3), ("scan.img.gz", 4)):
        saved(tmp_path / name, image(nib.Nifti1Pair if "nii" not in name else nib.Nifti1Image, grey(seed)))
    for name, seed in (("scan.nii", 1), ("scan.nii.gz", 2), ("scan.hdr", 3), ("scan.img", 3), ("scan.hdr.gz", 4)):
        np.testing.assert_array_equal(read_volume(tmp_path / name).voxels, grey(seed).T)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
def test_cut_files_are_refused(tmp_path, share):
    whole = saved(tmp_path / "whole.nii", image()).read_bytes()
    for name, content in (("cut.nii", whole), ("cut.nii.gz", gzip.compress(whole))):
        (tmp_path / name).write_bytes(content[: int(share * len(content))])
        with pytest.raises(InputError, match="incomplete"):
            read_volume(tmp_path / name)


def test_a_gzip_without_its_checksum_or_with_a_wrong_one_is_refused(tmp_path):
    whole = gzip.compress(saved(tmp_path / "whole.nii", image()).read_bytes())
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(whole[:-8])
    with pytest.raises(InputError, match="incomplete"):
        read_volume(path)
    path.write_bytes(whole[:-8] + bytes(4) + whole[-4:])
    with pytest.raises(InputError, match="checksum"):
        read_volume(path)
    path.write_bytes(whole[: len(whole) // 2] + b"\0" * 64 + whole[len(whole) // 2 + 64 :])
    with pytest.raises(InputError, match="damaged|incomplete"):
        read_volume(path)


def test_gzip_in_members_and_with_padding(tmp_path):
    whole = saved(tmp_path / "whole.nii", image()).read_bytes()
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(gzip.compress(whole[:1000]) + gzip.compress(whole[1000:]) + bytes(100))
    np.testing.assert_array_equal(read_volume(path).voxels, grey().T)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_content_counts_more_than_the_name(tmp_path, name):
    content = saved(tmp_path / "whole.nii", image()).read_bytes()
    (tmp_path / name).write_bytes(content if name.endswith("gz") else gzip.compress(content))
    volume = read_volume(tmp_path / name)
    np.testing.assert_array_equal(volume.voxels, grey().T)
    assert "in spite of its name" in volume.notes[0]


def test_headers_that_name_other_sizes_are_refused(tmp_path):
    for slices, words in ((9, "incomplete"), (30000, "incomplete"), (7, "more voxels than its header names"), (0, "sizes of"), (-8, "sizes of")):
        path = patched(saved(tmp_path / "scan.nii", image()), 46, "h", slices)
        with pytest.raises(InputError, match=words):
            read_volume(path)
        path.with_suffix(".nii.gz").write_bytes(gzip.compress(path.read_bytes()))
        with pytest.raises(InputError, match=words):
            read_volume(path.with_suffix(".nii.gz"))


def test_padding_behind_the_voxels_is_left(tmp_path):
    path = saved(tmp_path / "scan.nii", image())
    path.write_bytes(path.read_bytes() + bytes(100))
    np.testing.assert_array_equal(read_volume(path).voxels, grey().T)


def test_an_offset_of_0_means_right_behind_the_header(tmp_path):
    np.testing.assert_array_equal(read_volume(patched(saved(tmp_path / "scan.nii", image()), 108, "f", 0.0)).voxels, grey().T)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_number_is_refused(tmp_path, value):
    voxels = grey().astype(np.float32)
    voxels[3, 4, 5] = value
    for name, kind in (("scan.nii.gz", nib.Nifti1Image), ("scan.hdr", nib.Nifti1Pair)):
        with pytest.raises(InputError, match="NaN or infinite"):
            read_volume(saved(tmp_path / name, image(kind, voxels)))


@pytest.mark.parametrize(
    "dtype, slope, inter, becomes",
    [
        ("int16", 1, 0, "int16"), ("uint16", 1, -1024, "int16"), ("int16", 1000, 0, "int32"), ("uint8", -1, 255, "uint8"), ("int16", 0.1, -7.5, "float32"),
        ("int32", 1e8, 0, "float32"), ("float32", 2, 1, "float32"), ("int16", 0, 5, "int16"), ("int16", np.nan, 5, "int16"), ("int16", np.inf, 5, "int16"),
    ],
)  # fmt: skip
def test_scales(tmp_path, dtype, slope, inter, becomes):
    voxels = np.rint(smooth_noise(SHAPE) * 250).astype(dtype)
    path = patched(saved(tmp_path / "scan.nii", image(voxels=voxels)), 112, "ff", slope, inter)
    volume = assert_as_nibabel(path)
    assert volume.voxels.dtype == becomes and bool(volume.notes) == (dtype != becomes)


def test_a_scale_without_an_intercept_is_refused(tmp_path):
    with pytest.raises(InputError, match="intercept is no number"):
        read_volume(patched(saved(tmp_path / "scan.nii", image()), 112, "ff", 2.0, np.nan))


@pytest.mark.parametrize("dtype, words", [(np.complex64, "complex"), ([("R", "u1"), ("G", "u1"), ("B", "u1")], "colours")])
def test_complex_numbers_and_colours_are_refused(tmp_path, dtype, words):
    voxels = np.zeros(SHAPE, dtype)
    path = saved(tmp_path / "scan.nii", nib.Nifti1Image(voxels, np.eye(4)))
    with pytest.raises(InputError, match=words):
        read_volume(path)


def test_vectors_are_refused_and_frames_chosen(tmp_path):
    path = tmp_path / "scan.nii.gz"
    frames = np.stack([grey(seed) for seed in range(3)], axis=-1)
    saved(path, image(voxels=frames))
    with pytest.raises(InputError, match=r"holds 3 volumes .* --volume N, from 1 to 3"):
        read_volume(path)
    for number in (1, 2, 3):
        np.testing.assert_array_equal(read_volume(path, volume=number).voxels, grey(number - 1).T)
    for number in (0, 4, -1):
        with pytest.raises(InputError, match="from 1 to 3"):
            read_volume(path, volume=number)
    np.testing.assert_array_equal(read_volume(saved(path, image(voxels=frames[..., :1])), volume=1).voxels, grey(0).T)
    warp = image(voxels=frames[..., None, :].astype(np.float32))
    warp.header.set_intent("vector")
    with pytest.raises(InputError, match="3 components per voxel"):
        read_volume(saved(path, warp))


def test_a_single_frame_of_a_series_is_read_without_a_number(tmp_path):
    np.testing.assert_array_equal(read_volume(saved(tmp_path / "scan.nii", image(voxels=grey()[..., None]))).voxels, grey().T)


@pytest.mark.parametrize("code, millimetres, told", [(0, 1, False), (1, 1000, True), (2, 1, False), (3, 0.001, True), (5, 1, True), (2 + 8, 1, False), (2 + 128, 1, True)])
def test_units(tmp_path, code, millimetres, told):
    path = patched(saved(tmp_path / "scan.nii", image()), 123, "B", code)
    for kept, (sform, qform) in {"both": (1, 1), "qform": (0, 1), "none": (0, 0)}.items():
        patched(path, 252, "hh", qform, sform)
        volume = read_volume(path)
        np.testing.assert_allclose(volume.spacing, np.multiply((0.8, 0.9, 2.5), millimetres), rtol=1e-5)
        expected = nib.load(path).affine[:3, 3] * [-1, -1, 1] * millimetres
        np.testing.assert_allclose(volume.origin, expected, rtol=1e-5, err_msg=kept)
        assert len(volume.notes) == told + (kept == "none")


MOVED = placed(35.0, origin=(-20.0, 15.0, 1.0))


@pytest.mark.parametrize("codes, taken", [((2, 1), MOVED), ((4, 4), MOVED), ((0, 1), placed()), ((1, 0), MOVED), ((5, 0), MOVED)])
def test_the_sform_counts_where_it_is_valid(tmp_path, codes, taken):
    path = saved(tmp_path / "scan.nii", image(sform=MOVED, codes=codes))
    volume = assert_as_nibabel(path)
    np.testing.assert_allclose(matrix_of(volume), FLIP @ taken, atol=1e-4)
    assert bool(volume.notes) == (min(codes) > 0)
    assert (volume.source.sform_code, volume.source.qform_code) == codes


def test_both_codes_0_and_a_note(tmp_path):
    volume = assert_as_nibabel(saved(tmp_path / "scan.nii", image(codes=(0, 0))))
    assert "does not tell where the scan lies" in volume.notes[0]


@pytest.mark.parametrize("form, values", [("12f", (np.nan,) * 12), ("12f", (0.0,) * 12), ("I", (0x7FBF0000,))], ids=["NaN", "zeros", "signalling NaN"])
def test_a_form_that_is_none_is_left_out(tmp_path, form, values):
    path = patched(saved(tmp_path / "scan.nii", image(sform=MOVED, codes=(1, 1))), 280, form, *values)
    volume = read_volume(path)
    np.testing.assert_allclose(matrix_of(volume), FLIP @ placed(), atol=1e-4)
    assert "The sform of the header is not valid" in volume.notes[0] and volume.source.sform_code == 0


def test_a_qform_that_is_none_is_left_out(tmp_path):
    for offset, form, values in ((256, "3f", (0.9, 0.9, 0.9)), (256, "f", (np.nan,)), (84, "f", (np.nan,)), (84, "f", (0.0,)), (252, "h", (77,))):
        volume = read_volume(patched(saved(tmp_path / "scan.nii", image(sform=MOVED)), offset, form, *values))
        np.testing.assert_allclose(matrix_of(volume), FLIP @ MOVED, atol=1e-4)
        assert "The qform of the header is not valid" in volume.notes[0] and volume.source.qform_code == 0


@pytest.mark.parametrize("third", [1.0, 0.0, -1.0, np.nan])
@pytest.mark.parametrize("codes", [(1, 0), (4, 0)])
def test_sizes_are_those_of_the_sform(tmp_path, third, codes):
    path = patched(saved(tmp_path / "scan.nii", image(codes=codes)), 88, "f", third)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.spacing, (0.8, 0.9, 2.5), rtol=1e-5)
    assert "the sform was taken" in volume.notes[0]


@pytest.mark.parametrize("codes", [(0, 1), (0, 0)])
@pytest.mark.parametrize("third", [0.0, np.nan, np.inf])
def test_no_size_at_all_is_refused(tmp_path, codes, third):
    with pytest.raises(InputError, match=r"has a spacing of .* mm; correct its header first"):
        read_volume(patched(saved(tmp_path / "scan.nii", image(codes=codes)), 88, "f", third))


def sheared(cosine: float) -> np.ndarray:
    """The place with its third axis leant to the second."""
    matrix = placed()
    matrix[:3, 2] += 2.5 * cosine * matrix[:3, 1] / 0.9
    return matrix


@pytest.mark.parametrize("cosine", [0.27, 0.01, 0.002])
@pytest.mark.parametrize("codes", [(1, 0), (2, 1)])
def test_a_shear_is_refused(tmp_path, cosine, codes):
    voxels = grey(shape=(64, 64, 40))
    with pytest.raises(InputError, match="not at right angles"):
        read_volume(saved(tmp_path / "scan.nii", image(voxels=voxels, sform=sheared(cosine), codes=codes)))


def test_a_shear_below_the_tolerance_is_made_exact(tmp_path):
    volume = read_volume(saved(tmp_path / "scan.nii", image(sform=sheared(0.0008), codes=(1, 0))))
    np.testing.assert_allclose(volume.direction.T @ volume.direction, np.eye(3), atol=1e-12)
    centre = (np.array(SHAPE) - 1) / 2
    np.testing.assert_allclose(volume.position(centre), (FLIP @ sheared(0.0008) @ [*centre, 1])[:3], atol=1e-5)
    assert np.abs(matrix_of(volume) - FLIP @ sheared(0.0008)).max() < 0.005


def test_a_shear_that_both_forms_do_not_show_at_the_corners(tmp_path):
    """Eight slices, leant by 0.002: the last one moves by less than a tenth of a voxel, and the qform says the same place."""
    volume = read_volume(saved(tmp_path / "scan.nii", image(sform=sheared(0.002), codes=(1, 1))))
    np.testing.assert_allclose(matrix_of(volume), FLIP @ placed(), atol=1e-4)


@pytest.mark.parametrize("origin", [0, 4])
def test_analyze(tmp_path, origin):
    made = nib.Spm99AnalyzeImage(grey(), None)
    made.header.set_zooms((0.8, 0.9, 2.5))
    made.header["origin"][:3] = origin
    saved(tmp_path / "scan.img", made)
    (tmp_path / "scan.mat").unlink(missing_ok=True)
    volume = assert_as_nibabel(tmp_path / "scan.hdr")
    assert "left from right" in volume.notes[0] and volume.source is None


@pytest.mark.parametrize("suffix", [".mgh", ".mgz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32"])
def test_mgh(tmp_path, suffix, dtype):
    voxels = np.rint(smooth_noise(SHAPE) * 250).astype(dtype)
    volume = assert_as_nibabel(saved(tmp_path / f"scan{suffix}", nib.MGHImage(voxels, placed())))
    assert volume.voxels.dtype == dtype and volume.notes == ()


def test_bad_mgh(tmp_path):
    whole = saved(tmp_path / "whole.mgh", nib.MGHImage(grey(), placed())).read_bytes()
    for change, words in (
        (whole[:1000], "incomplete"), (b"\0\0\0\2" + whole[4:], "none of FreeSurfer"), (whole[:28] + bytes(2) + whole[30:], "does not tell the size"),
        (whole[:4] + bytes(4) + whole[8:], "sizes of 0"), (b"no image at all", "none of FreeSurfer"), (whole[:4] + b"\x7f" + whole[5:], "incomplete"),
    ):  # fmt: skip
        (tmp_path / "scan.mgh").write_bytes(change)
        with pytest.raises(InputError, match=words):
            read_volume(tmp_path / "scan.mgh")
    frames = saved(tmp_path / "scan.mgz", nib.MGHImage(np.stack([grey(0), grey(1)], axis=-1), placed()))
    np.testing.assert_array_equal(read_volume(frames, volume=2).voxels, grey(1).T)


@pytest.mark.parametrize("offset, form, value", [(108, "f", 100.0), (108, "f", np.nan), (108, "f", 1e20), (70, "h", 777), (40, "h", 9), (40, "h", 2), (344, "4s", b"ni1\0")])
def test_other_damaged_headers(tmp_path, offset, form, value):
    with pytest.raises(InputError) as raised:
        read_volume(patched(saved(tmp_path / "scan.nii", image()), offset, form, value))
    assert str(tmp_path / "scan.nii") in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "scan.nii")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        read_volume(tmp_path / "scan.nii")


def test_content_of_another_format(tmp_path):
    write_volume(Volume(grey().T), tmp_path / "scan.nrrd")
    (tmp_path / "scan.nrrd").rename(tmp_path / "scan.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.nii").voxels, grey().T)


@pytest.mark.parametrize("name", ["nrrd", "mha"])
def test_other_formats_do_without_nibabel_and_pydicom(tmp_path, name):
    """As in the panel's worker."""
    write_volume(Volume(grey().T), tmp_path / f"scan.{name}")
    code = f"""
import sys
sys.modules.update(nibabel=None, pydicom=None, highdicom=None)
from superres3d import read_volume, upscale, write_volume
volume = upscale(read_volume({str(tmp_path / f"scan.{name}")!r}), 2, method="linear", modality="CT").volume
write_volume(volume, {str(tmp_path / f"out.{name}")!r})
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    assert read_volume(tmp_path / f"out.{name}").voxels.shape == tuple(2 * n for n in SHAPE[::-1])


def test_volume_on_the_command_line(tmp_path):
    path = saved(tmp_path / "scan.nii.gz", image(voxels=np.stack([grey(seed) for seed in range(3)], axis=-1)))
    refused = run_cli("upscale", path, tmp_path / "out.nii.gz", "--method", "nearest", "--modality", "CT", "--progress", "none")
    assert refused.returncode == 2 and "--volume N" in " ".join(refused.stderr.split()) and not (tmp_path / "out.nii.gz").exists()
    done = run_cli("upscale", path, tmp_path / "out.nii.gz", "--volume", 2, "--method", "nearest", "--modality", "CT", "--progress", "none")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "out.nii.gz").dataobj)[::2, ::2, ::2], grey(1))
    assert json.loads(run_cli("info", path, "--volume", 3, "--json").stdout)["minimum"] == grey(2).min()


def test_without_nibabel(tmp_path, monkeypatch):
    path = saved(tmp_path / "scan.nii", image())
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(InputError, match="pip install nibabel"):
        read_volume(path)


@pytest.mark.parametrize("length", [1 + 1e-6, 1 + 1e-4])
def test_a_quaternion_that_rounding_made_longer_than_one(tmp_path, length):
    half_turn = np.diag([-0.8, -0.9, 2.5, 1.0])
    path = saved(tmp_path / "scan.nii", image(qform=half_turn, codes=(0, 1)))
    volume = read_volume(patched(path, 256, "3f", 0, 0, length))  # quatern_b, c, d
    np.testing.assert_allclose(FLIP @ matrix_of(volume), half_turn, atol=1e-6)


def test_a_quaternion_that_is_none_is_refused(tmp_path):
    path = patched(saved(tmp_path / "scan.nii", image(codes=(0, 1))), 256, "3f", 0, 0.8, 0.8)
    with pytest.raises(InputError, match="form that is not valid"):
        read_volume(path)


def test_a_header_across_members_of_gzip(tmp_path):
    content = saved(tmp_path / "whole.nii", image()).read_bytes()
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(b"".join(gzip.compress(part) for part in (content[:100], b"", content[100:1000], content[1000:])))
    assert_as_nibabel(path)


@pytest.mark.parametrize("handedness", [3.0, 0.0, -1.0])
def test_handedness_of_a_qform(tmp_path, handedness):
    """As ITK's copy of the standard's library has it; some programs leave other numbers there."""
    path = patched(saved(tmp_path / "scan.nii", image(codes=(0, 1))), 76, "f", handedness)  # pixdim[0]
    there = sitk.ReadImage(str(path))
    volume = read_volume(path)
    np.testing.assert_allclose(volume.direction, np.reshape(there.GetDirection(), (3, 3)), atol=1e-5)
    np.testing.assert_allclose(volume.origin, there.GetOrigin(), atol=1e-4)


@pytest.mark.parametrize("handedness", [-7.0, float("nan"), float("inf")])
def test_a_handedness_that_is_none(tmp_path, handedness):
    """nibabel takes -7 for 1, ITK for -1."""
    with pytest.raises(InputError, match="form that is not valid"):
        read_volume(patched(saved(tmp_path / "scan.nii", image(codes=(0, 1))), 76, "f", handedness))


@pytest.mark.parametrize("stored, told", [(2.51, False), (2.6, True)])
def test_sizes_that_differ_from_the_sform_alone_are_told(tmp_path, stored, told):
    path = patched(saved(tmp_path / "scan.nii", image(codes=(1, 0))), 80, "3f", 0.8, 0.9, stored)  # pixdim[1:4]
    notes = read_volume(path).notes
    assert [note.split(";")[0] for note in notes] == ["The header names voxels of 0.8 x 0.9 x 2.6 mm, its sform voxels of 0.8 x 0.9 x 2.5 mm"] * told


@pytest.mark.parametrize("orient, told", [(0, False), (1, True), (2, True)])
def test_an_analyze_file_of_other_slices_is_told(tmp_path, orient, told):
    path = saved(tmp_path / "scan.img", nib.AnalyzeImage(grey(), np.diag([-0.8, 0.9, 2.5, 1])))
    patched(path.with_suffix(".hdr"), 252, "b", orient)
    assert any("not transverse (orient)" in note for note in read_volume(path).notes) == told
