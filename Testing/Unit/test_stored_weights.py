"""Weights in 8 bits: near what they were, by the channel, and refused where they cannot be what they were."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from superres3d.errors import ModelError
from superres3d.networks.stored import packed, unpacked
from superres3d.networks.weights import Model, architecture_of, find_model, load_tensors


def test_each_channel_has_its_own_scale():
    """Against PyTorch's own rounding by the channel."""
    random = np.random.default_rng(2)
    tensor = (random.normal(size=(16, 8, 3, 3)) * np.geomspace(1e-4, 10, 16)[:, None, None, None]).astype(np.float32)
    tensor[3] = 0.0
    stored = packed({"weight": tensor, "bias": tensor[:, 0, 0, 0]})
    assert stored["weight"].dtype == np.int8 and stored["bias"].dtype == np.float32
    found = unpacked(stored)
    assert set(found) == {"weight", "bias"}
    scale = torch.from_numpy(np.abs(tensor).reshape(16, -1).max(1) / 127)
    scale[3] = 1.0
    oracle = torch.fake_quantize_per_channel_affine(torch.from_numpy(tensor), scale, torch.zeros(16, dtype=torch.int32), 0, -128, 127).numpy()
    np.testing.assert_allclose(found["weight"], oracle, rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(found["bias"], tensor[:, 0, 0, 0])


def _model(folder, name: str, change) -> Model:
    """A shipped model whose tensors were changed."""
    from safetensors.numpy import load
    from superres3d.networks.weights import verified_weights

    model = find_model("srcnn-3d-ct")
    content = save(change(load(verified_weights(model))))
    (folder / name).mkdir()
    (folder / name / "weights.safetensors").write_bytes(content)
    card = {**model.card, "sha256": hashlib.sha256(content).hexdigest()}
    (folder / name / "card.json").write_text(json.dumps(card))
    return Model(name, folder / name, card)


@pytest.mark.parametrize("change, most", [(packed, 0.02), (lambda tensors: {name: tensor.astype(np.float16) for name, tensor in tensors.items()}, 1e-3)])
def test_a_model_in_fewer_bits_is_read_in_single_precision(tmp_path, change, most):
    whole = find_model("srcnn-3d-ct")
    smaller = _model(tmp_path, "smaller", change)
    assert (smaller.folder / "weights.safetensors").stat().st_size < 0.6 * (whole.folder / "weights.safetensors").stat().st_size
    expected, found = (load_tensors(model, architecture_of(model)) for model in (whole, smaller))
    for name, tensor in expected.items():
        assert found[name].dtype == np.float32
        assert np.abs(found[name] - tensor).max() <= most * np.abs(tensor).max()


def test_8_bit_numbers_without_their_scales_are_refused(tmp_path):
    broken = _model(tmp_path, "broken", lambda tensors: {name: tensor for name, tensor in packed(tensors).items() if not name.endswith(".weight.scale")})
    with pytest.raises(ModelError, match="install the model again"):
        load_tensors(broken, architecture_of(broken))


def test_a_training_begins_with_a_model_in_8_bits():
    """As with the same model in single precision, were there one: with what the engine computes with."""
    from superres3d.networks.module import BlueprintNet
    from superres3d.training.start import load_start

    model = find_model("two-stage-residual-mr-plane-x2")
    assert (model.folder / "weights.safetensors").stat().st_size < 2 * sum(tensor.size for tensor in load_tensors(model, architecture_of(model)).values())
    net = BlueprintNet(architecture_of(model))
    load_start(net, model.folder)
    for name, tensor in net.stored_tensors().items():
        np.testing.assert_array_equal(tensor.detach().numpy(), load_tensors(model, architecture_of(model))[name])
