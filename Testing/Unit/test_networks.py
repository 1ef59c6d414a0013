"""The networks for slices against printed sizes and a computation by hand with scipy."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate, correlate2d
from superres3d.engine.openvino_cpu import OpenVINORuntime
from superres3d.engine.openvino_graph import build_graph
from superres3d.networks.families import FAMILIES, Architecture, Family
from superres3d.networks.module import BlueprintNet, sub_pixel
from superres3d.resampling.interpolation import resize
from superres3d.training.start import grow_from
from torch.utils.flop_counter import FlopCounterMode

from .conftest import SMALL_FORMS, random_network, smooth_noise, untrained_network

SIZES = {(2, 2): (57_573, 114_336), (4, 4): (61_041, 345_888), (2, 1): (56_995, 75_744), (4, 1): (57_573, 114_336)}


def published(factors, **switches) -> BlueprintNet:
    return BlueprintNet(Architecture.make("intermediate-loss", switches, False, factors))


@pytest.mark.parametrize("factors", SIZES)
def test_parameters_and_arithmetic_are_the_papers(factors):
    net = published(factors)
    assert sum(parameter.numel() for parameter in net.parameters()) == SIZES[factors][0]
    assert net.architecture.multiply_accumulates == SIZES[factors][1]


def layers_of(net: BlueprintNet, stem: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weight and bias, float64, of the tensors whose names begin so, in the order of their names."""
    tensors = net.stored_tensors()
    names = sorted({name.rpartition(".")[0] for name in tensors if name.startswith(stem)})
    return [tuple(tensors[f"{name}.{part}"].double().numpy() for part in ("weight", "bias")) for name in names]


def convolve(layer, channels):
    """One 3x3 layer with zero padding, in float64, by scipy."""
    weight, bias = layer
    return [sum(correlate2d(c, w, mode="same") for c, w in zip(channels, kernels)) + b for kernels, b in zip(weight, bias)]


def relu(channels):
    return [np.maximum(c, 0) for c in channels]


def add(a, b):
    return [x + y for x, y in zip(a, b)]


