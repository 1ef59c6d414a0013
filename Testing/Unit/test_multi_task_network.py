"""The network of several tasks (mdsr-3d): its layers by hand, sub-pixels, brightness."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from superres3d.engine.openvino_cpu import OpenVINORuntime
from superres3d.engine.openvino_graph import build_graph
from superres3d.networks.families import Architecture
from superres3d.networks.module import BlueprintNet, interpolated, sub_pixel
from superres3d.resampling.interpolation import resize
from superres3d.upscaling import upscale
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from ..untrained_models import TASKS
from .conftest import smooth_noise
from .multi_task import (
    ALONE,
    added_by_hand,
    architecture,
    ct,
    each_engine,  # noqa: F401  # a fixture
    installed_tasks,  # noqa: F401  # a fixture
    random_tasks,
    refined_by_hand,
    spread,
)

FACTORS = [(1, 2, 2), (2, 1, 1), (2, 2, 2), (4, 2, 2), (2, 4, 4), (4, 1, 1)]


# Sub-pixels


@pytest.mark.parametrize("factors", [(1, 2, 2), (2, 1, 1), (4, 2, 2), (1, 4, 4), (2, 4, 1)])
def test_finer_voxels_lie_in_their_voxel(factors):
    phases = np.random.default_rng(0).random((2, math.prod(factors), 3, 4, 5), dtype=np.float32)
    expected = np.stack([spread(image, factors) for image in phases])
    np.testing.assert_array_equal(sub_pixel(torch.from_numpy(phases), factors)[:, 0].numpy(), expected)
    graph = build_graph(lambda draw, image: draw.sub_pixel(image, factors), {}, [phases.shape])
    (fine,) = OpenVINORuntime().compile(graph, 1)(phases).values()
    np.testing.assert_array_equal(fine[:, 0], expected)


@pytest.mark.parametrize("r", [2, 4])
def test_in_plane_it_is_torchs_pixel_shuffle(r):
    phases = torch.rand(1, r * r, 3, 5, 6)
    slices = functional.pixel_shuffle(phases[0].movedim(1, 0), r)[:, 0]
    assert torch.equal(sub_pixel(phases, (1, r, r))[0, 0], slices)


@pytest.mark.parametrize("factors", TASKS)
def test_the_interpolation_is_the_catalogues_cubic_one(factors):
    volume = smooth_noise((5, 6, 7))
    np.testing.assert_allclose(interpolated(torch.from_numpy(volume)[None, None], factors)[0, 0].numpy(), resize(volume, factors, "cubic"), atol=2e-6)


def test_the_interpolation_is_never_rounded_to_half_precision():
    volume = torch.rand(1, 1, 6, 7, 8) + 100
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(interpolated(volume, (2, 2, 2)), interpolated(volume.clone(), (2, 2, 2)))
        half = interpolated(volume, (2, 2, 2))
    assert half.dtype == torch.float32 and torch.equal(half, interpolated(volume, (2, 2, 2)))


# The network


@pytest.mark.parametrize("factors", FACTORS)
def test_the_network_by_hand(factors):
    net, volume = random_tasks(), smooth_noise((5, 7, 6))
    with torch.inference_mode():
        output = net(torch.from_numpy(volume)[None, None], factors)[0, 0].numpy()
    expected = refined_by_hand(net, volume, factors)
    assert added_by_hand(net, volume, factors).std() > 0.02
    np.testing.assert_allclose(output, expected, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"features": 5, "blocks": 3}])
@pytest.mark.parametrize("factors", TASKS)
def test_size_and_arithmetic(factors, options):
    """Against the layers written out, the module and what torch counts."""
    made = Architecture.make("mdsr", options, True, factors)
    features, blocks, phases = options.get("features", 32), options.get("blocks", 8), math.prod(factors)
    kernels = 27 * (features + (2 * blocks + 1) * features**2 + features * phases)
    with torch.device("meta"):
        net = BlueprintNet(made)
    assert made.multiply_accumulates == kernels
    assert made.survey.trained == kernels + features * (2 + 2 * blocks) + phases
    assert sum(parameter.numel() for parameter in net.parameters()) == made.survey.trained
    assert {name: tuple(tensor.shape) for name, tensor in net.stored_tensors().items()} == made.survey.shapes
    assert (made.survey.step, made.survey.radius) == (1, (2 * blocks + 3,) * 3)
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        net.correction(torch.zeros(1, 1, 8, 8, 8))
    assert counter.get_total_flops() == 2 * 8**3 * kernels


def test_tasks_share_the_trunk_alone():
    net = random_tasks(((1, 2, 2), (2, 1, 1)))
    names = {name.split(".")[0] for name in net.stored_tensors()}
    assert names == {"first-1x2x2", "last-1x2x2", "first-2x1x1", "last-2x1x1", "gathering", "block0-a", "block0-b", "block1-a", "block1-b"}
    assert net.architecture.factors == (1, 2, 2)  # four phases


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("factors", [(1, 2, 2), (4, 1, 1)])
def test_one_voxel_changes_what_lies_within_the_radius(factors, blocks):
    """And changes the farthest of it; what is added by the interpolation lies nearer."""
    net = random_tasks((factors,), features=8, blocks=blocks).double()
    (radius,), length = set(net.architecture.survey.radius), 23
    volume = torch.rand(1, 1, length, length, length, dtype=torch.float64)
    poked = volume.clone()
    poked[0, 0, 11, 11, 11] += 1
    added = [net.correction(image)[0, 0].detach() for image in (volume, poked)]
    changed = (added[0] - added[1]).abs() > 1e-12
    for axis, factor in enumerate(factors):
        places = changed.any(dim=tuple({0, 1, 2} - {axis})).nonzero().flatten() // factor
        assert (int(places.min()), int(places.max())) == (11 - radius, 11 + radius)


@pytest.mark.parametrize("factors", TASKS)
def test_an_untrained_network_is_the_interpolation(factors):
    volume = torch.rand(1, 1, 5, 6, 7)
    assert torch.equal(BlueprintNet(architecture(factors))(volume, factors), interpolated(volume, factors))


def test_each_task_learns_its_own_layers_and_the_trunk():
    net = random_tasks(((1, 2, 2), (2, 1, 1)))
    net(torch.rand(1, 1, 5, 6, 7), (2, 1, 1)).abs().mean().backward()
    idle = {name.split(".")[1] for name, parameter in net.named_parameters() if parameter.grad is None}
    assert idle == {"layer first-1x2x2", "layer last-1x2x2"}
    assert all(float(parameter.grad.abs().sum()) > 0 for parameter in net.parameters() if parameter.grad is not None)


# A brighter scan


def test_kernels_sum_to_zero():
    stored = random_tasks().stored_tensors()
    for name, tensor in stored.items():
        total = float(tensor.double().sum(dim=(2, 3, 4)).abs().max()) if tensor.ndim == 5 else None
        if name.startswith("first") and tensor.ndim == 5:
            assert total < 1e-6
        elif tensor.ndim == 5:
            assert total > 0.1  # the others need not


@pytest.mark.parametrize("factors", [(1, 2, 2), (2, 1, 1), (4, 2, 2)])
def test_brightness_has_no_part_in_what_is_added(factors):
    """Away from the borders, where zeros lie beyond the scan; there it has."""
    net, volume = random_tasks(blocks=1), torch.rand(1, 1, 17, 18, 19)
    radius = 5
    with torch.inference_mode():
        added = [net(volume + level, factors) - interpolated(volume + level, factors) for level in (0.0, 0.5)]
    change = (added[1] - added[0])[0, 0].abs()
    inner = tuple(slice(radius * f, -radius * f) for f in factors)
    assert added[0].std() > 0.01
    assert change[inner].max() < 1e-5 and change.max() > 1e-3


def test_brightness_has_no_part_in_what_is_added_to_a_scan(installed, engine):
    scan = ct((16, 17, 18))
    brighter = replace(scan, voxels=scan.voxels + np.float32(150))
    one, other = (upscale(given, (2, 1), **ALONE).volume.voxels for given in (scan, brighter))
    change = np.abs(other - one - 150)
    assert change[7:-7, 14:-14, 14:-14].max() < 0.01 and change.max() > 1
