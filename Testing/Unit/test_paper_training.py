"""The papers' networks on a graphics card: layers and samples as the package's own, a rehearsal of both trainings, and what is left when one fails."""

from __future__ import annotations

import json
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from superres3d.networks.module import BlueprintNet
from superres3d.networks.weights import find_model, load_network
from superres3d.resampling.degradation import kspace_truncation
from superres3d.resampling.interpolation import resize
from superres3d.training.degrader import MARGIN, Degrader

sys.path.insert(0, str(Path(__file__).parents[1] / "Benchmarks" / "gpu"))

import chen  # noqa: E402
import pack  # noqa: E402
import paper  # noqa: E402
import paper_layers  # noqa: E402
import run  # noqa: E402

_NAMES = {"MR": ("mr_t2_M2265", "mr_t1_ds000011_sub13"), "CT": ("ct_head_invesalius_cranium", "ct_chest_ctmd_cap001")}
_TINY = {"repeat": 2, "batch": 2, "side": 8, "filters": 8, "precision": "tf32", "device": "cpu"}


def _entries(modality: str = "MR") -> list[tuple[pack.Scan, np.ndarray]]:
    """Smooth blobs with edges, one to learn from and one to look at."""
    random, entries = np.random.default_rng(3), []
    for name, subset in zip(_NAMES[modality], ("train", "val")):
        rough = np.kron(random.random((5, 6, 7)), np.ones((5, 6, 6)))
        values = resize(rough.astype(np.float32), (1, 1, 1), "linear") * (3000 if modality == "CT" else 190)
        values = values.astype(np.uint16 if modality == "CT" else np.uint8)
        entries.append((pack.Scan(name, subset, values.shape, True, modality == "MR"), values))
    return entries


def _pack(path: Path, modality: str = "MR") -> Path:
    pack.write_pack(path, modality, _entries(modality))
    return path


@pytest.mark.parametrize("stage, scale", paper.NETWORKS)
def test_flat_network_is_the_network(stage, scale):
    recipe = paper.recipe_of("MR", stage, scale, _entries())
    torch.manual_seed(2)
    net = BlueprintNet(recipe.architecture)
    for parameter in net.parameters():
        torch.nn.init.uniform_(parameter, -0.08, 0.1)
    flat = paper_layers.FlatNet(net)
    assert {name: value.shape for name, value in flat.stored_tensors().items()} == {name: value.shape for name, value in net.stored_tensors().items()}
    torch.testing.assert_close(flat.stored_tensors(), net.stored_tensors())
    image = torch.rand(2, 1, 9, 11)
    for found, expected in zip(flat.outputs(image), net.outputs(image)):
        assert float(expected.detach().std()) > 0.0
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(flat.outputs(image, half=True)[0], net(image), rtol=0.05, atol=0.05)
    sum(output.square().mean() for output in flat.outputs(image)).backward()
    sum(output.square().mean() for output in net.outputs(image)).backward()
    found = dict(zip(flat._room, flat.flat.grad.split(flat._sizes)))
    for name, room in flat._room.items():
        gradient = paper_layers._kernel(found[name], room)
        stem, _, part = name.rpartition(".")
        own = getattr(net.layer(stem), part).grad
        torch.testing.assert_close(gradient[tuple(slice(n) for n in own.shape)], own, rtol=1e-3, atol=1e-5)
        assert float(gradient.abs().sum()) == pytest.approx(float(own.abs().sum()), rel=1e-3)


