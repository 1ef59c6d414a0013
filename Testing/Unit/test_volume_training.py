"""Training of the volumetric networks: their samples, a few real steps of every family, cards and damaged models."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from superres3d import Volume
from superres3d.engine.openvino_cpu import OpenVINORuntime
from superres3d.engine.pytorch import PyTorchRuntime
from superres3d.errors import InputError, ModelError
from superres3d.methods import INVENTS, METHODS
from superres3d.networks.module import BlueprintNet
from superres3d.networks.weights import find_model, load_network
from superres3d.training import fit as fitting
from superres3d.training.export import export_model
from superres3d.training.recipe import VolumeRecipe, load_recipe
from superres3d.training.volume_module import CropModule, VolumeModule
from superres3d.training.volume_samples import Crops, Scan, load_scans, make_dataset
from superres3d.upscaling import upscale

from .conftest import SMALL_OPTIONS, random_blueprint, slice_network, smooth_noise

#: enough of each family to learn something in a few steps
LEARNING = {
    **SMALL_OPTIONS, "mdcsrn": {"blocks": 2, "units": 2, "growth": 6}, "srcnn": {"filters": 16}, "fsrcnn": {"features": 8, "shrunk": 4, "mappings": 2},
    "virtual-thin-slice": {"filters": 6}, "pix2pix": {"filters": 6, "levels": 3},
}  # fmt: skip
THICK = {"degradation": "thick-slice", "slice_factors": (2, 4)}


def small(family: str = "mdcsrn", **changes) -> VolumeRecipe:
    values = {
        "method": "trial", "volumes": ("a",), "family": family, "options": SMALL_OPTIONS[family], "residual": True,
        "patch": 16, "patch_depth": 16, "batch": 2, "steps": 4,
    }  # fmt: skip
    return VolumeRecipe(**{**values, **changes})


def sample(recipe: VolumeRecipe, folder: Path, number: int = 6) -> Crops:
    dataset = make_dataset(recipe, load_scans(recipe.volumes, folder, "MR"), number, first=1000)
    return Crops(*(torch.stack(parts) for parts in zip(*(dataset[n] for n in range(number)))))


def mean_error(net: BlueprintNet, crops: Crops) -> float:
    with torch.inference_mode():
        return float((net(crops.given) - crops.truth).abs().mean())


# Learning


@pytest.mark.parametrize("family", SMALL_OPTIONS)
def test_some_steps_reduce_the_loss(family, scans):
    """On two crops of a brain, below the error of the interpolation that the network was given."""
    thick = THICK if family in ("virtual-thin-slice", "srcnn", "pix2pix") else {}
    recipe = small(family, options=LEARNING[family], steps=150 if family == "srcnn" else 50, learning_rate=3e-4, schedule="cosine", **thick)
    crops = sample(recipe, scans, 2)
    torch.manual_seed(0)
    module = VolumeModule(recipe)
    module.log = lambda *_, **__: None
    chosen = module.configure_optimizers()
    optimizer, scheduler = chosen["optimizer"], chosen["lr_scheduler"]["scheduler"]
    losses = []
    for step in range(recipe.steps):
        loss = module.training_step(crops, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(float((crops.given - crops.truth).abs().mean()))
    assert losses[-1] < 0.96 * losses[0]  # 0.6 to 0.93
    assert optimizer.param_groups[0]["lr"] < 1e-9


def test_the_papers_form_learns_from_nothing(scans, tmp_path, monkeypatch):
    """Without a global residual, by the whole training; about a seventh of the first error is left."""
    monkeypatch.setattr(fitting, "EPOCH_STEPS", 40)
    recipe = small("mdcsrn", residual=False, steps=40, learning_rate=1e-2, freeze_norm=0.5)
    torch.manual_seed(0)
    crops = sample(recipe, scans)
    before = mean_error(BlueprintNet(recipe.architecture).eval(), crops)
    after = mean_error(fitting.fit(recipe, scans, tmp_path / "run", accelerator="cpu"), crops)
    assert after < 0.4 * before


def test_normalisations_are_frozen_after_their_share(scans, tmp_path, monkeypatch):
    seen = []
    real = VolumeModule.training_step

    def watched(self, batch, index):
        loss = real(self, batch, index)
        seen.append(torch.cat([value.clone().flatten() for name, value in self.net.named_buffers() if "running" in name]))
        return loss

    monkeypatch.setattr(VolumeModule, "training_step", watched)
    fitting.fit(small(steps=6, freeze_norm=0.5), scans, tmp_path / "run", accelerator="cpu")
    changed = [not torch.equal(a, b) for a, b in zip(seen, seen[1:])]
    assert changed == [True, True, False, False, False]


def test_a_resumed_run_equals_an_uninterrupted_one(scans, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "EPOCH_STEPS", 3)
    recipe = small(steps=9, schedule="cosine", freeze_norm=0.7)
    whole = fitting.fit(recipe, scans, tmp_path / "whole", accelerator="cpu")

    class Interrupted(Exception):
        pass

    real = VolumeModule.training_step

    def breaks(self, batch, index):
        if self.global_step == 5:
            raise Interrupted
        return real(self, batch, index)

    monkeypatch.setattr(VolumeModule, "training_step", breaks)
    with pytest.raises(Interrupted):
        fitting.fit(recipe, scans, tmp_path / "parts", accelerator="cpu")
    monkeypatch.setattr(VolumeModule, "training_step", real)
    resumed = fitting.fit(recipe, scans, tmp_path / "parts", accelerator="cpu")
    for (name, one), other in zip(whole.stored_tensors().items(), resumed.stored_tensors().values()):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5, msg=name)


# Samples


def plain(**changes) -> VolumeRecipe:
    return small(augment_exact=False, **changes)


def scan_of(voxels: np.ndarray, slices_mm: float = 1.0) -> dict[str, Scan]:
    return {"a": Scan(voxels.astype(np.float32), slices_mm)}


@pytest.mark.parametrize("kind", [{}, THICK])
def test_samples_depend_on_their_number_alone(kind):
    volumes = scan_of(smooth_noise((40, 40, 40)))
    recipe = small(gain=1.5, **kind)
    first, later = make_dataset(recipe, volumes, 10), make_dataset(recipe, volumes, 10, first=4)
    for one, same, other in zip(first[7], later[3], first[3]):
        assert torch.equal(one, same)
        assert one.dtype == torch.float32 and (one.ndim == 1 or not torch.equal(one, other))


def test_kspace_crops_are_crops_of_the_degraded_scan():
    """Written out for the whole scan with numpy's FFT and scipy's linear interpolation; the crop is found by its truth."""
    voxels = smooth_noise((20, 41, 38), seed=5)
    truth = voxels[:, :40]
    spectrum = np.fft.fftshift(np.fft.fft2(truth), axes=(1, 2))[:, 10:30, 10:29]
    rows, columns = np.ogrid[-10:10, -9:10]
    spectrum = spectrum * np.exp(1j * np.pi * (rows / 40 + columns / 38)) / 4
    short = np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(1, 2))).real
    places = np.meshgrid(np.arange(20), *((np.arange(n) + 0.5) / 2 - 0.5 for n in (40, 38)), indexing="ij")
    given = map_coordinates(short, places, order=1, mode="nearest")
    dataset = make_dataset(plain(), scan_of(voxels), 5)
    for number in range(5):
        crop = dataset[number]
        (place,) = np.argwhere(np.isclose(truth[:5, :25, :23], crop.truth[0, 0, 0, 0].item(), atol=0, rtol=0))
        window = tuple(slice(start, start + 16) for start in place)
        np.testing.assert_array_equal(crop.truth[0], truth[window])
        np.testing.assert_allclose(crop.given[0], given[window], atol=1e-5)
        assert not crop.condition.any()


def test_any_axis_of_an_isotropic_scan_may_be_the_slices():
    """The blur of a k-space crop lies in its slices: along the first axis a wave stays as it was."""
    wave = np.cos(np.arange(32) * 3.0)
    for axis in range(3):
        voxels = np.broadcast_to(np.moveaxis(wave[:, None, None] * np.ones((1, 1, 1)), 0, axis), (32, 32, 32)) * 0.5 + 0.5
        kept = {bool(np.allclose(crop.given, crop.truth, atol=1e-4)) for crop in (make_dataset(plain(all_axes=("a",)), scan_of(voxels), 30)[n] for n in range(30))}
        assert kept == {True, False}
        fixed = {bool(np.allclose(crop.given, crop.truth, atol=1e-4)) for crop in (make_dataset(plain(), scan_of(voxels), 5)[n] for n in range(5))}
        assert fixed == {axis == 0}


def test_thick_slices_of_a_ramp_are_the_ramp():
    """Slices, profiles and splines keep a straight line away from the ends: nothing is shifted along the depth."""
    ramp = np.arange(96.0)[:, None, None] / 96 + 0.1 * smooth_noise((1, 30, 30))
    recipe = plain(degradation="thick-slice", slice_factors=(2, 3, 4), patch_depth=96)
    for number in range(8):
        given, truth, _ = make_dataset(recipe, scan_of(ramp), 8)[number]
        assert torch.allclose(truth.diff(dim=1), torch.tensor(1 / 96), atol=1e-5)
        torch.testing.assert_close(given[:, 24:-24], truth[:, 24:-24], atol=1e-4, rtol=0)
        assert (given - truth).abs().max() > 1e-3  # at the ends the mirror flattens it


def test_the_least_sigma_is_kept():
    """A profile of at least as many slices leaves nothing of alternating ones; a thin one may take a single slice."""
    stripes = np.broadcast_to((np.arange(66) % 2)[:, None, None], (66, 32, 32)) * 0.8 + 0.1
    for least, thin in ((0.0, True), (0.5, False)):
        recipe = plain(degradation="thick-slice", slice_factors=(3,), slice_sigma=3.2, least_sigma=least)
        dataset = make_dataset(recipe, scan_of(stripes), 30)
        left = max(float(dataset[n].given.std()) for n in range(30))
        assert (left > 0.2) == thin and (left < 0.02) != thin


def test_thick_slices_lose_detail_along_the_depth_alone():
    texture = np.random.default_rng(0).random((64, 32, 32))
    given, truth, _ = make_dataset(plain(slice_noise=0.0, **THICK), scan_of(texture), 1)[0]
    changes = [float(given.diff(dim=axis).std() / truth.diff(dim=axis).std()) for axis in (1, 2, 3)]
    assert changes[0] < 0.6 * min(changes[1:])


def test_noise_lies_on_the_thick_slices():
    """Interpolated with them: along the depth it is smooth, in a slice it is not."""
    flat = np.full((64, 64, 64), 0.5) + (np.arange(64) % 2)[None, None, :] * 0.1
    recipe = plain(slice_noise=0.05, degradation="thick-slice", slice_factors=(8,))
    given, truth, _ = make_dataset(recipe, scan_of(flat), 1)[0]
    noise = (given - truth)[0].numpy()
    assert 0 < noise.std() < 0.05
    assert np.diff(noise, axis=0).std() < 0.4 * np.diff(noise, axis=1).std()


def test_the_condition_tells_part_interval_and_thickness():
    recipe = plain(degradation="thick-slice", slice_factors=(2, 8), body_parts={"a": "chest"})
    dataset = make_dataset(recipe, scan_of(smooth_noise((64, 32, 32))), 40)
    found = {tuple(dataset[n].condition.tolist()) for n in range(40)}
    assert found == {(0, 1, 0, 0, *interval, *profile) for interval in ((1, 0), (0, 1)) for profile in ((1, 0), (0, 1))}


def test_the_condition_is_told_of_what_was_done():
    """Wide intervals and thick profiles lose more detail along the depth."""
    texture = np.random.default_rng(0).random((64, 32, 32))
    dataset = make_dataset(plain(degradation="thick-slice", slice_factors=(2, 8)), scan_of(texture), 40)
    left: dict[tuple, list[float]] = {}
    for n in range(40):
        crop = dataset[n]
        left.setdefault(tuple(crop.condition[4:].tolist()), []).append(float(crop.given.diff(dim=1).std()))
    narrow, wide = ([np.mean(left[(*interval, *profile)]) for profile in ((1, 0), (0, 1))] for interval in ((1, 0), (0, 1)))
    assert narrow[0] > wide[0] and narrow[0] > narrow[1] and wide[0] > wide[1]


def test_wide_slices_are_a_smaller_body():
    """Scans whose slices are wide are reduced in-plane as well, others are not."""
    recipe = plain(patch=32, patch_depth=32, coarsest_slices_mm=1.2, **THICK)
    for slices_mm, period in ((1.0, 16), (2.0, 8)):
        bars = np.broadcast_to(((np.arange(128) // 8) % 2)[None, None, :], (64, 128, 128))
        truth = make_dataset(recipe, scan_of(bars, slices_mm), 1)[0].truth[0, 0, 0].numpy()
        edges = np.flatnonzero(np.diff((truth > 0.5).astype(int)))
        assert edges[2] - edges[0] == period


def test_small_scans_are_filled_up():
    dataset = make_dataset(plain(), scan_of(smooth_noise((6, 12, 40))), 3)
    assert dataset[0].truth.shape == dataset[0].given.shape == (1, 16, 16, 16)
    assert torch.equal(dataset[0].truth[0, 6:12], dataset[0].truth[0, :6].flip(0))


def test_validation_crops_are_fixed_and_plain(scans):
    recipe = small(gain=2.0, slice_noise=0.1, validation=("a",), **THICK)
    crops = CropModule(recipe, scans, 5)
    one, other = ([batch for batch in crops.val_dataloader()] for _ in range(2))
    assert len(one) == 16 and all(torch.equal(a.given, b.given) for a, b in zip(one, other))
    bare = make_dataset(replace(recipe, gain=1.0, slice_noise=0.0, augment_exact=False), load_scans(("a",), scans, "MR"), 16)
    assert all(torch.equal(batch.truth[0], bare[n].truth) for n, batch in enumerate(one))


# Recipes


@pytest.mark.parametrize("name", [method.name for method in METHODS.values() if method.kind == "volume"])
def test_every_method_has_a_recipe(name, pytestconfig):
    """Of its own name, or among the baselines; for its modality, and with the degradation that the method says."""
    folder = pytestconfig.rootpath / "models" / "recipes"
    families = {"fsrcnn-3d": "fsrcnn", "srdensenet-3d": "srdensenet", "srresnet-3d": "srresnet"}
    if name in families:
        recipe = load_recipe(folder / "baselines-mr.toml", {"method": name, "family": families[name]})
    else:
        recipe = load_recipe(folder / f"{name}.toml")
    (modality,) = METHODS[name].modalities
    assert (recipe.method, recipe.modality, recipe.model_name) == (name, modality, METHODS[name].model_name(modality, "volume", 0))
    assert recipe.degradation == ("thick-slice" if METHODS[name].slice_spacing else "k-space")
    assert bool(recipe.adversarial) == METHODS[name].adversarial
    assert recipe.volumes and recipe.validation and not set(recipe.volumes) & set(recipe.validation)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("family = 'unet'", "family is 'unet'; give one of mdcsrn"),
        ("family = 'mdcsrn'\ndegradation = 'blur'", "degradation is 'blur'; give one of k-space, thick-slice"),
        ("family = 'mdcsrn'\noptions = { colour = 1 }", "options do not fit mdcsrn: .*colour"),
        ("family = 'virtual-thin-slice'\npatch = 40", "patch is 40; give a multiple of 16"),
        ("family = 'pix2pix'\npatch_depth = 32", "patch_depth is 32; give a multiple of 64|patch is 40"),
        ("family = 'mdcsrn'\nbatch = 0", "batch is 0; give a whole number above 0"),
        ("family = 'mdcsrn'\nadversarial = 'lsgan'", "adversarial is 'lsgan'"),
        ("family = 'mdcsrn'\nbody_parts = { a = 'toe' }", "body_parts is 'toe'; give one of head"),
        ("family = 'mdcsrn'\nstage = 'plane'", "unknown field stage"),
    ],
)
def test_bad_recipes(tmp_path, text, sentence):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=sentence) as refusal:
        load_recipe(path)
    assert "\n" not in str(refusal.value)


# Export


@pytest.fixture
def exported(scans, tmp_path, monkeypatch) -> Path:
    """The folder of a random network, exported as the MR method mdcsrn."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "catalogue.csv").write_text("id,licence,source_repo\na,CC0,somewhere\n")
    recipe = small(method="mdcsrn", volumes=("a", "b"), validation=("v",), steps=123)
    folder = tmp_path / "models"
    export_model(random_blueprint("mdcsrn", residual=True), recipe, data, folder)
    monkeypatch.setenv("SUPERRES3D_MODELS", str(folder))
    return folder / "mdcsrn-mr"


