"""The volumetric networks against the papers' sizes and a computation by hand with numpy and scipy."""

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import map_coordinates
from superres3d.networks.blueprint import Survey
from superres3d.networks.families import VOLUME_FAMILIES, Architecture
from superres3d.networks.module import BlueprintNet
from torch.utils.flop_counter import FlopCounterMode

from .conftest import SMALL_OPTIONS, random_blueprint, smooth_noise

# Sizes, layer by layer


def conv_size(kernel: int, inputs: int, outputs: int, bias: bool = True) -> int:
    return kernel**3 * inputs * outputs + outputs * bias


def units_size(inputs: int, units: int, k: int) -> int:
    """Normalisation (factor and offset a channel) and convolution without offset, each unit k channels wider."""
    return sum(2 * (inputs + n * k) + conv_size(3, inputs + n * k, k, bias=False) for n in range(units))


def mdcsrn_size(b: int, u: int, k: int = 12) -> int:
    made = [2 * k] + [(2 + u) * k] * b
    size = conv_size(3, 1, 2 * k)
    for n in range(b):
        size += conv_size(1, sum(made[: n + 1]), 2 * k) * (n > 0) + units_size(2 * k, u, k)
    return size + conv_size(1, sum(made), 1)


def bottleneck_size(inputs: int, k: int = 12) -> int:
    return conv_size(1, inputs, 8 * k) + 2 * 8 * k


def srdensenet_size(b: int = 8, u: int = 4, k: int = 12) -> int:
    size = conv_size(3, 1, 2 * k) + units_size(2 * k, u, k) + (b - 1) * units_size(u * k, u, k)
    return size + bottleneck_size(2 * k + b * u * k) + conv_size(3, 8 * k, 2 * k) + conv_size(3, 2 * k, 1)


def thin_slice_size(w: int, detail: int = 0) -> int:
    """U-Net: normalised convolutions, (inputs, outputs) in first widths."""
    size = conv_size(4, detail or 1, w) + 2 * w
    for inputs, outputs in ((1, 2), (2, 4), (4, 8), (8 + 4, 4), (4 + 2, 2), (2 + 1, 1)):
        size += conv_size(4, inputs * w, outputs * w) + 2 * outputs * w
    if detail:
        return size + conv_size(3, 1, detail) + conv_size(3, w + detail, detail) + 2 * 2 * detail + conv_size(3, detail, 1)
    return size + conv_size(4, w + 1, 1)  # the image itself is the last skip


def pix2pix_size(w: int) -> int:
    size = conv_size(4, 1, w) + 2 * w
    for inputs, outputs in ((1, 2), (2, 4), (4, 8), (8, 8), (8, 8), (8, 8), (8 + 8, 8), (8 + 8, 4), (4 + 4, 2), (2 + 2, 1)):
        size += conv_size(4, inputs * w, outputs * w) + 2 * outputs * w
    return size + conv_size(4, 2 * w, 1)


SRRESNET_SIZE = (
    conv_size(9, 1, 64) + 64 + 16 * (2 * (conv_size(3, 64, 64) + 128) + 64) + conv_size(3, 64, 64) + 128 + conv_size(3, 64, 64) + 64 + conv_size(9, 64, 1)
)  # fmt: skip
FSRCNN_SIZE = (
    conv_size(5, 1, 56) + 56 + conv_size(1, 56, 12) + 12 + 4 * (conv_size(3, 12, 12) + 12) + conv_size(1, 12, 56) + 56 + conv_size(9, 56, 1)
)  # fmt: skip
RECONSTRUCTION = bottleneck_size(312) + conv_size(3, 96, 1)  # of b4u4's 24 + 4 * 72 channels

