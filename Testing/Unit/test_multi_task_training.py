"""The training of the network of several tasks (mdsr-3d): recipes, learning rates, samples, steps and export."""

import csv
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from superres3d import Volume
from superres3d.errors import InputError
from superres3d.evaluation.cards import update_cards
from superres3d.methods import METHODS
from superres3d.networks.families import Architecture
from superres3d.networks.module import BlueprintNet, interpolated
from superres3d.networks.weights import find_model, load_network
from superres3d.resampling.degradation import antialiased_bicubic
from superres3d.resampling.interpolation import resize
from superres3d.scan.intensity import intensity_scale
from superres3d.training import fit as fitting
from superres3d.training import task_module
from superres3d.training.export import export_model
from superres3d.training.recipe import CommonRecipe, MultiTaskRecipe, load_recipe
from superres3d.training.schedules import make_optimizer, make_scheduler
from superres3d.training.task_module import MultiTaskModule, TaskData, validation_batches
from superres3d.training.task_samples import Source, TaskBatches, load_sources
from superres3d.upscaling import upscale

from ..untrained_models import TASKS
from .conftest import smooth_noise, write
from .multi_task import ALONE, REFINEMENTS, linear, random_tasks, refined_by_hand, save_tasks

# Recipes


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_the_recipe(modality, pytestconfig):
    recipe = load_recipe(pytestconfig.rootpath / "models" / "recipes" / "mdsr-3d.toml", {"modality": modality})
    assert isinstance(recipe, MultiTaskRecipe)
    assert (recipe.method, recipe.modality, recipe.model_name) == ("mdsr-3d", modality, METHODS["mdsr-3d"].model_name(modality, "volume", 0))
    assert {(2, 2, 2), (4, 4, 4)} <= set(recipe.tasks) <= {factors for _, factors in REFINEMENTS} == set(TASKS)
    assert [made.factors for made in recipe.architectures] == list(recipe.tasks)
    assert recipe.volumes and recipe.validation and not set(recipe.volumes) & set(recipe.validation)
    assert recipe.through_plane and set(recipe.through_plane) <= set(recipe.volumes) and set(recipe.all_axes) <= set(recipe.through_plane)
    assert (recipe.gamma == 1.0) == (modality == "CT")  # Hounsfield units keep their scale
    assert json.loads(json.dumps(recipe.network))["tasks"] == [list(task) for task in recipe.tasks]
    assert Architecture.from_card(json.loads(json.dumps(recipe.network)), (4, 4, 4)) == recipe.architectures[recipe.tasks.index((4, 4, 4))]


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("tasks = [[1, 1, 1]]", r"task \[1, 1, 1\] cannot be; give three factors out of 1, 2 and 4"),
        ("tasks = [[1, 2, 2], [3, 1, 1]]", r"task \[3, 1, 1\] cannot be"),
        ("tasks = [[2, 2]]", r"task \[2, 2\] cannot be"),
        ("tasks = [[0, 2, 2]]", r"task \[0, 2, 2\] cannot be"),
        ("tasks = ['2x2']", "give a list of tasks"),
        ("tasks = 2", "tasks is 2; give a tuple"),
        ("tasks = [[1, 2, 2]]\noptions = { colour = 1 }", "options do not fit mdsr: .*colour"),
        ("tasks = [[1, 2, 2]]\nfamily = 'unet'", "family is 'unet'; give one of"),
        ("tasks = [[1, 2, 2]]\nfamily = 'mdcsrn'", "options do not fit mdcsrn"),
        ("tasks = [[1, 2, 2]]\nbatch = 0", "batch is 0; give a whole number above 0"),
        ("tasks = [[1, 2, 2]]\npatch_depth = 0", "patch_depth is 0; give a whole number above 0"),
        ("tasks = [[1, 2, 2]]\nschedule = 'linear'", "schedule is 'linear'"),
        ("tasks = [[1, 2, 2]]\ndegradation = 'k-space'", "unknown field degradation"),
        ("options = { features = 4 }", "options do not fit mdsr"),
    ],
)
def test_bad_recipes(tmp_path, text, sentence):
    path = tmp_path / "recipe.toml"
    path.write_text(text if "family" in text else f"family = 'mdsr'\n{text}")
    with pytest.raises(InputError, match=sentence) as refusal:
        load_recipe(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["tasks = [2, 2, 2]", "tasks = []"])
