"""A depth network that goes on learning on the scan: what it learns from, when it is used, and that nothing else changes."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from superres3d import Volume, upscale
from superres3d.adaptation import budget as budgets
from superres3d.adaptation import learning, pairs
from superres3d.adaptation.adapt import adapt
from superres3d.adaptation.budget import Budget
from superres3d.adaptation.judging import helps
from superres3d.adaptation.pairs import SliceProfile, chosen_slices, own_detail
from superres3d.adaptation.thickness import thickness_of
from superres3d.detail.estimator import FREQUENCIES, AxisDetail
from superres3d.errors import Cancelled, InputError, ResourceError
from superres3d.networks.weights import WEIGHTS, architecture_of, find_model, load_tensors, verified_weights
from superres3d.plan import plan_upscaling
from superres3d.resampling.degradation import interval_means
from superres3d.scan.writing import write_volume

from .dicom_scans import classic, enhanced, mr_image
from .test_detail import anatomy

MODEL = "two-stage-residual-mr-depth-x2"
CHOICES = {"scale": (1, 2), "method": "two-stage-residual", "modality": "MR", "preset": "fast", "precision": "single"}


@pytest.fixture(scope="module")
def thick() -> Volume:
    """Soft anatomy of 1 mm in slices that are means over 4 mm, 2 mm apart: a loss that no network here has met."""
    fine = ndimage.gaussian_filter(anatomy((64, 64, 60), 5), 0.7)
    means = ndimage.uniform_filter1d(fine, 4, axis=0)[::2]
    return Volume(np.rint(900 * means).astype(np.int16), (1.0, 1.0, 2.0), modality="MR")


def _unchanged(values):
    return values.astype(np.float32)


def test_slices_kept_apart_are_never_learnt_from():
    learnt, kept = chosen_slices((40, 8, 8), 1 << 30)
    assert len(kept) == 6 and len(learnt) == 40 - 6 - 4
    assert min(abs(int(a) - int(b)) for a in learnt for b in kept) == 2  # nor are their neighbours
    few_learnt, few_kept = chosen_slices((6, 8, 8), 1 << 30)
    assert not set(few_learnt) & set(few_kept) and len(few_learnt) + len(few_kept) == 6


def test_a_large_scan_is_thinned_evenly():
    learnt, kept = chosen_slices((400, 512, 512), 100 << 20)
    assert 4 * 4 * 512 * 512 * (len(learnt) + len(kept)) <= 100 << 20
    assert len(kept) >= 2 and learnt.min() < 20 and learnt.max() > 380


def test_pairs_are_lines_made_coarse_by_the_profile():
    voxels = np.random.default_rng(0).random((10, 40, 48)).astype(np.float32)
    detail = own_detail(voxels, _unchanged, (2.0, 1.0, 1.0), 2, (SliceProfile("box", 1.0),))
    learnt, _ = chosen_slices(voxels.shape, 1 << 30)
    assert detail.slices == (len(learnt), 2)
    along_rows, along_columns = detail.learnt
    np.testing.assert_array_equal(along_rows.fine, voxels[learnt])
    np.testing.assert_array_equal(along_columns.fine, voxels[learnt].transpose(0, 2, 1))
    np.testing.assert_allclose(along_columns.coarse, np.einsum("oc,src->sor", interval_means(48, 24), voxels[learnt]), atol=1e-5)


def test_finer_pixels_are_brought_to_the_distance_of_the_result_first():
    detail = own_detail(np.ones((10, 120, 130), np.float32), _unchanged, (4.0, 0.5, 0.5), 4, (SliceProfile("gaussian", 1.0),))
    assert detail.learnt[0].fine.shape[1:] == (60, 130) and detail.learnt[1].fine.shape[1:] == (64, 120)
    np.testing.assert_allclose(detail.learnt[0].coarse, 1.0, rtol=1e-5)


def test_a_scan_without_room_has_no_pairs():
    assert own_detail(np.ones((9, 18, 22), np.float32), _unchanged, (3.0, 1.0, 1.0), 4, (SliceProfile("box", 1.0),)) is None


def _across(width, unsure=0.05):
    """What a Gaussian profile of that full width at half maximum, in distances of slices, leaves (closed formula)."""
    sigma = width / np.sqrt(8 * np.log(2))
    return AxisDetail(tuple(np.exp(-2 * (np.pi * sigma * np.array(FREQUENCIES) / 2) ** 2)), 1.0, 0.2, unsure, 0.01, 0.2)


@pytest.mark.parametrize("width", [0.7, 1.0, 1.3])
def test_measured_thickness_is_that_of_the_gaussian_that_leaves_as_much(thick, width):
    found = thickness_of(thick, 0, "MR", _across(width))
    assert found.source == "measured" and {profile.name for profile in found.profiles} == {"gaussian"}
    assert [profile.share for profile in found.profiles] == pytest.approx([width, width + 0.15, width + 0.3], abs=0.02)


def test_what_is_unsure_is_assumed_to_touch(thick):
    given = thickness_of(thick, 0, "MR", _across(1.2), Budget(1, thickness=3.0, profile="box"))
    assert given.source == "given" and given.profiles == (SliceProfile("box", 1.5),)
    for across in (None, _across(1.2, unsure=0.3)):
        told = thickness_of(thick, 0, "CT", across).report(5.0)
        assert told["thickness_from"] == "assumed" and told["profiles"][0] == {"profile": "box", "thickness_mm": 5.0} and len(told["profiles"]) == 3


@pytest.mark.parametrize("scan", [lambda: classic(mr_image()), lambda: enhanced("MR")])
def test_the_header_is_believed_before_what_is_measured(scan):
    volume = scan()
    header = volume.source.headers[0]
    told = header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness if "SharedFunctionalGroupsSequence" in header else header.SliceThickness
    found = thickness_of(volume, 0, "MR", _across(2.5))
    assert found.source == "header" and [(profile.name, round(profile.share * volume.spacing[2] / float(told), 6)) for profile in found.profiles] == [("slr", 1), ("gaussian", 0.8), ("gaussian", 1)]
    assert len(found.notes) == 1 and "the header was believed" in found.notes[0]
    assert thickness_of(volume, 1, "MR", None).source == "assumed"  # across other slices than the header's


def test_learning_helps_and_is_told(thick):
    shipped = (find_model(MODEL).folder / WEIGHTS).read_bytes()
    plain, adapted = upscale(thick, **CHOICES), upscale(thick, **CHOICES, adapt=Budget(60, steps=40))
    told = adapted.report["adaptation"]
    assert told["used"] and told["steps"] == 40 and np.subtract(told["gain_after_db"], told["gain_before_db"]).mean() > 0.3
    assert told["adapted"] == adapted.report["models"]["depth"] != plain.report["models"]["depth"] == told["start"]
    assert adapted.report["seconds"]["adaptation"] >= told["seconds"] * 0.9 and plain.report["adaptation"] is None
    assert any("went on learning on this scan" in note for note in adapted.report["warnings"])
    assert adapted.volume.voxels.shape == plain.volume.voxels.shape and not np.array_equal(adapted.volume.voxels, plain.volume.voxels)
    assert (find_model(MODEL).folder / WEIGHTS).read_bytes() == shipped


def test_where_it_does_not_help_the_shipped_network_is_used(thick, monkeypatch):
    monkeypatch.setattr(learning, "_RATE", 1.0)
    plain, adapted = upscale(thick, **CHOICES), upscale(thick, **CHOICES, adapt=Budget(60, steps=3))
    assert not adapted.report["adaptation"]["used"] and adapted.report["models"] == plain.report["models"]
    assert any(note.startswith("The network as shipped was better on this scan; it was used") for note in adapted.report["warnings"])
    np.testing.assert_array_equal(adapted.volume.voxels, plain.volume.voxels)


@pytest.mark.parametrize("after, used", [((1.2, 1.2), True), ((1.02, 1.02), False), ((2.0, 0.9), False)])
def test_only_what_helps_in_both_directions_is_used(after, used):
    assert helps((1.0, 1.0), after) is used


def _hash(thick, budget: Budget) -> str:
    found = adapt(find_model(MODEL), thick, 0, "MR", budget, "cpu", lambda share: None)
    return found.report["adapted"]["sha256"]


def test_steps_and_seed_give_the_same_network(thick):
    first, again, other = (_hash(thick, Budget(60, steps=4, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_the_adapted_model_is_what_its_hash_says(thick):
    model = find_model(MODEL)
    found = adapt(model, thick, 0, "MR", Budget(60, steps=30), "cpu", lambda share: None)
    assert found.model.sha256 == hashlib.sha256(verified_weights(found.model)).hexdigest() != model.sha256
    tensors, given = (load_tensors(kind, architecture_of(kind)) for kind in (found.model, model))
    assert all(0 < np.abs(tensors[name] - given[name]).max() < 0.1 for name in given)
    damaged = replace(found.model, content=found.model.content[:-1])
    with pytest.raises(Exception, match="differs"):
        verified_weights(damaged)


def test_a_device_that_gives_out_is_left(thick):
    found = adapt(find_model(MODEL), thick, 0, "MR", Budget(60, steps=2), "cuda:7", lambda share: None)
    assert found.report["device"] == "cpu" and found.report["steps"] == 2
    assert "The network could not learn on cuda:7; it learnt on the CPU." in found.notes


def test_memory_that_runs_out_is_told(thick, monkeypatch):
    def empty(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(learning, "_batch", empty)
    with pytest.raises(ResourceError, match="Memory ran out while the network learnt"):
        upscale(thick, **CHOICES, adapt=Budget(60, steps=2))


def test_what_pytorch_loads_is_none_of_the_time_to_learn(thick, monkeypatch):
    """The clock stands still, but for the making of the optimiser, which takes longer than all of the budget."""
    now = [0.0]
    made = learning.torch.optim.Adam

    def slowly(*given):
        now[0] += 100.0
        return made(*given)

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(learning.torch.optim, "Adam", slowly)
    told = adapt(find_model(MODEL), thick, 0, "MR", Budget(20.0), "cpu", lambda share: now.__setitem__(0, now[0] + 10.0))
    assert told.report["steps"] >= 1


def test_time_is_kept_and_told(thick):
    shares: list[tuple[str, float]] = []
    began = time.perf_counter()
    result = upscale(thick, **CHOICES, adapt=2.0, progress=lambda name, share: shares.append((name, share)))
    assert result.report["adaptation"]["seconds"] < 2.0 + 6.0 and time.perf_counter() - began > 2.0
    learning_shares = [share for name, share in shares if name == "adaptation"]
    assert learning_shares[0] == 0.0 and 0.2 < learning_shares[-1] < 1.0
    assert [share for _, share in shares] == sorted(share for _, share in shares) and shares[-1] == ("depth", 1.0)


def test_cancel_within_two_seconds(thick):
    asked: list[float] = []

    def cancelled() -> bool:
        now = time.perf_counter()
        return bool(asked) and now > asked[0]

    def progress(name: str, share: float) -> None:
        if share > 0.01 and not asked:
            asked.append(time.perf_counter())

    with pytest.raises(Cancelled):
        upscale(thick, **CHOICES, adapt=120.0, progress=progress, cancelled=cancelled)
    assert time.perf_counter() - asked[0] < 2.0


def test_a_small_scan_is_refined_without(scan):
    result = upscale(scan, **CHOICES, adapt=5.0)
    assert not result.report["adaptation"]["used"] and any("too small to learn from" in note for note in result.report["warnings"])


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"scale": (2, 1)}, "nothing is refined between the slices here; leave --adapt out"),
        ({"method": "lanczos"}, "the method lanczos has none"),
        ({"adapt": 0.0}, "for 0 seconds; give 1 to 86400"),
        ({"adapt": float("nan")}, "for nan seconds"),
        ({"adapt": Budget(5, profile="round")}, "give millimetres, and one of gaussian, box, slr"),
    ],
)
def test_what_cannot_learn_is_refused(thick, changes, told):
    with pytest.raises(InputError, match=told):
        upscale(thick, **{**CHOICES, "adapt": 5.0, **changes})


def test_without_pytorch_it_is_refused(thick, monkeypatch):
    monkeypatch.setattr(budgets.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs PyTorch"):
        upscale(thick, **CHOICES, adapt=5.0)


def test_its_memory_is_planned():
    choices = {"scale": (1, 2), "method": "two-stage-residual", "memory_limit": 1 << 30}
    plain = plan_upscaling((30, 256, 256), (1, 1, 2), "int16", **choices)
    with pytest.raises(ResourceError, match="of memory"):
        plan_upscaling((30, 256, 256), (1, 1, 2), "int16", **choices, adapt=60)
    planned = plan_upscaling((30, 256, 256), (1, 1, 2), "int16", **{**choices, "memory_limit": 4 << 30}, adapt=60)
    assert planned.memory_bytes > plain.memory_bytes and planned.seconds == pytest.approx(plain.seconds + 60)
    assert pairs.pair_bytes((30, 256, 256)) <= pairs.MOST_BYTES + 4 * 30 * 256 * 256


def test_the_page_of_a_run_whose_network_learnt(thick, tmp_path, monkeypatch):
    """The network that learnt lies in no folder: the page names it, with the subjects of the one that it began with."""
    from superres3d.cli import app
    from superres3d.networks.weights import find_model
    from typer.testing import CliRunner

    monkeypatch.setattr("superres3d.adaptation.judging.helps", lambda before, after: True)
    write_volume(thick, tmp_path / "scan.nii.gz")
    asked = ["upscale", str(tmp_path / "scan.nii.gz"), str(tmp_path / "out.nrrd"), "--scale", "1,2", "--method", "two-stage-residual", "--modality", "MR", "--preset", "fast"]
    ran = CliRunner().invoke(app, [*asked, "--adapt", "1", "--report", str(tmp_path / "report.html"), "--progress", "none"])
    assert ran.exit_code == 0, ran.output
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    subjects = find_model("two-stage-residual-mr-depth-x2").card["training_subjects"]
    assert "two-stage-residual-mr-depth-x2-adapted" in page and subjects and all(subject["id"] in page for subject in subjects)


def test_the_command_line_reports_it(thick, tmp_path):
    from superres3d.cli import app
    from typer.testing import CliRunner

    write_volume(thick, tmp_path / "scan.nii.gz")
    asked = ["upscale", str(tmp_path / "scan.nii.gz"), str(tmp_path / "out.nrrd"), "--scale", "1,2", "--method", "two-stage-residual", "--modality", "MR", "--preset", "fast"]
    ran = CliRunner().invoke(app, [*asked, "--adapt", "2", "--report", str(tmp_path / "report.json"), "--progress", "none"])
    assert ran.exit_code == 0, ran.output
    told = json.loads((tmp_path / "report.json").read_text())["adaptation"]
    assert told["asked_seconds"] == 2.0 and told["steps"] > 0
    model = told["adapted" if told["used"] else "start"]
    assert f"depth:{model['name']}:{model['sha256'][:12]}".encode() in (tmp_path / "out.nrrd").read_bytes()
