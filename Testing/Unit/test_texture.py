"""Spectra beyond the coarse scan's Nyquist frequency: closed formulas."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from superres3d.evaluation.texture import measure_texture
from superres3d.resampling.degradation import kspace_truncation
from superres3d.resampling.interpolation import resize

RANDOM = np.random.default_rng(6)
TRUTH = RANDOM.standard_normal((6, 128, 96)).astype(np.float32)


def test_the_truth_has_all_and_its_double_four_times_the_power():
    assert measure_texture(TRUTH, TRUTH, (1, 2, 2)) == pytest.approx({"power": 1.0, "met": 1.0, "sharpness": 1.0})
    assert measure_texture(TRUTH, 2 * TRUTH, (1, 2, 2)) == pytest.approx({"power": 4.0, "met": 2.0, "sharpness": 2.0})


def test_other_texture_has_power_but_meets_nothing():
    found = measure_texture(TRUTH, RANDOM.standard_normal(TRUTH.shape), (1, 2, 2))
    assert found["power"] == pytest.approx(1.0, abs=0.05) and found["met"] == pytest.approx(0.0, abs=0.03)
    added = measure_texture(TRUTH, TRUTH + 0.5 * RANDOM.standard_normal(TRUTH.shape), (1, 2, 2))
    assert added["power"] == pytest.approx(1.25, abs=0.05) and added["met"] == pytest.approx(1.0, abs=0.03)


def test_what_the_coarse_scan_cannot_hold_is_gone():
    low = kspace_truncation(TRUTH, (1, 2, 2))
    sinc = np.fft.ifftn(np.fft.ifftshift(np.pad(np.fft.fftshift(np.fft.fftn(low, axes=(1, 2)), axes=(1, 2)), ((0, 0), (32, 32), (24, 24))), axes=(1, 2)), axes=(1, 2)).real
    gone = measure_texture(TRUTH, sinc, (1, 2, 2))
    assert gone["power"] < 0.02 and abs(gone["met"]) < 0.02
    assert measure_texture(TRUTH, resize(low, (1, 2, 2), "linear"), (1, 2, 2))["power"] < 0.3


@pytest.mark.parametrize("factor", [2, 4])
def test_a_blur_lowers_white_noise_as_its_transfer_function_says(factor):
    sigma = 0.7
    wave = np.random.default_rng(7).standard_normal((64, 512))
    blurred = gaussian_filter1d(wave, sigma, axis=1, mode="wrap", truncate=8)
    frequencies = np.fft.fftfreq(512)
    # of the sampled kernel, whose sum is 1
    offsets = np.arange(-6, 7)
    kernel = np.exp(-(offsets**2) / (2 * sigma**2))
    transfer = (kernel[:, None] * np.cos(2 * np.pi * offsets[:, None] * frequencies)).sum(0) / kernel.sum()
    beyond = np.abs(frequencies) > 0.5 / factor
    found = measure_texture(wave, blurred, (1, factor))
    assert found["power"] == pytest.approx(np.mean(transfer[beyond] ** 2), rel=0.1)
    assert found["met"] == pytest.approx(np.mean(transfer[beyond]), rel=0.1)
    assert found["sharpness"] < 0.7
