"""Larger networks are used where they are ahead on the scan itself, one scale coarser."""

from __future__ import annotations

import numpy as np
import pytest
from superres3d import Volume, check, upscale
from superres3d.ahead import smallest_gain
from superres3d.batch.joining import joined, keep_slab
from superres3d.errors import Cancelled, InputError
from superres3d.live import LiveScan
from superres3d.methods import METHODS, find_method
from superres3d.plan import left_to, named_by_networks, on_measured_grid, plan_upscaling
from superres3d.resampling.interpolation import resize
from superres3d.trust.along import check_along
from superres3d.trust.error_map import upscale_with_doubt
from superres3d.trust.part import upscale_part_with_doubt
from superres3d.trust.refining import Refining
from superres3d.upscaling import settled

from .test_detail import anatomy
from .test_measured_grid import filtered

LARGE, USUAL = "two-stage-large", "two-stage-told"


def off_by(errors: dict[str, float]):
    """Refines as if it knew the truth but for an error: what is cubic, and what a method is off by."""

    def refine(coarse: np.ndarray, axes: str, factor: int, method: str) -> np.ndarray:
        factors = (1, factor, factor) if axes == "in-plane" else (factor, 1, 1)
        return np.full(np.multiply(coarse.shape, factors), errors[method], np.float32)

    return refine


def test_the_gain_is_the_ratio_of_the_errors():
    scan = np.zeros((10, 48, 48), np.float32)
    scan[0, 0, 0] = 1e-3  # not empty
    assert smallest_gain(scan, {"plane": 2}, "a", "b", off_by({"a": 1.0, "b": 2.0})) == pytest.approx(20 * np.log10(2))
    assert smallest_gain(scan, {"plane": 2}, "a", "b", off_by({"a": 3.0, "b": 1.0})) == pytest.approx(-20 * np.log10(3))


def test_the_worst_of_all_stages_and_ways_counts():
    scan = np.random.default_rng(1).random((48, 48, 48)).astype(np.float32)
    asked = []

    def refine(coarse, axes, factor, method):
        asked.append((axes, coarse.shape, method))
        factors = (1, factor, factor) if axes == "in-plane" else (factor, 1, 1)
        made = resize(coarse, factors, "cubic")
        return made + np.float32(method == "a" and axes == "through-plane")

    assert smallest_gain(scan, {"depth": 4, "plane": 2}, "a", "b", refine) < -5
    assert smallest_gain(scan, {"plane": 2}, "a", "b", refine) == pytest.approx(0.0)
    assert {(axes, shape) for axes, shape, _ in asked} == {("through-plane", (12, 48, 48)), ("in-plane", (12, 24, 24))}
    assert len(asked) == 2 * 4 + 4


@pytest.mark.parametrize("shape, stages", [((10, 30, 60), {"plane": 2}), ((10, 30, 60), {"depth": 2}), ((39, 39, 60), {"depth": 4}), ((30, 39, 60), {"plane": 2, "depth": 2})])
def test_a_scan_may_be_too_small_to_tell(shape, stages):
    assert smallest_gain(np.zeros(shape), stages, "a", "b", off_by({"a": 0.0, "b": 1.0})) is None


def test_rows_are_looked_at_where_slices_are_too_few():
    """Along the axis that is asked, the part has the scan's rows; elsewhere it has its slices."""
    scan = np.random.default_rng(2).random((10, 48, 44)).astype(np.float32)
    seen = []

    def refine(coarse, axes, factor, method):
        seen.append(coarse)
        return resize(coarse, (factor, 1, 1), "cubic")

    assert smallest_gain(scan, {"depth": 4}, "a", "b", refine) == pytest.approx(0.0)
    assert {coarse.shape for coarse in seen} == {(12, 10, 44)}
    np.testing.assert_allclose(seen[-1], scan.reshape(10, 12, 4, 44).mean(axis=2).transpose(1, 0, 2), rtol=1e-5)


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
    assert find_method(LARGE).otherwise == USUAL
    plan = plan_upscaling((20, 96, 96), (1.0, 1.0, 3.0), np.int16, 2, axes="in-plane", method=LARGE, modality="MR", slice_axis="k")
    assert plan.models["plane"].name == "two-stage-large-mr-plane-x2"
    assert on_measured_grid(plan, (20, 48, 48)).models["plane"].name == "two-stage-told-mr-plane-x4"
    assert all(not method.otherwise for name, method in METHODS.items() if name != LARGE)