def interleave(channels, rows, columns):
    height, width = channels[0].shape
    image = np.empty((height * rows, width * columns))
    for index, channel in enumerate(channels):
        image[index // columns :: rows, index % columns :: columns] = channel
    return image


@pytest.mark.parametrize("factors", [(2, 2), (4, 1)])
def test_forward_is_the_papers_figure_2(factors):
    net = random_network("intermediate-loss", factors)
    image = smooth_noise((7, 9)).astype(np.float64)
    low, high = layers_of(net, "low"), layers_of(net, "high")
    c1 = relu(convolve(low[0], [image]))
    c3 = add(relu(convolve(low[2], relu(convolve(low[1], c1)))), c1)
    c5 = add(relu(convolve(low[4], relu(convolve(low[3], c3)))), c1)
    c6 = convolve(low[5], c5)
    between = interleave(relu(c6), *factors)
    c7 = relu(convolve(high[0], [between]))
    c9 = add(relu(convolve(high[2], relu(convolve(high[1], c7)))), c7)
    final = np.maximum(convolve(high[3], c9)[0], 0)
    with torch.inference_mode():
        outputs = net.outputs(torch.from_numpy(image).float()[None, None])
    for output, expected in zip(outputs, (final, between)):
        np.testing.assert_allclose(output[0, 0].numpy(), expected, atol=2e-5)


def test_sub_pixel_is_torchs_pixel_shuffle_on_two_axes():
    phases = torch.randn(3, 16, 5, 6)
    assert torch.equal(sub_pixel(phases, (4, 4)), torch.nn.functional.pixel_shuffle(phases, 4))


@pytest.mark.parametrize(
    "switch, difference",
    [("second_block", -(320 + 2 * 9248 + 289)), ("short_skips", 0), ("long_skip", 0)],
)
def test_ablation_switches_change_the_network(switch, difference):
    torch.manual_seed(1)
    full = published((2, 2))
    torch.manual_seed(1)
    ablated = published((2, 2), **{switch: False})
    count = [sum(p.numel() for p in net.parameters()) for net in (full, ablated)]
    assert count[1] - count[0] == difference
    image = torch.rand(1, 1, 12, 12)
    assert not torch.allclose(full(image), ablated(image))


def test_without_the_second_block_there_is_no_intermediate_output():
    net = random_network("intermediate-loss", (2, 2), second_block=False)
    image = torch.rand(1, 1, 6, 6)
    (final,) = net.outputs(image)
    assert torch.equal(final, net(image))


#: what the shipped networks of the same arithmetic as the paper's have: filters, blocks
EDSR_SIZES = {(2, 2): (32, 6), (4, 4): (48, 8), (2, 1): (32, 4), (4, 1): (32, 6)}


@pytest.mark.parametrize("factors", EDSR_SIZES)
def test_edsr_costs_what_it_says_and_no_more_than_the_papers(factors):
    filters, blocks = EDSR_SIZES[factors]
    net = untrained_network("edsr", factors, filters=filters, blocks=blocks)
    with FlopCounterMode(display=False) as counter:
        net.correction(torch.rand(1, 1, 16, 16))
    assert net.architecture.multiply_accumulates == counter.get_total_flops() / 2 / 256
    assert 0.95 * SIZES[factors][1] < net.architecture.multiply_accumulates <= SIZES[factors][1]


@pytest.mark.parametrize("factors", [(2, 2), (4, 1)])
def test_edsr_by_hand(factors):
    net = random_network("edsr", factors)
    image = smooth_noise((7, 9)).astype(np.float64)
    (head,), blocks, (tail,) = (layers_of(net, stem) for stem in ("head", "blocks", "tail"))
    features = convolve(head, [image])
    for first, second in zip(blocks[::2], blocks[1::2]):
        features = add(features, convolve(second, relu(convolve(first, features))))
    expected = interleave(convolve(tail, features), *factors) + resize(image, factors, "cubic")
    with torch.inference_mode():
        refined = net(torch.from_numpy(image).float()[None, None])[0, 0].numpy()
    np.testing.assert_allclose(refined, expected, atol=2e-5)


@pytest.mark.parametrize("factors", EDSR_SIZES)
def test_an_untrained_edsr_is_cubic_interpolation(factors):
    image = smooth_noise((10, 11))
    net = BlueprintNet(Architecture.make("edsr", {}, True, factors))
    expected = resize(image, factors, "cubic")
    np.testing.assert_allclose(net(torch.from_numpy(image)[None, None])[0, 0].detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("form", SMALL_FORMS)
@pytest.mark.parametrize("factors", SIZES)
def test_receptive_halo_is_tight(form, factors):
    """The gradient of one output pixel reaches exactly as far as the halo says, and no further."""
    net = untrained_network(form, factors)
    for parameter in net.parameters():  # positive everywhere: no path can cancel
        torch.nn.init.uniform_(parameter, 0.01, 0.02)
    reach = [0, 0]
    for phase_row in range(factors[0]):
        for phase_column in range(factors[1]):
            image = torch.rand(1, 1, 41, 41, requires_grad=True)
            net(image)[0, 0, 20 * factors[0] + phase_row, 20 * factors[1] + phase_column].backward()
            rows, columns = torch.nonzero(image.grad[0, 0], as_tuple=True)
            reach = [max(reach[0], int((rows - 20).abs().max())), max(reach[1], int((columns - 20).abs().max()))]
    assert tuple(reach) == net.architecture.halo


@pytest.mark.parametrize("sizes", [{"filters": 24, "blocks": 5}, {"filters": 24}, {"blocks": 4}, {}])
def test_a_grown_edsr_is_the_smaller_one_and_can_learn(sizes):
    small = random_network("edsr", (2, 1))
    grown = untrained_network("edsr", (2, 1), **sizes)
    grow_from(grown, small.stored_tensors())
    image = torch.rand(1, 1, 12, 11)
    refined = grown(image)
    torch.testing.assert_close(refined, small(image), atol=1e-5, rtol=0)
    (refined - torch.rand_like(refined)).abs().mean().backward()
    assert all(layer.weight.grad.any() for name, layer in grown.layers.items() if "blocks" in name and name.endswith("1"))
    assert grown.layer("tail").weight.grad.any(dim=(0, 2, 3)).all()


@pytest.mark.parametrize(
    "form, factors, sizes, without",
    [
        ("edsr", (2, 2), {}, ""), ("edsr", (4, 1), {}, ""), ("edsr", (2, 1), {"filters": 20}, ""), ("edsr", (2, 1), {"blocks": 4}, ""),
        ("edsr", (2, 1), {}, "head.weight"), ("edsr", (2, 1), {}, "head.bias"), ("edsr", (2, 1), {}, "blocks.0"), ("edsr", (2, 1), {}, "blocks.2.1.bias"),
        ("intermediate-loss", (2, 1), {}, ""),
    ],
)  # fmt: skip
def test_only_a_whole_smaller_edsr_of_the_same_factors_grows(form, factors, sizes, without):
    net = untrained_network("edsr", (2, 1))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    tensors = random_network(form, factors, **sizes).stored_tensors()
    kept = {name: tensor for name, tensor in tensors.items() if not without or not name.startswith(without)}
    with pytest.raises(ValueError, match="no network of this form and these factors, or a larger one"):
        grow_from(net, kept)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("filters", [32, 64, 128])
def test_wider_networks(filters):
    """Closed form: two 1-to-f layers, six f-to-f, one f-to-4 and one f-to-1, each 3x3 with bias."""
    f = filters
    expected = 2 * (9 * f + f) + 6 * (9 * f * f + f) + (9 * f * 4 + 4) + (9 * f + 1)
    assert sum(p.numel() for p in published((2, 2), filters=f).parameters()) == expected


def flat(draw, image, *, side: int = 3):
    return draw.conv("flat", image, 1, kernel=(1, side, 2))


def test_kernels_may_differ_along_the_axes(monkeypatch):
    """A 1x3x2 convolution of a volume, in both libraries beside scipy; one voxel more at the end where a side is even."""
    monkeypatch.setitem(FAMILIES, "flat", Family(flat))
    architecture = Architecture.make("flat", {}, False)
    survey = architecture.survey
    assert survey.shapes["flat.weight"] == (1, 1, 1, 3, 2) and survey.multiply_accumulates == 6 and survey.radius == (0, 1, 1)
    net, volume = BlueprintNet(architecture), smooth_noise((4, 6, 7))
    weight = net.stored_tensors()["flat.weight"].numpy()[0, 0]
    expected = correlate(np.pad(volume, [(0, 0), (1, 1), (0, 1)]), weight, mode="valid")
    np.testing.assert_allclose(net(torch.from_numpy(volume)[None, None])[0, 0].detach().numpy(), expected, atol=1e-6)
    tensors = {name: tensor.numpy() for name, tensor in net.stored_tensors().items()}
    (graph,) = OpenVINORuntime().compile(build_graph(architecture.blueprint, tensors, [(1, 1, 4, 6, 7)]), 1)(volume[None, None]).values()
    np.testing.assert_allclose(graph[0, 0], expected, atol=1e-6)


@pytest.mark.parametrize(
    "draw, told",
    [
        (lambda draw, image, *, factors: draw.conv("last", image, 4), "ends with 4 channels"),
        (lambda draw, image, *, factors: draw.sub_pixel(draw.conv("a", draw.conv("a", image, 8), 4), factors), "used twice"),
        (lambda draw, image, *, factors: draw.sub_pixel(draw.conv("a/b", image, 4), factors), "a slash"),
        (lambda draw, image, *, factors: draw.sub_pixel(draw.conv("a", image, 4, stride=3), factors), "stride of 3"),
        (lambda draw, image, *, factors: draw.sub_pixel(draw.conv("a", image, 4, kernel=(3,)), factors), r"kernel of \(3,\)"),
        (lambda draw, image, *, factors: draw.sub_pixel(draw.add(draw.conv("a", image, 4), draw.conv("b", image, 8)), factors), "4 and 8 channels"),
    ],
)
def test_what_is_wrong_with_a_blueprint_is_said(monkeypatch, draw, told):
    from superres3d.networks import families

    monkeypatch.setitem(families.FAMILIES, "tried", families.Family(draw, axes=2, residual=True))
    with pytest.raises(ValueError, match=told):
        _ = families.Architecture.make("tried", {}, True, (2, 2)).survey


@pytest.mark.parametrize("name", ["half", "type", "to", "training"])
def test_a_layer_may_be_called_like_something_of_pytorch(monkeypatch, name):
    from superres3d.networks import families
    from superres3d.networks.module import BlueprintNet

    def draw(draw, image, *, factors):
        return draw.sub_pixel(draw.conv("last", draw.relu(draw.conv(name, image, 4)), 4), factors)

    monkeypatch.setitem(families.FAMILIES, "tried", families.Family(draw, axes=2, residual=True))
    net = BlueprintNet(families.Architecture.make("tried", {}, True, (2, 2)))
    assert f"{name}.weight" in net.stored_tensors()
    net.load_tensors(net.stored_tensors())


def test_a_network_has_its_own_sizes_and_its_card_all_of_them(monkeypatch):
    """What a recipe does not ask for is the network's own default, and stands in the card."""
    from superres3d.errors import InputError
    from superres3d.networks import families
    from superres3d.training.recipe import Recipe

    def draw(draw, image, *, factors, filters: int = 8, widening: int = 2):
        return draw.sub_pixel(draw.conv("last", draw.conv("first", image, filters * widening), 4), factors)

    family = families.Family(draw, axes=2, residual=True)
    monkeypatch.setitem(families.FAMILIES, "tried", family)
    monkeypatch.setitem(families.FORMS, "tried", family)
    assert Recipe(form="tried").network == {"form": "tried", "factors": [2, 2], "filters": 8, "widening": 2}
    assert Recipe(form="tried", filters=32).network["filters"] == 32
    assert Recipe(form="tried", filters=16, options={"widening": 3}).network == {"form": "tried", "factors": [2, 2], "filters": 16, "widening": 3}
    with pytest.raises(InputError, match="hold the form or the factors"):
        Recipe(form="tried", options={"form": "edsr"})