def test_tasks_that_are_none(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(f"family = 'mdsr'\n{text}\n")
    with pytest.raises(InputError, match="task"):
        load_recipe(path)


# Learning rates


@pytest.mark.parametrize("steps, warm_up", [(40, 8), (25, 1), (10, 9)])
def test_the_learning_rate_rises_and_follows_the_cosine(steps, warm_up):
    recipe = CommonRecipe(steps=steps, warm_up=warm_up, schedule="cosine", learning_rate=0.5)
    plain = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(plain, steps)
    optimizer = make_optimizer([torch.nn.Parameter(torch.zeros(1))], recipe)
    scheduler = make_scheduler(optimizer, recipe)
    for step in range(steps + 1):
        rate, whole = optimizer.param_groups[0]["lr"], 0.25 * (1 + math.cos(math.pi * step / steps))
        assert plain.param_groups[0]["lr"] == pytest.approx(whole, abs=1e-9)
        assert rate == pytest.approx(whole * min(1.0, (step + 1) / warm_up), abs=1e-9)
        for steered, schedule in ((plain, cosine), (optimizer, scheduler)):
            steered.step()
            schedule.step()


def test_without_a_warm_up_nothing_rises():
    recipe = CommonRecipe(steps=10, schedule="cosine", learning_rate=0.5)
    optimizer = make_optimizer([torch.nn.Parameter(torch.zeros(1))], recipe)
    make_scheduler(optimizer, recipe)
    assert optimizer.param_groups[0]["lr"] == 0.5


# Samples


def small(**changes) -> MultiTaskRecipe:
    values = {
        "method": "trial", "volumes": ("a",), "through_plane": ("a",), "options": {"features": 4, "blocks": 1}, "tasks": ((1, 2, 2), (2, 1, 1)),
        "patch": 8, "patch_depth": 6, "batch": 2, "steps": 2,
    }  # fmt: skip
    return MultiTaskRecipe(**{**values, **changes})


def plain(**changes) -> MultiTaskRecipe:
    return small(**{"augment_exact": False, "blur_probability": 0.0, **changes})


def batches(recipe: MultiTaskRecipe, voxels: np.ndarray, length: int = 10, first: int = 0, any_axis: bool = False) -> TaskBatches:
    return TaskBatches(recipe, [Source(voxels.astype(np.float32), True, any_axis)], length, first)


class Scripted:
    """In place of a random generator: always the first place, always yes, always the upper end."""

    def integers(self, high):
        return 0

    def random(self):
        return 0.0

    def uniform(self, low, high):
        return high


@pytest.mark.parametrize("factors", [(1, 2, 2), (2, 1, 1), (4, 2, 2), (2, 4, 4), (4, 4, 4)])
@pytest.mark.parametrize("shape", [(40, 60, 50), (24, 32, 32), (7, 19, 90)])
def test_crops_are_crops_of_the_degraded_scan(factors, shape):
    """Of the scan mirrored at its borders, degraded as a whole on the crop's own grid; the crop is found by its truth.  Some scans are smaller than a crop."""
    voxels = np.random.default_rng(3).random(shape).astype(np.float32)
    low_shape, edge = (6, 8, 8), 40
    wide = np.pad(voxels, edge, mode="symmetric")
    dataset, random, borders = batches(plain(), voxels), np.random.default_rng(0), 0
    for _ in range(6):
        low, high = dataset.pair(factors, random)
        assert low.shape == low_shape and high.shape == tuple(n * f for n, f in zip(low_shape, factors)) and low.dtype == high.dtype == np.float32
        (place,) = np.argwhere(voxels == high[0, 0, 0])
        wanted = place + edge
        np.testing.assert_array_equal(high, wide[tuple(slice(a, a + n) for a, n in zip(wanted, high.shape))])
        starts, first = zip(*((a % f, a // f) for a, f in zip(wanted, factors)))
        whole = antialiased_bicubic(wide[tuple(slice(a, None) for a in starts)], factors)
        np.testing.assert_allclose(low, whole[tuple(slice(a, a + n) for a, n in zip(first, low_shape))], atol=2e-6)
        borders += any(a < 2 * f or a + n > m - 2 * f for a, n, m, f in zip(place, high.shape, shape, factors) if f > 1)
    assert borders or shape == (40, 60, 50)


def test_a_crop_of_a_whole_scan_is_the_degraded_scan():
    """Its borders included: the degradation mirrors there."""
    voxels = np.random.default_rng(4).random((12, 16, 16)).astype(np.float32)
    low, high = batches(plain(), voxels).pair((2, 2, 2), np.random.default_rng(0))
    np.testing.assert_array_equal(high, voxels)
    np.testing.assert_allclose(low, antialiased_bicubic(voxels, (2, 2, 2)), atol=2e-6)


@pytest.mark.parametrize("factors", [(1, 2, 2), (2, 1, 1), (4, 2, 2)])
def test_blur_comes_before_the_degradation(factors):
    """Three taps along the refined axes, by scipy; at a corner of the scan."""
    voxels = np.random.default_rng(5).random((40, 40, 40)).astype(np.float32)
    low, high = batches(plain(blur_probability=1.0, blur_sigma=0.8), voxels).pair(factors, Scripted())
    taps = np.exp(-0.5 * np.array([-1.0, 0.0, 1.0]) ** 2 / 0.8**2)
    blurred = voxels
    for axis in (axis for axis in (0, 1, 2) if factors[axis] > 1):
        blurred = correlate1d(blurred, taps / taps.sum(), axis, mode="reflect")
    np.testing.assert_array_equal(high, voxels[tuple(slice(0, n) for n in high.shape)])  # the truth is sharp
    np.testing.assert_allclose(low, antialiased_bicubic(blurred, factors)[:6, :8, :8], atol=2e-6)


@pytest.mark.parametrize("factor", [2, 4])
def test_some_slices_are_gaussian_means(factor):
    """Sigma 0.45 of their distance at most, along the slices alone."""
    voxels = np.random.default_rng(6).random((30, 40, 40)).astype(np.float32)
    low, _ = batches(plain(profile_share=1.0), voxels).pair((factor, 2, 2), Scripted())
    wide = np.pad(voxels, [(20, 20), (0, 0), (0, 0)], mode="symmetric")
    centres = 20 + (np.arange(6) + 0.5) * factor - 0.5
    weights = np.exp(-0.5 * ((np.arange(len(wide)) - centres[:, None]) / (0.45 * factor)) ** 2)
    slices = np.tensordot(weights / weights.sum(axis=1, keepdims=True), wide, axes=1)
    np.testing.assert_allclose(low, antialiased_bicubic(slices, (1, 2, 2))[:, :8, :8], atol=5e-6)
    unchanged = batches(plain(profile_share=1.0), voxels).pair((1, 2, 2), Scripted())[0]
    np.testing.assert_allclose(unchanged, antialiased_bicubic(voxels, (1, 2, 2))[:6, :8, :8], atol=2e-6)


def test_gamma_and_gain_change_truth_and_scan_alike():
    voxels = smooth_noise((40, 40, 40), seed=7)
    low, high = batches(plain(gamma=1.3, gain=1.5), voxels).pair((2, 1, 1), Scripted())
    changed = voxels.astype(np.float64) ** 1.3 * 1.5
    np.testing.assert_allclose(high, changed[:12, :8, :8], atol=1e-5)
    np.testing.assert_allclose(low, antialiased_bicubic(changed, (2, 1, 1))[:6, :8, :8], atol=1e-5)


@pytest.mark.parametrize("factors", [(1, 2, 2), (4, 2, 2)])
def test_turned_samples_are_still_pairs(factors):
    """The truth degraded gives the scan, away from the crop's borders, and the crops are turned in all ways."""
    k, j, i = np.meshgrid(np.arange(40), np.arange(60), np.arange(60), indexing="ij")
    dataset = batches(small(blur_probability=0.0, gain=1.4, gamma=1.3), smooth_noise((40, 60, 60), seed=8))
    random, ways = np.random.default_rng(0), set()
    for _ in range(30):
        low, high = dataset.pair(factors, random)
        inner = tuple(slice(2, -2) if f > 1 else slice(None) for f in factors)
        np.testing.assert_allclose(low[inner], antialiased_bicubic(high, factors)[inner], atol=5e-6)
    ramp = batches(small(blur_probability=0.0), 0.3 * k / 40 + 0.2 * j / 60 + 0.05 * i / 60)
    for _ in range(200):
        high = ramp.pair(factors, random)[1]
        slopes = [float(np.diff(high, axis=axis).mean()) for axis in (0, 1, 2)]
        ways.add((*(slope > 0 for slope in slopes), abs(slopes[1]) > abs(slopes[2])))
    assert len(ways) == 16


def test_samples_depend_on_seed_and_number_alone():
    recipe, voxels = small(gain=1.5, gamma=1.3, profile_share=0.5, blur_probability=0.5), smooth_noise((30, 40, 40))
    first, later, seeded = batches(recipe, voxels), batches(recipe, voxels, first=4), batches(replace(recipe, seed=1), voxels)
    assert len(first) == 10
    tasks = set()
    for number in range(6):
        one, same, again = first[number + 4], later[number], first[number + 4]
        assert one.factors == same.factors and torch.equal(one.low, same.low) and torch.equal(one.high, same.high) and torch.equal(one.low, again.low)
        for other in (seeded[number + 4], first[number]):
            assert one.factors != other.factors or not torch.equal(one.high, other.high)
        assert one.low.shape == (2, 1, 6, 8, 8) and one.high.shape == (2, 1, *(n * f for n, f in zip((6, 8, 8), one.factors)))
        assert not torch.equal(one.low[0], one.low[1])
        tasks.add(one.factors)
    assert tasks == {(1, 2, 2), (2, 1, 1)}


def test_each_epoch_goes_on_with_the_numbers(scans):
    recipe = small()
    data, known = TaskData(recipe, scans, 3), TaskBatches(recipe, load_sources(recipe.volumes, recipe, scans), 9)
    for epoch in range(3):
        data.trainer = SimpleNamespace(current_epoch=epoch)
        found = list(data.train_dataloader())
        assert len(found) == 3
        assert all(torch.equal(batch.low, known[3 * epoch + number].low) for number, batch in enumerate(found))


def test_only_sharp_slices_teach_the_slice_axis():
    dull, sharp = (Source(level + 0.1 * smooth_noise((20, 30, 30)), told, False) for level, told in ((0.2, False), (0.7, True)))
    dataset, random = TaskBatches(plain(), [dull, sharp], 1), np.random.default_rng(0)
    means = {factors: [float(dataset.pair(factors, random)[1].mean()) for _ in range(30)] for factors in ((2, 1, 1), (4, 2, 2), (1, 2, 2))}
    assert min(means[2, 1, 1]) > 0.5 and min(means[4, 2, 2]) > 0.5
    assert min(means[1, 2, 2]) < 0.5 < max(means[1, 2, 2])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_any_axis_of_an_isotropic_scan_may_be_the_slices(axis):
    wave = np.moveaxis(np.broadcast_to(np.cos(np.arange(32))[:, None, None], (32, 32, 32)), 0, axis) * 0.4 + 0.5
    for any_axis, expected in ((True, {True, False}), (False, {axis == 0})):
        dataset, random = batches(plain(), wave, any_axis=any_axis), np.random.default_rng(0)
        assert {bool(np.ptp(dataset.pair((2, 1, 1), random)[1], axis=0).max() > 0.1) for _ in range(30)} == expected


def test_air_is_mostly_left_out():
    """One crop in five meets the body by chance; some whose margin alone does are kept."""
    voxels = np.zeros((12, 16, 120), np.float32)
    voxels[:, :, 56:64] = 0.5 * smooth_noise((12, 16, 8)) + 0.2
    dataset, random = batches(plain(), voxels), np.random.default_rng(0)
    assert np.mean([dataset.pair((1, 2, 2), random)[1].std() > 0.01 for _ in range(100)]) > 0.45


def test_scans_come_slices_first_and_reduced(tmp_path):
    """Reduced in their slices, and along all axes where all are alike; in network units."""
    voxels = np.rint(smooth_noise((28, 30, 32)) * 900).astype(np.int16)
    write(tmp_path / "thick.nii.gz", np.moveaxis(voxels, 0, 2).copy(), (4.0, 1.0, 1.0))
    write(tmp_path / "even.nii.gz", voxels, (1.0, 1.0, 1.0))
    recipe = small(volumes=("thick", "even"), all_axes=("even",), through_plane=(), reductions=(1.4, 2.0))
    sources = load_sources(recipe.volumes, recipe, tmp_path)
    assert [source.voxels.shape for source in sources] == [(28, 30, 32), (28, 21, 23), (28, 15, 16), (28, 30, 32), (20, 21, 23), (14, 15, 16)]
    assert [(source.sharp_slices, source.any_axis) for source in sources] == [(False, False)] * 3 + [(True, True)] * 3
    scale = intensity_scale(voxels, "MR")
    units = np.clip((voxels.astype(np.float64) - scale.offset) / scale.span, 0, 8)
    for source in (sources[0], sources[3]):
        np.testing.assert_allclose(source.voxels, units, atol=1e-6)
    np.testing.assert_allclose(sources[2].voxels, antialiased_bicubic(units, (1, 2, 2)), atol=1e-5)
    np.testing.assert_allclose(sources[5].voxels, antialiased_bicubic(units, (2, 2, 2)), atol=1e-5)
    named = load_sources(("thick",), replace(recipe, through_plane=("thick",), reductions=()), tmp_path)
    assert [source.sharp_slices for source in named] == [True]
    with pytest.raises(InputError):
        load_sources(("missing",), recipe, tmp_path)


# Training


def watched(recipe: MultiTaskRecipe, net: BlueprintNet | None = None) -> tuple[MultiTaskModule, dict]:
    """A module outside of a training, and what it logs."""
    module, logged = MultiTaskModule(recipe), {}
    module.log = lambda name, value, **_: logged.update({name: float(torch.as_tensor(value).detach())})
    if net:
        module.net = net
    return module, logged


def test_the_loss_is_the_mean_absolute_error_of_the_task():
    batch = batches(small(), smooth_noise((30, 40, 40)))[0]
    net = random_tasks(((1, 2, 2), (2, 1, 1)))
    module, logged = watched(small(), net)
    expected = np.abs(np.stack([refined_by_hand(net, low[0].numpy(), batch.factors) for low in batch.low]) - batch.high[:, 0].numpy()).mean()
    loss = float(module.training_step(batch, 0).detach())
    assert loss == pytest.approx(expected, rel=1e-4) and loss == logged["loss"]


def test_validation_tells_the_gain_over_the_interpolation():
    """In decibel: none before the training, and a network's own by the formula; the same crops each time."""
    recipe, voxels = small(), smooth_noise((30, 40, 40))
    given = validation_batches(plain(), [Source(voxels, True, False)])
    assert [batch.factors for batch in given] == [(1, 2, 2)] * 6 + [(2, 1, 1)] * 6
    assert all(torch.equal(a.low, b.low) for a, b in zip(given, validation_batches(plain(), [Source(voxels, True, False)])))
    net = random_tasks(recipe.tasks)
    for chosen in (None, net):
        module, logged = watched(recipe, chosen)
        for _ in range(2):  # the second epoch does not remember the first
            validate(module, given)
        gains = [gain_by_hand(net, given, task) if chosen else 0.0 for task in recipe.tasks]
        for task, gain in zip(recipe.tasks, gains):
            assert logged["val_gain_{}x{}x{}".format(*task)] == pytest.approx(gain, abs=1e-3)
        assert logged["val_gain"] == pytest.approx(np.mean(gains), abs=1e-3)


def validate(module, given) -> None:
    """One epoch of validation, as Lightning goes through it."""
    with torch.inference_mode():
        for number, batch in enumerate(given):
            module.validation_step(batch, number)
        module.on_validation_epoch_end()


def gain_by_hand(net, given, task) -> float:
    """Of a network over cubic interpolation, in decibel, on the batches of a task."""
    mine = [(batch.low[0, 0].numpy(), batch.high[0, 0].numpy()) for batch in given if batch.factors == task]
    cubic = np.mean([((resize(low, task, "cubic") - high) ** 2).mean() for low, high in mine])
    refined = np.mean([((refined_by_hand(net, low, task) - high) ** 2).mean() for low, high in mine])
    return 10 * np.log10(cubic / refined)


def test_validation_crops_are_plain(scans):
    """Whatever the training does to its crops."""
    recipe = small(validation=("a",), through_plane=("a",), volumes=("a",), tasks=((2, 1, 1),), gain=2.0, gamma=1.5, blur_probability=1.0, profile_share=1.0, reductions=(1.4,))
    (source, *_) = load_sources(("a",), recipe, scans)
    found = list(TaskData(recipe, scans, 5).val_dataloader())
    assert len(found) == 6
    for batch in found:
        low, high = batch.low[0, 0].numpy(), batch.high[0, 0].numpy()
        np.testing.assert_allclose(low[2:-2], antialiased_bicubic(high, (2, 1, 1))[2:-2], atol=2e-6)
        windows = np.lib.stride_tricks.sliding_window_view(source.voxels, high.shape)
        assert (windows[..., 0, 0, 0] == high[0, 0, 0]).any()


def moved(before: BlueprintNet, after: BlueprintNet) -> float:
    return math.sqrt(sum(float((one - other).detach().double().square().sum()) for one, other in zip(before.parameters(), after.parameters())))


@pytest.mark.parametrize("norm", [0.0, 1e-3])
def test_gradients_are_scaled_to_their_norm(scans, tmp_path, monkeypatch, norm):
    """A plain step of length one: the parameters move by the gradient."""
    monkeypatch.setattr(task_module, "make_optimizer", lambda parameters, recipe, betas: torch.optim.SGD(parameters, lr=1.0))
    recipe = small(steps=1, schedule="constant", gradient_norm=norm)
    torch.manual_seed(recipe.seed)
    before = BlueprintNet(*recipe.architectures)
    after = fitting.fit(recipe, scans, tmp_path / "run", accelerator="cpu")
    distance = moved(before, after)
    assert distance == pytest.approx(1e-3, rel=1e-3) if norm else distance > 3e-3


def test_adams_second_moment_is_the_recipes():
    module, _ = watched(small(second_moment=0.9, learning_rate=0.25))
    (group,) = module.configure_optimizers()["optimizer"].param_groups
    assert group["betas"] == (0.9, 0.9) and group["lr"] == 0.25


def test_some_steps_are_closer_to_the_truth_than_the_interpolation(scans, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "EPOCH_STEPS", 40)
    recipe = small(steps=40, options={"features": 8, "blocks": 1}, learning_rate=3e-3, warm_up=5, validation=("a",), blur_probability=0.0)
    fitting.fit(recipe, scans, tmp_path / "run", accelerator="cpu")
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        gains = {name: float(value) for row in csv.DictReader(file) for name, value in row.items() if name.startswith("val_gain") and value}
    assert set(gains) == {"val_gain", "val_gain_1x2x2", "val_gain_2x1x1"} and min(gains.values()) > 0.1
    assert (tmp_path / "run" / "curves.png").exists()


@pytest.mark.usefixtures("unbounded")
def test_an_exported_network_gives_what_was_trained(scans, tmp_path, monkeypatch):
    """From recipe to result: two steps, the card, each task from the file, and a scan through it."""
    recipe = small(method="mdsr-3d", modality="MR", steps=2, learning_rate=0.02)
    net = fitting.fit(recipe, scans, tmp_path / "run", accelerator="cpu")
    assert not net.training
    folder = export_model(net, recipe, scans, tmp_path / "models").folder
    monkeypatch.setattr("superres3d.networks.weights.model_folders", lambda: [tmp_path / "models"])
    card = json.loads((folder / "card.json").read_text())
    assert (card["name"], card["method"], card["modality"], card["stage"]) == ("mdsr-3d-mr", "mdsr-3d", "MR", "volume")
    assert card["network"] == {"family": "mdsr", "options": {"features": 4, "blocks": 1}, "residual": True, "tasks": [[1, 2, 2], [2, 1, 1]]}
    assert card["parameters"] == sum(parameter.numel() for parameter in net.parameters())
    assert card["multiply_accumulates_per_pixel"] == 27 * (4 + 3 * 16 + 4 * 4)  # of the task with four phases
    assert card["training_subjects"] == [{"id": "a", "licence": "unknown", "source": "unknown"}] and card["schedule"]["steps"] == 2
    assert "bicubic" in card["degradation"] and "not for diagnosis" in card["intended_use"] and "caution" not in card
    low = torch.from_numpy(smooth_noise((7, 9, 8)))[None, None]
    for task in recipe.tasks:
        back = load_network(find_model("mdsr-3d-mr"), task)
        with torch.inference_mode():
            trained, plain_one = net(low, task), interpolated(low, task)
            torch.testing.assert_close(plain_one + back.correction(low), trained, atol=2e-6, rtol=0)
        assert (trained - plain_one).abs().max() > 1e-3 and not back.training
    scan = Volume((low[0, 0].numpy() * 900).astype(np.float32), modality="MR")
    scale = intensity_scale(scan.voxels, "MR")
    units = np.clip((scan.voxels - scale.offset) / scale.span, 0, scale.ceiling)
    outside = linear((scan.voxels - scale.offset) / scale.span - units, (2, 1, 1))
    expected = (refined_by_hand(net, units, (2, 1, 1)) + outside) * scale.span + scale.offset
    np.testing.assert_allclose(upscale(scan, 2, axes="through-plane", **ALONE).volume.voxels, expected, atol=0.02)


def test_a_resumed_run_equals_an_uninterrupted_one(scans, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "EPOCH_STEPS", 3)
    recipe = small(steps=7, warm_up=5, gradient_norm=0.05, second_moment=0.99, learning_rate=0.01)
    whole = fitting.fit(recipe, scans, tmp_path / "whole", accelerator="cpu")

    class Interrupted(Exception):
        pass

    real = MultiTaskModule.training_step

    def breaks(self, batch, index):
        if self.global_step == 4:
            raise Interrupted
        return real(self, batch, index)

    monkeypatch.setattr(MultiTaskModule, "training_step", breaks)
    with pytest.raises(Interrupted):
        fitting.fit(recipe, scans, tmp_path / "parts", accelerator="cpu")
    monkeypatch.setattr(MultiTaskModule, "training_step", real)
    begun = torch.load(tmp_path / "parts" / "checkpoints" / "last.ckpt", weights_only=True)
    assert begun["global_step"] == 3
    resumed = fitting.fit(recipe, scans, tmp_path / "parts", accelerator="cpu")
    assert moved(BlueprintNet(*recipe.architectures), resumed) > 0.1
    for (name, one), other in zip(whole.stored_tensors().items(), resumed.stored_tensors().values()):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5, msg=name)


def test_a_training_may_begin_from_a_model(tmp_path):
    """Of more tasks; what a network gives at once is what the model gave.  A task that the model has not is refused."""
    net = random_tasks(((1, 2, 2), (2, 1, 1)), features=4, blocks=1)
    start = save_tasks(net, "first", tmp_path)
    volume = torch.rand(1, 1, 5, 6, 7)
    begun = MultiTaskModule(small(tasks=((2, 1, 1),), start=str(start))).net
    torch.testing.assert_close(begun(volume, (2, 1, 1)), net(volume, (2, 1, 1)), atol=2e-6, rtol=0)
    assert not any("1x2x2" in name for name in begun.stored_tensors())
    for changes, sentence in (
        ({"tasks": ((2, 1, 1), (2, 2, 2))}, "do not fit the recipe's network"),
        ({"options": {"features": 5, "blocks": 1}}, "do not fit the recipe's network"),
        ({"start": str(tmp_path)}, "holds no weights.safetensors"),
    ):
        with pytest.raises(InputError, match=sentence) as refusal:
            MultiTaskModule(small(**{"start": str(start), **changes}))
        assert "\n" not in str(refusal.value)


def test_no_sharp_slices_to_learn_from(scans, tmp_path):
    with pytest.raises(InputError):
        fitting.fit(small(through_plane=()), scans, tmp_path / "run", accelerator="cpu")


def test_a_card_tells_what_an_evaluation_found(scans, tmp_path):
    """Of a network that refines: its gains where all axes are refined, and its arithmetic a voxel of the scan."""
    recipe = small(steps=1)
    model = export_model(BlueprintNet(*recipe.architectures).eval(), recipe, scans, tmp_path / "models")
    common = {"subject": "s", "modality": recipe.modality, "task": "3-D", "scale": 2, "ssim": 0.9, "psnr_foreground": 30.0}
    rows = [{**common, "method": name, "psnr": value} for name, value in (("lanczos", 30.0), (recipe.method, 31.5))]
    rows += [{**row, "task": "in-plane", "subject": "t", "psnr": 2 * row["psnr"]} for row in rows]  # not its own task
    content = {"models": {model.name: model.sha256}, "protocol": {"subset": "test"}, "results": rows}
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert update_cards(tmp_path / "results.json", tmp_path / "models") == [model.folder]
    page = (model.folder / "README.md").read_text()
    assert "2x: PSNR +1.50" in page and "per voxel of the scan" in page and "plane network" not in page
