"""Classic DICOM series: every slice's values and place are right, or the series is refused in one sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import ImplicitVRLittleEndian
from superres3d import read_volume
from superres3d.errors import InputError

from .dicom_files import by_pydicom, image_header, name_instance, save, stored, write_series

OBLIQUE = tuple(np.array([[0.8, 0.6, 0], [-0.48, 0.64, 0.6]]).ravel())


def test_values_and_grid(tmp_path):
    voxels = stored()
    volume = read_volume(write_series(tmp_path / "a", voxels))
    np.testing.assert_array_equal(volume.voxels, voxels)
    assert volume.voxels.dtype == np.int16 and volume.modality == "CT" and volume.notes == ()
    assert volume.spacing == (0.8, 0.7, 2.5) and volume.origin == (-11, -25, 60)
    np.testing.assert_array_equal(volume.direction, np.eye(3))


@pytest.mark.parametrize("axes", [(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1), (-1, 0, 0, 0, -1, 0), OBLIQUE])
def test_any_direction_as_simpleitk_has_it(tmp_path, axes):
    folder = write_series(tmp_path / "a", stored(), axes=axes, name="{:04d}")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    volume = read_volume(folder)
    np.testing.assert_allclose(volume.direction.ravel(), image.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(volume.origin, image.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(volume.spacing, image.GetSpacing(), atol=1e-6)
    np.testing.assert_array_equal(volume.voxels, sitk.GetArrayFromImage(image))


def test_slices_in_any_order_of_names(tmp_path):
    voxels = stored()
    order = np.array([3, 0, 5, 1, 4, 2])
    volume = read_volume(write_series(tmp_path / "a", voxels[order], 2.5 * order))
    np.testing.assert_array_equal(volume.voxels, voxels)
    assert [float(header.ImagePositionPatient[2]) for header in volume.source.headers] == [60 + 2.5 * k for k in range(6)]
    assert [file.name for file in volume.source.files] == [f"IM{number:04d}.dcm" for number in np.argsort(order) + 1]
    assert not any("PixelData" in header for header in volume.source.headers)


def test_slope_of_every_slice(tmp_path):
    """The first slice has whole numbers, a later one fractions: floating point for all."""

    def scale(header, k):
        header.RescaleSlope, header.RescaleIntercept = (1, 0) if k == 0 else (f"{0.37 * k:.6g}", k)

    folder = write_series(tmp_path / "a", stored(), modality="PT", change=scale)
    volume = read_volume(folder)
    assert volume.voxels.dtype == np.float32 and volume.modality == "PT"
    np.testing.assert_allclose(volume.voxels, by_pydicom(folder), rtol=1e-6)


@pytest.mark.parametrize("slope, intercept, dtype", [(1, -1024, "int16"), (75, 0, "int32"), (-1, 0, "int16"), (1, 40000, "uint16"), (70000, 5, "int32")])
def test_whole_numbers_stay_exact(tmp_path, slope, intercept, dtype):
    def scale(header, k):
        header.RescaleSlope, header.RescaleIntercept = (slope, intercept) if k else (1, 0)

    voxels = stored() + np.int16(600)
    folder = write_series(tmp_path / "a", voxels, change=scale)
    volume = read_volume(folder)
    assert volume.voxels.dtype == dtype
    np.testing.assert_array_equal(volume.voxels, by_pydicom(folder))


def test_unsigned_with_intercept_and_types_that_differ(tmp_path):
    def change(header, k):
        header.RescaleIntercept = -1024
        if k == 2:
            header.PixelRepresentation = 0
            header.PixelData = np.full((14, 12), 65000, np.uint16).tobytes()

    folder = write_series(tmp_path / "a", stored(), change=change)
    volume = read_volume(folder)
    assert volume.voxels.dtype == np.int32 and volume.voxels[2].max() == 65000 - 1024
    np.testing.assert_array_equal(volume.voxels, by_pydicom(folder))


def test_slope_of_some_slices_only(tmp_path):
    def drop(header, k):
        if k == 4:
            del header.RescaleSlope, header.RescaleIntercept

    with pytest.raises(InputError, match=r"slope and intercept of its values for some slices and not for others \(such as IM0005.dcm\)"):
        read_volume(write_series(tmp_path / "a", stored(), change=drop))


def test_monochrome1_keeps_the_stored_values(tmp_path):
    def change(header, k):
        header.PhotometricInterpretation = "MONOCHROME1"

    voxels = stored()
    np.testing.assert_array_equal(read_volume(write_series(tmp_path / "a", voxels, change=change)).voxels, voxels)


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("extended", [True, False])
def test_bits_that_are_used(tmp_path, sign, extended):
    """Twelve bits in sixteen; above them the sign, or nothing."""
    voxels = stored() // 4 if sign else stored() // 4 + 200
    words = voxels if extended else (voxels.astype(np.uint16) & 0xFFF)

    def change(header, k):
        header.BitsStored, header.HighBit, header.PixelRepresentation = 12, 11, sign

    np.testing.assert_array_equal(read_volume(write_series(tmp_path / "a", words, change=change)).voxels, voxels)


def test_more_bits_than_are_told(tmp_path):
    def change(header, k):
        header.BitsStored, header.HighBit = 10, 9

    with pytest.raises(InputError, match=r"IM0001\.dcm holds more in its pixels than the 10 bits"):
        read_volume(write_series(tmp_path / "a", stored(), change=change))


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("bit", [12, 15])
def test_overlays_in_the_bits_above_the_values(tmp_path, sign, bit):
    """As old files have them: they are no part of the values; the same bits without an overlay are refused."""
    voxels = stored() // 4 if sign else stored() // 4 + 200
    words = voxels.astype(np.uint16)
    words[:, ::3] ^= 1 << bit

    def change(header, k, told=True):
        header.BitsStored, header.HighBit, header.PixelRepresentation = 12, 11, sign
        if told:
            header.add_new(0x60020100, "US", 16)
            header.add_new(0x60020102, "US", bit)

    np.testing.assert_array_equal(read_volume(write_series(tmp_path / "a", words, change=change)).voxels, voxels)
    with pytest.raises(InputError, match="holds more in its pixels than the 12 bits"):
        read_volume(write_series(tmp_path / "b", words, change=lambda header, k: change(header, k, told=False)))


def test_bits_that_are_not_told(tmp_path):
    with pytest.raises(InputError, match=r"IM0001\.dcm does not tell the number of bits \(Bits Stored\); export it again"):
        read_volume(write_series(tmp_path / "a", stored(), change=lambda header, k: delattr(header, "BitsStored")))


def test_a_slope_that_is_not_told(tmp_path):
    with pytest.raises(InputError, match=r"IM0001\.dcm does not tell the slope of the values \(Rescale Slope\); export it again"):
        read_volume(write_series(tmp_path / "a", stored(), change=lambda header, k: setattr(header, "RescaleSlope", None)))


@pytest.mark.parametrize("modality", ["DX", "US"])
def test_pictures_without_a_place_are_told_as_what_they_are(tmp_path, modality):
    def change(header, k):
        header.Modality = modality
        del header.ImagePositionPatient

    with pytest.raises(InputError, match=rf"is (an X-ray picture|ultrasound) \({modality}\), and does not tell where"):
        read_volume(write_series(tmp_path / "a", stored(), change=change))


@pytest.mark.parametrize("allocated, bits, high, sign", [(16, 12, 15, 0), (16, 17, 16, 0), (16, 0, 0, 0), (12, 12, 11, 0), (16, 16, 15, 2), (64, 16, 15, 0)])
def test_bits_that_contradict_each_other(tmp_path, allocated, bits, high, sign):
    def change(header, k):
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = allocated, bits, high, sign

    with pytest.raises(InputError, match="stores its pixels in a way that is not read"):
        read_volume(write_series(tmp_path / "a", stored(), change=change))


@pytest.mark.parametrize("keyword, value", [("PixelSpacing", None), ("PixelSpacing", ""), ("PixelSpacing", [0, 0]), ("PixelSpacing", [0.8, -0.8])])
def test_size_of_pixels_not_told(tmp_path, keyword, value):
    def change(header, k):
        header.ImagerPixelSpacing = [0.5, 0.5]
        if value is None:
            delattr(header, keyword)
        else:
            setattr(header, keyword, value)

    with pytest.raises(InputError, match=r"IM0001\.dcm does not tell the size of its pixels"):
        read_volume(write_series(tmp_path / "a", stored(), change=change))


def patched(folder: Path, name: str, old: bytes, new: bytes) -> Path:
    """Text of a header changed in the file; lengths stay."""
    file = folder / name
    content = file.read_bytes()
    assert len(old) == len(new) and content.count(old) == 1
    file.write_bytes(content.replace(old, new))
    return folder


@pytest.mark.parametrize(
    "old, new, words",
    [
        (b"-11\\-25\\62.5", b"-11\\-25\\62,5", r'"-11\\-25\\62,5" as the position of the slice \(Image Position \(Patient\)\)'),
        (b"-11\\-25\\62.5", b"-11\\-25000.5", "which is not 3 finite numbers"),
        (b"-11\\-25\\62.5", b"-1\\-2\\62\\.5\\", "which is not 3 finite numbers"),
        (b"-11\\-25\\62.5", b"-11\\-25\\nan ", "which is not 3 finite numbers"),
        (b"-11\\-25\\62.5", b"-11\\inf\\62.5", "which is not 3 finite numbers"),
        (b"-11\\-25\\62.5", b"left\\up\\1234", "which is not 3 finite numbers"),
        (b"-11\\-25\\62.5", b"            ", "does not tell where its slices lie"),
        (b"0.7\\0.8", b"0,7\\0,8", r"size of the pixels \(Pixel Spacing\)"),
        (b"0.7\\0.8", b"0.7000 ", "which is not 2 finite numbers"),
        (b"0.7\\0.8", b"1_0\\0.8", "which is not 2 finite numbers"),
        (b"0.7\\0.8", b"9e999\\1", "which is not 2 finite numbers"),
        (b"0.7\\0.8", b"9e9\\0.8", "which is not 2 finite numbers"),
    ],
)
def test_numbers_that_are_none(tmp_path, old, new, words):
    folder = write_series(tmp_path / "a", stored(), name="IM{:04d}.dcm")
    with pytest.raises(InputError, match=rf"IM0002\.dcm .*{words}"):
        read_volume(patched(folder, "IM0002.dcm", old, new))


@pytest.mark.parametrize("axes, words", [((0, 0, 0, 0, 0, 0), "not at right angles"), ((1, 0, 0, 0.1, 1, 0), "not at right angles"), ((1, 0, 0, 0, 1.01, 0), "not at right angles"), ((1, 0, 0, 0, 1.002, 0), "not at right angles")])
def test_directions_that_are_none(tmp_path, axes, words):
    with pytest.raises(InputError, match=words):
        read_volume(write_series(tmp_path / "a", stored(), 2.5 * np.arange(6), axes=axes))


@pytest.mark.parametrize("samples, meant", [(3, "RGB"), (2, "MONOCHROME2"), (1, "PALETTE COLOR"), (3, "YBR_FULL")])
def test_colour_is_refused(tmp_path, samples, meant):
    def change(header, k):
        header.SamplesPerPixel, header.PhotometricInterpretation = samples, meant
        header.PixelData = header.PixelData * samples

    with pytest.raises(InputError, match="in colour or with a palette"):
        read_volume(write_series(tmp_path / "a", stored(), change=change))


@pytest.mark.parametrize("keyword, value", [("Rows", 13), ("Rows", 15), ("Columns", 11), ("BitsAllocated", 8), ("NumberOfFrames", 2)])
def test_size_of_the_data_against_the_header(tmp_path, keyword, value):
    def change(header, k):
        setattr(header, keyword, value)
        header.BitsStored, header.HighBit = header.BitsAllocated, header.BitsAllocated - 1

    with pytest.raises(InputError, match="bytes of pixels where its header asks for|does not tell where"):
        read_volume(write_series(tmp_path / "a", stored(), change=change))


def test_implicit_and_big_endian_and_deflated(tmp_path):
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

    voxels = stored()
    for syntax in (ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian):

        def change(header, k, syntax=syntax):
            header.file_meta.TransferSyntaxUID = syntax
            if syntax == ExplicitVRBigEndian:
                header.PixelData = voxels[k].astype(">i2").tobytes()
                header["PixelData"].VR = "OW"

        folder = tmp_path / syntax
        np.testing.assert_array_equal(read_volume(write_series(folder, voxels, change=change)).voxels, voxels)
        shutil.rmtree(folder)


def test_files_without_suffix_and_without_preamble(tmp_path):
    voxels = stored()
    folder = write_series(tmp_path / "a", voxels, name="{:04d}")
    np.testing.assert_array_equal(read_volume(folder).voxels, voxels)

    def implicit(header, k):
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian

    bare = write_series(tmp_path / "b", voxels, change=implicit, name="{:04d}")
    for file in bare.iterdir():
        header = pydicom.dcmread(file)
        del header.file_meta
        header.preamble = None
        header.save_as(file, implicit_vr=True, little_endian=True)
    assert b"DICM" not in next(bare.iterdir()).read_bytes()[:200]
    np.testing.assert_array_equal(read_volume(bare).voxels, voxels)


def test_one_slice_by_its_name(tmp_path):
    folder = write_series(tmp_path / "a", stored())
    with pytest.raises(InputError, match="has a single slice of 12 x 14 pixels; give the folder with all its slices"):
        read_volume(folder / "IM0003.dcm")


def test_modality_is_the_files_own_word(tmp_path):
    for modality in ("NM", "OT", "XA"):
        assert read_volume(write_series(tmp_path / modality, stored(), modality=modality)).modality == modality


def test_segmentations_are_refused(tmp_path):
    header = image_header((14, 12), "SEG")
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    name_instance(header, 1)
    header.PixelData = stored(1).tobytes()
    with pytest.raises(InputError, match="holds a segmentation, not a scan"):
        read_volume(save(header, tmp_path / "seg.dcm"))


def test_a_table_for_the_values_is_refused(tmp_path):
    def change(header, k):
        table = pydicom.Dataset()
        table.LUTDescriptor, table.ModalityLUTType, table.LUTData = [4, 0, 16], "HU", b"\0" * 8
        header.ModalityLUTSequence = [table]

    with pytest.raises(InputError, match="by a table"):
        read_volume(write_series(tmp_path / "a", stored(), change=change))


def test_mosaics_are_refused(tmp_path):
    def change(header, k):
        header.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]

    with pytest.raises(InputError, match="is a mosaic"):
        read_volume(write_series(tmp_path / "a", stored(), change=change))


def test_directions_within_tolerance_are_made_exact(tmp_path):
    volume = read_volume(write_series(tmp_path / "a", stored(), axes=(1, 0.0005, 0, 0, 1.0005, 0)))
    np.testing.assert_allclose(volume.direction.T @ volume.direction, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("slope", ["0", "0.0", "-0"])
def test_a_slope_of_zero(tmp_path, slope):
    with pytest.raises(InputError, match=r"IM0003\.dcm gives 0 as the slope"):
        read_volume(write_series(tmp_path / "a", stored(), change=lambda header, k: k == 2 and setattr(header, "RescaleSlope", slope)))


def test_an_intercept_that_is_no_whole_number(tmp_path):
    volume = read_volume(write_series(tmp_path / "a", stored(), change=lambda header, k: setattr(header, "RescaleIntercept", "0.5")))
    assert volume.voxels.dtype == np.float32
    np.testing.assert_array_equal(volume.voxels, stored() + 0.5)