SIZES = [
    ("mdcsrn", {}, 232_225),
    ("mdcsrn", {"blocks": 6}, 358_657),
    ("mdcsrn", {"blocks": 8}, 492_001),
    ("mdcsrn", {"blocks": 1, "units": 12}, mdcsrn_size(1, 12)),
    ("mdcsrn", {"blocks": 1, "units": 16}, mdcsrn_size(1, 16)),
    ("mdcsrn", {"reconstruction": True}, 232_225 - conv_size(1, 312, 1) + RECONSTRUCTION),
    ("virtual-thin-slice", {"filters": 16}, thin_slice_size(16)),
    ("virtual-thin-slice", {"filters": 16, "detail": 8}, thin_slice_size(16, 8)),
    ("virtual-thin-slice", {}, thin_slice_size(64)),
    ("srcnn", {}, conv_size(9, 1, 64) + conv_size(1, 64, 32) + conv_size(5, 32, 1)),
    ("fsrcnn", {}, FSRCNN_SIZE),
    ("srresnet", {}, SRRESNET_SIZE),
    ("srdensenet", {}, srdensenet_size()),
    ("pix2pix", {"filters": 16}, pix2pix_size(16)),
]


@pytest.mark.parametrize("family, options, size", SIZES)
def test_parameters_are_the_papers(family, options, size):
    architecture = Architecture.make(family, options, residual=False)
    assert architecture.survey.trained == size
    with torch.device("meta"):
        net = BlueprintNet(architecture)
    assert sum(parameter.numel() for parameter in net.parameters()) == size
    assert {name: tuple(tensor.shape) for name, tensor in net.stored_tensors().items()} == architecture.survey.shapes


def test_the_sizes_by_hand_are_those_of_the_paper():
    assert [mdcsrn_size(b, 4) for b in (4, 6, 8)] == [232_225, 358_657, 492_001]


def test_arithmetic_of_mdcsrn():
    assert Architecture.make("mdcsrn", {}, False).multiply_accumulates == 230_784


@pytest.mark.parametrize("family", SMALL_OPTIONS)
def test_arithmetic_is_what_torch_counts(family):
    net = random_blueprint(family)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        net(torch.zeros(1, 1, 16, 16, 32))
    assert net.architecture.multiply_accumulates == round(counter.get_total_flops() / 2 / (16 * 16 * 32))


# Layers and blocks, written out; a map is (channels, D, H, W) float64, ``t`` the tensors by name


def conv(x, t, name, stride=1):
    """Zero padding to the same size, one more at the end for kernel 4; a half with stride 2 and one zero either side."""
    weight = t[f"{name}.weight"]
    n = weight.shape[-1]
    before, after = {(1, 1): (0, 0), (3, 1): (1, 1), (5, 1): (2, 2), (9, 1): (4, 4), (4, 1): (1, 2), (4, 2): (1, 1)}[n, stride]
    windows = sliding_window_view(np.pad(x, [(0, 0)] + [(before, after)] * 3), (n, n, n), axis=(1, 2, 3))[:, ::stride, ::stride, ::stride]
    y = np.tensordot(weight, windows, axes=([1, 2, 3, 4], [0, 4, 5, 6]))
    return y + t[f"{name}.bias"][:, None, None, None] if f"{name}.bias" in t else y


def transposed(x, t, name):
    """Every voxel puts a block of 4x4x4 into a grid twice as fine; one voxel is cut off all around."""
    weight = t[f"{name}.weight"]
    sides = [2 * n for n in x.shape[1:]]
    y = np.zeros((weight.shape[1], *(n + 2 for n in sides)))
    for place in np.ndindex(4, 4, 4):
        window = (slice(None), *(slice(a, a + n, 2) for a, n in zip(place, sides)))
        y[window] += np.tensordot(weight[(slice(None), slice(None), *place)], x, axes=(0, 0))
    return y[:, 1:-1, 1:-1, 1:-1] + t[f"{name}.bias"][:, None, None, None]


def norm(x, t, name):
    weight, bias, mean, variance = (t[f"{name}.{part}"][:, None, None, None] for part in ("weight", "bias", "running_mean", "running_var"))
    return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


def leaky(x, slope):
    return np.where(x > 0, x, slope * x)


def prelu(x, t, name):
    return leaky(x, t[f"{name}.weight"][:, None, None, None])


def elu(x):
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)


