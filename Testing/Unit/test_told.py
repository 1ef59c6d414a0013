"""Networks that are told of the scan: what they are told, for turned copies too, and what steps in where nothing can be told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from superres3d import Volume, upscale
from superres3d.detail import telling
from superres3d.detail.estimator import AxisDetail
from superres3d.detail.measure import Detail
from superres3d.detail.telling import conditions
from superres3d.engine.openvino_cpu import OpenVINORuntime
from superres3d.errors import InputError, ModelError
from superres3d.methods import DEFAULT_METHOD, METHODS
from superres3d.networks import told, weights
from superres3d.networks.weights import architecture_of, find_model, load_network, load_tensors
from superres3d.plan import plan_upscaling

from .test_detail import anatomy, zero_filled

NAME = "two-stage-told-mr-plane-x2"


def _axis(transfer, noise=0.2, unsure=0.05, extent=1.0):
    return AxisDetail(transfer, extent, noise, unsure, 0.01, 0.2)


ROWS, COLUMNS = _axis((0.9, 0.7, 0.5, 0.3), unsure=0.02), _axis((0.8, 0.6, 0.1, 0.0), unsure=0.07, extent=0.6)


@pytest.fixture
def brain() -> Volume:
    """An MR-like scan whose rows and columns lost their detail differently."""
    voxels = zero_filled(ndimage.gaussian_filter(anatomy((6, 64, 72), 2), 0.5), 1, 0.65)
    return Volume(np.rint(900 * np.abs(voxels)).astype(np.int16), (0.7, 0.7, 3.0), modality="MR")


def test_conditions_are_exchanged_with_the_axes():
    assert told.crossed(conditions((ROWS, COLUMNS), True)) == pytest.approx(conditions((COLUMNS, ROWS), True))
    assert told.crossed(conditions((ROWS, COLUMNS), True)) != pytest.approx(conditions((ROWS, COLUMNS), True))


@pytest.mark.parametrize("keep, place", [(True, 1.0), (False, 0.0)])
def test_what_becomes_of_the_noise_is_told(keep, place):
    given = conditions((ROWS, COLUMNS), keep)
    assert given[8:11] == pytest.approx((0.2, place, 1.0))
    assert conditions((ROWS,), keep, coarse=True)[4:8] == pytest.approx((0.2, place, 1.0, 1.0))


def test_of_a_mild_loss_the_noise_is_told_and_where_the_spectrum_ends():
    given = conditions((ROWS, COLUMNS), True, clear=False)
    assert given[:8] == (0.0,) * 8
    assert given[8:13] == pytest.approx((0.2, 1.0, 0.0, 0.0, 0.0))
    assert given[13:] == conditions((ROWS, COLUMNS), True)[13:] == pytest.approx((0.0, 2.0))
    assert told.crossed(given) == pytest.approx(conditions((COLUMNS, ROWS), True, clear=False))


def test_a_network_that_learnt_to_distrust_it_is_told_a_mild_loss_as_well():
    given, clear = conditions((ROWS, COLUMNS), True, clear=False, of_mild=True), conditions((ROWS, COLUMNS), True)
    assert given[10] == 0.0 and clear[10] == 1.0
    assert given[:10] + given[11:] == pytest.approx(clear[:10] + clear[11:])


@pytest.mark.parametrize("of_mild", [True, False])
def test_the_card_says_whether_mild_losses_are_told(brain, of_mild, monkeypatch):
    seen = []
    monkeypatch.setattr(telling, "conditions", lambda *given: seen.append(given) or conditions(*given))
    model = replace(find_model(NAME), card={**find_model(NAME).card, telling.OF_MILD: of_mild})
    telling.tell({"plane": model}, {"plane": model}, brain.voxels, "MR", True)
    assert [given[5] for given in seen] == [of_mild]


@pytest.mark.parametrize("left, name", [(0.9, "two-stage-told-ct-plane-x2"), (1.0, "two-stage-told-ct-plane-x2-sharp")])
def test_a_sharp_kernel_has_a_network_of_its_own(left, name, brain, monkeypatch):
    """What is left at 0.55 of the Nyquist frequency tells: no loss leaves as much of other scans."""
    axes = (_axis((1.0, left - 0.02, 0.9, 0.8)), _axis((1.0, left + 0.02, 0.9, 0.8)))
    monkeypatch.setattr(telling, "measure_detail", lambda *_: Detail(None, *axes, 1.0))
    models = {"plane": find_model("two-stage-told-ct-plane-x2")}
    told_of = telling.tell(models, models, brain.voxels, "CT", True).models["plane"]
    assert told_of.name == name
    assert told_of.conditions == pytest.approx(conditions(axes, True, clear=False, of_mild=name.endswith("sharp")))


def test_the_network_of_sharp_kernels_is_whole():
    usual, model = (find_model(f"two-stage-told-ct-plane-x2{suffix}") for suffix in ("", "-sharp"))
    assert usual.card[telling.FOR_SHARP] == model.name and model.card[telling.OF_MILD]
    assert model.network == usual.network and model.multiply_accumulates == usual.multiply_accumulates
    axes = (ROWS, COLUMNS)
    tensors = load_tensors(replace(model, conditions=conditions(axes, True)), architecture_of(model))
    assert all(np.isfinite(tensor).all() and tensor.dtype == np.float32 for tensor in tensors.values())
    assert all(subject["licence"] for subject in model.card["training_subjects"]) and model.sha256 in (model.folder / "README.md").read_text()


def test_noise_below_what_can_be_told_is_none():
    assert conditions((_axis((1, 1, 1, 1), noise=0.01),), True)[4] == 0.0


@pytest.mark.parametrize("given", [conditions((ROWS,), True), (0.0,) * 3])
def test_a_network_refuses_what_it_cannot_be_told(given):
    model = replace(find_model(NAME), conditions=given)
    with pytest.raises(ModelError, match="do not fit what it is told"):
        load_tensors(model, architecture_of(model))


def test_a_network_that_cannot_be_told_refuses():
    model = replace(find_model("two-stage-residual-mr-plane-x2"), conditions=conditions((ROWS, COLUMNS), True))
    with pytest.raises(ModelError, match="do not fit what it is told"):
        load_tensors(model, architecture_of(model))


@pytest.mark.parametrize("stage", ["plane", "sharp", "depth"])
def test_folding_is_modulation(stage):
    """The layers written out: conv and its variants, shift, ReLU, scale, conv, skip."""
    axes = (ROWS,) if stage == "depth" else (ROWS, COLUMNS)
    name = "two-stage-told-ct-plane-x2-sharp" if stage == "sharp" else f"two-stage-told-mr-{stage}-x2"
    model = replace(find_model(name), conditions=conditions(axes, True, False if stage == "depth" else None))
    from superres3d.networks.stored import read_tensors

    raw = {key: torch.from_numpy(tensor) for key, tensor in read_tensors(model.folder / "weights.safetensors").items()}
    image = torch.rand(1, 1, 12, 14)
    hidden = torch.relu(raw["modulation.0.weight"] @ torch.tensor(model.conditions) + raw["modulation.0.bias"])
    blocks = model.card["network"]["blocks"]
    shifts, scales = (raw["modulation.2.weight"] @ hidden + raw["modulation.2.bias"]).reshape(2, blocks, -1, 1, 1)

    names = ["head", *(f"blocks.{number}.{half}" for number in range(blocks) for half in (0, 1)), "tail"]
    shares = (raw["mixing.weight"] @ hidden + raw["mixing.bias"]).reshape(-1, len(names)) if "mixing.weight" in raw else ()

    def conv(name: str, features: torch.Tensor) -> torch.Tensor:
        made = torch.nn.functional.conv2d(features, raw[f"net.{name}.weight"], raw[f"net.{name}.bias"], padding=1)
        for number, share in enumerate(shares):
            variant, bias = (raw[f"variants.{name}.{part}"][number].float() for part in ("weight", "bias"))
            made = made + share[names.index(name)] * torch.nn.functional.conv2d(features, variant, bias, padding=1)
        return made

    features = conv("head", image)
    for number in range(blocks):
        inner = torch.relu(conv(f"blocks.{number}.0", features) + shifts[number]) * (1 + scales[number])
        features = features + conv(f"blocks.{number}.1", inner)
    expected = torch.nn.functional.pixel_shuffle(conv("tail", features), 2) if stage != "depth" else conv("tail", features).transpose(1, 2).reshape(1, 1, 24, 14)
    torch.testing.assert_close(load_network(model).correction(image), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("device", ["openvino", "pytorch"])
def test_a_turned_scan_gives_the_turned_result(brain, device, monkeypatch):
    """Copies with rows and columns exchanged go through a network that is told so: else the result would depend on how the scan lies."""
    if device == "pytorch":
        monkeypatch.setattr("superres3d.engine.engine.choose_runtime", lambda *_: (_pytorch(), []))
    turned = replace(brain, voxels=np.ascontiguousarray(brain.voxels.swapaxes(1, 2)))
    choices = {"axes": "in-plane", "method": "two-stage-told", "ensemble": "8", "precision": "single", "slice_axis": "k"}
    upright, lying = (upscale(scan, 2, **choices) for scan in (brain, turned))
    assert upright.report["detail"]["told"] == lying.report["detail"]["told"] == ["plane"]
    difference = upright.volume.voxels.astype(float) - lying.volume.voxels.swapaxes(1, 2)
    assert np.abs(difference).max() <= 12  # the two measurements differ by a hair
    assert np.sqrt((difference**2).mean()) < 1.5


def _pytorch():
    from superres3d.engine.pytorch import PyTorchRuntime

    return PyTorchRuntime("cpu")


def test_both_engines_agree(brain, monkeypatch):
    choices = {"axes": "in-plane", "method": "two-stage-told", "precision": "single", "slice_axis": "k"}
    by_openvino = upscale(replace(brain, voxels=brain.voxels.astype(np.float32)), 2, **choices)
    monkeypatch.setattr("superres3d.engine.engine.choose_runtime", lambda *_: (_pytorch(), []))
    by_pytorch = upscale(replace(brain, voxels=brain.voxels.astype(np.float32)), 2, **choices)
    np.testing.assert_allclose(by_openvino.volume.voxels, by_pytorch.volume.voxels, atol=0.05)


def test_a_scan_on_which_nothing_can_be_measured_is_refined_as_usual():
    tiny = Volume(np.rint(900 * ndimage.gaussian_filter(anatomy((6, 16, 18)), 0.7)).astype(np.int16), (0.7, 0.7, 3.0), modality="MR")
    choices = {"axes": "in-plane", "slice_axis": "k"}
    result, usual = (upscale(tiny, 2, method=method, **choices) for method in ("two-stage-told", "two-stage-residual"))
    np.testing.assert_array_equal(result.volume.voxels, usual.volume.voxels)
    assert result.report["detail"]["told"] == []
    assert any("too small or too empty to measure its detail within the slices" in warning for warning in result.report["warnings"])
    assert result.report["models"]["plane"]["name"] == "two-stage-residual-mr-plane-x2"


def test_noise_stays_or_goes_as_asked(brain):
    rng = np.random.default_rng(0)
    fine = ndimage.gaussian_filter(anatomy((8, 96, 96), 4), 0.6)
    fine[:, :, :40] = 0.5  # a flat part: what varies there is noise
    noisy = Volume(np.rint(1000 * fine + 20 * rng.standard_normal(fine.shape) + 100).astype(np.int16), (0.7, 0.7, 3.0), modality="MR")
    kept, reduced = (upscale(noisy, 2, axes="in-plane", method="two-stage-told", preset="fast", slice_axis="k", noise=noise) for noise in ("keep", "reduce"))
    lanczos = upscale(noisy, 2, axes="in-plane", method="lanczos", slice_axis="k")
    flat = [result.volume.voxels[2:6, 20:170, 8:60].std() for result in (lanczos, kept, reduced)]
    assert 0.6 * flat[0] < flat[1] < 1.3 * flat[0]
    assert flat[2] < 0.8 * flat[1]
    assert kept.report["detail"]["noise"] == "keep"


def test_it_is_the_default():
    assert DEFAULT_METHOD == "two-stage-told" and METHODS[DEFAULT_METHOD].blind == "two-stage-residual"


def test_a_missing_network_that_would_step_in_is_said_at_once(tmp_path, monkeypatch):
    """Before the scan is measured: the panel tells it below Apply."""
    told = find_model(NAME).folder
    (tmp_path / NAME).symlink_to(told, target_is_directory=True)
    monkeypatch.setattr(weights, "model_folders", lambda: [tmp_path])
    with pytest.raises(ModelError, match="two-stage-residual-mr-plane-x2 is not installed"):
        plan_upscaling((6, 64, 72), (0.7, 0.7, 3.0), "int16", 2, axes="in-plane", modality="MR")


def test_other_words_for_the_noise_are_refused(brain):
    with pytest.raises(InputError, match="keep or reduce"):
        upscale(brain, 2, noise="remove")


def test_openvino_compiles_the_exchanged_network_only_where_it_differs():
    model = replace(find_model(NAME), conditions=conditions((ROWS, ROWS), True))
    assert model.exchanged is model
    assert replace(model, conditions=conditions((ROWS, COLUMNS), True)).exchanged is not model
    assert OpenVINORuntime().load(model)
