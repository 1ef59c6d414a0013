"""The self-check against scikit-image, closed forms, and computations by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from superres3d import Volume, check, upscale, upscaling, write_volume
from superres3d.adaptation.adapt import Adapted
from superres3d.detail.estimator import AxisDetail
from superres3d.errors import Cancelled, InputError
from superres3d.evaluation.tasks import TASKS
from superres3d.resampling.degradation import antialiased_bicubic
from superres3d.resampling.interpolation import resize
from superres3d.trust import refining, selfcheck
from superres3d.trust.body import body_mask, filled, regions_of, value_range
from superres3d.trust.closeness import Tally, rough, ssim_map
from superres3d.trust.coarser import WAYS, Noise, made_coarser, own_way
from superres3d.trust.sample import sample_of, share_of_scan
from superres3d.trust.words import statement, warnings

from .conftest import run_cli, smooth_noise


@pytest.fixture
def head() -> Volume:
    """A bright textured ball in a dark, slightly noisy box."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (24, 44, 48)), indexing="ij"))
    ball = (np.square(grid).sum(axis=0) < 0.8) * (300 + 600 * smooth_noise((24, 44, 48), seed=3))
    noise = np.random.default_rng(0).normal(0, 4, ball.shape)
    return Volume(np.rint(np.abs(ball + noise)).astype(np.int16), (1.0, 1.0, 1.2), modality="MR")


