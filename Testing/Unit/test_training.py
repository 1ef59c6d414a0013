"""Training: recipes, a few real steps, and a resumed run that equals an uninterrupted one."""

import json

import numpy as np
import pytest
import torch
from scipy import fft
from superres3d.errors import InputError
from superres3d.networks.slices import build_network
from superres3d.training import fit as fitting
from superres3d.training.export import export_model
from superres3d.training.recipe import Recipe, load_recipe
from superres3d.training.samples import MARGIN, Degrader, PatchDataset

from .conftest import SMALL_FORMS, smooth_noise, write

RECIPES = ("two-stage-residual", "georgescu2020")


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for name, seed in (("a", 1), ("b", 2), ("v", 3)):
        write(folder / f"{name}.nii.gz", np.rint(smooth_noise((24, 60, 60), seed) * 900).astype(np.int16))
    (folder / "catalogue.csv").write_text("id,licence,source_repo\na,CC0,somewhere\nb,CC BY,elsewhere\n")
    return folder


def small(**changes) -> Recipe:
    form = changes.get("form", "edsr")
    values = {"volumes": ("a", "b"), "validation": ("v",), "patch": 8, "patch_across": 8, "batch": 8, "steps": 60, "method": "trial", "form": form, **SMALL_FORMS[form]}
    return Recipe(**{**values, **changes})


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
    recipe = small(steps=15)
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
    model = export_model(build_network(recipe.network), recipe, scans, tmp_path / "models")
    card = json.loads((model.folder / "card.json").read_text())
    assert model.name == "trial-mr-plane-x2"
    assert card["training_subjects"][0] == {"id": "a", "licence": "CC0", "source": "somewhere"}
    assert card["schedule"]["steps"] == 60 and card["validation_subjects"] == ["v"]
    assert not {"intermediate_weight", "second_block", "filters"} & set(card["schedule"])  # the first two are of the other form, the last is under network


def test_samples_depend_on_their_number_alone():
    volumes = {"a": smooth_noise((20, 60, 60))}
    recipe = small(volumes=("a",), gain=1.5)
    first, later = PatchDataset(recipe, volumes, 10), PatchDataset(recipe, volumes, 10, first=4)
    assert torch.equal(first[7], later[3])
    assert not torch.equal(first[7], first[3])


def test_a_volume_is_drawn_as_often_as_its_share_says():
    """One of three volumes, each of a value of its own, three times as often as either other: three of five patches."""
    volumes = {name: np.full((20, 60, 60), value, np.float32) for name, value in (("a", 1.0), ("b", 2.0), ("c", 3.0))}
    drawn = PatchDataset(small(volumes=tuple(volumes), shares={"b": 3.0}), volumes, 600)
    values = np.array([float(drawn[number].mean()) for number in range(600)])
    assert [np.mean(values == value) for value in (1.0, 2.0, 3.0)] == pytest.approx([0.2, 0.6, 0.2], abs=0.06)


def test_depth_samples_run_along_the_depth():
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32)[:, None, None], (64, 64, 64)).copy()
    recipe = small(stage="depth", volumes=("a",), augment_exact=False)
    for number in range(6):
        patch = PatchDataset(recipe, {"a": ramp}, 10)[number][0]
        assert torch.all(patch.diff(dim=0) == 1) and torch.all(patch.diff(dim=1) == 0)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("modality, stage, scale", [("MR", "plane", 2), ("CT", "depth", 4), ("MR", "plane", 4)])
def test_shipped_recipes_are_valid_and_keep_test_subjects_out(name, modality, stage, scale, pytestconfig):
    path = pytestconfig.rootpath / "models" / "recipes" / f"{name}.toml"
    recipe = load_recipe(path, {"modality": modality, "stage": stage, "scale": str(scale)})
    assert recipe.model_name == f"{name}-{modality.lower()}-{stage}-x{scale}"
    assert recipe.volumes and recipe.validation and not set(recipe.volumes) & set(recipe.validation)
    held_out = ("cmbcrc01068", "qa_bone1mm", "sub12", "uta4_p3", "tof", "M2307", "sub09", "ds000011_sub10", "sub14", "sub38", "thick")
    assert not [v for v in recipe.volumes + recipe.validation if any(word in v for word in held_out)]


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
        ("form = 'edsr'\nblocks = 0", "blocks is 0"),
        ("blocks = 3", "blocks has no effect on this network of the form intermediate-loss"),
        ("form = 'edsr'\nsecond_block = false", "second_block has no effect on this network of the form edsr"),
        ("form = 'edsr'\nintermediate_weight = 0.0", "intermediate_weight has no effect"),
        ("second_block = false\nintermediate_weight = 0.0", "intermediate_weight has no effect"),
        ("kspace_share = 1.5", "kspace_share is 1.5; give a share from 0 to 1"),
        ("kspace_extent = 0.0", "kspace_extent is 0.0; give a share from 0.1 to 1"),
        ("kspace_pedestal = 0.2", "kspace_pedestal is 0.2; give a share from 0.5 to 1"),
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


