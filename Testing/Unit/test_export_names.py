"""Where a trained model goes: plain names alone, and nothing is replaced that was not meant; whose fault a recipe's error is."""

import json
from dataclasses import replace

import pytest
from superres3d.errors import InputError, ModelError
from superres3d.evaluation.cards import check_cards
from superres3d.networks import families
from superres3d.networks.families import Family
from superres3d.networks.module import BlueprintNet
from superres3d.networks.weights import architecture_of, find_model, is_plain_name, save_model
from superres3d.training.export import check_export, export_model
from superres3d.training.recipe import MultiTaskRecipe, Recipe, VolumeRecipe, load_recipe

from .conftest import random_network, run_cli, slice_network

BAD_NAMES = ("../../x", "a/b", "/tmp/x", "..", ".hidden", "a b", "x\n", "a\\b", "C:x", "ä", "x" * 101)


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("kind", [Recipe, VolumeRecipe, MultiTaskRecipe])
def test_a_method_is_a_plain_name(name, kind, tmp_path):
    with pytest.raises(InputError, match="The recipe's method is .*; give a name of letters, digits") as refusal:
        kind(method=name)
    assert "\n" not in str(refusal.value)
    with pytest.raises(InputError, match="A model cannot be called"):
        save_model(random_network("edsr", (2, 2)), name, tmp_path / "models", {})
    assert list(tmp_path.iterdir()) == []


def test_names_in_use_are_plain(pytestconfig):
    assert all(is_plain_name(folder.name) for folder in (pytestconfig.rootpath / "models").iterdir())


def test_a_shipped_model_is_replaced_only_when_asked_for(tmp_path):
    recipe = Recipe(method="mine", form="edsr", filters=4, blocks=1)
    model = export_model(BlueprintNet(recipe.architecture), recipe, tmp_path, tmp_path / "models")
    with pytest.raises(InputError, match=r"There is a model mine-mr-plane-x2 in .*; export to another folder, or replace it with --overwrite\."):
        check_export(recipe, tmp_path / "models", overwrite=False)
    check_export(recipe, tmp_path / "models", overwrite=True)
    check_export(replace(recipe, scale=4), tmp_path / "models", overwrite=False)
    text = "method = 'mine'\nform = 'edsr'\nfilters = 4\nblocks = 1\nvolumes = ['a']\n"
    (tmp_path / "mine.toml").write_text(text)
    before = {file.name: file.read_bytes() for file in model.folder.iterdir()}
    done = run_cli("train", tmp_path / "mine.toml", "--data", tmp_path, "--out", tmp_path / "run", "--export", tmp_path / "models")
    assert done.returncode == 2 and "There is a model mine-mr-plane-x2" in done.stderr and not (tmp_path / "run").exists()
    assert {file.name: file.read_bytes() for file in model.folder.iterdir()} == before


def test_published_figures_are_replaced_only_when_asked_for(tmp_path):
    for name, method, metrics in (("a", "mine", {"subset": "test"}), ("b", "other", {"subset": "test"}), ("c", "new", None)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.json").write_text(json.dumps({"method": method} | ({"metrics": metrics} if metrics else {})))
    with pytest.raises(InputError, match=r"The cards of 1 models in .* have metrics, such as that of a; evaluate without --cards, or replace them with --overwrite\."):
        check_cards(tmp_path, ("mine", "new"), overwrite=False)
    check_cards(tmp_path, ("mine", "new"), overwrite=True)
    check_cards(tmp_path, ("new",), overwrite=False)
    with pytest.raises(InputError, match="does not exist; correct --cards"):
        check_cards(tmp_path / "nowhere", ("new",), overwrite=True)


def _badly_drawn(drawing, image, *, factors, filters: int = 4):
    return drawing.conv("x", image, filters, stride=7)


def test_a_network_that_cannot_be_drawn_is_not_the_recipes_fault(tmp_path, monkeypatch):
    for table in (families.FAMILIES, families.FORMS):
        monkeypatch.setitem(table, "tried", Family(_badly_drawn, axes=2, residual=True))
    (tmp_path / "recipe.toml").write_text("method = 'tried'\nform = 'tried'\nfilters = 5\n")
    with pytest.raises(InputError, match="The network tried cannot be drawn, whatever the recipe says: the layer x has a stride of 7.*; correct its function") as refusal:
        load_recipe(tmp_path / "recipe.toml")
    assert "options" not in str(refusal.value).split(":")[0]


def test_a_later_kind_of_network_is_no_damage(tmp_path, monkeypatch):
    monkeypatch.setenv("SUPERRES3D_MODELS", str(tmp_path))
    save_model(random_network("edsr", (2, 2)), "a", tmp_path, {"network": slice_network("edsr", (2, 2))})
    card = tmp_path / "a" / "card.json"
    for network in ({"family": "transformer", "options": {}, "residual": True}, {"form": "transformer", "factors": [2, 2]}):
        card.write_text(json.dumps(json.loads(card.read_text()) | {"network": network}))
        with pytest.raises(ModelError, match=r"The model a is a network of the kind 'transformer', which this version does not know; update"):
            architecture_of(find_model("a"))
