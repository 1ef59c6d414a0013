"""Commands that fill a folder replace their own earlier files alone, and leave no half of one."""

import json
import os

import numpy as np
import pytest
from superres3d import Volume
from superres3d.errors import InputError, ResourceError
from superres3d.evaluation.run import evaluate_folder
from superres3d.files import claim_folder
from superres3d.networks.weights import save_model
from superres3d.reporter import make_reporter
from superres3d.training.fit import fit

from .conftest import random_network, slice_network, small_recipe, smooth_noise
from .test_staging import picture


def test_a_strangers_file_is_not_taken_for_an_earlier_one(tmp_path):
    (tmp_path / "figure-a.png").write_text("a stranger's")
    with pytest.raises(InputError, match=r"holds figure-a\.png, which is not of an earlier run"):
        claim_folder(tmp_path, ("tables.md", "figure-*.png"), ours=False)
    claim_folder(tmp_path, ("tables.md", "figure-*.png"), ours=True)
    claim_folder(tmp_path, ("tables.md",), ours=False)
    assert claim_folder(tmp_path / "new" / "deep", ("*",), ours=False).is_dir()
    with pytest.raises(InputError, match="cannot be made"):
        claim_folder(tmp_path / "figure-a.png", (), ours=False)


@pytest.fixture
def run_demo(tmp_path, models, monkeypatch):
    pytest.importorskip("matplotlib")
    from superres3d import demo

    brain = Volume(np.rint(smooth_noise((16, 160, 160)) * 900).astype(np.int16))
    monkeypatch.setattr(demo, "_template", lambda: brain)
    out = tmp_path / "demo"
    return out, lambda: demo.run_demo(out, "fast", "cpu", make_reporter("none"))


FILES = {"comparison.png", "input.nii.gz", "lanczos.nii.gz", "report.json", "truth.nii.gz", "upscaled.nii.gz"}


def test_the_demonstration_replaces_its_own_files_all_at_once(run_demo, monkeypatch):
    out, run = run_demo
    run()
    assert set(picture(out)) == FILES
    for name in FILES - {"report.json"}:
        (out / name).write_text("old")
    before = picture(out)
    with monkeypatch.context() as patch:
        patch.setattr("superres3d.demo._draw", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run()
    assert picture(out) == before
    run()
    assert {name for name in FILES if before[name] != picture(out)[name]} >= FILES - {"report.json"}


@pytest.mark.parametrize("name", ["input.nii.gz", "truth.nii", "report.json", "comparison.png"])
def test_the_demonstration_touches_nobody_elses(run_demo, name):
    out, run = run_demo
    out.mkdir()
    (out / name).write_text(json.dumps({"a stranger's": 1}))
    before = picture(out)
    with pytest.raises(InputError, match="which is not of an earlier run"):
        run()
    assert picture(out) == before


@pytest.mark.parametrize("name", ["tables.md", "results.csv", "figure-x.png"])
def test_an_evaluation_touches_nobody_elses(tmp_path, monkeypatch, name):
    monkeypatch.setattr("superres3d.evaluation.run.read_subjects", lambda *_: [])
    (tmp_path / name).write_text("a stranger's")
    with pytest.raises(InputError, match="which is not of an earlier run"):
        evaluate_folder(tmp_path, "split.csv", "test", tmp_path, None)
    assert picture(tmp_path) == {name: b"a stranger's"}


def test_a_training_touches_nobody_elses(tmp_path):
    (tmp_path / "metrics.csv").write_text("a stranger's")
    with pytest.raises(InputError, match="which is not of an earlier run"):
        fit(small_recipe(), tmp_path, tmp_path)
    assert picture(tmp_path) == {"metrics.csv": b"a stranger's"}


def test_weights_and_card_are_replaced_together(tmp_path, monkeypatch):
    network = {"network": slice_network("edsr", (2, 2))}
    save_model(random_network("edsr", (2, 2)), "a", tmp_path, network)
    before = picture(tmp_path)
    real = os.replace

    def failing(old, new):
        if str(new).endswith("card.json"):
            raise OSError(28, "full")
        real(old, new)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(ResourceError, match="the disk is full"):
        save_model(random_network("edsr", (2, 2), seed=1), "a", tmp_path, network)
    assert picture(tmp_path) == before
    monkeypatch.undo()
    save_model(random_network("edsr", (2, 2), seed=1), "a", tmp_path, network)
    assert all(picture(tmp_path)[name] != content for name, content in before.items() if content != "folder")
