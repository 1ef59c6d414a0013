"""Training: recipes, a few real steps, and a resumed run that equals an uninterrupted one."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skimage.metrics import mean_squared_error
from superres3d.errors import InputError
from superres3d.evaluation.cards import card_page
from superres3d.networks.module import BlueprintNet
from superres3d.training import fit as fitting
from superres3d.training.degrader import Degrader
from superres3d.training.export import export_model
from superres3d.training.recipe import load_recipe
from superres3d.training.samples import PatchDataset, load_volumes

from .conftest import small_recipe as small
from .conftest import smooth_noise, write

RECIPES = ("two-stage-residual", "georgescu2020")


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for name, seed in (("a", 1), ("b", 2), ("v", 3)):
        write(folder / f"{name}.nii.gz", np.rint(smooth_noise((24, 60, 60), seed) * 900).astype(np.int16))
    (folder / "catalogue.csv").write_text("id,licence,source_repo\na,CC0,somewhere\nb,CC BY,elsewhere\n")
    return folder


@pytest.mark.parametrize("stage, scale, form", [("plane", 2, "edsr"), ("depth", 2, "edsr"), ("plane", 4, "intermediate-loss"), ("depth", 4, "intermediate-loss")])
def test_a_few_steps_reduce_the_loss(scans, tmp_path, monkeypatch, stage, scale, form):
    monkeypatch.setattr(fitting, "EPOCH_STEPS", 20)
    recipe = small(stage=stage, scale=scale, form=form, learning_rate=3e-3)
    fitting.fit(recipe, scans, tmp_path / "run", accelerator="cpu")
    rows = [line.split(",") for line in (tmp_path / "run" / "metrics.csv").read_text().splitlines()]
    column = rows[0].index("val_psnr")
    quality = [float(row[column]) for row in rows[1:] if row[column]]
    assert len(quality) == 3 and quality[-1] > quality[0]
    assert (tmp_path / "run" / "curves.png").stat().st_size > 5000


def test_a_resumed_run_equals_an_uninterrupted_one(scans, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "EPOCH_STEPS", 5)
    recipe = small(steps=15, noise=0.02, spectral_share=0.5, spectral_extent=0.6)
    whole = fitting.fit(recipe, scans, tmp_path / "whole", accelerator="cpu")

    class Interrupted(Exception):
        pass

    real = fitting.SliceModule.training_step

    def breaks(self, patches, index):
        if self.global_step == 7:
            raise Interrupted
        return real(self, patches, index)

    monkeypatch.setattr(fitting.SliceModule, "training_step", breaks)
    with pytest.raises(Interrupted):
        fitting.fit(recipe, scans, tmp_path / "parts", accelerator="cpu")
    monkeypatch.setattr(fitting.SliceModule, "training_step", real)
    resumed = fitting.fit(recipe, scans, tmp_path / "parts", accelerator="cpu")
    for one, other in zip(whole.parameters(), resumed.parameters()):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_the_training_of_another_network_is_not_gone_on_with(scans, tmp_path):
    fitting.fit(small(steps=1), scans, tmp_path / "run", accelerator="cpu")
    with pytest.raises(InputError, match="run holds the training of another network"):
        fitting.fit(small(steps=2, blocks=2), scans, tmp_path / "run", accelerator="cpu")


def test_export_carries_attribution(scans, tmp_path):
    recipe = small()
    model = export_model(BlueprintNet(recipe.architecture), recipe, scans, tmp_path / "models")
    card = json.loads((model.folder / "card.json").read_text())
    assert model.name == "trial-mr-plane-x2"
    assert card["training_subjects"][0] == {"id": "a", "licence": "CC0", "source": "somewhere"}
    assert card["schedule"]["steps"] == 60 and card["validation_subjects"] == ["v"]
    assert not {"intermediate_weight", "second_block", "filters"} & set(card["schedule"])  # the first two are of the other form, the last is under network


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("modality, stage, scale", [("MR", "plane", 2), ("CT", "depth", 4), ("MR", "plane", 4)])
def test_shipped_recipes_are_valid_and_keep_test_subjects_out(name, modality, stage, scale, pytestconfig):
    path = pytestconfig.rootpath / "models" / "recipes" / f"{name}.toml"
    recipe = load_recipe(path, {"modality": modality, "stage": stage, "scale": str(scale)})
    assert recipe.model_name == f"{name}-{modality.lower()}-{stage}-x{scale}"
    assert recipe.volumes and recipe.validation and not set(recipe.volumes) & set(recipe.validation)
    held_out = ("cmbcrc01068", "qa_bone1mm", "sub12", "uta4_p3", "tof", "M2307", "sub09", "ds000011_sub10", "sub14", "sub38", "thick")
    assert not [v for v in recipe.volumes + recipe.validation if any(word in v for word in held_out)]


def test_a_table_of_an_included_recipe_is_added_to(tmp_path):
    (tmp_path / "subjects.toml").write_text("steps = 7\n[MR-plane]\nvolumes = ['a', 'b']\nbatch = 3\n")
    (tmp_path / "recipe.toml").write_text("include = 'subjects.toml'\n[MR-plane]\nbatch = 4\n")
    recipe = load_recipe(tmp_path / "recipe.toml")
    assert (recipe.steps, recipe.volumes, recipe.batch) == (7, ("a", "b"), 4)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("patch = 'large'", "patch is 'large'; give a int"),
        ("colour = 1", "unknown field colour"),
        ("scale = 3", "scale is 3; give one of 2, 4"),
        ("steps = 0", "steps is 0"),
        ("a = [", "cannot be read"),
        ("include = 'nothing.toml'", "cannot be read"),
        ("form = 'unet'", "form is 'unet'; give one of intermediate-loss, edsr"),
        ("loss = 'l2'", "loss is 'l2'; give one of l1, rms"),
        ("form = 'edsr'\nblocks = 0", "blocks is 0"),
        ("blocks = 3", "blocks has no effect on this network of the form intermediate-loss"),
        ("form = 'edsr'\nsecond_block = false", "second_block has no effect on this network of the form edsr"),
        ("form = 'edsr'\nintermediate_weight = 0.0", "intermediate_weight has no effect"),
        ("second_block = false\nintermediate_weight = 0.0", "intermediate_weight has no effect"),
        ("spectral_share = 1.5", "spectral_share is 1.5; give a number from 0 to 1"),
        ("spectral_extent = 0.0", "spectral_extent is 0.0; give a number from 0.1 to 1"),
        ("profile_share = 0.5", "profile_share is of slices, and the plane network refines none"),
        ("stage = 'depth'\nprofile_share = 1.5", "profile_share is 1.5; give a number from 0 to 1"),
        ("spectral_extent = 0.6", "spectral_extent has no effect without spectral_share"),
        ("volumes = ['a']\nshares = { b = 2.0 }", "shares give b 2.0; name one of its volumes"),
        ("volumes = ['a']\nshares = { a = 0 }", "shares give a 0; .* give a number above 0"),
    ],
)
def test_bad_recipes(tmp_path, text, sentence):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        load_recipe(path)


def test_missing_training_scan_is_named(scans, tmp_path):
    with pytest.raises(InputError, match="No scan named z"):
        fitting.fit(small(volumes=("z",)), scans, tmp_path / "run", accelerator="cpu")


def test_root_mean_square_is_that_of_each_patch():
    random = np.random.default_rng(0)
    given, truth = random.random((2, 5, 1, 6, 7), dtype=np.float32)
    expected = np.mean([mean_squared_error(one, other) ** 0.5 for one, other in zip(given, truth)])
    assert fitting.root_mean_square(torch.from_numpy(given), torch.from_numpy(truth)) == pytest.approx(expected, rel=1e-5)


def test_a_patch_that_is_met_exactly_has_a_gradient():
    given = torch.zeros(2, 1, 4, 4, requires_grad=True)
    fitting.root_mean_square(given, torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])).backward()
    assert torch.isfinite(given.grad).all() and (given.grad[0] == 0).all() and (given.grad[1] < 0).all()


@pytest.mark.parametrize("loss, told", [("l1", False), ("rms", True)])
def test_the_loss_of_the_recipe_is_the_one_that_is_trained(scans, tmp_path, loss, told):
    recipe = small(loss=loss)
    samples = PatchDataset(recipe, load_volumes(recipe.volumes, scans, recipe.modality), 4)
    patches = torch.stack([samples[index] for index in range(4)])
    module = fitting.SliceModule(recipe)
    module.log = lambda *_, **__: None
    module._trainer = SimpleNamespace(global_step=0, global_rank=0)
    seen = module.training_step(patches, 0)
    low, high = Degrader(recipe)(patches, np.random.default_rng([recipe.seed, 1, 0]))
    difference = (module.net(low).float() - high).detach().numpy()
    expected = {"l1": np.abs(difference).mean(), "rms": np.mean(np.sqrt((difference**2).mean(axis=(1, 2, 3))))}[loss]
    assert float(seen.detach()) == pytest.approx(expected, rel=1e-3)
    model = export_model(module.net, recipe, scans, tmp_path / "models")
    card = json.loads((model.folder / "card.json").read_text())
    assert card["schedule"]["loss"] == loss and ("root mean square" in card_page(card)) == told


def test_samples_of_an_epoch_go_on_where_the_last_ended(scans, monkeypatch):
    monkeypatch.setattr(fitting, "EPOCH_STEPS", 2)
    recipe = small()
    data = fitting.PatchModule(recipe, scans)
    data.trainer = SimpleNamespace(current_epoch=3)
    samples = data.train_dataloader().dataset
    whole = PatchDataset(recipe, load_volumes(recipe.volumes, scans, recipe.modality), 100)
    assert len(samples) == 2 * recipe.batch
    assert torch.equal(samples[1], whole[3 * 2 * recipe.batch + 1])


@pytest.mark.parametrize("shares", [{}, {"a": 2.0}])
def test_the_card_tells_of_shares_where_there_are_any(scans, tmp_path, shares):
    recipe = small(shares=shares)
    model = export_model(BlueprintNet(recipe.architecture), recipe, scans, tmp_path / "models")
    assert model.card["schedule"].get("shares", {}) == shares and ("shares" in model.card["schedule"]) == bool(shares)


def test_the_card_tells_of_the_spectrum(scans, tmp_path):
    recipe = small(spectral_share=0.3, spectral_extent=0.6)
    card = json.loads((export_model(BlueprintNet(recipe.architecture), recipe, scans, tmp_path / "models").folder / "card.json").read_text())
    assert "30% of the patches k-space truncated" in card["degradation"] and "at least 60% in each direction" in card["degradation"]
    assert card["schedule"]["spectral_share"] == 0.3
    plain = small()
    card = json.loads((export_model(BlueprintNet(plain.architecture), plain, scans, tmp_path / "plain").folder / "card.json").read_text())
    assert "k-space" not in card["degradation"] and not [name for name in card["schedule"] if name.startswith("spectral")]


def test_a_training_goes_on_from_a_model(scans, tmp_path):
    """With no step of any length the weights stay those that it began from."""
    first = fitting.fit(small(steps=2, learning_rate=1e-2), scans, tmp_path / "first", accelerator="cpu")
    folder = export_model(first, small(), scans, tmp_path / "models").folder
    second = fitting.fit(small(steps=1, learning_rate=0.0, start=str(folder)), scans, tmp_path / "second", accelerator="cpu")
    for name, tensor in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], tensor)
    with pytest.raises(InputError, match="do not fit the recipe's network"):
        fitting.fit(small(steps=1, filters=8, start=str(folder)), scans, tmp_path / "third", accelerator="cpu")
    with pytest.raises(InputError, match="holds no weights"):
        fitting.fit(small(steps=1, start=str(tmp_path)), scans, tmp_path / "fourth", accelerator="cpu")