def doubled(x):
    """Trilinear, by scipy."""
    places = np.meshgrid(*((np.arange(2 * n) + 0.5) / 2 - 0.5 for n in x.shape[1:]), indexing="ij")
    return np.stack([map_coordinates(channel, places, order=1, mode="nearest") for channel in x])


def unit(x, t, name):
    return conv(elu(norm(x, t, f"{name}-norm")), t, f"{name}-conv")


def mdcsrn(x, t):
    """Two blocks of two units."""
    stem = conv(x, t, "stem")
    a1 = unit(stem, t, "block0-unit0")
    a2 = unit(np.concatenate([stem, a1]), t, "block0-unit1")
    first = np.concatenate([stem, a1, a2])
    given = conv(np.concatenate([stem, first]), t, "compressor1")
    b1 = unit(given, t, "block1-unit0")
    b2 = unit(np.concatenate([given, b1]), t, "block1-unit1")
    everything = np.concatenate([stem, first, given, b1, b2])
    if "combination.weight" in t:
        return conv(everything, t, "combination")
    return conv(elu(norm(conv(everything, t, "bottleneck"), t, "bottleneck-norm")), t, "reconstruction")


def srdensenet(x, t):
    stem = conv(x, t, "stem")
    a1 = unit(stem, t, "block0-unit0")
    first = np.concatenate([a1, unit(np.concatenate([stem, a1]), t, "block0-unit1")])
    b1 = unit(first, t, "block1-unit0")
    second = np.concatenate([b1, unit(np.concatenate([first, b1]), t, "block1-unit1")])
    narrow = conv(np.concatenate([stem, first, second]), t, "bottleneck")
    return conv(elu(conv(elu(norm(narrow, t, "bottleneck-norm")), t, "same-scale")), t, "reconstruction")


def srresnet(x, t):
    head = y = prelu(conv(x, t, "head"), t, "head-slope")
    for n in range(2):
        inner = prelu(norm(conv(y, t, f"block{n}-conv0"), t, f"block{n}-norm0"), t, f"block{n}-slope")
        y = y + norm(conv(inner, t, f"block{n}-conv1"), t, f"block{n}-norm1")
    y = head + norm(conv(y, t, "trunk"), t, "trunk-norm")
    return conv(prelu(conv(y, t, "tail"), t, "tail-slope"), t, "reconstruction")


def fsrcnn(x, t):
    for name in ("extraction", "shrinking", "mapping0", "mapping1", "expanding"):
        x = prelu(conv(x, t, name), t, f"{name}-slope")
    return conv(x, t, "reconstruction")


def srcnn(x, t):
    x = np.maximum(conv(x, t, "extraction"), 0)
    return conv(np.maximum(conv(x, t, "mapping"), 0), t, "reconstruction")


def down(x, t, number):
    return leaky(norm(conv(x, t, f"down{number}", stride=2), t, f"down{number}-norm"), 0.2)


def virtual_thin_slice(x, t):
    fine = leaky(norm(conv(x, t, "detail"), t, "detail-norm"), 0.2) if "detail.weight" in t else x
    d0 = down(fine, t, 0)
    d1 = down(d0, t, 1)
    d2 = down(d1, t, 2)
    y = down(d2, t, 3)
    for number, skip in ((2, d2), (1, d1), (0, d0)):
        y = leaky(norm(conv(np.concatenate([doubled(y), skip]), t, f"up{number}"), t, f"up{number}-norm"), 0.2)
    y = np.concatenate([doubled(y), fine])
    return conv(leaky(norm(conv(y, t, "fusion"), t, "fusion-norm"), 0.2) if "detail.weight" in t else y, t, "output")


def pix2pix(x, t):
    """Three levels."""
    d0 = down(x, t, 0)
    d1 = down(d0, t, 1)
    y = down(d1, t, 2)
    for number, skip in ((1, d1), (0, d0)):
        y = np.concatenate([leaky(norm(transposed(y, t, f"up{number}"), t, f"up{number}-norm"), 0.2), skip])
    return transposed(y, t, "output")


