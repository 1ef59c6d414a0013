"""Larger networks are used where they are ahead on the scan itself, one scale coarser."""

from __future__ import annotations

import numpy as np
import pytest
from superres3d import Volume, check, upscale
from superres3d.ahead import smallest_gain
from superres3d.live import LiveScan
from superres3d.methods import METHODS, find_method
from superres3d.plan import plan_upscaling
from superres3d.resampling.interpolation import resize

from .test_detail import anatomy

LARGE, USUAL = "two-stage-large", "two-stage-told"


def off_by(errors: dict[str, float]):
    """Refines as if it knew the truth but for an error: what is cubic, and what a method is off by."""

    def refine(coarse: np.ndarray, axes: str, method: str) -> np.ndarray:
        factors = (1, 2, 2) if axes == "in-plane" else (2, 1, 1)
        return np.full(np.multiply(coarse.shape, factors), errors[method], np.float32)

    return refine


def test_the_gain_is_the_ratio_of_the_errors():
    scan = np.zeros((10, 48, 48), np.float32)
    assert smallest_gain(scan, ["plane"], "a", "b", off_by({"a": 1.0, "b": 2.0})) == pytest.approx(20 * np.log10(2))
    assert smallest_gain(scan, ["plane"], "a", "b", off_by({"a": 3.0, "b": 1.0})) == pytest.approx(-20 * np.log10(3))


def test_the_worst_of_all_stages_and_ways_counts():
    scan = np.random.default_rng(1).random((48, 48, 48)).astype(np.float32)
    asked = []

    def refine(coarse, axes, method):
        asked.append((axes, coarse.shape, method))
        factors = (1, 2, 2) if axes == "in-plane" else (2, 1, 1)
        made = resize(coarse, factors, "cubic")
        return made + np.float32(method == "a" and axes == "through-plane")

    assert smallest_gain(scan, ["depth", "plane"], "a", "b", refine) < -5
    assert smallest_gain(scan, ["plane"], "a", "b", refine) == pytest.approx(0.0)
    assert {(axes, shape) for axes, shape, _ in asked} == {("through-plane", (24, 48, 48)), ("in-plane", (12, 24, 24))}
    assert len(asked) == 2 * 4 + 4


@pytest.mark.parametrize("shape, stages", [((10, 30, 60), ["plane"]), ((10, 60, 60), ["depth"]), ((30, 60, 60), ["plane", "depth"])])
def test_a_scan_may_be_too_small_to_tell(shape, stages):
    assert smallest_gain(np.zeros(shape), stages, "a", "b", off_by({"a": 0.0, "b": 1.0})) is None


def _scan(shape=(8, 64, 72)) -> Volume:
    return Volume((1000 * anatomy(shape, 3)).astype(np.int16), (1.0, 1.0, 3.0), modality="MR")


@pytest.mark.parametrize("gain, used", [(0.3, LARGE), (-0.3, USUAL), (None, USUAL)])
def test_the_networks_that_are_ahead_refine_the_scan(monkeypatch, gain, used):
    """And it is the very result of the method that is named."""
    scan, choices = _scan(), {"axes": "in-plane", "preset": "fast", "precision": "single", "slice_axis": "k"}
    monkeypatch.setattr("superres3d.upscaling.smallest_gain", lambda *_: gain)
    result = upscale(scan, 2, method=LARGE, **choices)
    assert result.report["method"] == used
    assert all(model["name"].startswith((used, "two-stage-residual")) for model in result.report["models"].values())
    said = [note for note in result.report["warnings"] if "two-stage-told was used" in note]
    assert len(said) == (used == USUAL) and all(("0.3 dB worse" in note) == (gain is not None) for note in said)
    part = LiveScan(scan).part([[0, 8], [0, 64], [0, 72]], scale=2, method=LARGE, **choices)
    np.testing.assert_array_equal(part.volume.voxels, result.volume.voxels)
    if used == USUAL:
        np.testing.assert_array_equal(upscale(scan, 2, method=USUAL, **choices).volume.voxels, result.volume.voxels)


@pytest.mark.parametrize("gain, used", [(0.3, LARGE), (-0.3, USUAL)])
def test_the_check_looks_at_the_networks_that_will_run(monkeypatch, gain, used):
    """They are chosen once, on the scan itself, and not on what it makes coarser."""
    scan, asked = _scan((8, 96, 96)), []
    monkeypatch.setattr("superres3d.upscaling.smallest_gain", lambda source, *_: asked.append(source.shape) or gain)
    found = check(scan, 2, axes="in-plane", method=LARGE, preset="fast", slice_axis="k")
    assert asked == [(8, 96, 96)] and found.method == used
    assert any("two-stage-told was used" in note for note in found.notes) == (used == USUAL)


def test_what_is_asked_of_the_scan_is_asked_of_the_networks():
    """Without anything put in their place: a number of either sign, and a result."""
    result = upscale(_scan((8, 80, 88)), 2, axes="in-plane", method=LARGE, preset="fast", slice_axis="k")
    assert result.report["method"] in (LARGE, USUAL) and result.volume.voxels.shape == (8, 160, 176)


def test_other_factors_are_left_to_the_usual_networks():
    """Where a scan is first brought to a coarser grid, 2x becomes 4x."""
    assert find_method(LARGE).otherwise == USUAL and find_method(LARGE).scales == (2,)
    from superres3d.plan import on_measured_grid

    plan = plan_upscaling((20, 96, 96), (1.0, 1.0, 3.0), np.int16, 2, axes="in-plane", method=LARGE, modality="MR", slice_axis="k")
    assert plan.models["plane"].name == "two-stage-large-mr-plane-x2"
    assert on_measured_grid(plan, (20, 48, 48)).models["plane"].name == "two-stage-told-mr-plane-x4"
    assert all(not method.otherwise for name, method in METHODS.items() if name != LARGE)