def test_the_card_of_a_volumetric_network(exported):
    card = json.loads((exported / "card.json").read_text())
    net = random_blueprint("mdcsrn", residual=True)
    assert card["network"] == {"family": "mdcsrn", "options": SMALL_OPTIONS["mdcsrn"], "residual": True}
    assert (card["name"], card["method"], card["modality"], card["stage"]) == ("mdcsrn-mr", "mdcsrn", "MR", "volume")
    assert card["parameters"] == sum(parameter.numel() for parameter in net.parameters())
    assert card["multiply_accumulates_per_pixel"] == net.architecture.multiply_accumulates
    assert card["training_subjects"] == [{"id": "a", "licence": "CC0", "source": "somewhere"}, {"id": "b", "licence": "unknown", "source": "unknown"}]
    assert card["validation_subjects"] == ["v"] and card["schedule"]["steps"] == 123
    assert "2 x 2 x 1" in card["degradation"] and "not for diagnosis" in card["intended_use"] and "caution" not in card


def test_cards_of_thick_slices_and_of_inventing_networks(tmp_path):
    recipe = small("virtual-thin-slice", modality="CT", adversarial="conditional", slice_noise=0.01, slice_sigma=2.5, sigma_grows=True, **THICK)
    card = export_model(BlueprintNet(recipe.architecture), recipe, tmp_path, tmp_path).card
    assert card["caution"] == INVENTS and card["name"] == "trial-ct" and "Hounsfield" in card["intensity"].replace("HU", "Hounsfield")
    for words in ("sigma up to 2.5", "every 2, 4th slice", "noise up to 0.01", "in proportion less for smaller factors than 4"):
        assert words in card["degradation"]
    thick = export_model(BlueprintNet(recipe.architecture), replace(recipe, least_sigma=0.5), tmp_path, tmp_path).card
    assert "sigma up to 2.5 thin slices and at least 50% of that, in proportion less" in thick["degradation"]