@pytest.mark.parametrize("modality, spacing, own", [
    ("MR", (1.0, 1.0, 1.0), {"depth": 4}), ("MR", (0.5, 0.5, 1.0), {"plane": 2, "depth": 4}), ("MR", (0.25, 0.25, 1.0), {"depth": 4}),
    ("MR", (0.5, 0.5, 2.0), {"plane": 2, "depth": 2}), ("MR", (0.25, 0.25, 4.0), None),
])  # fmt: skip
def test_only_what_the_large_networks_do_is_asked(monkeypatch, modality, spacing, own):
    """To a spacing of which some is left to the usual networks; each network is one of those that are installed."""
    asked = []
    monkeypatch.setattr("superres3d.upscaling.smallest_gain", lambda source, stages, *_: asked.append(stages) or 1.0)
    shape = (44, 64, 64)
    first = plan_upscaling(shape, (1.0, 1.0, 4.0), np.int16, method=LARGE, modality=modality, result_spacing=spacing)
    plan, said = settled(first, np.zeros(shape, np.int16), "cpu")
    assert asked == ([own] if own else []) and (first.asking > 0) == bool(own)
    assert plan.method.name == (LARGE if own else USUAL) and ("no networks of its own" in "".join(said)) != bool(own)
    for stage, model in plan.models.items():
        assert model.name.startswith(LARGE if stage in (own or {}) else USUAL)


def test_the_name_is_that_of_the_networks_that_ran():
    plan = plan_upscaling((20, 96, 96), (1.0, 1.0, 3.0), np.int16, 2, axes="in-plane", method=LARGE, modality="MR", slice_axis="k")
    assert named_by_networks(plan).method.name == LARGE
    assert named_by_networks(on_measured_grid(plan, (20, 48, 48))).method.name == USUAL


def test_a_zero_filled_scan_is_left_to_the_networks_of_4x(monkeypatch):
    monkeypatch.setattr("superres3d.upscaling.smallest_gain", lambda *_: 0.3)
    fine = 1000 * anatomy((8, 160, 160), 3).astype(np.float32)
    scan = Volume(np.rint(filtered(filtered(fine, 1, 0.5), 2, 0.5)).astype(np.int16), (1.0, 1.0, 3.0), modality="MR")
    choices = {"axes": "in-plane", "method": LARGE, "preset": "fast", "slice_axis": "k"}
    result = upscale(scan, 2, **choices)
    assert result.report["models"]["plane"]["name"] == "two-stage-told-mr-plane-x4" and result.report["method"] == USUAL
    assert LiveScan(scan).part([[0, 2], [0, 20], [0, 20]], scale=2, **choices).report["method"] == USUAL


def test_a_method_that_is_no_better_is_not_called_worse(monkeypatch):
    monkeypatch.setattr("superres3d.upscaling.smallest_gain", lambda *_: 0.0)
    plan = plan_upscaling((8, 64, 72), (1.0, 1.0, 3.0), np.int16, 2, axes="in-plane", method=LARGE, modality="MR", slice_axis="k")
    said = settled(plan, _scan().voxels, "cpu")[1]
    assert said == (f"Made coarser once more, this scan came out no better with {LARGE}; {USUAL} was used.",)


def test_the_plan_tells_what_asking_takes(monkeypatch):
    """By hand: two ways, of each the middle twelve slices at half their size, by both plane networks; and nothing where a scan is too small to be asked."""
    def plan(method, shape):
        return plan_upscaling(shape, (1.0, 1.0, 3.0), np.int16, 2, axes="in-plane", method=method, modality="MR", slice_axis="k")

    timed = []
    monkeypatch.setattr("superres3d.plan.expected_seconds", lambda accumulates, *_: timed.append(accumulates) or 1.0)
    large, usual = plan(LARGE, (30, 64, 72)), plan(USUAL, (30, 64, 72))
    each = sum(found.models["plane"].multiply_accumulates for found in (large, usual))
    assert large.asking == 2 * 12 * 32 * 36 * each and usual.asking == 0
    assert timed == [large.accumulates + large.asking, usual.accumulates]
    assert plan(LARGE, (30, 39, 72)).asking == 0
    left = left_to(large, USUAL)
    assert left.accumulates == usual.accumulates and left.asking == 0


