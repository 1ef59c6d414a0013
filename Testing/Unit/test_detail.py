"""The measured detail of a scan: spectra against closed formulas, estimates against losses that were made here."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage
from superres3d import Volume
from superres3d.detail import spectrum, words
from superres3d.detail.estimator import FREQUENCIES, AxisDetail, estimate
from superres3d.detail.measure import NOISE_UNIT, measure_detail
from superres3d.detail.spectrum import COUNT, PIECE, spectrum_along
from superres3d.detail.telling import is_clear, is_sure
from superres3d.scan.intensity import intensity_scale

_BINS = PIECE // 2


def _axis(transfer, extent=1.0):
    return AxisDetail(transfer, extent, 0.1, 0.05, 0.01, 0.2)


def anatomy(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Blobs of many sizes with edges, as organs have; their power falls with the square of the frequency."""
    rng = np.random.default_rng(seed)
    volume = np.zeros(shape, np.float32)
    for size, height in ((24, 1.0), (12, 0.6), (6, 0.4), (3, 0.3)):
        field = ndimage.gaussian_filter(rng.standard_normal(shape), size / 2)
        volume += height * (field > 0.5 * field.std()) + 0.5 * height * (field < -field.std())
    return volume / volume.max()


def zero_filled(voxels: np.ndarray, axis: int, share: float) -> np.ndarray:
    """The uppermost frequencies along an axis set to zero."""
    transform = np.fft.rfft(voxels, axis=axis)
    kept = np.arange(transform.shape[axis]) < share * (transform.shape[axis] - 1)
    view = [1, 1, 1]
    view[axis] = -1
    return np.fft.irfft(transform * kept.reshape(view), n=voxels.shape[axis], axis=axis).astype(np.float32)