@pytest.mark.parametrize("stage, scale", paper.NETWORKS)
@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_coarse_patches_are_the_recipes(stage, scale, sigma):
    recipe = replace(paper.recipe_of("MR", stage, scale, _entries()), blur_probability=1.0 if sigma else 0.0, blur_variable=False)
    shape = [(n + 2 * MARGIN) * f for n, f in zip(recipe.patch_shape, recipe.factors)]
    patches = torch.rand(3, *shape)
    low, high = paper_layers.Coarsening(recipe, "cpu")(patches)
    expected = Degrader(recipe)(patches[:, None], np.random.default_rng(0))
    torch.testing.assert_close(low, expected[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(high, expected[1])


def test_the_recipe_has_the_scans_that_there_are():
    recipe = paper.recipe_of("MR", "plane", 2, _entries())
    assert (recipe.volumes, recipe.validation, recipe.shares) == (("mr_t2_M2265",), ("mr_t1_ds000011_sub13",), {"mr_t2_M2265": 4.0})
    assert (recipe.steps, recipe.batch, recipe.patch, recipe.gain) == (100_000, 16, 24, 1.0)


@pytest.mark.parametrize("stage, scale", [("plane", 2), ("depth", 4)])
def test_losses_fall(stage, scale):
    recipe = replace(paper.recipe_of("MR", stage, scale, _entries()), batch=4, patch=8, patch_across=8)
    torch.manual_seed(2)
    training = paper.Training(_entries(), recipe, 2, "cpu")
    training.optimizer.set_rate(1e-3)
    losses = [float(training.step(False)) for _ in range(40)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:3])


def test_a_dead_network_begins_anew():
    recipe = replace(paper.recipe_of("MR", "plane", 2, _entries()), patch=8)
    told: list[dict] = []
    learner = paper.Learner(paper.Training(_entries(), recipe, 1, "cpu"), lambda **what: told.append(what))
    learner.look()
    assert len(told) == 1
    learner.done, seed = 5000, learner.training.seed
    with torch.no_grad():
        learner.training.net.flat.zero_()
    learner.look()
    assert told[-1]["dead_and_begun_anew"] == 5000 and told[-1]["seed"] > seed
    assert float(learner.training.net.flat.detach().abs().max()) > 0.0


def test_one_network_that_fails_ends_alone_and_a_run_goes_on(tmp_path, monkeypatch):
    packs = [_pack(tmp_path / "mr.pack")]
    own = paper.Training.step
    monkeypatch.setattr(paper.Training, "step", lambda self, half: own(self, half) if self.recipe.stage == "plane" else 1 / 0)
    paper.train(tmp_path / "out", packs, seconds=10.0, steps=6, **_TINY)
    lines = [json.loads(line) for line in (tmp_path / "out" / "paper.jsonl").read_text().splitlines()]
    last = next(line for line in lines if "steps" in line)
    assert sorted(last["failed"]) == ["georgescu2020-mr-depth-x2", "georgescu2020-mr-depth-x4"]
    assert last["steps"]["georgescu2020-mr-plane-x4"] == 6 and last["steps"]["georgescu2020-mr-depth-x4"] == 0
    monkeypatch.undo()
    paper.train(tmp_path / "out", packs, seconds=10.0, steps=10, **_TINY)
    lines = [json.loads(line) for line in (tmp_path / "out" / "paper.jsonl").read_text().splitlines()]
    assert next(line for line in lines if "goes_on_from" in line)["goes_on_from"]["georgescu2020-mr-plane-x2"] == 6
    last = [line for line in lines if "steps" in line][-1]
    assert set(last["steps"].values()) == {10} and not last["failed"]
    state = torch.load(tmp_path / "out" / "state.pt", weights_only=True)
    assert float(state["georgescu2020-mr-plane-x2"]["optimizer"]["state"][0]["step"]) == 10.0


def test_rates_end_at_zero_by_steps_or_by_the_clock():
    recipe = replace(paper.recipe_of("MR", "plane", 2, _entries()), patch=8, steps=1000, batch=1)
    learner = paper.Learner(paper.Training(_entries(), recipe, 1, "cpu"), lambda **_: None)
    rates = []
    learner.training.optimizer.set_rate = rates.append
    for clock, done in ((0.0, 500), (0.9, 500), (0.0, 990), (0.99, 300), (0.0, 1000)):
        learner.done = done
        learner.advance(clock, False)
    assert len(rates) == 4 and rates[0] == pytest.approx(5e-4) and rates[1] < 3e-5 and rates[2] < 1e-6 and rates[3] < 1e-6


def test_interpolated_pairs_are_the_recipes():
    values = _entries()[0][1]
    pair = chen.interpolated_pair(values, "cpu").numpy() / 128.0
    even = values[:, : values.shape[1] // 2 * 2, : values.shape[2] // 2 * 2]
    np.testing.assert_array_equal(pair[..., 0], even)
    expected = resize(kspace_truncation(even, (1, 2, 2)), (1, 2, 2), "linear")
    # the two differ in one corner of k-space
    assert np.abs(pair[..., 1] - expected).mean() < 0.5 and np.abs(expected - even).mean() > 2.0


def test_crops_of_pairs_belong_together():
    recipe = chen.recipe_of("mdcsrn", _entries(), patch=8, patch_depth=8)
    torch.manual_seed(1)
    given, truth = chen.PairScans([(_entries()[0][1], True)], "cpu").batch(12, recipe)
    assert given.shape == truth.shape == (12, 1, 8, 8, 8)
    for a, b in zip(given, truth):
        assert np.corrcoef(a.flatten(), b.flatten())[0, 1] > 0.7


def test_a_filled_convolution_is_the_convolution():
    plain = torch.nn.Conv3d(1, 6, 3, padding=1)
    volume = torch.rand(2, 1, 5, 6, 7)
    expected = plain(volume)
    plain.__class__ = chen._FilledFirst
    torch.testing.assert_close(plain(volume), expected)


def _volume_learner(name: str) -> chen.Learner:
    changes = {"patch": 16, "patch_depth": 16, "batch": 1, "discriminator_filters": 4, "options": {"growth": 4, "blocks": 2}}
    recipe = replace(chen.recipe_of(name, _entries()), first_critic_steps=0, critic_steps=1, extra_critic_steps=2, learning_rate=2e-3, **changes)
    scans = chen.PairScans([(_entries()[0][1], False)], "cpu")
    return chen.Learner(recipe, scans, chen.held_pairs(_entries(), recipe.validation, "cpu"), "cpu", lambda **_: None)


def test_a_volume_network_gains():
    learner = _volume_learner("mdcsrn")
    assert learner.gains() == [0.0]
    kinds = {learner.advance(share / 50)[0] for share in range(50)}
    assert kinds == {"learning", "frozen"} and learner.gains()[0] > 0.15


def test_the_critic_and_the_network_take_turns(monkeypatch):
    monkeypatch.setattr(chen, "_EXTRA_EVERY", 2)
    learner = _volume_learner("mdcsrn-gan")
    critic, net = ({name: value.clone() for name, value in module.named_parameters()} for module in (learner.critic, learner.net))
    kind, (_, penalty) = learner.advance(0.0)
    assert kind == "critic" and float(penalty) > 0.0
    assert all(torch.equal(value, net[name]) for name, value in learner.net.named_parameters())
    assert any(not torch.equal(value, critic[name]) for name, value in learner.critic.named_parameters())
    critic = {name: value.clone() for name, value in learner.critic.named_parameters()}
    kind, (error, doubt) = learner.advance(0.0)
    assert kind == "generator" and float(error) > 0.0 and float(doubt) != 0.0
    assert all(torch.equal(value, critic[name]) for name, value in learner.critic.named_parameters())
    assert any(not torch.equal(value, net[name]) for name, value in learner.net.named_parameters())
    learner.steps = lambda kind: torch.zeros(2)
    assert [learner.advance(0.0)[0] for _ in range(7)] == ["critic", "generator", "critic", "critic", "critic", "generator", "critic"]


def test_a_volume_network_that_fails_leaves_the_rest_and_a_run_goes_on(tmp_path, monkeypatch):
    packs = [_pack(tmp_path / "mr.pack")]
    own = chen.Learner.step
    monkeypatch.setattr(chen.Learner, "step", lambda self, kind: 1 / 0 if self.recipe.method == "mdcsrn" else own(self, kind))
    tiny = {"batch": 1, "patch": 16, "growth": 4, "first_critic_steps": 1, "device": "cpu"}
    for _ in range(2):
        chen.train(tmp_path / "out", packs, seconds=8.0, only=["mdcsrn", "mdcsrn-b8u4"], **tiny)
    lines = [json.loads(line) for line in (tmp_path / "out" / "chen.jsonl").read_text().splitlines()]
    assert [line["network"] for line in lines if "failed" in line] == ["mdcsrn", "mdcsrn"]
    first, second = (line for line in lines if "of_this_run" in line)
    assert first["network"] == "mdcsrn-b8u4" and second["steps"] > first["steps"] > 0
    assert next(line for line in lines if "goes_on_from" in line)["goes_on_from"] == first["steps"]


def test_both_run_at_once_and_what_they_trained_becomes_models(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "_GRACE", 200.0)  # of a busy machine
    _pack(Path("mr.pack"))
    _pack(Path("ct.pack"), "CT")
    run.main(["paper=mr.pack&ct.pack:15+chen=mr.pack:15"], tmp_path / "out", budget=60.0, device="cpu", tiny=True)
    with tarfile.open(tmp_path / "out" / "trained.tar.0") as tar:
        tar.extractall(tmp_path / "back", filter="data")
    paper.export(tmp_path / "back" / "paper", [Path("mr.pack"), Path("ct.pack")], scans=tmp_path, models=tmp_path / "models")
    chen.export(tmp_path / "back" / "chen", [Path("mr.pack")], scans=tmp_path, models=tmp_path / "models")
    monkeypatch.setenv("SUPERRES3D_MODELS", str(tmp_path / "models"))
    image = torch.rand(1, 1, 9, 11)
    for modality, (stage, scale) in (("ct", ("plane", 2)), ("mr", ("depth", 4))):
        name = f"georgescu2020-{modality}-{stage}-x{scale}"
        recipe = paper.recipe_of(modality.upper(), stage, scale, _entries(modality.upper()))
        flat = paper_layers.FlatNet(BlueprintNet(replace(recipe, filters=8).architecture))
        flat.load_tensors(load_file(tmp_path / "back" / "paper" / f"{name}.safetensors"))
        network = load_network(find_model(name))
        torch.testing.assert_close(network(image), flat.outputs(image)[0], rtol=1e-4, atol=1e-5)
    made = chen.recipe_of("mdcsrn", _entries())
    net = BlueprintNet(replace(made, options={"growth": 4}).architecture)
    net.load_tensors(load_file(tmp_path / "back" / "chen" / "mdcsrn.safetensors"))
    volume = torch.rand(1, 1, 8, 9, 10)
    torch.testing.assert_close(load_network(find_model("mdcsrn-mr"))(volume), net.eval()(volume))