def pair(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    truth = smooth_noise((5, 20, 24), seed) * 100
    return truth, truth + np.random.default_rng(seed).normal(0, 3, truth.shape).astype(np.float32)


def tally_of(truth, result, baseline, body=None, span=100.0, axes=(0, 1, 2)) -> Tally:
    tally = Tally(span, axes, True, 5.0)
    body = np.ones(truth.shape, bool) if body is None else body
    tally.add(truth, {"result": result, "baseline": baseline}, body, {"flat": body})
    return tally


def test_ssim_is_that_of_scikit_image():
    truth, image = pair()
    _, whole = structural_similarity(truth[0].astype(float), image[0].astype(float), win_size=7, data_range=100.0, full=True)
    np.testing.assert_allclose(ssim_map(truth[0], image[0], 100.0), whole[3:-3, 3:-3], atol=1e-9)


def test_psnr_and_gain_are_those_of_scikit_image_within_the_body():
    truth, image = pair()
    worse = image + 2
    body = truth > 50
    found = tally_of(truth, image, worse, body)
    expected = [peak_signal_noise_ratio(truth[body], other[body], data_range=100.0) for other in (image, worse)]
    assert found.psnr("result") == pytest.approx(expected[0]) and found.gain() == pytest.approx(expected[0] - expected[1], abs=1e-5)


def test_slabs_add_up():
    truth, image = pair()
    whole, parts = tally_of(truth, image, image + 1), Tally(100.0, (1, 2), True, 5.0)
    for part in (slice(0, 2), slice(2, 5)):
        body = np.ones(truth[part].shape, bool)
        parts.add(truth[part], {"result": image[part], "baseline": image[part] + 1}, body, {"flat": body})
    assert parts.gain() == pytest.approx(whole.gain()) and parts.ssim("result") == pytest.approx(whole.ssim("result"))


def test_differences_and_flicker_in_closed_form():
    truth = np.broadcast_to(np.arange(6, dtype=np.float32)[:, None, None] * 10, (6, 8, 8))
    result, baseline = truth + 3, truth * 0.5
    found = tally_of(truth, result, baseline)
    assert found.flicker("result") == 0 and found.flicker("baseline") == pytest.approx(0.5)
    assert found.along(1) is None and found.along(0) > 40


def test_roughness_in_closed_form():
    """White noise less the mean of its 2 n neighbours has the variance 1 + 1 / 2n; a plane has none."""
    noise = np.random.default_rng(0).standard_normal((40, 40, 40)).astype(np.float32)
    assert np.var(rough(noise, (0, 1, 2))[1:-1, 1:-1, 1:-1]) == pytest.approx(1 + 1 / 6, rel=0.02)
    assert np.var(rough(noise, (1, 2))[:, 1:-1, 1:-1]) == pytest.approx(1 + 1 / 4, rel=0.02)
    plane = np.add.outer(np.arange(6.0), np.add.outer(2 * np.arange(7.0), 3 * np.arange(8.0))).astype(np.float32)
    assert np.abs(rough(plane, (0, 1, 2))[1:-1, 1:-1, 1:-1]).max() < 1e-4
    truth = np.zeros_like(noise)
    assert tally_of(truth, 2 * noise, noise).noise() == pytest.approx(2)


def test_what_is_added_without_ground_is_counted():
    truth = np.zeros((4, 10, 10), np.float32)
    truth[:, :5] = 20
    result = np.full_like(truth, 20)
    found = tally_of(truth, result, np.zeros_like(truth)).told()["ground"]
    assert found == pytest.approx({"added": 1.0, "without": 0.5, "half": 0.5, "recall": 1.0})


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("name", WAYS)
def test_ways_keep_constants_and_the_place(name, factor):
    matrix = WAYS[name].matrix(32, factor)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    line = np.cos(np.pi * 2 * (np.arange(32) + 0.5) / 32)  # a slow wave comes back at the middle of each group
    coarse = np.cos(np.pi * 2 * (np.arange(32 // factor) + 0.5) / (32 // factor))
    np.testing.assert_allclose(matrix @ line, coarse, atol=0.03 * factor)


def test_the_scans_own_way():
    whole = AxisDetail((1.0, 1.0, 1.0, 1.0), 1.0, 0.1, 0.05, 0.01, 0.2)
    np.testing.assert_allclose(own_way(whole).matrix(32, 2), WAYS["cut"].matrix(32, 2), atol=1e-12)
    waves = np.cos(np.pi * np.outer(np.arange(16), np.arange(32) + 0.5) / 32)  # below the coarse Nyquist frequency, 16
    soft = own_way(replace(whole, transfer=(0.9, 0.5, 0.2, 0.1), extent=0.75)).matrix(32, 2)
    left = [np.abs(soft @ wave).max() / np.abs(WAYS["cut"].matrix(32, 2) @ wave).max() for wave in waves[1:]]
    np.testing.assert_allclose(left, np.where(np.arange(1, 16) / 16 < 0.75, np.interp(np.arange(1, 16) / 16, (0, 0.3, 0.55, 0.8, 0.95), (1, 0.9, 0.5, 0.2, 0.1)), 0), atol=1e-6)


def test_a_coarser_scan_lies_where_it_lay(scan):
    even = replace(scan, voxels=scan.voxels[:8, :16, :20])
    ours, theirs = made_coarser(even, (1, 2, 2), WAYS["bicubic"]), TASKS["in-plane"].low_resolution(even, (1, 2, 2), 0)
    np.testing.assert_allclose(ours.voxels, theirs.voxels, atol=1e-2)
    assert ours.spacing == pytest.approx(theirs.spacing) and ours.origin == pytest.approx(theirs.origin)


def test_the_body_holds_its_cavities():
    voxels = np.full((12, 60, 60), -1000.0, np.float32)
    voxels[2:10, 10:50, 10:50] = 40
    voxels[3:9, 20:30, 20:30] = -850  # a lung
    voxels[5, 5, 5] = 40  # a speck
    expected = ndimage.binary_fill_holes(ndimage.label(voxels > -300)[0] == 1)
    assert (body_mask(voxels, "CT") == expected).all()
    assert body_mask(np.zeros((4, 20, 20), np.float32), "MR").all()


def test_the_body_of_a_large_scan():
    """Looked at on fewer pixels, so its rim is off by some of them."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (20, 400, 420)), indexing="ij"))
    ball = np.square(grid).sum(axis=0) < 0.7
    found = body_mask(np.where(ball, 50, -1000).astype(np.int16), "CT")
    assert found.shape == ball.shape and np.mean(found != ball) < 0.01


def test_regions():
    voxels = np.zeros((9, 21, 21), np.float32)
    voxels[:, :, 12:] = 400
    voxels[4, 4, 4] = 300
    body = np.ones(voxels.shape, bool)
    found = regions_of(voxels, body, "CT", 4095.0, (0, 1, 2))
    assert set(zip(*np.nonzero(found["bright"]))) == {(4, 4, 4)}
    assert found["edges"][:, :, 11:13].all() and not found["flat"][:, :, 11:13].any() and found["flat"][8, 15, 3]


def test_holes_of_a_body_are_filled_slice_by_slice():
    """As scipy fills them; bodies that reach the border, and holes that are open in a neighbouring slice."""
    shapes = ndimage.gaussian_filter(np.random.default_rng(5).standard_normal((6, 40, 44)), (0.7, 1.5, 1.5)) > 0
    made = filled(shapes)
    np.testing.assert_array_equal(made, np.stack([ndimage.binary_fill_holes(image) for image in shapes]))
    assert (made > shapes).any() and shapes[:, 0].any() and filled(np.ones((2, 8, 8), bool)).all() and not filled(np.zeros((2, 8, 8), bool)).any()


@pytest.mark.parametrize("factors,ways", [((2, 2, 2), 3), ((1, 2, 2), 4), ((2, 1, 1), 3), ((4, 1, 1), 4), ((4, 4, 4), 3), ((1, 4, 4), 3)])
def test_a_sample_costs_what_it_may(factors, ways):
    body = np.zeros((160, 512, 512), bool)
    body[:, 40:470, 30:480] = True
    work = 120e3 * np.prod(factors) / 4  # as many multiply-accumulates as the networks take for a voxel of a scan with "fast"; a second on a fast core is 200e9
    sample = sample_of(body, factors, ways, whole_slices=True, work=work)
    networks, others = ways * sample.share * work / np.prod(factors) / 200e9, ways * sample.share * 250e-9
    run = work / 200e9 + 25e-9 * np.prod(factors)  # a voxel of the scan
    assert networks + others <= (0.25 if max(factors) == 2 else 0.05) * run and sample.share * body.size <= 4.5e6
    for slab in sample.slabs:
        part = body[slab.fine(factors)]
        assert part[slab.inner].size and part.shape[0] == (160 if factors[0] > 1 else part.shape[0])


@pytest.mark.parametrize("factor", [1, 2])
def test_what_lies_at_a_cut_is_not_measured(factor):
    """Four coarse rows at either side."""
    body = np.ones((160, 512, 96), bool)
    for slab in sample_of(body, (2, factor, factor), 4, whole_slices=True, work=1e7).slabs:
        rows = slab.fine((2, factor, factor))[1]
        assert (slab.inner[1].start, rows.stop - rows.start - slab.inner[1].stop) == (4 * factor, 4 * factor)


def test_a_small_scan_is_looked_at_whole():
    assert share_of_scan((1, 2, 2), 4, 100_000, 1e5) == 1.0
    assert share_of_scan((1, 2, 2), 4, 1_000_000, 1e5) == pytest.approx(0.25)  # a tenth of a second is no share to look at anything in
    sample = sample_of(np.ones((8, 32, 32), bool), (1, 2, 2), 3, whole_slices=True)
    assert sample.share == 1.0 and sample.words == "the whole scan"


def test_slices_are_spread_over_the_body():
    body = np.zeros((200, 256, 256), bool)
    body[100:180, 64:192, 64:192] = True
    (slab,) = sample_of(body, (1, 2, 2), 3, whole_slices=True, work=1e6).slabs
    chosen = slab.coarse[0]
    assert (np.diff(chosen) > 0).all() and chosen[0] < 115 and chosen[-1] > 165 and body[slab.fine((1, 2, 2))].mean() > 0.6
    (run,) = sample_of(body, (1, 2, 2), 3, whole_slices=False).slabs
    assert isinstance(run.coarse[0], slice) and body[run.fine((1, 2, 2))].any(axis=(1, 2)).all()


def test_a_check_by_hand(head, monkeypatch):
    """The whole scan, one way: cubic against Lanczos, within the body."""
    monkeypatch.setattr(selfcheck, "WAYS", dict.fromkeys(("bicubic", "cut"), WAYS["bicubic"]))
    monkeypatch.setattr(selfcheck, "_measured", lambda *_: ((None, None, None), None, None))
    found = check(head, 2, method="cubic")
    coarse = antialiased_bicubic(head.voxels, (2, 2, 2))
    body, span = body_mask(head.voxels, "MR"), value_range(head.voxels, "MR")[1]
    cubic, lanczos = (peak_signal_noise_ratio(head.voxels[body].astype(float), resize(coarse, (2, 2, 2), name)[body], data_range=span) for name in ("cubic", "lanczos"))
    way = found.ways[0]
    assert found.sample["share"] == 1.0 and found.factors_ijk == (2, 2, 2)
    # the box around the body leaves nothing of it out
    assert way.gain_db == pytest.approx(cubic - lanczos, abs=2e-3) and way.psnr_lanczos == pytest.approx(lanczos, abs=2e-3)


@pytest.mark.parametrize("axis", ["k", "j", "i"])
def test_the_slice_axis_may_be_any(head, axis):
    """The same scan with its axes exchanged is checked alike."""
    turned = {"k": head.voxels, "j": np.moveaxis(head.voxels, 0, 1), "i": np.moveaxis(head.voxels, 0, 2)}[axis]
    found = check(Volume(turned, modality="MR"), (1, 2), method="linear", slice_axis=axis)
    expected = check(head, (1, 2), method="linear", slice_axis="k")
    assert found.gain_db == pytest.approx(expected.gain_db) and found.along(axis) == pytest.approx(expected.along("k"))
    assert found.factors_ijk["ijk".index(axis)] == 2 and sorted(found.factors_ijk) == [1, 1, 2]


def test_networks_get_the_scale_of_the_whole_scan(head, models):
    """A part of a scan comes out as it does with the rest around it."""
    whole = upscale(head, (2, 1), preset="fast", precision="single").volume.voxels
    part = upscale(replace(head, voxels=head.voxels[10:14]), (2, 1), preset="fast", precision="single", part_of=head.voxels).volume.voxels
    alone = upscale(replace(head, voxels=head.voxels[10:14] // 2), (2, 1), preset="fast", precision="single").volume.voxels
    np.testing.assert_array_equal(part, whole[10:14])
    assert not np.array_equal(alone, whole[10:14])


@pytest.mark.parametrize("method", ["two-stage-told", "two-stage-residual", "cubic"])
def test_parts_are_refined_as_a_run_would_and_networks_loaded_once(head, models, monkeypatch, method):
    asked = {"scale": (2, 1), "method": method, "preset": "fast", "precision": "single", "slice_axis": "k"}
    whole, parts = head.voxels, [replace(head, voxels=head.voxels[start : start + 5]) for start in (6, 12)]
    expected = [upscale(part, **asked, part_of=whole).volume.voxels for part in parts]
    engines, measured = [], []
    monkeypatch.setattr(refining, "engine_of", lambda *given: engines.append(upscaling.engine_of(*given)) or engines[-1])
    monkeypatch.setattr(refining, "grid_of", lambda *given: measured.append(upscaling.grid_of(*given)) or measured[-1])
    with refining.Refining(asked) as refine:
        found = [refine.part(part, whole)[0] for part in parts]
        other = refine.part(parts[0], whole // 2)[0]
    for ours, theirs in zip(found, expected):
        np.testing.assert_array_equal(ours, theirs)
    assert method == "cubic" or not np.array_equal(other, expected[0])
    assert len(engines) == (method != "cubic") and len(measured) == 2 * (method == "two-stage-told")


def test_the_noise_that_is_put_back_is_what_means_take_away():
    flat = AxisDetail((1.0,) * 4, 1.0, 1.0, 0.0, 0.0, 0.0)
    lost = Noise(10.0, (None, flat, flat)).lost((6, 64, 128), (1, 2, 2))
    assert lost.shape == (6, 32, 64) and lost.std() == pytest.approx(10 * 0.75**0.5, rel=0.03)


def test_a_network_is_checked(head, models):
    found = check(head, 2, preset="fast", method="two-stage-residual")
    assert not found.ahead and found.best_method == "lanczos"  # random networks
    assert found.preset == "fast" and found.method == "two-stage-residual"
    content = json.loads(json.dumps(found.to_dict()))
    assert content["warnings"] and content["statement"] == statement(found) and "twice as coarse" in content["statement"]
    assert content["ways"][0]["regions"].keys() == {"edges", "flat", "bright"} and content["cannot_show"]


def test_careful_is_checked_as_it_runs(head, models):
    """Random networks draw nonsense; what is taken back leaves less of it."""
    plain, found = (check(head, 2, preset="fast", method="two-stage-residual", careful=asked) for asked in (False, True))
    assert plain.gain_db < found.gain_db <= 0.05 and found.careful and not plain.careful
    assert "two-stage-residual with careful" in statement(found) and "careful" not in statement(plain)
    with pytest.raises(InputError, match="cubic has none"):
        check(head, 2, method="cubic", careful=True)


def test_a_network_that_learns_does_not_see_the_scan_in_the_check(head, models, monkeypatch):
    """It learns on the whole scan made coarser, once."""
    seen = []

    def learnt(model, volume, *_):
        seen.append(volume.voxels.shape)
        return Adapted(model, (), {"used": False})

    monkeypatch.setattr(upscaling, "adapt_to_scan", learnt)
    found = check(head, (1, 2), preset="fast", method="two-stage-residual", adapt=1.0)
    assert seen == [(12, 44, 48)] and len(found.ways) == 1
    assert found.adapted and "with learning on the scan" in statement(found)


def test_a_method_that_is_behind_is_told(head):
    found = check(head, 2, method="nearest")
    assert not found.ahead and "stayed" in statement(found) and warnings(found)[0].startswith("nearest is not ahead of Lanczos")


def test_too_few_slices_for_the_factor_are_checked_with_a_smaller_one(head):
    few = replace(head, voxels=head.voxels[6:16])
    found = check(few, (1, 4), method="linear")
    assert found.factors_ijk == (1, 1, 2) and any("too small to be made coarser by the factor" in note for note in found.notes)


@pytest.mark.parametrize("change, choices, words", [
    (lambda v: v[:5], {"scale": (1, 2)}, "5 slices, and the check needs at least 8"),
    (lambda v: v[:, :20], {"scale": (2, 1)}, "20 pixels along an axis"),
    (lambda v: np.full_like(v, 7), {}, "same value"),
    (lambda v: (v > 300).astype(np.int16), {}, "label map"),
    (lambda v: v, {"method": "lanczos"}, "name another method"),
    (lambda v: v, {"spacing": 1.5}, "Nothing is refined"),
])  # fmt: skip
def test_what_cannot_be_checked_is_refused(head, change, choices, words):
    with pytest.raises(InputError, match=words):
        check(replace(head, voxels=change(head.voxels)), **{"method": "cubic", **choices})


def test_a_check_can_be_stopped(head):
    with pytest.raises(Cancelled):
        check(head, 2, method="cubic", cancelled=lambda: True)


def test_progress_rises_to_the_end(head):
    shares = []
    check(head, 2, method="cubic", progress=lambda stage, share: shares.append(share))
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1.0)


def test_on_the_command_line(tmp_path, head):
    write_volume(head, tmp_path / "head.nii.gz")
    told = run_cli("check", tmp_path / "head.nii.gz", "--method", "nearest", "--modality", "MR")
    assert told.returncode == 6 and "farther from the scan than Lanczos" in told.stdout and "What this cannot show" in told.stdout and "Error: nearest is not ahead" in told.stderr
    content = json.loads(run_cli("check", tmp_path / "head.nii.gz", "--method", "nearest", "--modality", "MR", "--json").stdout)
    assert content["best_method"] == "lanczos" and content["source"].endswith("head.nii.gz")
    refused = run_cli("check", tmp_path / "head.nii.gz", "--method", "lanczos")
    assert refused.returncode == 2 and refused.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head.nii.gz"]


def test_upscale_checks_as_well(tmp_path, head):
    write_volume(head, tmp_path / "head.nii.gz")
    done = run_cli("upscale", tmp_path / "head.nii.gz", tmp_path / "out.nii.gz", "--method", "nearest", "--check", "--report", tmp_path / "r.json")
    report = json.loads((tmp_path / "r.json").read_text())
    assert done.returncode == 0 and report["check"]["ahead"] is False and report["fit"]["residual_rms"] == 0
    assert any("nearest is not ahead" in warning for warning in report["warnings"]) and "farther from the scan" in done.stderr


def test_a_scan_too_small_for_the_check_is_upscaled_all_the_same(tmp_path, scan):
    write_volume(replace(scan, voxels=scan.voxels[:5]), tmp_path / "in.nii.gz")
    done = run_cli("upscale", tmp_path / "in.nii.gz", tmp_path / "out.nii.gz", "--method", "cubic", "--modality", "MR", "--check", "--report", tmp_path / "r.json")
    report = json.loads((tmp_path / "r.json").read_text())
    assert done.returncode == 0 and (tmp_path / "out.nii.gz").exists() and report["check"] is None
    assert any(warning.startswith("The check was not done: The scan has 5 slices") for warning in report["warnings"])