BY_HAND = {
    "mdcsrn": mdcsrn, "fsrcnn": fsrcnn, "srresnet": srresnet, "srdensenet": srdensenet,
    "virtual-thin-slice": virtual_thin_slice, "srcnn": srcnn, "pix2pix": pix2pix,
}  # fmt: skip
OTHER_FORMS = [("mdcsrn", {"reconstruction": True}), ("virtual-thin-slice", {"detail": 3})]
REFINING = {"mdsr"}  # another size out than in: test_multi_task_network.py
assert set(BY_HAND) == set(VOLUME_FAMILIES) - REFINING == set(SMALL_OPTIONS)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("family, options", [*((family, {}) for family in SMALL_OPTIONS), *OTHER_FORMS])
def test_networks_by_hand(family, options, residual):
    net = random_blueprint(family, {**SMALL_OPTIONS[family], **options}, residual).double()
    tensors = {name: tensor.detach().numpy() for name, tensor in net.stored_tensors().items()}
    image = smooth_noise((16, 32, 16) if net.architecture.survey.step > 1 else (6, 9, 7)).astype(np.float64)
    expected = BY_HAND[family](image[None], tensors)[0]
    assert expected.std() > 1e-3
    with torch.inference_mode():
        correction = net.correction(torch.from_numpy(image)[None, None])[0, 0].numpy()
        output = net(torch.from_numpy(image)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(correction, expected, atol=1e-9)
    np.testing.assert_allclose(output, image + expected if residual else expected, atol=1e-6)


@pytest.mark.parametrize("family", SMALL_OPTIONS)
def test_an_untrained_residual_network_changes_nothing(family):
    net = BlueprintNet(Architecture.make(family, SMALL_OPTIONS[family], residual=True)).eval()
    image = torch.rand(1, 1, 16, 16, 16)
    assert torch.equal(net(image), image)


# How far a voxel looks


def reach(net: BlueprintNet) -> int:
    """The farthest voxel along the rows on which an output voxel depends, either side, by gradients."""
    for parameter in net.parameters():  # positive everywhere: no path can cancel
        torch.nn.init.uniform_(parameter, 0.05, 0.1)
    survey, length = net.architecture.survey, 16 * 16
    farthest = 0
    image = torch.rand(1, 1, survey.step, survey.step, length, dtype=torch.float64, requires_grad=True)
    output = net.double()(image)[0, 0, 0, 0]
    for place in range(length // 2, length // 2 + survey.step):
        (slope,) = torch.autograd.grad(output[place], image, retain_graph=True)
        farthest = max(farthest, int((slope.abs().amax(dim=(0, 1, 2, 3)).nonzero() - place).abs().max()))
    return farthest


@pytest.mark.parametrize("family, options", [*((family, {}) for family in SMALL_OPTIONS), *OTHER_FORMS])
def test_receptive_radius_is_tight(family, options):
    net = random_blueprint(family, {**SMALL_OPTIONS[family], **options})
    assert (reach(net),) * 3 == net.architecture.survey.radius


@pytest.mark.parametrize("blocks, radius", [(4, 17), (6, 25), (8, 33)])
def test_receptive_radius_of_mdcsrn(blocks, radius):
    assert Survey.of(Architecture.make("mdcsrn", {"blocks": blocks}, False).blueprint).radius == (radius,) * 3
    assert reach(random_blueprint("mdcsrn", {"blocks": blocks, "growth": 1})) == radius


# What does not fit


def test_unknown_families_and_options():
    with pytest.raises(KeyError):
        Architecture.make("unet", {}, False)
    with pytest.raises(TypeError, match="colour"):
        Architecture.make("mdcsrn", {"colour": 1}, False)


def test_tensors_of_another_network():
    net = random_blueprint("mdcsrn")
    with pytest.raises(RuntimeError, match="bottleneck"):
        net.load_tensors(random_blueprint("mdcsrn", {**SMALL_OPTIONS["mdcsrn"], "reconstruction": True}).stored_tensors())
    with pytest.raises(RuntimeError, match="size mismatch"):
        net.load_tensors(random_blueprint("mdcsrn", {**SMALL_OPTIONS["mdcsrn"], "growth": 4}).stored_tensors())
