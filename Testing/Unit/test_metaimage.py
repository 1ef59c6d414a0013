"""MetaImage against SimpleITK: what it reads is read so, or refused in one sentence."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from superres3d import read_volume
from superres3d.errors import InputError

from .conftest import smooth_noise

SHAPE = (8, 9, 10)  # (k, j, i)
HEADER = {
    "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False", "CompressedData": "False",
    "TransformMatrix": "0.6 0.8 0 -0.8 0.6 0 0 0 1", "Offset": "-30 12 7", "ElementSpacing": "0.8 0.9 2.5", "DimSize": "10 9 8", "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}  # fmt: skip


def grey(seed: int = 0) -> np.ndarray:
    return np.rint(smooth_noise(SHAPE, seed) * 1500 - 300).astype(np.int16)


def hand_made(path: Path, content: bytes | None = None, **changes: str | None) -> Path:
    """A header with fields that are changed or left out (None), before the voxels."""
    fields = {name: value for name, value in {**HEADER, **changes}.items() if value is not None}
    fields["ElementDataFile"] = fields.pop("ElementDataFile")  # the last
    text = "".join(f"{name} = {value}\n" for name, value in fields.items())
    path.write_bytes(text.encode() + (grey().tobytes() if content is None else content))
    return path


def assert_as_simpleitk(path: Path):
    volume, there = read_volume(path), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(volume.voxels, sitk.GetArrayFromImage(there))
    np.testing.assert_allclose(volume.spacing, there.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(volume.origin, there.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(volume.direction, np.reshape(there.GetDirection(), (3, 3)), atol=1e-6)
    return volume


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
def test_what_simpleitk_writes(tmp_path, dtype, packed, suffix):
    image = sitk.GetImageFromArray(np.rint(smooth_noise(SHAPE) * 120).astype(dtype))
    image.SetSpacing((0.8, 0.9, 2.5))
    image.SetOrigin((-30, 12, 7))
    image.SetDirection((0.6, 0.8, 0, -0.8, 0.6, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / f"scan{suffix}"), useCompression=packed)
    volume = assert_as_simpleitk(tmp_path / f"scan{suffix}")
    assert volume.voxels.dtype == dtype and volume.notes == ()


@pytest.mark.parametrize("changes", [{}, {"BinaryData": None}, {"BinaryDataByteOrderMSB": None}, {"ElementSpacing": None, "ElementSize": "0.8 0.9 2.5"}, {"Offset": None, "Position": "1 2 3"}, {"TransformMatrix": None, "Orientation": HEADER["TransformMatrix"]}, {"ObjectType": None}, {"Modality": "MET_MOD_MR"}])  # fmt: skip
def test_headers_by_hand(tmp_path, changes):
    volume = assert_as_simpleitk(hand_made(tmp_path / "scan.mha", **changes))
    assert volume.modality == ("MR" if "Modality" in changes else "")
    assert len(volume.notes) == ("BinaryDataByteOrderMSB" in changes)  # little-endian is a guess


def test_the_other_byte_order(tmp_path):
    for name in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"):
        assert_as_simpleitk(hand_made(tmp_path / "scan.mha", grey().astype(">i2").tobytes(), **{"BinaryDataByteOrderMSB": None, name: "True"}))


@pytest.mark.parametrize("unit, millimetres", [("um", 1e-3), ("mm", 1), ("cm", 10), ("?", 1)])
def test_units(tmp_path, unit, millimetres):
    volume = read_volume(hand_made(tmp_path / "scan.mha", DistanceUnits=unit))
    np.testing.assert_allclose(volume.spacing, np.multiply((0.8, 0.9, 2.5), millimetres))
    np.testing.assert_allclose(volume.origin, np.multiply((-30, 12, 7), millimetres))


@pytest.mark.parametrize("missing", ["Offset", "TransformMatrix"])
def test_a_place_that_is_not_told_is_noted(tmp_path, missing):
    volume = assert_as_simpleitk(hand_made(tmp_path / "scan.mha", **{missing: None}))
    assert "does not tell where in the patient" in volume.notes[0]


BAD = {
    "no spacing": ({"ElementSpacing": None}, "does not tell the size of its voxels"),
    "a spacing of NaN": ({"ElementSpacing": "0.8 0.9 nan"}, "does not tell the size of its voxels"),
    "zero": ({"ElementSpacing": "0.8 0.9 0"}, r"has a spacing of 0\.8 x 0\.9 x 0 mm"),
    "decimal comma": ({"ElementSpacing": "0,8 0,9 2,5"}, "gives '0,8 0,9 2,5' as ElementSpacing"),
    "two spacings": ({"ElementSpacing": "0.8 0.9"}, "as ElementSpacing"),
    "zero matrix": ({"TransformMatrix": "0 0 0 0 0 0 0 0 0"}, "has a spacing|right angles"),
    "shear": ({"TransformMatrix": "1 0 0 0 1 0 0 0.27 0.96"}, "not at right angles"),
    "place of NaN": ({"Offset": "1 2 nan"}, "as Offset"),
    "axes": ({"NDims": "2000"}, "is 2000-D"),
    "flat": ({"NDims": "2", "DimSize": "90 8"}, "is 2-D"),
    "no axes": ({"NDims": "none"}, "as NDims"),
    "cut": ({"DimSize": "10 9 9"}, "incomplete"),
    "absurd": ({"DimSize": "1000000 1000000 1000000"}, "incomplete"),
    "more": ({"DimSize": "10 9 7"}, "more voxels"),
    "no size": ({"DimSize": "10 9 0"}, "as DimSize"),
    "type": ({"ElementType": "MET_STRANGE"}, "as ElementType"),
    "colours": ({"ElementNumberOfChannels": "3"}, "3 components"),
    "text": ({"BinaryData": "False"}, "as text"),
    "scale": ({"ElementToIntensityFunctionSlope": "2"}, "scale of values"),
    "gone": ({"ElementDataFile": "gone.raw"}, "keeps its voxels in gone.raw, which is not there"),
    "list": ({"ElementDataFile": "LIST"}, "several files"),
    "pattern": ({"ElementDataFile": "a%d.raw 1 8 1"}, "several files"),
    "both orders": ({"ElementByteOrderMSB": "True"}, "as BinaryDataByteOrderMSB"),
    "a separator of files": ({"Offset": "3\x1c -12 7"}, "as Offset"),
    "foreign digits": ({"DimSize": "10 9 \u0668"}, "as DimSize"),
    "tube": ({"ObjectType": "Tube"}, "another kind of object"),
    "not packed": ({"CompressedData": "True"}, "damaged"),
    "neither": ({"BinaryDataByteOrderMSB": "Maybe"}, "as BinaryDataByteOrderMSB"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_bad_headers_are_refused_in_one_sentence(tmp_path, kind, capfd):
    changes, words = BAD[kind]
    with pytest.raises(InputError, match=words) as raised:
        read_volume(hand_made(tmp_path / "scan.mha", **changes))
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_damaged_packed_voxels(tmp_path):
    packed = zlib.compress(grey().tobytes())
    middle = len(packed) // 2
    for content, words in ((packed[:middle], "incomplete"), (packed[:middle] + bytes(40) + packed[middle + 40 :], "damaged"), (zlib.compress(grey().tobytes()[:-200]), "incomplete")):
        with pytest.raises(InputError, match=words):
            read_volume(hand_made(tmp_path / "scan.mha", content, CompressedData="True"))
    assert_as_simpleitk(hand_made(tmp_path / "scan.mha", packed, CompressedData="True", CompressedDataSize=str(len(packed))))


@pytest.mark.parametrize("skip", ["100", "-1"])
def test_bytes_before_the_voxels(tmp_path, skip):
    (tmp_path / "scan.raw").write_bytes(bytes(100) + grey().tobytes())
    assert_as_simpleitk(hand_made(tmp_path / "scan.mhd", b"", HeaderSize=skip, ElementDataFile="scan.raw"))


def test_several_volumes(tmp_path):
    frames = np.stack([grey(seed) for seed in range(3)])
    four = {"NDims": "4", "DimSize": "10 9 8 3", "ElementSpacing": "0.8 0.9 2.5 1", "Offset": "1 2 3 0", "TransformMatrix": " ".join(str(x) for x in np.eye(4).ravel())}
    path = hand_made(tmp_path / "scan.mha", frames.tobytes(), **four)
    with pytest.raises(InputError, match=r"holds 3 volumes .* --volume N, from 1 to 3"):
        read_volume(path)
    for number in (1, 2, 3):
        volume = read_volume(path, volume=number)
        np.testing.assert_array_equal(volume.voxels, grey(number - 1))
        np.testing.assert_allclose(volume.origin, (1, 2, 3))


def test_a_line_that_is_no_field_is_refused(tmp_path):
    """MetaIO stops at it, and fills in all that follows."""
    path = hand_made(tmp_path / "scan.mha")
    path.write_bytes(path.read_bytes().replace(b"CompressedData =", b"CompressedData ("))
    with pytest.raises(InputError, match="a line without '='"):
        read_volume(path)


def test_headers_that_do_not_end_or_are_none(tmp_path):
    whole = hand_made(tmp_path / "scan.mha").read_bytes()
    for content, words in ((whole[:80], "its header does not end"), (b"NDims", "no MetaImage header"), (b"", "no MetaImage header"), (b"NDims = 3\nNDims = 3\n", "twice")):
        (tmp_path / "scan.mha").write_bytes(content)
        with pytest.raises(InputError, match=words):
            read_volume(tmp_path / "scan.mha")


@pytest.mark.parametrize("suffix", [".tif", ".png", ".vtk", ".gipl", ".bmp"])
def test_formats_whose_reader_fills_in_a_size_are_refused(tmp_path, suffix):
    voxels = np.rint(smooth_noise(SHAPE) * 255).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(voxels[0] if suffix in (".png", ".bmp") else voxels), str(tmp_path / f"scan{suffix}"))
    with pytest.raises(InputError, match="is no NIfTI, Analyze, MGH, NRRD, MetaImage or DICOM file; convert it"):
        read_volume(tmp_path / f"scan{suffix}")


@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
def test_voxels_packed_by_gzip(tmp_path, suffix):
    content, name = gzip.compress(grey().tobytes()), "LOCAL" if suffix == ".mha" else "scan.raw.gz"
    (tmp_path / "scan.raw.gz").write_bytes(content)
    path = hand_made(tmp_path / f"scan{suffix}", content if suffix == ".mha" else b"", CompressedData="True", CompressedDataSize=str(len(content)), ElementDataFile=name)
    assert_as_simpleitk(path)


def test_more_packed_bytes_than_are_named(tmp_path):
    content = zlib.compress(grey().tobytes())
    path = hand_made(tmp_path / "scan.mha", content + b"more", CompressedData="True", CompressedDataSize=str(len(content)))
    with pytest.raises(InputError, match="more compressed bytes"):
        read_volume(path)


def test_axes_that_mix_space_and_time(tmp_path):
    turned = "1 0 0 0  0 1 0 0  0 0 0.6 0.8  0 0 -0.8 0.6"
    path = hand_made(tmp_path / "scan.mha", NDims="4", DimSize="10 9 8 1", ElementSpacing="0.8 0.9 2.5 1", Offset="0 0 0 0", TransformMatrix=turned)
    with pytest.raises(InputError, match="as TransformMatrix, which cannot be used"):
        read_volume(path)