def test_noise_is_of_the_stated_strength_on_the_stated_share():
    """Patches of one value: what varies in the low-resolution ones is the noise."""
    recipe = small(noise=0.02, noise_share=0.5, blur_probability=0.0)
    patches = torch.full((400, 1, *((8 + 2 * MARGIN) * 2,) * 2), 0.3)
    low, high = Degrader(recipe)(patches, np.random.default_rng(0))
    spread = low.std(dim=(1, 2, 3))
    assert torch.all(high == 0.3)
    assert float((spread > 1e-6).float().mean()) == pytest.approx(0.5, abs=0.08)
    assert float(spread.max()) < 0.026
    assert float(spread[spread > 1e-6].mean()) == pytest.approx(0.01, abs=0.002)  # of a uniform distribution up to 0.02
    assert float(low.mean()) == pytest.approx(0.3, abs=1e-3)
    quiet, _ = Degrader(small(blur_probability=0.0))(patches, np.random.default_rng(0))
    assert torch.allclose(quiet, torch.full_like(quiet, 0.3))


@pytest.mark.parametrize("stage", ["plane", "depth"])
def test_kspace_patches_are_truncated_ones(stage):
    """A share of 1, everything measured, no filter: scipy's transforms of the patch with its margin."""
    recipe = small(stage=stage, kspace_share=1.0, blur_probability=0.0)
    patches = torch.randn(3, 1, (8 + 2 * MARGIN) * 2, (8 + 2 * MARGIN) * recipe.factors[1])
    low, high = Degrader(recipe)(patches, np.random.default_rng(0))
    axes = (-2, -1) if stage == "plane" else (-2,)
    spectrum = fft.dctn(patches.numpy(), axes=axes, norm="ortho")[:, :, :14, :14]
    expected = fft.idctn(spectrum, axes=axes, norm="ortho") / 2 ** (len(axes) / 2)
    np.testing.assert_allclose(low, expected[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN], atol=1e-5)
    assert high.shape[-2:] == (16, 8 * recipe.factors[1])


def test_scans_coarse_in_plane_are_truncated_as_often():
    """A wave across the slices just below the coarse Nyquist frequency: truncation keeps it whole, averaging does not."""
    wave = np.cos(np.pi * 0.45 * np.arange(80))
    volume = np.broadcast_to(wave, (40, 80, 80)).astype(np.float32)

    def largest(share: float) -> np.ndarray:
        recipe = small(stage="depth", volumes=("a",), coarse_across=1.0, kspace_share=share, augment_exact=False)
        samples = PatchDataset(recipe, {"a": volume}, 200)
        spans = [float(patch.max() - patch.min()) for patch in (samples[number] for number in range(200))]
        return np.array([span for span in spans if span > 0.1])  # the others lie along the wave's crests

    averaged, truncated = largest(0.0).max(), largest(1.0).min()
    assert averaged < 1.6 < truncated
    assert np.mean(largest(0.5) > 1.6) == pytest.approx(0.5, abs=0.12)


def test_a_share_of_the_patches_is_truncated_some_of_them_filtered():
    """A wave above the least extent and below the Nyquist frequency: whole where it was measured, zero where not, between under a filter."""
    length = (8 + 2 * MARGIN) * 2
    wave = np.cos(np.pi * 12 * (np.arange(length) + 0.5) / length)  # 12 of 14 frequencies
    patches = torch.from_numpy(np.tile(wave[:, None], (600, 1, 1, length))).float()

    def kept(**changes) -> np.ndarray:
        low, _ = Degrader(small(blur_probability=0.0, **changes))(patches, np.random.default_rng(0))
        return low.abs().amax(dim=(1, 2, 3)).numpy()

    cubic = kept(kspace_share=0.0)[0]
    whole = kept(kspace_share=1.0)[0]
    half = kept(kspace_share=0.5)
    assert np.mean(np.isclose(half, whole, atol=1e-4)) == pytest.approx(0.5, abs=0.07) and np.all(np.isclose(half, whole, atol=1e-4) | np.isclose(half, cubic, atol=1e-4))
    filled = kept(kspace_share=1.0, kspace_extent=0.6)
    # Not measured: on half of the patches an extent from 0.6 to 1, of which (12/14 - 0.6) / 0.4 do not reach the wave.
    assert np.mean(filled < 1e-4) == pytest.approx(0.5 * (12 / 14 - 0.6) / 0.4, abs=0.06)
    filtered = kept(kspace_share=1.0, kspace_pedestal=0.5)
    assert np.mean(filtered < 0.99 * whole) == pytest.approx(0.5, abs=0.07) and filtered.min() > 0


def test_the_card_tells_of_kspace(scans, tmp_path):
    recipe = small(kspace_share=0.3, kspace_extent=0.6)
    card = json.loads((export_model(build_network(recipe.network), recipe, scans, tmp_path / "models").folder / "card.json").read_text())
    assert "30% of the patches by truncation of k-space" in card["degradation"] and "measured to 60% at least" in card["degradation"] and "raised cosine" not in card["degradation"]
    assert card["schedule"]["kspace_share"] == 0.3
    plain = small()
    card = json.loads((export_model(build_network(plain.network), plain, scans, tmp_path / "plain").folder / "card.json").read_text())
    assert "k-space" not in card["degradation"] and not [name for name in card["schedule"] if name.startswith("kspace")]


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
