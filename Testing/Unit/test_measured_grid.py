"""Scans that are stored finer than they were measured: where the spectrum ends, and the way back to the measured grid."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy import fft, ndimage
from superres3d import Volume, upscale
from superres3d.detail import ending
from superres3d.detail.ending import End, end_of_spectrum
from superres3d.detail.measured_grid import MeasuredGrid, measured_grid, sentences
from superres3d.plan import on_measured_grid, plan_upscaling
from superres3d.resampling.spectral_crop import cropped, cropped_matrix

from .test_detail import anatomy, zero_filled


def filtered(voxels: np.ndarray, axis: int, share: float, window: float = 0.54) -> np.ndarray:
    """Zero-filled, and what is left under a Hamming window."""
    transform = np.fft.rfft(voxels, axis=axis)
    place = np.arange(transform.shape[axis]) / (share * (transform.shape[axis] - 1))
    view = [1, 1, 1]
    view[axis] = -1
    weights = np.where(place <= 1, window + (1 - window) * np.cos(np.pi * np.minimum(place, 1)), 0.0)
    return np.fft.irfft(transform * weights.reshape(view), n=voxels.shape[axis], axis=axis).astype(np.float32)


# ---------------------------------------------------------------------- the crop


@pytest.mark.parametrize("length, count", [(64, 40), (33, 32), (7, 3), (5, 5)])
def test_the_crop_is_that_of_the_cosine_transform(length, count):
    line = np.random.default_rng(0).standard_normal(length)
    expected = fft.idct(fft.dct(line, norm="ortho")[:count], norm="ortho") * np.sqrt(count / length)
    np.testing.assert_allclose(cropped_matrix(length, count) @ line, expected, atol=1e-12)


def test_a_wave_keeps_its_place_in_the_extent():
    """Voxel centres move as those of larger voxels over the same extent do."""
    fine, coarse = ((np.arange(count) + 0.5) / count for count in (96, 50))
    stored = np.broadcast_to(np.cos(3 * np.pi * fine)[None, None], (2, 3, 96))
    np.testing.assert_allclose(cropped(stored, (2, 3, 50))[1, 2], np.cos(3 * np.pi * coarse), atol=2e-3)  # within the range of the samples
    turned = cropped(stored.swapaxes(0, 2), (50, 3, 2))
    np.testing.assert_allclose(turned.swapaxes(0, 2), cropped(stored, (2, 3, 50)), rtol=0, atol=1e-6)  # sums round by their order


def test_the_crop_stays_within_the_values_of_the_scan():
    edge = np.zeros((4, 4, 80), np.uint8)
    edge[..., 30:50] = 200
    made = cropped(edge, (4, 4, 45))
    assert made.min() == 0.0 and made.max() == 200.0 and made.dtype == np.float32


# ---------------------------------------------------------------------- the end of the spectrum


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("share", [0.5, 0.65, 0.8])
def test_the_end_is_found_where_it_was_made(axis, share):
    scan = np.rint(900 * np.abs(zero_filled(ndimage.gaussian_filter(anatomy((72, 80, 88), 1), 0.5), axis, share)))
    found = end_of_spectrum(scan, axis)
    assert found.share == pytest.approx(share, abs=0.02) and found.step > 10 and found.certain
    assert all(end_of_spectrum(scan, other) is None for other in range(3) if other != axis)


def test_a_filter_does_not_hide_the_end():
    scan = np.rint(900 * np.abs(filtered(anatomy((20, 96, 96), 2), 1, 0.6)))
    assert end_of_spectrum(scan, 1).share == pytest.approx(0.6, abs=0.03)


@pytest.mark.parametrize("blur", [0.0, 0.7, 1.2])
def test_a_spectrum_that_falls_off_has_no_end(blur):
    scan = ndimage.gaussian_filter(anatomy((20, 96, 96), 3), blur) + 0.003 * np.random.default_rng(0).standard_normal((20, 96, 96))
    assert end_of_spectrum(scan, 1) is None and end_of_spectrum(scan, 2) is None


def test_small_or_empty_scans_have_none():
    assert end_of_spectrum(np.zeros((20, 96, 96)), 1) is None
    assert end_of_spectrum(np.random.default_rng(0).random((20, 40, 40)), 1) is None
    assert end_of_spectrum(np.random.default_rng(0).random((2, 4, 96)), 2) is None


# ---------------------------------------------------------------------- the way of a scan


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """Six slices on the fine grid, with air around."""
    fine = ndimage.gaussian_filter(anatomy((6, 256, 288), 5), (0, 0.8, 0.8))
    mask = ndimage.gaussian_filter((np.indices((256, 288)) > 30).all(0) * (np.indices((256, 288)) < 220).all(0) * 1.0, 3)
    return (900 * fine * mask).astype(np.float32)


@pytest.fixture(scope="module")
def stored(truth) -> Volume:
    """Half of it; along rows and columns 55 % of the matrix was measured and filtered."""
    coarse = truth.reshape(6, 128, 2, 144, 2).mean((2, 4))
    for axis in (1, 2):
        coarse = filtered(coarse, axis, 0.55)
    return Volume(np.rint(np.abs(coarse)).astype(np.int16), (0.4, 0.4, 3.0), (5.0, -7.0, 11.0), modality="MR")


CHOICES = {"axes": "in-plane", "preset": "fast", "precision": "single", "slice_axis": "k"}


def test_a_filtered_and_zero_filled_scan_is_refined_from_its_measured_grid(truth, stored):
    back, as_stored = (upscale(stored, 2, **CHOICES, as_stored=given) for given in (False, True))
    entries = back.report["detail"]["measured_grid"]
    assert [entry["axis"] for entry in entries] == ["j", "i"] and all(entry["brought_back"] for entry in entries)
    assert all(entry["measured_mm"] == pytest.approx(0.4 / 0.55, rel=0.05) for entry in entries)
    assert sum("brought back to that before the networks" in warning for warning in back.report["warnings"]) == 2
    assert as_stored.report["detail"]["measured_grid"] == [] and not any("brought back" in warning for warning in as_stored.report["warnings"])
    assert back.volume.voxels.shape == as_stored.volume.voxels.shape == truth.shape
    assert (back.volume.spacing, back.volume.origin, back.volume.voxels.dtype) == (as_stored.volume.spacing, as_stored.volume.origin, np.int16)
    assert back.report["input"] == as_stored.report["input"] and back.report["output"] == as_stored.report["output"]
    lanczos = upscale(stored, 2, axes="in-plane", method="lanczos", slice_axis="k")
    errors = [np.sqrt(((result.volume.voxels - truth)[:, 40:-40, 40:-40] ** 2).mean()) for result in (back, lanczos)]
    assert errors[0] < 0.8 * errors[1]


@pytest.mark.parametrize("extent, step, told, brought_back", [(0.6, 7, 1, 1), (0.85, 7, 1, 1), (0.95, 7, 0, 0), (0.95, 12, 1, 1)])
def test_a_weak_end_counts_where_the_estimator_tells_of_one_too(stored, monkeypatch, extent, step, told, brought_back):
    """A spectrum that a filter makes fall off may show a small step by chance: a scan with all of its detail would be made coarser."""
    module = sys.modules[measured_grid.__module__]
    honest = module.measure_detail

    def otherwise(voxels, modality):
        detail = honest(voxels, modality)
        whole = voxels.shape == stored.voxels.shape
        return replace(detail, rows=replace(detail.rows, extent=extent), columns=replace(detail.columns, extent=extent)) if whole else detail

    monkeypatch.setattr(module, "measure_detail", otherwise)
    monkeypatch.setattr(ending, "_largest_step", lambda power, found: End(0.55, float(step), True))
    grid = measured_grid(stored.voxels, "MR", ("plane",))
    assert (set(grid.ends), grid.used) == ({1, 2} if told else set(), (1, 2) if brought_back else ())
    assert module.detail_with_ends(stored.voxels, "MR").rows.extent == pytest.approx(0.55 if told else extent)


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_a_scan_that_lies_otherwise_gives_the_same(stored, slice_axis):
    order = [axis for axis in range(1, 3)]
    order.insert(slice_axis, 0)  # where each axis of the lying scan comes from
    spacing = [stored.spacing[2 - axis] for axis in order][::-1]
    lying = replace(stored, voxels=np.ascontiguousarray(stored.voxels.transpose(order)), spacing=tuple(spacing))
    upright, turned = upscale(stored, 2, **CHOICES), upscale(lying, 2, **{**CHOICES, "slice_axis": "kji"[slice_axis]})
    difference = upright.volume.voxels.transpose(order).astype(float) - turned.volume.voxels
    assert np.abs(difference).max() <= 1


def test_a_part_of_a_scan_is_taken_to_the_grid_of_the_whole(stored):
    part = replace(stored, voxels=stored.voxels[:3])
    result = upscale(part, 2, **CHOICES, part_of=stored.voxels)
    assert [entry["brought_back"] for entry in result.report["detail"]["measured_grid"]] == [True, True]
    difference = result.volume.voxels.astype(float) - upscale(stored, 2, **CHOICES).volume.voxels[:3]
    assert np.abs(difference).max() <= 1


def test_a_scan_whose_spectrum_does_not_end_stays_as_it_is():
    scan = Volume(np.rint(900 * ndimage.gaussian_filter(anatomy((6, 96, 96), 7), 0.8)).astype(np.int16), (0.4, 0.4, 3.0), modality="MR")
    usual, as_stored = (upscale(scan, 2, **CHOICES, as_stored=given) for given in (False, True))
    np.testing.assert_array_equal(usual.volume.voxels, as_stored.volume.voxels)
    assert usual.report["detail"]["measured_grid"] == []


def test_back_projections_leave_the_scan_as_stored(stored):
    """They make the downsampled result equal to the scan as it is."""
    assert upscale(stored, 2, **CHOICES, consistency=1).report["detail"]["measured_grid"] == []


@pytest.mark.parametrize("modality, used", [("CT", (1, 2)), ("MR", ())])
def test_a_spectrum_that_ends_without_a_filter_is_cropped_in_ct_alone(modality, used):
    """On validation scans that was better in CT, and as good as not in MR."""
    voxels = ndimage.gaussian_filter(anatomy((12, 128, 128), 8), 0.4)
    for axis in (1, 2):
        voxels = zero_filled(voxels, axis, 0.5)
    grid = measured_grid(np.rint(900 * voxels) - (200 if modality == "CT" else 0), modality, ("plane",))
    assert set(grid.ends) == {1, 2} and grid.used == used
    assert grid.shape((12, 128, 128)) == ((12, 65, 65) if used else (12, 128, 128)) or grid.shape((12, 128, 128)) == (12, 64, 64)


# ---------------------------------------------------------------------- plan and words


@pytest.mark.parametrize("slice_axis, shape, wanted", [("k", (6, 128, 144), (6, 70, 80)), ("i", (128, 144, 6), (70, 80, 6))])
def test_the_plan_for_the_measured_grid_gives_the_same_result(slice_axis, shape, wanted):
    plan = plan_upscaling(shape, (1.0, 1.0, 1.0), "int16", 2, axes="in-plane", modality="MR", slice_axis=slice_axis)
    moved = on_measured_grid(plan, wanted)
    assert moved.output_shape == plan.output_shape and moved.shape == wanted
    assert moved.network_factors == (1, 4, 4) and moved.network_slices == 1  # 3.6 times from there: refined 4 times, then resampled
    assert moved.models["plane"].name == "two-stage-told-mr-plane-x4"
    assert on_measured_grid(plan, plan.shape).network_slices == 0


def test_what_is_told_of_it():
    grid = MeasuredGrid({1: 0.5, 2: 0.9}, (1,), (0,))
    told = sentences(grid, (3.0, 0.5, 0.5), "kji")
    assert told[0].startswith("Along j the scan is stored at 0.5 mm and was measured at 1 mm")
    assert told[1].startswith("Along k the scan seems to be stored finer") and len(told) == 2
