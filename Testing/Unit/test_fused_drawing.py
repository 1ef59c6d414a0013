"""Networks drawn layer by layer for a graphics card: any blueprint of a slice, whatever it reads twice; against PyTorch's module of the same blueprint."""

from __future__ import annotations

from collections import Counter
from math import prod

import pytest
import torch
from superres3d.engine.convolution_forms import CONVOLUTIONS, PlainConvolution
from superres3d.engine.ensemble import MEMBERS
from superres3d.engine.fused_drawing import Roles
from superres3d.engine.turned_network import Style, TurnedNetwork, turns_by_kernels
from superres3d.networks import families
from superres3d.networks.families import Architecture, Family
from superres3d.networks.module import BlueprintNet
from superres3d.networks.weights import find_model, save_model


def greedy(draw, image, *, factors, filters: int = 4):
    """Reads a map after it was added to, adds a convolution of the very map, and leaves a convolution waiting while its input is added to."""
    first = draw.relu(draw.conv("first", image, filters))
    waiting = draw.conv("waiting", first, filters)
    second = draw.add(first, draw.conv("second", first, filters))
    third = draw.add(second, draw.relu(waiting))
    fourth = draw.add(draw.conv("fourth", third, filters, bias=False), second)
    return draw.sub_pixel(draw.conv("last", draw.add(fourth, third), prod(factors)), factors)


def picture(draw, image, *, factors, filters: int = 4):
    """A correction whose own picture is refined again, at the finer grid."""
    fine = draw.sub_pixel(draw.conv("first", image, prod(factors)), factors)
    return draw.conv("last", draw.relu(draw.conv("inner", draw.intermediate(fine), filters)), 1)


def strided(draw, image, *, factors, filters: int = 4):
    """Turned copies of a slice with an odd side halve at other pixels."""
    return draw.sub_pixel(draw.conv("last", draw.upsample(draw.conv("halved", image, filters, stride=2)), prod(factors)), factors)


@pytest.fixture
def model_of(monkeypatch, tmp_path):
    """A model with random weights of a blueprint."""

    def make(draw, residual: bool):
        monkeypatch.setitem(families.FAMILIES, "tried", Family(draw, axes=2, residual=residual))
        monkeypatch.setitem(families.FORMS, "tried", families.FAMILIES["tried"])
        architecture = Architecture.make("tried", {"filters": 4}, residual, (2, 2))
        torch.manual_seed(1)
        net = BlueprintNet(architecture)
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        return net, save_model(net, "tried", tmp_path, {"network": {"form": "tried", "factors": [2, 2], "filters": 4}})

    return make


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("draw", [greedy, picture])
def test_any_network_for_slices(model_of, draw, residual):
    net, model = model_of(draw, residual)
    images = torch.rand(2, 9, 11)
    before = images.clone()
    with torch.inference_mode():
        made = TurnedNetwork(model, MEMBERS["plane"]["none"], "cpu", Style(half=False))(images)
        torch.testing.assert_close(made, net.correction(images[:, None])[:, 0], atol=1e-5, rtol=1e-5)
        half = TurnedNetwork(model, MEMBERS["plane"]["none"], "cpu", Style(half=True))(images)
        torch.testing.assert_close(half, made, atol=2e-2, rtol=2e-2)
    torch.testing.assert_close(images, before)


@pytest.mark.parametrize("draw", [greedy, picture])
def test_turned_members_of_any_network(model_of, draw):
    net, model = model_of(draw, True)
    images = torch.rand(1, 8, 10)
    for turn in MEMBERS["plane"]["8"]:
        quarter, flip = turn
        turned = torch.rot90(images, quarter, (-2, -1))
        turned = turned.flip(-1) if flip else turned
        with torch.inference_mode():
            expected = net.correction(turned[:, None])[:, 0]
            made = TurnedNetwork(model, [turn], "cpu", Style(half=False))(images)
        expected = torch.rot90(expected.flip(-1) if flip else expected, -quarter, (-2, -1))
        torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)


def test_networks_that_need_more_than_turned_kernels_are_told(model_of):
    assert turns_by_kernels(model_of(greedy, True)[0].architecture)
    assert not turns_by_kernels(model_of(strided, True)[0].architecture)


class Counted(PlainConvolution):
    """Counts the forms in which layers are computed."""

    def __init__(self):
        self.calls: Counter = Counter()

    def relu(self, *given):
        self.calls["relu"] += 1
        return torch.relu(torch.nn.functional.conv2d(*given, padding=1))

    def linear(self, *given):
        self.calls["linear"] += 1
        return torch.nn.functional.conv2d(*given, padding=1)

    def add(self, skip, *given):
        self.calls["add"] += 1
        return skip.add_(torch.nn.functional.conv2d(*given, padding=1))


@pytest.mark.parametrize(
    "name, expected",
    [("two-stage-residual-mr-plane-x2", {"linear": 2, "relu": 6, "add": 6}), ("georgescu2020-mr-plane-x2", {"relu": 8})],
)
def test_shipped_networks_are_fused_throughout(name, expected, monkeypatch):
    """ReLUs and skips are nowhere passes of their own; of the paper's network the two layers that give pictures are PyTorch's own."""
    monkeypatch.setitem(CONVOLUTIONS, "counted", Counted)
    network = TurnedNetwork(find_model(name), MEMBERS["plane"]["none"], "cpu", Style(half=False, convolution="counted"))
    with torch.inference_mode():
        network(torch.rand(1, 12, 12))
    assert network.convolution.calls == expected


def test_roles_of_the_papers_network():
    architecture = Architecture.make("intermediate-loss", {}, False, (2, 2))
    roles = Roles.of(architecture.blueprint, architecture.residual)
    assert roles.phases == {"low.5": (2, 2)}
    assert roles.pictures == {"low.5", "high.3"}
    assert roles.finer == ()
