"""Kudo's networks on a graphics card: crops as the recipe's, layers as the network's, and a rehearsal from scans to models."""

from __future__ import annotations

import json
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from safetensors import safe_open
from superres3d.networks.families import Architecture
from superres3d.networks.module import BlueprintNet
from superres3d.networks.weights import find_model, load_network
from superres3d.resampling.degradation import slice_profile_matrix
from superres3d.resampling.interpolation import spline_matrix
from superres3d.training.discriminators import PairDiscriminator
from superres3d.training.recipe import VolumeRecipe
from torch import nn
from torch.nn import functional

_BENCHMARKS = Path(__file__).parents[1] / "Benchmarks"
sys.path[:0] = [str(_BENCHMARKS / "gpu"), str(_BENCHMARKS)]

import architectures  # noqa: E402
import card_layers  # noqa: E402
import kudo  # noqa: E402
import run  # noqa: E402
import thick_slices  # noqa: E402

_RECIPE = VolumeRecipe(
    degradation="thick-slice", family="srcnn", patch=8, patch_depth=12, slice_factors=(4, 8), slice_sigma=3.4, sigma_grows=True, least_sigma=0.5, slice_noise=0.0,
    body_parts={"a": "head", "b": "chest"},
)  # fmt: skip
_STEPS = (64, 8, 1)  # of the stored values from voxel to voxel


def _ramps() -> dict[str, np.ndarray]:
    """Scans in which a voxel's value tells where it lies."""
    return {name: np.indices(shape).transpose(1, 2, 3, 0).dot(_STEPS).astype(np.uint16) for name, shape in {"a": (37, 14, 20), "b": (21, 9, 12)}.items()}


def _sampler(batch: int = 24, **changes: object) -> thick_slices.ThickSlices:
    torch.manual_seed(4)
    return thick_slices.ThickSlices(_ramps(), VolumeRecipe(**{**_RECIPE.as_dict(), **changes}), batch, "cpu")


def test_crops_are_regions_of_a_scan_turned():
    found = set()
    crops = _sampler()()
    for crop in crops.truth[:, 0].double().numpy() * 4095:
        steps = [float(np.unique(np.diff(crop, axis=axis).round(3)).item()) for axis in range(3)]
        assert abs(steps[0]) == 64 and {abs(step) for step in steps[1:]} == {8, 1}
        found.add(tuple(steps))
    assert len(found) > 4 and crops.truth.shape == (24, 1, 12, 8, 8)


def test_windows_begin_at_every_slice_that_leaves_room():
    crops = _sampler(3000)()
    tops = (crops.truth.flatten(1).amin(1) * 4095).round().int() // 64  # rows and columns add less than a slice
    assert [set(tops[crops.condition[:, part] > 0].tolist()) for part in (0, 1)] == [set(range(37 - 12 + 1)), set(range(20 - 12 + 2))]


