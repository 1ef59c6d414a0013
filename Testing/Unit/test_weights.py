"""Models: only what the card describes is loaded."""

import json
import shutil

import pytest
import torch
from superres3d.errors import ModelError
from superres3d.methods import METHODS
from superres3d.networks.weights import architecture_of, find_model, load_network, save_model, verified_weights

from .conftest import random_network, slice_network

NAME = "two-stage-residual-mr-plane-x2"


def test_saved_networks_come_back(tmp_path, monkeypatch):
    net = random_network("intermediate-loss", (4, 1), seed=7)
    save_model(net, "a", tmp_path, {"network": slice_network("intermediate-loss", (4, 1))})
    monkeypatch.setenv("SUPERRES3D_MODELS", str(tmp_path))
    back = load_network(find_model("a"))
    image = torch.rand(1, 1, 9, 9)
    assert torch.equal(net(image), back(image))
    assert find_model("a").multiply_accumulates == 114_336


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def swap(path):
    shutil.copy(path.parent.parent / "georgescu2020-mr-plane-x2" / path.name, path)


@pytest.mark.parametrize("harm", [damage, truncate, swap])
def test_changed_weights_are_refused(models, harm):
    harm(models / NAME / "weights.safetensors")
    with pytest.raises(ModelError, match="SHA-256 differs"):
        verified_weights(find_model(NAME))


def test_a_card_of_another_network_is_refused(models):
    path = models / NAME / "card.json"
    card = json.loads(path.read_text())
    card["network"]["factors"] = [4, 4]
    path.write_text(json.dumps(card))
    with pytest.raises(ModelError, match="do not fit its network"):
        load_network(find_model(NAME))


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", "null"])
def test_damaged_cards_are_refused(models, content):
    (models / NAME / "card.json").write_text(content)
    with pytest.raises(ModelError, match="card of the model .* cannot be used"):
        find_model(NAME)


def test_missing_models_are_named(models):
    with pytest.raises(ModelError, match="model nothing is not installed"):
        find_model("nothing")


def shipped() -> list[str]:
    return [m.model_name(modality, stage, scale) for m in METHODS.values() if m.kind == "two-stage" and not m.blind for modality in m.modalities for stage in ("plane", "depth") for scale in m.scales]


@pytest.mark.parametrize("name", ["mdcsrn-mr", "virtual-thin-slice-ct", "fsrcnn-3d-mr", "srdensenet-3d-mr", "srcnn-3d-ct"])
def test_shipped_volumetric_models_are_whole(name):
    model = find_model(name)
    net, card = load_network(model), model.card
    assert card["parameters"] == sum(p.numel() for p in net.parameters()) == net.architecture.survey.trained
    assert (model.folder / "weights.safetensors").stat().st_size < 25e6
    assert card["training_subjects"] and all(subject["licence"] for subject in card["training_subjects"])
    assert card["schedule"]["steps"] > 0 and "not for diagnosis" in card["intended_use"]
    assert card["metrics"]["gain_over_lanczos"] and "parameters" in (model.folder / "README.md").read_text()


#: of the plane and depth networks as published, per input pixel
PUBLISHED_ACCUMULATES = {(2, 2): 114_336, (4, 4): 345_888, (2, 1): 75_744, (4, 1): 114_336}


@pytest.mark.parametrize(
    "changes",
    [{"form": None}, {"blocks": "3"}, {"blocks": None}, {"blocks": 0}, {"filters": 16.0}, {"filters": -16}, {"factors": [2]}, {"factors": ["2", "2"]}, {"colour": 1}],
)
def test_a_card_that_describes_no_network_is_a_model_error(tmp_path, monkeypatch, changes):
    save_model(random_network("edsr", (2, 2)), "a", tmp_path, {"network": {**slice_network("edsr", (2, 2)), **changes}})
    monkeypatch.setenv("SUPERRES3D_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match="card of the model a cannot be used"):
        architecture_of(find_model("a"))
    with pytest.raises(ModelError):
        load_network(find_model("a"))


@pytest.mark.parametrize("name", shipped())
def test_shipped_models_are_whole(name):
    """Every model that the catalogue promises is there, verified, carded, and costs at most what the paper's does."""
    model = find_model(name)
    net = load_network(model)
    card = model.card
    scale, stage = card["scale"], card["stage"]
    factors = (scale, scale if stage == "plane" else 1)
    assert net.architecture.factors == factors
    assert card["parameters"] == sum(p.numel() for p in net.parameters())
    assert net.architecture.multiply_accumulates == card["multiply_accumulates_per_pixel"] <= PUBLISHED_ACCUMULATES[factors]
    assert card["training_subjects"] and all(subject["licence"] for subject in card["training_subjects"])
    assert card["schedule"]["steps"] > 0 and "not for diagnosis" in card["intended_use"]
    assert (model.folder / "README.md").is_file()
    assert "metrics" in card


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("stage, scale", [("plane", 2), ("plane", 4), ("depth", 2), ("depth", 4)])
def test_shipped_networks_that_are_told_are_whole(modality, stage, scale):
    """Carded, verified, with the arithmetic of the method that steps in for them; their estimator is there as well."""
    method = METHODS["two-stage-told"]
    model, blind = find_model(method.model_name(modality, stage, scale)), find_model(METHODS[method.blind].model_name(modality, stage, scale))
    assert model.network == blind.network and model.multiply_accumulates == blind.multiply_accumulates
    assert verified_weights(model) and verified_weights(find_model(f"detail-{modality.lower()}"))
    assert model.card["training_subjects"] and all(subject["licence"] for subject in model.card["training_subjects"])
    assert "not for diagnosis" in model.card["intended_use"] and model.sha256 in (model.folder / "README.md").read_text()
