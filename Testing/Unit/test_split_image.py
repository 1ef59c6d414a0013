"""An image as two numbers a voxel: what half precision loses of it is not made stronger by a network that undoes a filter."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from superres3d.engine.ensemble import IDENTITY
from superres3d.engine.openvino_cpu import OpenVINORuntime
from superres3d.engine.openvino_graph import build_graph, split_image
from superres3d.networks.families import Architecture
from superres3d.networks.module import BlueprintNet
from superres3d.networks.weights import find_model

from .conftest import smooth_noise
from .test_engine import NEVER, rms

STRONGLY_FILTERED = {"plane": (-0.1, -0.3, -0.42, -0.47) * 2 + (0.0, 1.0, 1.0) + (0.3, 0.3, 0.0, 0.0), "depth": (-0.1, -0.3, -0.42, -0.47, 0.0, 1.0, 1.0, 1.0, 0.3, 0.0)}


def rounded(values: np.ndarray) -> np.ndarray:
    """To bfloat16."""
    return torch.from_numpy(values).bfloat16().float().numpy()


@pytest.mark.parametrize("shape", [(1, 1, 9, 13), (2, 3, 4, 5, 6)])
def test_bfloat16_holds_both_parts(shape):
    image = np.random.default_rng(0).uniform(-0.4, 1.3, shape).astype(np.float32)
    image.flat[:3] = 0.0, -0.0, 1.0
    first, second = np.split(split_image(image), 2, 1)
    assert np.array_equal(first + second, image) and np.array_equal(rounded(first), first)
    assert np.abs(first + rounded(second) - image).max() < 2e-5 < 1e-3 < np.abs(rounded(image) - image).max()


@pytest.mark.parametrize(
    "family, factors, shape, options",
    [("edsr", (2, 2), (1, 1, 12, 10), {"filters": 8, "blocks": 2}), ("mdsr", (1, 2, 2), (1, 1, 6, 8, 7), {"features": 8, "blocks": 2}), ("mdcsrn", (), (1, 1, 6, 8, 8), {"blocks": 2, "units": 2, "growth": 4})],
)
def test_a_network_computes_the_same_of_it(family, factors, shape, options):
    torch.manual_seed(5)
    net = BlueprintNet(Architecture.make(family, options, True, factors))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    image = np.random.default_rng(1).random(shape, dtype=np.float32)
    tensors = {name: tensor.detach().numpy() for name, tensor in net.stored_tensors().items()}
    whole, split = (build_graph(net.architecture.blueprint, tensors, [shape], split=split) for split in (False, True))
    runtime = OpenVINORuntime()
    (expected,), (made,) = runtime.compile(whole, 1)(image).values(), runtime.compile(split, 1)(split_image(image)).values()
    assert np.abs(expected).max() > 1e-3 and np.allclose(made, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name, most", [("two-stage-told-ct-plane-x2", 0.3), ("two-stage-told-mr-plane-x2", 0.6), ("two-stage-told-mr-depth-x2", 0.2)])
def test_half_precision_of_a_scan_that_was_filtered(name, most):
    """Without it bfloat16 loses 1.3, 3.4 and 0.4 of 255."""
    half, single = OpenVINORuntime("half"), OpenVINORuntime()
    model = replace(find_model(name), conditions=STRONGLY_FILTERED["plane" if "plane" in name else "depth"])
    images = smooth_noise((1, 96, 88))
    made, exact = (runtime.load(model).ensemble(images, (IDENTITY,), *NEVER) for runtime in (half, single))
    assert 255 * rms(made - exact) < most and (half.precision == "float32") == np.array_equal(made, exact)