def test_slices_are_made_thick_as_the_recipe_says():
    sampler = _sampler()
    for kind, (length, factor) in enumerate([(36, 4), (32, 8), (20, 4), (20, 4)]):  # 21 slices are too few for eight
        for width in (0, 63):
            sigma = 3.4 * factor / 8 * (0.5 + 0.5 * (width + 0.5) / 64)
            wanted = spline_matrix(length // factor, length) @ slice_profile_matrix(length, factor, sigma)
            np.testing.assert_allclose(sampler.matrices[kind, width, :length, :length], wanted, atol=1e-6)
            assert not sampler.matrices[kind, width, length:].any() and not sampler.matrices[kind, width, :, length:].any()


def test_what_is_given_lies_where_the_truth_lies():
    sampler = _sampler()
    sampler.matrices = torch.eye(36).expand_as(sampler.matrices).clone()
    crops = sampler()
    torch.testing.assert_close(crops.given, crops.truth)


def test_noise_and_condition():
    sampler = _sampler(200, slice_noise=0.1)
    sampler.matrices = torch.zeros_like(sampler.matrices)
    crops = sampler()
    noise = crops.given.flatten(1).std(1)
    assert 0.0 < float(noise.min()) and 0.06 < float(noise.max()) < 0.12
    assert torch.equal(crops.condition.sum(1), torch.full((200,), 3.0)) and set(crops.condition.sum(0).nonzero().flatten().tolist()) == {0, 1, 4, 5, 6, 7}
    of_b = crops.truth.flatten(1).amax(1) * 4095 < 64 * 22  # wide intervals are of a alone
    assert not (crops.condition[:, 5] * crops.condition[:, 1]).any() and of_b[crops.condition[:, 1] > 0].all()


def test_flat_crops_are_not_taken():
    scan = np.zeros((16, 8, 400), np.uint16)
    scan[:, :, 300:] = np.random.default_rng(1).integers(0, 4000, (16, 8, 100))
    sampler = thick_slices.ThickSlices({"a": scan}, VolumeRecipe(**{**_RECIPE.as_dict(), "slice_factors": (4,)}), 200, "cpu")
    flat = float((sampler().truth.flatten(1).std(1) < 0.01).float().mean())
    assert flat < 0.45  # 0.74 of all places, 0.3 of four tries each


@pytest.mark.parametrize(
    "family, options", [("virtual-thin-slice", {"filters": 8}), ("virtual-thin-slice", {"filters": 4, "detail": 3}), ("pix2pix", {"filters": 4, "levels": 5}), ("srcnn", {"filters": 6})]
)
def test_layers_are_the_networks(family, options):
    torch.manual_seed(1)
    net, image = BlueprintNet(Architecture.make(family, options, False)), torch.rand(2, 1, 32, 32, 32)
    made = net.architecture.blueprint(card_layers.CardRunner(net.layers), image)
    torch.testing.assert_close(made, net(image), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("patches, conditions", [(True, 0), (False, 8)])
def test_a_discriminators_layers_too(patches, conditions):
    torch.manual_seed(2)
    judge, volumes, condition = PairDiscriminator(4, conditions=conditions, patches=patches), torch.rand(2, 2, 1, 16, 16, 16), torch.rand(2, 8)
    plain = judge(*volumes, condition)
    for layer in judge.modules():
        if type(layer) is nn.Conv3d:
            layer.__class__ = card_layers.CardConv
    torch.testing.assert_close(judge(*volumes, condition), plain, rtol=1e-3, atol=1e-4)


@pytest.fixture
def packed(tmp_path, monkeypatch) -> Path:
    """Made-up scans of the recipe's names, one with wide slices, and four of the networks."""
    table = architectures.TABLES["kudo2019"]
    chosen = tuple(network for network in table.networks if network.name in ("SRCNN 9-1-5, with HF prediction", "Pix2Pix", "VTS", "VTS without HF prediction"))
    monkeypatch.setitem(architectures.TABLES, "kudo2019", table._replace(networks=chosen))
    recipe = architectures.recipe_of(table, table.networks[0], [])
    random = np.random.default_rng(3)
    (tmp_path / "scans").mkdir()
    for name, spacing in zip(recipe.volumes, (1.0, 2.0, 1.0, 1.0)):
        values = random.normal(0, 300, (70, 80, 36)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(values, np.diag([0.7, 0.7, spacing, 1.0])), tmp_path / "scans" / f"{name}.nii.gz")
    monkeypatch.chdir(tmp_path)
    kudo.pack(tmp_path / "scans", tmp_path / "kudo.pack")
    return tmp_path


def test_a_rehearsal(packed):
    assert {values.shape for _, values in kudo.packs.read_pack(packed / "kudo.pack")[1]} == {(36, 80, 70), (36, 40, 35)}
    run.main(["kudo=kudo.pack:30"], packed / "out", budget=60.0, device="cpu", tiny=True)
    lines = [json.loads(line) for line in (packed / "work-gpu" / "kudo" / "kudo.jsonl").read_text().splitlines()]
    steps = lines[-1]["steps"]
    assert steps > 1
    with tarfile.open(packed / "out" / "trained.tar.0") as archive:
        assert {"kudo/kudo.safetensors", "kudo/kudo.jsonl"} <= set(archive.getnames())
    with safe_open(packed / "work-gpu" / "kudo" / "kudo.safetensors", "pt") as file:
        assert json.loads(file.metadata()["settings"]) == {"steps": steps, "batch": 2, "seed": 2020}
        last = {name: float(file.get_tensor(f"{name}|{layer}.weight").abs().max()) for name, layer in (("VTS", "output"), ("SRCNN 9-1-5, with HF prediction", "reconstruction"))}
    assert all(largest > 0.0 for largest in last.values())  # they began as nothing


def _learner(packed: Path, name: str, seed: int = 2020) -> kudo.Learner:
    table = architectures.TABLES["kudo2019"]
    recipe = architectures.recipe_of(table, next(network for network in table.networks if network.name == name), ["discriminator_filters=4", f"seed={seed}"])
    scans = {scan.name: values for scan, values in kudo.packs.read_pack(packed / "kudo.pack")[1]}
    return kudo.Learner(name, recipe, kudo.ThickSlices(scans, recipe, 2, "cpu")(), "cpu", lambda **_: None)


def test_normalisations_are_kept_at_the_end_and_discriminators_learn(packed):
    learner = _learner(packed, "VTS")
    crops = kudo.Crops(torch.rand(2, 1, 32, 32, 32), torch.rand(2, 1, 32, 32, 32), torch.rand(2, 8))
    norm, judge = learner.net.layer("down0-norm"), [parameter.clone() for parameter in learner._judge.parameters()]
    learner.advance(crops, None, 0.1)
    kept = norm.running_mean.clone()
    assert kept.any() and all((one != two).any() for one, two in zip(judge, learner._judge.parameters()) if one.shape[-1:] == (4,))  # attention begins as nothing
    learner.advance(crops, None, 0.7)
    assert torch.equal(norm.running_mean, kept) and learner.done == 2


@pytest.mark.parametrize("name", ["VTS", "VTS without HF prediction"])
def test_a_made_volume_is_what_the_network_makes(packed, name):
    learner = _learner(packed, name)
    given, last = torch.rand(1, 1, 32, 32, 32), learner.net.layers[learner.net.last]
    nn.init.normal_(last.weight, 0.0, 0.1)  # with HF prediction it begins as nothing
    learner.net.eval()
    with torch.no_grad():
        made = learner.made(given)
        assert float((made - given).abs().max()) > 0.01
        torch.testing.assert_close(made, learner.net(given), rtol=1e-3, atol=1e-4)


def test_first_steps_are_as_long_as_the_rates(packed):
    """Adam's first step moves a parameter by its rate, wherever it has a gradient to speak of."""
    for name, of_last in (("VTS", 0.1), ("VTS without HF prediction", 1.0)):
        learner = _learner(packed, name)
        parts = [*learner.net.layers[learner.net.last].parameters()], [*learner._judge.parameters()]
        before = [[tensor.clone() for tensor in part] for part in parts]
        learner.advance(_far_apart(), None, 0.5)
        moved = [max(float((one - two).abs().max().detach()) for one, two in zip(part, old)) for part, old in zip(parts, before)]
        rate = 1e-3 * 0.5 / 200  # half of the cosine, the first step of the rise
        assert moved == pytest.approx([rate * of_last, rate * 0.2], rel=0.02)


def _far_apart() -> kudo.Crops:
    return kudo.Crops(0.2 + 0.1 * torch.rand(2, 1, 32, 32, 32), torch.rand(2, 1, 32, 32, 32), torch.ones(2, 8))


def test_a_discriminator_learns_to_tell_and_a_network_to_deceive_it(packed):
    learner = _learner(packed, "Pix2Pix")
    for kept, new in zip(learner.batch, _far_apart()):
        kept.copy_(new)
    learner._judges[0].set_rate(1e-3)
    told = [float(learner.step(False)[2]) for _ in range(12)]
    with torch.no_grad():
        truth, made = learner._verdict(learner.batch.truth).mean(), learner._verdict(learner.made(learner.batch.given)).mean()
    assert told[-1] < 0.8 * told[0] and float(truth) > 0.0 > float(made)
    learner._judges[0].set_rate(0.0)
    learner.recipe = replace(learner.recipe, voxel_weight=0.0)
    for optimizer in learner._optimizers:
        optimizer.set_rate(3e-3)
    doubts = [float(learner.step(False)[3]) for _ in range(12)]
    assert doubts[-1] < 0.8 * doubts[0]
    assert all(parameter.requires_grad for parameter in learner._judge.parameters())


def test_what_is_lowered_is_the_recipes_loss(packed):
    learner, sought = _learner(packed, "VTS"), []
    for kept, new in zip(learner.batch, _far_apart()):
        kept.copy_(new)
    with torch.no_grad():  # entropies: the truth is 1, what is made is 0
        verdicts = [learner._verdict(volume) for volume in (learner.batch.truth, learner.batch.given)]
        wanted = sum(float(functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, goal))) for logits, goal in zip(verdicts, (1.0, 0.0)))
    learner._descend = lambda loss, optimizers: sought.append(float(loss.detach()))
    error, given, judged, doubt = learner.step(False).tolist()
    assert judged == pytest.approx(wanted, rel=1e-4)
    assert sought == pytest.approx([judged, 100.0 * error + doubt]) and error == given  # it begins as what is given


def test_what_comes_back_becomes_models(packed, monkeypatch):
    table = architectures.TABLES["kudo2019"]
    monkeypatch.setitem(architectures.TABLES, "kudo2019", table._replace(networks=tuple(network for network in table.networks if network.name == "VTS")))
    learner = _learner(packed, "VTS", 2021)
    learner.advance(kudo.Crops(torch.rand(2, 1, 32, 32, 32), torch.rand(2, 1, 32, 32, 32), torch.rand(2, 8)), None, 0.1)
    kudo.write([learner], packed / "kudo.safetensors")
    kudo.export(packed / "kudo.safetensors", packed / "scans", packed / "out")
    monkeypatch.setenv("SUPERRES3D_MODELS", str(packed / "out" / "kudo2019" / "VTS-seed-2021" / "models"))
    model = find_model("virtual-thin-slice-gan-ct")
    assert model.card["schedule"]["batch"] == 2 and model.card["schedule"]["steps"] == 1
    for name, tensor in load_network(model).stored_tensors().items():
        torch.testing.assert_close(tensor, learner.net.stored_tensors()[name].cpu(), rtol=1e-3, atol=1e-6)