def test_an_exported_network_comes_back(exported):
    net, back = random_blueprint("mdcsrn", residual=True), load_network(find_model("mdcsrn-mr"))
    image = torch.rand(1, 1, 7, 8, 9)
    with torch.inference_mode():
        assert torch.equal(net(image), back(image)) and not back.training


def damage(folder: Path):
    content = bytearray((folder / "weights.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "weights.safetensors").write_bytes(content)


def truncate(folder: Path):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def other_network(folder: Path):
    edit(folder, options={"blocks": 2, "units": 2, "growth": 4})


def other_family(folder: Path):
    edit(folder, family="srcnn", options={})


def unknown_family(folder: Path):
    edit(folder, family="unet")


def unknown_option(folder: Path):
    edit(folder, options={"colour": 1})


def other_kind(folder: Path):
    """A plane network's card."""
    card = json.loads((folder / "card.json").read_text())
    card["network"] = slice_network("edsr", (2, 2))
    (folder / "card.json").write_text(json.dumps(card))


def edit(folder: Path, **changes):
    card = json.loads((folder / "card.json").read_text())
    card["network"].update(changes)
    (folder / "card.json").write_text(json.dumps(card))


HARMS = [
    (damage, "SHA-256 differs"),
    (truncate, "SHA-256 differs"),
    (other_network, "do not fit its network"),
    (other_family, "do not fit its network"),
    (unknown_family, "network of the kind 'unet', which this version does not know"),
    (unknown_option, "card of the model mdcsrn-mr cannot be used"),
    (other_kind, "card of the model mdcsrn-mr cannot be used|weights of the model mdcsrn-mr do not fit its network"),
]


@pytest.mark.parametrize("harm, sentence", HARMS)
@pytest.mark.parametrize("make", [OpenVINORuntime, lambda: PyTorchRuntime("cpu")], ids=["openvino", "pytorch"])
def test_damaged_models_are_refused(exported, make, harm, sentence):
    harm(exported)
    with pytest.raises(ModelError, match=sentence) as refusal:
        make().load(find_model("mdcsrn-mr"))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("harm, sentence", HARMS)
def test_damaged_models_stop_a_run(exported, harm, sentence):
    harm(exported)
    with pytest.raises(ModelError, match=sentence):
        upscale(Volume(smooth_noise((5, 8, 8)) * 900, modality="MR"), method="mdcsrn", device="cpu")


def test_a_trained_network_serves_its_method(scans, tmp_path, monkeypatch):
    """From recipe to result."""
    recipe = small(method="mdcsrn", steps=2)
    net = fitting.fit(recipe, scans, tmp_path / "run", accelerator="cpu")
    export_model(net, recipe, scans, tmp_path / "models")
    monkeypatch.setenv("SUPERRES3D_MODELS", str(tmp_path / "models"))
    result = upscale(Volume(smooth_noise((5, 8, 8)) * 900, modality="MR"), method="mdcsrn", device="cpu")
    assert result.volume.voxels.shape == (5, 16, 16)
    assert result.report["models"]["volume"]["sha256"] == json.loads((tmp_path / "models" / "mdcsrn-mr" / "card.json").read_text())["sha256"]


def test_the_last_convolution_may_learn_slower():
    recipe = VolumeRecipe(family="mdcsrn", options=SMALL_OPTIONS["mdcsrn"], residual=True, learning_rate=0.01, last_rate=0.1)
    module = VolumeModule(recipe)
    optimizer = module.configure_optimizers()["optimizer"]
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)  # Adam's first step is then its learning rate
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    optimizer.step()
    moved = {name: float((before[name] - parameter).detach().abs().max()) for name, parameter in module.named_parameters()}
    slow = {name for name, distance in moved.items() if distance < 0.005}
    assert slow == {"net.layers.layer combination.weight", "net.layers.layer combination.bias"}
    assert all(distance == pytest.approx(0.001 if name in slow else 0.01, rel=1e-3) for name, distance in moved.items())
