"""How a scan was acquired and stored: thickness of its slices, kind of its noise, grey levels; against losses that were made here."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from superres3d import Volume, upscale
from superres3d.cli import app
from superres3d.detail import acquisition as acquired
from superres3d.detail.acquisition import Acquisition, grey_levels, noise_kind, profile_width, rician_floor
from superres3d.detail.estimator import FREQUENCIES, AxisDetail
from typer.testing import CliRunner

from .dicom_files import write_series
from .test_detail import anatomy


def across(transfer, unsure=0.05, far=0.2) -> AxisDetail:
    return AxisDetail(tuple(transfer), 1.0, 0.2, unsure, 0.01, far)


@pytest.mark.parametrize("width", [0.0, 0.7, 1.0, 1.56, 2.2])
def test_the_width_of_a_gaussian_profile_comes_back(width):
    """Closed formula, by numerical Fourier transform."""
    fine = np.linspace(-8, 8, 3201)
    profile = np.exp(-4 * np.log(2) * (fine / max(width, 0.01)) ** 2)
    transfer = [float((profile * np.cos(np.pi * share * fine)).sum() / profile.sum()) for share in FREQUENCIES]
    assert profile_width(across(transfer)) == pytest.approx(width, abs=0.03)


def test_an_unsure_estimate_tells_no_width():
    assert profile_width(across((1, 1, 1, 1), unsure=0.3)) is None and profile_width(across((1, 1, 1, 1), far=2.0)) is None and profile_width(None) is None


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_white_and_coloured_noise_are_told_apart(modality):
    rng = np.random.default_rng(0)
    scan = (900 if modality == "MR" else 1500) * ndimage.gaussian_filter(anatomy((16, 96, 96), 1), 0.6) - (0 if modality == "MR" else 1000)
    scan[:, :, :40] = 0.5 * scan.max()  # a flat part: what varies there is noise
    white = 25 * rng.standard_normal(scan.shape)
    filtered = ndimage.gaussian_filter(white, (0, 0.8, 0.8))
    assert noise_kind(scan + white, modality) == "white"
    assert noise_kind(scan + filtered * (white.std() / filtered.std()), modality) == "coloured"
    assert noise_kind(np.zeros((16, 96, 96)), modality) == ""


def test_the_rician_floor_is_that_of_a_rayleigh_distribution():
    rng = np.random.default_rng(0)
    body = 400 * np.pad(np.ones((12, 40, 40)), ((0, 0), (28, 28), (28, 28)))
    magnitude = np.hypot(body + 20 * rng.standard_normal(body.shape), 20 * rng.standard_normal(body.shape))
    assert rician_floor(magnitude) == pytest.approx(20 * np.sqrt(np.pi / 2), rel=0.03)
    assert rician_floor(body) is None  # masked
    assert rician_floor(body + 100 + 20 * rng.standard_normal(body.shape)) is None  # no magnitude


def test_grey_levels_of_8_bits_are_counted():
    values = np.random.default_rng(0).integers(0, 4000, (20, 80, 80))
    assert grey_levels((values // 20).astype(np.int16)) == 200 and grey_levels(values) == 0
    assert grey_levels(np.zeros((2, 8, 8))) == 0  # too little to tell


FOUND = Acquisition(2.0, None, 3.1, "coloured", 25.0, 200)


def test_the_words():
    told = acquired.sentences(FOUND)
    assert told[0] == "Slices: 2 mm apart and about 3.1 mm thick (estimated): they seem to overlap."
    assert "coloured" in told[1] and "mean of 25 (Rician; noise of 20)" in told[2] and "200 grey levels" in told[3]
    header = acquired.sentences(replace(FOUND, told=1.5))
    assert header[0] == "Slices: 1.5 mm thick, 2 mm apart (from the file): they leave gaps."
    assert header[1] == "The scan shows slices about 3.1 mm thick, and its header says 1.5 mm; the header was kept."


@pytest.mark.parametrize("told, estimated, expected", [(2.0, 2.4, False), (2.0, 3.2, True), (1.0, 0.2, False), (4.0, 1.8, True), (None, 4.0, False), (3.0, None, False)])
def test_only_a_clear_contradiction_of_the_header_is_one(told, estimated, expected):
    """Slices thinner than 0.6 of their distance cannot be told apart."""
    assert replace(FOUND, told=told, estimated=estimated).contradicts == expected


@pytest.mark.parametrize("told, estimated, expected", [(2.5, None, "overlap"), (2.0, 3.0, "contiguous"), (None, 2.0, "contiguous"), (None, 1.0, "gap"), (None, None, "")])
def test_overlap_and_gap(told, estimated, expected):
    assert replace(FOUND, told=told, estimated=estimated).relation == expected


def test_info_tells_it_of_a_file(tmp_path):
    rng = np.random.default_rng(0)
    scan = ndimage.gaussian_filter(anatomy((40, 96, 96), 2), (0.9, 0.3, 0.3))
    scan[:, :, :40], scan[:, :, 40:56] = 0.5, 0.0  # flat parts, one of them dark
    voxels = np.rint(900 * scan + 30 * rng.standard_normal(scan.shape)).clip(0).astype(np.int16)
    write_series(tmp_path / "series", voxels)
    told = json.loads(CliRunner().invoke(app, ["info", str(tmp_path / "series"), "--json"]).output)["detail"]
    assert told["slices"]["distance_mm"] > 0 and told["slices"]["relation"]
    assert told["noise_kind"] == "white" and told["rician_floor"] is None and told["grey_levels"] is None
    assert any("The noise is white" in sentence for sentence in told["in_words"])


def test_thickness_of_a_dicom_series_is_that_of_its_header(tmp_path):
    scan = np.rint(1000 * ndimage.gaussian_filter(anatomy((24, 48, 48), 3), 0.8)).astype(np.int16)

    def thick(header, k):
        header.SliceThickness = 5

    write_series(tmp_path / "series", scan, change=thick)
    output = CliRunner().invoke(app, ["info", str(tmp_path / "series"), "--json"]).output
    assert json.loads(output)["detail"]["slices"]["thickness_mm"] == 5.0


def test_a_spacing_finer_than_the_measured_detail_is_said_with_the_number():
    soft = Volume(np.rint(900 * ndimage.gaussian_filter(anatomy((6, 96, 96), 5), (0, 2.5, 2.5))).astype(np.int16), (0.5, 0.5, 3.0), modality="MR")
    choices = {"axes": "in-plane", "preset": "fast", "slice_axis": "k", "modality": "MR"}
    said = [note for note in upscale(soft, 4, **choices).report["warnings"] if "times finer than the detail that was measured" in note]
    assert len(said) == 2 and said[0].startswith("Along j voxels of 0.125 mm are")
    crisp = replace(soft, voxels=np.rint(900 * anatomy((6, 96, 96), 5)).astype(np.int16))
    assert not any("times finer" in note for note in upscale(crisp, 2, **choices).report["warnings"])