def test_the_bar_moves_while_the_scan_is_asked():
    told = []
    scan, choices = _scan((12, 80, 88)), {"axes": "in-plane", "method": LARGE, "preset": "fast", "slice_axis": "k"}
    upscale(scan, 2, **choices, progress=lambda stage, share: told.append((stage, share)))
    asking = [share for stage, share in told if stage == "checking"]
    shares = [share for _, share in told]
    assert len(set(asking)) > 4 and 0.1 < max(asking) < 1 and shares == sorted(shares) and shares[-1] == 1.0
    assert min(share for stage, share in told if stage == "plane") >= max(asking) - 1e-9


@pytest.mark.parametrize("gain, used", [(0.3, LARGE), (-0.3, USUAL)])
def test_what_is_checked_is_what_was_used(monkeypatch, gain, used):
    """The self-check and the error map of a run, which is asked once."""
    asked, refined = [], []
    monkeypatch.setattr("superres3d.upscaling.smallest_gain", lambda *_: asked.append(1) or gain)
    part = Refining.part
    monkeypatch.setattr(Refining, "part", lambda self, *given, **more: refined.append(self._choices["method"]) or part(self, *given, **more))
    scan, choices = _scan((8, 96, 96)), {"axes": "in-plane", "method": LARGE, "preset": "fast", "slice_axis": "k"}
    _, errors = upscale_part_with_doubt(scan, 2, region=((0, 8), (20, 60), (20, 60)), **choices)
    assert errors and errors.report["calibrated"] and refined == [used]
    asked.clear(), refined.clear()
    result, errors = upscale_with_doubt(scan, 2, **choices)
    assert errors and errors.report["calibrated"] and refined == [used]
    check_along(scan, result, lambda *_: None, scale=2, **choices)
    assert result.report["check"]["method"] == used and set(refined) == {used} and len(asked) == 1


def test_a_scan_may_be_empty_in_its_middle():
    voxels = np.zeros((30, 96, 96), np.int16)
    voxels[:4] = 1000 * anatomy((4, 96, 96), 3)
    result = upscale(Volume(voxels, (1.0, 1.0, 3.0), modality="MR"), 2, axes="in-plane", method=LARGE, preset="fast", slice_axis="k")
    assert result.report["method"] == USUAL and any("too empty in its middle" in note for note in result.report["warnings"])


def test_a_preview_can_be_cancelled_while_the_scan_is_asked(monkeypatch):
    monkeypatch.setattr("superres3d.live.computed", lambda *_, **__: pytest.fail("it went on"))
    with pytest.raises(Cancelled):
        LiveScan(_scan((8, 80, 88))).part([[0, 4], [0, 20], [0, 20]], scale=2, cancelled=lambda: True, axes="in-plane", method=LARGE, preset="fast", slice_axis="k")


@pytest.mark.parametrize("second", [USUAL, LARGE])
def test_slabs_of_different_networks_are_not_joined(tmp_path, second):
    """As where two machines do not agree by a hair."""
    scan = _scan((8, 20, 20))
    for number, method in enumerate((LARGE, second)):
        slab = upscale(scan, 2, axes="in-plane", method="linear", region=((4 * number, 4 * number + 4), (0, 20), (0, 20)), slice_axis="k")
        slab.report["method"] = method
        keep_slab(slab, scan, tmp_path / "parts", number, tmp_path)
    if second == LARGE:
        np.testing.assert_array_equal(joined(tmp_path / "parts", scan, 0.0).volume.voxels, upscale(scan, 2, axes="in-plane", method="linear", slice_axis="k").volume.voxels)
    else:
        with pytest.raises(InputError, match="different networks"):
            joined(tmp_path / "parts", scan, 0.0)


def test_the_bar_of_a_check_moves_while_the_scan_is_asked():
    told = []
    check(_scan((12, 96, 96)), 2, axes="in-plane", method=LARGE, preset="fast", slice_axis="k", progress=lambda stage, share: told.append(share))
    plan = plan_upscaling((12, 96, 96), (1.0, 1.0, 3.0), np.int16, 2, axes="in-plane", method=LARGE, modality="MR", preset="fast", slice_axis="k")
    assert len({share for share in told if share < plan.share_of_asking}) > 3 and told == sorted(told) and told[-1] == 1.0