def test_white_noise_has_the_power_of_its_variance_at_every_frequency():
    noise = (0.3 * np.random.default_rng(1).standard_normal((10, 96, 96))).astype(np.float32)
    power = 10 ** spectrum_along(noise, 1)
    whole_lines = power[-spectrum.WHOLE_LINE_BANDS :]
    np.testing.assert_allclose(whole_lines[2:], 0.09, rtol=0.12)
    pieces = power[2 * _BINS : 3 * _BINS]  # those of middling activity
    np.testing.assert_allclose(pieces[6:], 0.09, rtol=0.1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_wave_is_found_at_its_frequency_and_along_its_axis(axis):
    shape = (64, 64, 64)
    place = np.indices(shape)[axis]
    wave = np.sin(np.pi * 0.5 * place) + 1e-3 * np.random.default_rng(0).standard_normal(shape)  # half of the Nyquist frequency
    along = [spectrum_along(wave.astype(np.float32), other) for other in range(3)]
    assert np.argmax(along[axis][4 * _BINS : 5 * _BINS]) == _BINS // 2 - 1
    assert all(along[axis].max() > found.max() + 3 for number, found in enumerate(along) if number != axis and found is not None)


@pytest.mark.parametrize("voxels", [np.zeros((12, 64, 64)), np.random.default_rng(0).random((30, spectrum.LEAST_VOXELS - 1, 64)), np.random.default_rng(0).random((1, 25, 40))])
def test_what_is_empty_or_small_has_no_spectrum(voxels):
    assert spectrum_along(voxels.astype(np.float32), 1) is None


def test_a_spectrum_is_as_long_as_it_says():
    assert len(spectrum_along(np.random.default_rng(0).random((8, 50, 70), dtype=np.float32), 2)) == COUNT


@pytest.mark.parametrize("share", [0.6, 0.75])
@pytest.mark.parametrize("axis", [1, 2])
def test_zero_filling_is_found_along_its_axis_alone(axis, share):
    voxels = zero_filled(ndimage.gaussian_filter(anatomy((12, 128, 128)), 0.5), axis, share)
    voxels = np.rint(1000 * np.abs(voxels)).astype(np.int16)
    detail = measure_detail(voxels, "MR")
    extents = {1: detail.rows.extent, 2: detail.columns.extent}
    assert extents[axis] == pytest.approx(share, abs=0.06)
    assert extents[3 - axis] > 0.9
    own = {1: detail.rows, 2: detail.columns}[axis]
    assert own.transfer[-1] < 0.1 < {1: detail.columns, 2: detail.rows}[axis].transfer[-1]


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_a_blur_is_found_along_its_axis(modality):
    """A Gaussian of 0.85 voxels leaves exp(-(pi f sigma)^2 / 2) of a wave of f, a share of the Nyquist frequency; the other axis keeps its edges."""
    fine = ndimage.gaussian_filter(anatomy((12, 128, 128), 3), 0.4)
    blurred = ndimage.gaussian_filter1d(fine, 0.85, axis=1)
    voxels = np.rint(blurred * 1500 - (1000 if modality == "CT" else 0)).astype(np.int16)
    detail = measure_detail(voxels, modality)
    expected = np.exp(-((np.pi * np.array(FREQUENCIES) * 0.85) ** 2) / 2)
    np.testing.assert_allclose(detail.rows.transfer, expected, atol=0.2)
    assert all(own < other - 0.05 for own, other in zip(detail.rows.transfer, detail.columns.transfer))


def test_noise_is_measured_in_the_scans_own_units():
    clean = ndimage.gaussian_filter(anatomy((12, 128, 128), 5), 0.6) * 1500 - 1000
    unit, found = NOISE_UNIT["CT"] * intensity_scale(clean, "CT").span, []
    for sigma in (0.0, 0.3 * unit, unit):
        noisy = clean + sigma * np.random.default_rng(0).standard_normal(clean.shape)
        detail = measure_detail(np.rint(noisy).astype(np.int16), "CT")
        found.append(detail.rows.noise * detail.noise_unit)
    assert found[0] < found[1] < found[2]
    assert found[2] == pytest.approx(unit, rel=0.3)


def test_a_turned_scan_has_the_same_detail():
    voxels = zero_filled(anatomy((12, 96, 128)), 1, 0.7)
    upright, turned = measure_detail(voxels, "MR"), measure_detail(voxels.swapaxes(1, 2), "MR")
    assert upright.rows.transfer == pytest.approx(turned.columns.transfer, abs=0.03)
    assert upright.columns.transfer == pytest.approx(turned.rows.transfer, abs=0.03)


def test_what_no_training_scan_was_like_is_not_sure():
    checks = np.indices((12, 96, 96)).sum(0) % 2  # nothing but the Nyquist frequency
    detail = measure_detail(np.float32(checks), "MR")
    assert not is_sure((detail.rows, detail.columns))
    assert not is_sure((None, _axis((1.0, 1.0, 1.0, 1.0))))
    assert is_sure((_axis((1.0, 1.0, 1.0, 1.0)),) * 2)


@pytest.mark.parametrize(
    "modality, axes, clear",
    [
        ("MR", (_axis((0.9, 0.7, 0.5, 0.4)), _axis((0.9, 0.71, 0.5, 0.4))), True),
        ("MR", (_axis((0.9, 0.7, 0.5, 0.4)), _axis((0.9, 0.73, 0.5, 0.4))), False),  # along one axis alone
        ("MR", (_axis((1.0, 1.0, 0.9, 0.0), 0.86), _axis((1.0, 1.0, 1.0, 0.9))), True),  # a spectrum that ends
        ("CT", (_axis((1.0, 1.0, 0.9, 0.0), 0.86), _axis((1.0, 1.0, 1.0, 0.9))), False),
        ("CT", (_axis((0.9, 0.5, 0.3, 0.1)),), True),
        ("CT", (_axis((0.9, 0.5, 0.3, 0.1), 0.6),), False),  # slices are means: there is no such spectrum
        ("MR", (_axis((0.9, 0.5, 0.3, 0.1), 0.6),), True),
    ],
)
def test_only_a_clear_loss_is_undone(modality, axes, clear):
    assert is_clear(axes, modality) == clear


def test_the_estimator_needs_both_spectra():
    from superres3d.errors import ModelError

    with pytest.raises(ModelError, match="estimator"):
        estimate(np.zeros(COUNT), "MR", "plane")


@pytest.mark.parametrize(
    "axis, expected",
    [
        (_axis((1.0, 1.0, 1.0, 1.0)), 0.5),
        (_axis((1.0, 1.0, 0.1, 0.0), 0.6), 0.5 / 0.6),  # the spectrum ends before half is gone
        (_axis((0.9, 0.5, 0.2, 0.1)), 0.5 / 0.55),
        (_axis((0.5, 0.2, 0.1, 0.0)), 0.5 / 0.3),
    ],
)
def test_resolution_in_millimetres(axis, expected):
    assert words.resolution(axis, 0.5) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_words_name_the_scans_own_axes(slice_axis):
    """Only the rows of the array with the slices first are zero-filled: j, j or k where the slices are k, i or j... as the array's order says."""
    from superres3d.detail.measure import Detail

    detail = Detail(_axis((1, 1, 1, 1)), _axis((1, 1, 0.1, 0), 0.6), _axis((1, 1, 1, 1)), 10.0)
    rows = next(axis for axis in range(3) if axis != slice_axis)
    told = words.sentences(detail, (0.5, 0.6, 0.7), slice_axis)
    filled = [sentence for sentence in told if "zero-filled" in sentence]
    assert len(filled) == 1
    assert filled[0].startswith(f"Axis {'kji'[rows]}: stored at {(0.7, 0.6, 0.5)[rows]} mm")
    assert told[-1].startswith("Noise: standard deviation about 1")


def test_info_takes_the_modality_that_it_asks_for(tmp_path):
    from superres3d import write_volume
    from typer.testing import CliRunner

    from superres3d.cli import app  # isort: skip

    scan = tmp_path / "eight.nii.gz"
    write_volume(Volume(np.rint(255 * anatomy((24, 64, 64)).clip(0, 1)).astype(np.uint8), (1.0, 1.0, 1.0)), scan)
    told = json.loads(CliRunner().invoke(app, ["info", str(scan), "--json"]).output)
    assert "give --modality CT or MR" in told["upscaling"][0]["refused"] and told["detail"] is None
    told = json.loads(CliRunner().invoke(app, ["info", str(scan), "--modality", "MR", "--json"]).output)
    assert told["modality"] == "MR" and told["modality_from"] == "as asked" and told["detail"]["in_words"] and "refused" not in told["upscaling"][0]


def test_info_tells_what_was_measured(tmp_path):
    from superres3d import write_volume
    from typer.testing import CliRunner

    from superres3d.cli import app  # isort: skip

    voxels = np.rint(1000 * np.abs(zero_filled(ndimage.gaussian_filter(anatomy((24, 96, 96)), 0.5), 2, 0.6))).astype(np.int16)
    write_volume(Volume(voxels, (0.5, 0.6, 3.0), modality="MR"), tmp_path / "scan.nrrd")
    told = json.loads(CliRunner().invoke(app, ["info", str(tmp_path / "scan.nrrd"), "--json"]).output)["detail"]
    assert told["resolution_mm"][0] == pytest.approx(0.9, abs=0.15)
    assert told["in_words"][0].startswith("Axis i: stored at 0.5 mm, resolution about")
    assert "zero-filled or interpolated" in told["in_words"][0]
    assert "Axis i: stored at 0.5" in CliRunner().invoke(app, ["info", str(tmp_path / "scan.nrrd")]).output.replace("\n", " ")
