"""Slice profiles: against closed formulas, and a pulse designed and simulated by other means."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal
from superres3d.resampling.degradation import interval_means
from superres3d.resampling.profiles import PROFILES, box, gaussian, profile_matrix, slr


def half_width(profile) -> float:
    """Distance at which half of the weight in the middle is left, thicknesses."""
    distance = np.linspace(0, 1.5, 3001)
    return float(distance[np.argmax(profile(distance) < 0.5 * profile(np.zeros(1))[0])])


def test_thickness_is_the_full_width_at_half_maximum():
    assert half_width(gaussian) == pytest.approx(0.5, abs=1e-3)
    assert half_width(box) == pytest.approx(0.5, abs=1e-3)
    assert 0.5 < half_width(slr) < 0.6  # the sine of twice the angle falls later than the angle


def test_a_box_as_thick_as_the_distance_is_the_mean():
    np.testing.assert_allclose(profile_matrix(35, 7, box, 5.0), interval_means(35, 7), atol=1e-6)


def test_a_gap_leaves_voxels_out_and_an_overlap_counts_some_twice():
    gap, overlap = (profile_matrix(40, 8, box, thickness) for thickness in (3.0, 7.0))
    assert (gap[3] > 0).sum() == 3 and (gap.sum(axis=0) == 0).sum() == 16
    assert (overlap[3] > 0).sum() == 7 and (overlap[2:6, 15:25] > 0).sum(axis=0).max() == 2


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("length, count", [(40, 8), (37, 9)])
def test_slices_keep_a_constant_and_a_slope(name, length, count):
    matrix = profile_matrix(length, count, PROFILES[name], length / count)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    inner = slice(2, -2)
    np.testing.assert_allclose((matrix @ np.arange(length))[inner], ((np.arange(count) + 0.5) * length / count - 0.5)[inner], atol=0.02)


def test_a_gaussian_slice_is_the_convolution():
    line = np.random.default_rng(0).random(80)
    sigma = 4.0 / np.sqrt(8 * np.log(2))
    distance = np.arange(80)[None] - ((np.arange(20) + 0.5) * 4 - 0.5)[:, None]
    weights = np.exp(-0.5 * (distance / sigma) ** 2)
    expected = (weights / weights.sum(axis=1, keepdims=True)) @ line
    np.testing.assert_allclose((profile_matrix(80, 20, gaussian, 4.0) @ line)[3:-3], expected[3:-3], atol=0.02)


@pytest.mark.parametrize("name", PROFILES)
def test_edges_are_mirrored(name):
    line = np.random.default_rng(1).random(24)
    longer = profile_matrix(72, 18, PROFILES[name], 6.0) @ np.pad(line, 24, mode="symmetric")
    np.testing.assert_allclose(profile_matrix(24, 6, PROFILES[name], 6.0) @ line, longer[6:12], atol=1e-12)


def test_slr_is_the_magnetisation_after_a_pulse_of_a_linear_phase_filter():
    """b is a polynomial whose coefficients scipy designs (equal ripples in and beside the slice); 2 |a b| is what it excites."""
    count, time_bandwidth = 256, 4.0
    width = 1.944 / time_bandwidth
    edges = np.array([0, 0.5 * (1 - width), 0.5 * (1 + width), 4.0]) * time_bandwidth / count  # cycles a sample
    taps = signal.remez(count, [*edges[:3], 0.5], [1, 0], fs=1.0, maxiter=200)
    distance = np.linspace(0, 1, 101)
    _, response = signal.freqz(taps, worN=distance * time_bandwidth / count, fs=1.0)
    b = np.abs(response) * np.sqrt(0.5)
    np.testing.assert_allclose(slr(distance), 2 * b * np.sqrt(np.clip(1 - b**2, 0, 1)), atol=0.1)


def test_no_thickness_is_refused():
    with pytest.raises(ValueError, match="thick"):
        profile_matrix(8, 2, box, 0.0)
