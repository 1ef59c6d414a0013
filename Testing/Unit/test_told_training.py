"""The training of told networks: what is learnt is what folds, and a group is told what happened to its crops."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from superres3d.networks.told import folded

_BENCHMARKS = Path(__file__).parents[1] / "Benchmarks"
sys.path[:0] = [str(_BENCHMARKS / "gpu"), str(_BENCHMARKS / "told")]

import distil  # noqa: E402
import mild  # noqa: E402
import pack  # noqa: E402
import train_told  # noqa: E402
from mixture import Mixture  # noqa: E402

from .test_detail import anatomy  # noqa: E402


def _mixture(variants: int) -> Mixture:
    torch.manual_seed(3)
    net = Mixture((2, 2), 8, 2, 15, variants)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return net


@pytest.mark.parametrize("variants", [1, 3])
def test_what_is_learnt_is_what_folds(variants):
    """Written out: each convolution is the sum of its variants' answers, each by its share; shift, ReLU, scale, skip."""
    net, image, told = _mixture(variants), torch.rand(2, 1, 9, 11), torch.randn(15)
    raw = net.stored_tensors()
    hidden = torch.relu(raw["modulation.0.weight"] @ told + raw["modulation.0.bias"])
    shifts, scales = (raw["modulation.2.weight"] @ hidden + raw["modulation.2.bias"]).reshape(2, 2, -1, 1, 1)
    names = ["head", "blocks.0.0", "blocks.0.1", "blocks.1.0", "blocks.1.1", "tail"]
    shares = (raw["mixing.weight"] @ hidden + raw["mixing.bias"]).reshape(variants, 6)

    def conv(name: str, features: torch.Tensor) -> torch.Tensor:
        made = torch.nn.functional.conv2d(features, raw[f"net.{name}.weight"], raw[f"net.{name}.bias"], padding=1)
        for number, share in enumerate(shares):
            made = made + share[names.index(name)] * torch.nn.functional.conv2d(features, raw[f"variants.{name}.weight"][number], raw[f"variants.{name}.bias"][number], padding=1)
        return made

    features = conv("head", image)
    for number in range(2):
        inner = torch.relu(conv(f"blocks.{number}.0", features) + shifts[number]) * (1 + scales[number])
        features = features + conv(f"blocks.{number}.1", inner)
    torch.testing.assert_close(net.correction(image, told), conv("tail", features), rtol=1e-4, atol=1e-5)
    plain = folded({name: tensor.numpy() for name, tensor in raw.items()}, told.tolist())
    for name, tensor in net._folded(told).items():
        np.testing.assert_allclose(plain[name], tensor.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_variants_begin_without_an_effect_and_are_kept():
    told, image = torch.randn(15), torch.rand(1, 1, 8, 8)
    grown, new = _mixture(2), Mixture((2, 2), 8, 2, 15, 2)
    modulated = {name: tensor for name, tensor in grown.stored_tensors().items() if not name.startswith(("variants.", "mixing."))}
    new.load_tensors(modulated)
    plain = folded({name: tensor.numpy() for name, tensor in modulated.items()}, told.tolist())
    for name, tensor in new._folded(told).items():
        np.testing.assert_allclose(plain[name], tensor.detach().numpy(), rtol=1e-4, atol=1e-5)
    new.load_tensors(grown.stored_tensors())
    torch.testing.assert_close(new.correction(image, told), grown.correction(image, told))


class _None:
    """No clear losses."""

    any = False


def test_a_network_without_variants_is_modulated_alone():
    net, told = _mixture(0), torch.randn(15)
    raw = net.stored_tensors()
    assert {name.partition(".")[0] for name in raw} == {"net", "modulation"}
    plain = folded({name: tensor.numpy() for name, tensor in raw.items()}, told.tolist())
    for name, tensor in net._folded(told).items():
        np.testing.assert_allclose(plain[name], tensor.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_a_small_network_begins_with_blocks_of_its_teacher():
    """The blocks that it has not are without an effect here: then it is as good."""
    torch.manual_seed(5)
    large, small = (Mixture((2, 2), 8, blocks, 15, 0) for blocks in (6, 3))
    with torch.no_grad():
        for name, parameter in large.named_parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
            if name.startswith(("plain.blocks/0/1", "plain.blocks/2/1", "plain.blocks/4/1")):
                parameter.zero_()
    small.load_tensors(distil.thinned(large.stored_tensors(), small.stored_tensors()))
    image, told = torch.rand(1, 1, 9, 11), torch.randn(15)
    torch.testing.assert_close(small.correction(image, told), large.correction(image, told))


def test_a_distillation_that_was_stopped_goes_on_as_if_it_had_not_been(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(distil, "ClearLosses", lambda *_: _None())
    monkeypatch.setattr(distil, "_EVERY", 2)
    models = _BENCHMARKS.parents[1] / "models"

    def run(folder: str) -> dict[str, torch.Tensor]:
        out = tmp_path / folder / "told-mr-plane-x2-small.safetensors"
        out.parent.mkdir(exist_ok=True)
        distil.main(packed, packed, packed, out, models, steps=6, groups=2, crops=2, side=12)
        return load_file(out)

    whole, write = run("whole"), distil.State.write

    def stopping(self: distil.State, steps: int) -> None:
        write(self, steps)
        raise KeyboardInterrupt

    for _ in range(2):
        monkeypatch.setattr(distil.State, "write", stopping)
        with pytest.raises(KeyboardInterrupt):
            run("stopped")
        monkeypatch.setattr(distil.State, "write", write)
    stopped = run("stopped")
    assert sum(name.endswith(".0.bias") and name.startswith("net.blocks") for name in whole) == 3
    for name, tensor in whole.items():
        torch.testing.assert_close(stopped[name], tensor)


@pytest.fixture
def packed(tmp_path) -> Path:
    values = np.clip(150 * anatomy((40, 96, 96), 0) + 20, 0, 255).astype(np.uint8)
    pack.write_pack(tmp_path / "mr.pack", "MR", [(pack.Scan("a", "train", values.shape, True, False), values)])
    return tmp_path / "mr.pack"


@pytest.mark.parametrize("stage, conditions", [("plane", 15), ("depth", 10)])
def test_a_mild_group_lost_its_detail_alike_and_is_told_so(packed, stage, conditions):
    torch.manual_seed(1)
    losses = mild.MildLosses(packed, stage, 2, 16, 3, np.random.default_rng(1))
    groups = [group for _ in range(6) for group in losses(4)]
    assert groups and all(group.told.shape == (conditions,) and len(group.low) == 3 for group in groups)
    keep = 9 if stage == "plane" else 5
    assert {float(group.told[keep]) for group in groups} == {0.0, 1.0} and all(bool(group.told[keep]) == group.keep for group in groups)
    noises = [(float(group.told[keep - 1]), group.noise.std((1, 2, 3)).tolist()) for group in groups]
    strong = [(told, found) for told, found in noises if told > 0.3]
    assert strong and all(min(found) > 0 and max(found) < 2 * min(found) for _, found in strong)  # all crops of a group, or none, are noisy


def test_a_step_learns(packed):
    torch.manual_seed(2)

    training = train_told.Training(_None(), mild.MildLosses(packed, "plane", 2, 12, 2, np.random.default_rng(2)), "plane", 2, 0.3, 1)
    adam = training.optimiser(1e-3)
    (group, *_) = training.groups(4, 0.4, 2, np.random.default_rng(4))
    losses = [training.descend([group], adam) for _ in range(12)]
    assert losses[-1] < 0.97 * losses[0]
    assert any(float(tensor.abs().max()) > 0 for name, tensor in training.net.stored_tensors().items() if name.startswith("variants."))


def test_softened_is_a_gaussian_in_the_spectrum():
    wave = torch.cos(torch.pi * 0.5 * torch.arange(32.0)).expand(1, 1, 32, 32)
    torch.testing.assert_close(mild.softened(wave, 0.8), wave * float(np.exp(-0.8 * 0.25)))
    torch.testing.assert_close(mild.softened(wave, -0.8), wave * float(np.exp(0.8 * 0.25)))


def test_a_softer_scan_seems_softer():
    values = torch.from_numpy(150 * anatomy((20, 96, 96), 0)).float()[None]
    own, softer = (np.mean(mild.sharpness(scan[0].numpy(), "MR", 2)) for scan in (values, mild.softened(values, 1.2)))
    assert own - softer == pytest.approx(1.2 / 4, abs=0.15)  # the finer Nyquist frequency is twice the coarser


def test_what_is_made_softer_is_said_to_be_softer(packed, monkeypatch):
    monkeypatch.setitem(mild.SOFTER, "MR", (0.4, 0.4, 1.0))
    losses = mild.MildLosses(packed, "plane", 2, 16, 2, np.random.default_rng(1))
    _, sharp = losses._drawn((1, 32, 32), (0, 4, 4), False)
    own = losses._sharpness
    assert any(sorted(sharp) == pytest.approx(sorted(value - 0.1 for value in scan)) for scan in own)
