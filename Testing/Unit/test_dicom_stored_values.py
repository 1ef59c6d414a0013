"""Values as 16-bit stored ones: exact for whole numbers where 16 bits can be, the source's own form where it can be, else within half a step."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from superres3d.scan.dicom.stored_values import decimal_string, encoding_of
from superres3d.scan.dicom.write import write_dicom_series

from . import dicom_scans as scans
from .conftest import smooth_noise

#: (dtype, least, greatest, the source's intercept) -> (intercept, signed, bits)
WHOLE = [
    ("int16", -1024, 3071, -1024, (-1024, False, 12)),  # as the source
    ("int16", -1024, 3072, -1024, (-1024, False, 16)),  # more bits
    ("int16", -1100, 3000, -1024, (-1024, True, 16)),  # below what unsigned values reach
    ("int16", -1100, 900, -1024, (-1024, True, 12)),
    ("uint16", 0, 4095, 0, (0, False, 12)),
    ("uint16", 0, 65535, 0, (0, False, 16)),
    ("int32", 40000, 100000, 0, (40000, False, 16)),  # whole numbers far from zero
    ("int8", -128, 127, 0, (0, True, 12)),
]


@pytest.mark.parametrize("dtype, low, high, intercept, expected", WHOLE)
def test_whole_numbers_are_exact(dtype, low, high, intercept, expected):
    header = pydicom.Dataset()
    header.RescaleSlope, header.RescaleIntercept, header.PixelRepresentation, header.BitsStored = "1", str(intercept), 0, 12
    values = np.linspace(low, high, 1000).round().astype(dtype).reshape(10, 10, 10)
    encoding = encoding_of(values, [header])
    assert (encoding.intercept, encoding.signed, encoding.bits) == expected and encoding.exact and encoding.slope == 1
    stored = encoding.stored(values)
    np.testing.assert_array_equal(stored * encoding.slope + encoding.intercept, values)
    assert encoding.limits[0] <= stored.min() and stored.max() <= encoding.limits[1] and stored.dtype == ("int16" if encoding.signed else "uint16")


def test_whole_numbers_in_a_float_type_are_exact_too():
    values = np.arange(-500, 500, dtype=np.float32).reshape(10, 10, 10)
    encoding = encoding_of(values, [pydicom.Dataset()])
    assert encoding.exact and encoding.slope == 1
    np.testing.assert_array_equal(encoding.stored(values).astype(float) + encoding.intercept, values)


@pytest.mark.parametrize("low, high", [(0.0, 1.0), (-3.3e-7, 1.7e-6), (1e5, 1.0001e5), (-2.5e9, 7.1e9), (0.1, 0.7)])
def test_fractions_come_back_within_half_a_step(low, high):
    values = (low + (high - low) * smooth_noise((8, 16, 16)).astype(np.float64)).astype(np.float32)
    encoding = encoding_of(values, [pydicom.Dataset()])
    slope, intercept = float(decimal_string(encoding.slope)), float(decimal_string(encoding.intercept))  # as a reader gets them
    assert (slope, intercept) == (encoding.slope, encoding.intercept) and not encoding.exact
    error = np.abs(encoding.stored(values) * slope + intercept - values.astype(np.float64)).max()
    span = float(values.max()) - float(values.min())
    assert error <= 0.5001 * span / 65535
    assert encoding.stored(values).max() >= 65534


def test_more_whole_numbers_than_16_bits_lose_less_than_half_a_step():
    values = np.array([[[0, 1], [70000, 94125]]], np.int32)
    encoding = encoding_of(values, [pydicom.Dataset()])
    assert np.abs(encoding.stored(values) * encoding.slope - values).max() <= 0.5001 * 94125 / 65535


def test_slopes_that_differ_between_slices_are_not_taken_over():
    one, two = pydicom.Dataset(), pydicom.Dataset()
    one.RescaleIntercept, two.RescaleIntercept = "-1024", "-1000"
    assert encoding_of(np.arange(8, dtype=np.int16).reshape(2, 2, 2), [one, two]).intercept == 0


@pytest.mark.parametrize("number", [0, -0.0, 1 / 3, -109.3675952802, 1e-17, -0.028072584504912345, 123456789.123456789, 2 / 3e5, 1e300])
def test_decimal_strings_have_16_characters_and_at_least_nine_digits(number):
    text = decimal_string(number)
    assert len(text) <= 16 and not text.startswith("-0 ") and float(text) == pytest.approx(number, rel=1e-9)
    assert pydicom.valuerep.is_valid_ds(text)


def test_a_padding_value_keeps_its_meaning(tmp_path):
    volume = scans.classic(scans.ct_image(), PixelPaddingValue=0)  # -1024 HU
    kept = pydicom.dcmread(write_dicom_series(volume, tmp_path / "kept")[0])
    assert kept.PixelPaddingValue == 0 and kept.RescaleIntercept == -1024
    volume.voxels[0, 0, 0] = -1030  # the source's form cannot hold it unsigned
    moved = pydicom.dcmread(write_dicom_series(volume, tmp_path / "moved")[0])
    assert moved.PixelRepresentation == 1 and moved.PixelPaddingValue * moved.RescaleSlope + moved.RescaleIntercept == -1024
    volume = scans.classic(scans.mr_image(), PixelPaddingValue=60000)
    assert "PixelPaddingValue" not in pydicom.dcmread(write_dicom_series(volume, tmp_path / "out")[0])  # 12 bits do not reach it


def test_a_negative_padding_value_that_is_told_as_unsigned(tmp_path):
    volume = scans.classic(scans.ct_image(), PixelRepresentation=1)
    for header in volume.source.headers:
        header.add_new("PixelPaddingValue", "US", 65536 - 976)  # -976 stored, -2000 HU
    volume.voxels[0, 0, 0] = -2000
    first = pydicom.dcmread(write_dicom_series(volume, tmp_path / "out")[0])
    assert first.PixelPaddingValue * first.RescaleSlope + first.RescaleIntercept == -2000 and first["PixelPaddingValue"].VR == "SS"


def test_monochrome1_stays_and_so_do_its_values(tmp_path):
    volume = scans.classic(scans.ct_image(), PhotometricInterpretation="MONOCHROME1")
    first = pydicom.dcmread(write_dicom_series(volume, tmp_path / "out")[0])
    assert first.PhotometricInterpretation == "MONOCHROME1"
    np.testing.assert_array_equal(first.pixel_array * first.RescaleSlope + first.RescaleIntercept, volume.voxels[0])


def test_ct_always_has_a_rescale_and_mr_only_where_it_needs_one(tmp_path):
    ct = pydicom.dcmread(write_dicom_series(scans.classic(scans.ct_image(), RescaleSlope=None, RescaleIntercept=None), tmp_path / "ct")[0])
    assert (ct.RescaleSlope, ct.RescaleIntercept) == (1, 0)
    fractions = scans.classic(scans.mr_image())
    fractions = fractions.refined(fractions.voxels / np.float32(7), (1, 1, 1))
    mr = pydicom.dcmread(write_dicom_series(fractions, tmp_path / "mr")[0])
    np.testing.assert_allclose(mr.pixel_array * float(mr.RescaleSlope) + float(mr.RescaleIntercept), fractions.voxels[0], atol=0.51 * np.ptp(fractions.voxels) / 65535)
