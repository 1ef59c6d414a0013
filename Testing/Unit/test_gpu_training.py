"""The scripts that train on a graphics card, on the processor: packs, samples on the device, a short training that goes on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from superres3d.detail.estimator import AxisDetail
from superres3d.detail.telling import is_clear
from superres3d.networks.families import Architecture
from superres3d.networks.module import BlueprintNet, sub_pixel
from superres3d.networks.stored import read_tensors
from superres3d.networks.told import folded, told_of
from superres3d.resampling.degradation import antialiased_bicubic, cosine_matrices, slice_profile_matrix, spectral_window

sys.path.insert(0, str(Path(__file__).parents[1] / "Benchmarks" / "gpu"))

import pack  # noqa: E402
import said  # noqa: E402
import samples  # noqa: E402
import told  # noqa: E402
import train  # noqa: E402


def _scan(name: str, subset: str, shape=(20, 24, 28), any_axis: bool = False) -> tuple[pack.Scan, np.ndarray]:
    random = np.random.default_rng(len(name))
    values = random.integers(0, 200, shape).astype(np.uint8)
    return pack.Scan(name, subset, shape, True, any_axis), values


@pytest.mark.parametrize("dtype, most", [(np.uint8, 255), (np.uint16, 4095)])
def test_pack_is_lossless(tmp_path, dtype, most):
    values = np.random.default_rng(0).integers(0, most + 1, (3, 17, 21)).astype(dtype)
    scan = pack.Scan("a", "train", (3, 17, 21), True, False)
    pack.write_pack(tmp_path / "x.pack", "CT", [(scan, values)])
    modality, [(found, read)] = pack.read_pack(tmp_path / "x.pack")
    assert (modality, found) == ("CT", scan)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, values)


def test_body_is_kept():
    values = np.zeros((40, 50, 60), np.uint8)
    values[10:30, 20:40, 15:45] = 100
    box = pack.body(values, 12)
    assert [(part.start, part.stop) for part in box] == [(4, 36), (14, 46), (9, 51)]


def test_crops_are_regions_of_a_scan():
    """Values tell where a voxel lies: steps along each axis of a crop are steps along one axis of the scan, either way."""
    shape = (12, 13, 14)
    values = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    scans = samples.DeviceScans([(values, True, True, 1.0)], 1, "cpu")
    torch.manual_seed(0)
    crops = scans.crops(40, (5, 6, 7), (0, 0, 0), True).numpy()
    seen = set()
    for crop in crops:
        steps = [np.unique(np.diff(crop, axis=axis)) for axis in range(3)]
        assert all(len(step) == 1 for step in steps)
        found = tuple(int(step[0]) for step in steps)
        assert sorted(map(abs, found)) == [1, 14, 13 * 14]
        seen.add(found)
    assert len(seen) > 20  # flips and orders of the axes


def test_crops_of_thick_scans_keep_their_slice_axis():
    shape = (12, 13, 14)
    values = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    scans = samples.DeviceScans([(values, True, False, 1.0)], 1, "cpu")
    for crop in scans.crops(20, (5, 6, 7), (0, 0, 0), True).numpy():
        assert abs(crop[1, 0, 0] - crop[0, 0, 0]) == 13 * 14


def test_crops_go_on_mirrored():
    values = np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6)
    scans = samples.DeviceScans([(values, True, False, 1.0)], 1, "cpu")
    crop = scans.crops(1, (4, 5, 6), (2, 3, 0), True, turn=False)[0].numpy()
    np.testing.assert_array_equal(crop, np.pad(values, ((2, 2), (3, 3), (0, 0)), mode="symmetric"))


def test_scans_without_sharp_slices_do_not_teach_slices():
    dull, sharp = np.full((9, 9, 9), 10, np.uint8), np.full((9, 9, 9), 20, np.uint8)
    scans = samples.DeviceScans([(dull, False, False, 1.0), (sharp, True, False, 1.0)], 1, "cpu")
    assert set(np.unique(scans.crops(30, (4, 4, 4), (0, 0, 0), True))) == {20.0}
    assert set(np.unique(scans.crops(30, (4, 4, 4), (0, 0, 0), False))) == {10.0, 20.0}


@pytest.mark.parametrize("factors", [(1, 2, 2), (2, 1, 1), (4, 4, 4), (4, 2, 2)])
def test_clean_degradation_is_antialiased_bicubic(factors):
    low_shape = (5, 6, 7)
    degrader = samples.Degrader(low_shape, factors, train._CLEAN, "cpu")
    volume = np.random.default_rng(1).random([n + 2 * m for n, m in zip(degrader.inner, degrader.margins)], dtype=np.float32)
    torch.manual_seed(2)
    low, high, noise, transfer, sigma = degrader(torch.from_numpy(volume)[None])
    inner = tuple(slice(samples.MARGIN, -samples.MARGIN) if f > 1 else slice(None) for f in factors)
    refined = [axis for axis, f in enumerate(factors) if f > 1]
    # The three-tap blur of half of the samples is the only other thing that happens; without it the two agree.
    unblurred = torch.from_numpy(volume)[None]
    for axis in refined:
        unblurred = samples._along(samples._Line(low_shape[axis], factors[axis], "cpu")._blurred(torch.zeros(1)), unblurred, axis)
    np.testing.assert_allclose(unblurred[0], antialiased_bicubic(volume, factors)[inner], atol=2e-6)
    np.testing.assert_array_equal(high[0, 0], volume[tuple(slice(m, m + n) for m, n in zip(degrader.margins, degrader.inner))])
    assert low.shape == (1, 1, *low_shape)
    assert float(noise.abs().max()) == float(sigma.max()) == 0.0
    assert transfer.shape == (1, len(refined), 4)


def test_transfer_is_what_is_left_of_a_wave():
    """Against the formulas: a mean over r samples leaves a Dirichlet kernel, a Gaussian a Gaussian, a cut spectrum all."""
    line = samples._Line(16, 2, "cpu", 12)
    yes, no = torch.tensor([True]), torch.tensor([False])
    frequencies = np.array(samples.FREQUENCIES) * np.pi / 2  # radians a fine sample

    def transfer(cut, averaged, chance: float, width: float = 0.5) -> np.ndarray:
        matrix, _ = line.matrices(cut, averaged, torch.tensor([1.0]), torch.tensor([1.0]), torch.tensor([width]), torch.tensor([chance]), samples._PIXEL)
        return line.transfer(matrix)[0].numpy()

    np.testing.assert_allclose(transfer(no, yes, 0.1), np.abs(np.cos(frequencies / 2)), atol=1e-3)
    sigma = 2 * (0.6 + 1.4) / 2 / 2.355
    np.testing.assert_allclose(transfer(no, yes, 0.9), np.exp(-0.5 * (sigma * frequencies) ** 2), atol=5e-3)
    assert transfer(yes, no, 0.9)[:3] == pytest.approx(1.0, abs=0.1)


def test_spectral_and_averaging_lines_are_those_of_the_degradations():
    line = samples._Line(8, 2, "cpu")
    padded = 8 + 2 * samples.MARGIN
    inner = slice(samples.MARGIN, samples.MARGIN + 8)
    extent, window = torch.tensor([0.7]), torch.tensor([0.6])
    matrix, noise = line.matrices(torch.tensor([True]), torch.tensor([False]), extent, window, torch.tensor([0.3]), torch.tensor([0.9]), samples._PIXEL)
    synthesis, analysis = cosine_matrices(padded * 2, 2)
    weights = spectral_window(padded, np.array(0.7), np.array(0.6))
    np.testing.assert_allclose(matrix[0], (synthesis * weights @ analysis)[inner], atol=1e-6)
    np.testing.assert_allclose(noise[0], (synthesis * weights @ cosine_matrices(padded, 1)[1])[inner], atol=1e-6)
    matrix, noise = line.matrices(torch.tensor([False]), torch.tensor([True]), extent, window, torch.tensor([0.5]), torch.tensor([0.9]), (0.22, 0.48))
    sigma = (0.22 + 0.48) / 2 * 2
    np.testing.assert_allclose(matrix[0], slice_profile_matrix(padded * 2, 2, sigma)[inner], atol=1e-6)
    np.testing.assert_array_equal(noise[0], np.eye(padded)[inner])


def test_training_goes_on_and_its_weights_load(tmp_path):
    pack.write_pack(tmp_path / "x.pack", "MR", [_scan("a", "train", any_axis=True), _scan("b", "val")])
    sizes = {"features": 8, "blocks": 1, "batch": 2, "side": 10, "depth": 10, "warm_up": 5.0, "device": "cpu"}
    for _ in range(2):
        train.main(tmp_path / "x.pack", tmp_path / "out", seconds=4.0, rate=5e-4, start=None, **sizes)
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    first, second = (line["step"] for line in lines if "steps" in line)
    assert second > first > 0
    assert any("goes_on_from" in line and line["goes_on_from"] == first for line in lines)


    net = BlueprintNet(*[Architecture.make("mdsr", {"features": 8, "blocks": 1}, True, task) for task in train.TASKS])
    net.load_tensors(load_file(tmp_path / "out" / "weights.safetensors"))
    assert float(net.layer("last-2x2x2").weight.detach().abs().max()) > 0.0


def test_refining_while_training_is_what_the_network_does(tmp_path):
    training = train.Training([_scan("a", "train"), _scan("b", "val")], "MR", 8, 1, (8, 10, 12), 2, "cpu")
    low = torch.rand(1, 1, 8, 10, 12)
    for task in train.TASKS:
        torch.nn.init.normal_(training.net.layer(f"last-{'x'.join(map(str, task))}").weight, std=0.01)
        np.testing.assert_allclose(training.refined(low, task).detach(), training.net(low, task).detach(), atol=5e-3)
        np.testing.assert_allclose(training.base(low, task), samples_base(low, task), atol=1e-5)


def samples_base(low: torch.Tensor, task: tuple[int, int, int]) -> np.ndarray:
    from superres3d.resampling.interpolation import resize

    return resize(low[0, 0].numpy(), task, "cubic")[None, None]


def test_a_step_that_is_not_finite_is_left_out():
    training = train.Training([_scan("a", "train"), _scan("b", "val")], "MR", 8, 1, (8, 10, 12), 2, "cpu")
    training.optimizer.set_rate(1e-3)
    training.step((2, 2, 2))
    for parameter in training.net.parameters():
        parameter.grad = torch.full_like(parameter, float("nan"))
    usual = float(training._norm)
    training._limit_gradients()
    assert float(training._norm) == usual
    assert all(float(parameter.grad.abs().max()) == 0.0 for parameter in training.net.parameters())


@pytest.mark.parametrize("stage", ["plane", "depth"])
def test_what_is_told_folds_into_the_weights(stage):
    torch.manual_seed(3)
    net = told.Told((2, 2), 8, 2, told.conditions_of(stage))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    vector, image = torch.rand(net.conditions), torch.rand(1, 1, 9, 11)
    plain = BlueprintNet(net.net.architecture)
    tensors = folded({name: tensor.detach().numpy() for name, tensor in net.stored_tensors().items()}, vector.tolist())
    plain.load_tensors({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    refined = sub_pixel(net.correction(image, vector[None]), (2, 2))
    np.testing.assert_allclose(refined.detach(), plain.correction(image).detach(), rtol=1e-4, atol=1e-4)


def _said(modality: str = "mr", volumes: int = 2) -> dict[str, np.ndarray]:
    """As if the estimator had said the truth of 40 simulated scans; the packed ones seem softer along their columns."""
    random, said = np.random.default_rng(4), {}
    for stage, axes in (("plane", 2), ("depth", 1)):
        truth = random.random((40, axes, 5))
        arrays = {"truth": truth.reshape(40, -1), "off": np.zeros((40, axes, 4)), "unsure": np.full((40, axes), 0.05), "clear": truth[:, 0, 1] < 0.7}
        said |= {f"{modality}-{stage}-{name}": array.astype(np.float16) for name, array in arrays.items()}
    return {**said, **{f"{modality}-sharpness-{scale}": np.tile(np.float16([0.0, -0.5]), (volumes, 1)) for scale in (2, 4)}}


def _told(stage: str, batch: int = 2, values: np.ndarray | None = None, large: bool = False) -> told.Training:
    values = _scan("a", "train")[1] if values is None else values
    return told.Training(samples.DeviceScans([(values, True, False, 1.0)], 200, "cpu"), _said(), "MR", stage, 2, 8, batch, "cpu", large)


@pytest.mark.parametrize("stage", ["plane", "depth"])
def test_a_told_training_begins_with_what_there_is(stage, tmp_path):
    """With the shipped network, which its weights fit, or with what an earlier training has left."""
    training = _told(stage)
    before = {name: value.clone() for name, value in training.net.stored_tensors().items()}
    told.begin(training, tmp_path)
    torch.testing.assert_close(training.net.stored_tensors(), before)
    told.begin(training, Path(__file__).parents[2] / "models")
    shipped = {name: value.clone() for name, value in training.net.stored_tensors().items()}
    weights = read_tensors(Path(__file__).parents[2] / "models" / f"two-stage-told-mr-{stage}-x2" / "weights.safetensors")
    assert set(weights) == set(shipped)
    for name, value in shipped.items():
        np.testing.assert_array_equal(value.detach().numpy(), weights[name])
    save_file({name: (value + 1.0).contiguous() for name, value in shipped.items()}, tmp_path / f"told-mr-{stage}-x2.safetensors")
    told.begin(training, tmp_path)
    for name, value in training.net.stored_tensors().items():
        torch.testing.assert_close(value, shipped[name] + 1.0)


@pytest.mark.parametrize("names", [[], ["mr-depth-x2-large", "mr-plane-x4"]])
def test_a_told_training_writes_weights(tmp_path, names):
    pack.write_pack(tmp_path / "x.pack", "MR", [_scan("a", "train", any_axis=True), _scan("b", "val")])
    np.savez(tmp_path / "x.said.npz", **_said())
    told.main(tmp_path / "out", [tmp_path / "x.pack"], seconds=12.0, said=[tmp_path / "x.said.npz"], side=8, batch=2, device="cpu", network=names)
    sizes = {f"{stage}-x{scale}": (stage, scale, size) for (stage, scale), size in told.SIZES.items()} | {"depth-x2-large": ("depth", 2, told.LARGE)}
    assert {path.name for path in (tmp_path / "out").glob("*.safetensors")} == {f"told-{name}.safetensors" for name in names or [f"mr-{name}" for name in sizes if "large" not in name]}
    sizes = {name: size for name, size in sizes.items() if f"mr-{name}" in names or not names and "large" not in name}
    for name, (stage, scale, size) in sizes.items():
        net = told.Told((scale, scale if stage == "plane" else 1), *size, told.conditions_of(stage))
        net.load_tensors(load_file(tmp_path / "out" / f"told-mr-{name}.safetensors"))
        assert float(net.modulation[-1].weight.detach().abs().max()) > 0.0


def test_another_contrast_is_a_piecewise_linear_curve_that_keeps_air_dark():
    rng = np.random.default_rng(3)
    crops, values = rng.uniform(-0.1, 1.4, (2, 3, 4, 5)).astype(np.float32), rng.uniform(0, 1, (2, 6)).astype(np.float32)
    seen = said.other_contrast(torch.from_numpy(crops), torch.from_numpy(values))
    for crop, curve, shown in zip(crops, values, seen):
        np.testing.assert_allclose(shown, np.interp(crop, np.linspace(0, 1, 6), [0.0, *curve[1:]]), atol=1e-5)


def test_kept_noise_is_in_what_is_wanted():
    """Where noise is kept, interpolating it by Lanczos is right: a network that adds nothing to it has no error on a scan that is nothing but noise."""
    flat = np.full((20, 24, 28), 100, np.uint8)
    training = _told("plane", 4, flat)
    for degrader in training.degraders:
        degrader.losses = samples.Losses(gaussian=0.0, spectral=0.0, noise=0.1, noise_share=1.0, magnitude=False, gain=1.0, gamma=1.0)
    pairs, vector, keep = training.samples(training.degraders[0], 4, False)
    low, high, noise = (told._slices(image) for image in pairs[:3])
    np.testing.assert_allclose(training.along(low, "lanczos"), high + training.along(noise, "lanczos"), atol=1e-5)
    np.testing.assert_array_equal(vector[:, 9], keep)


@pytest.mark.parametrize("modality", ["MR", "CT"])
@pytest.mark.parametrize("stage", ["plane", "depth"])
def test_what_is_said_on_a_card_is_in_the_order_of_the_product(modality, stage):
    """And clear where the product finds it clear: without errors of the estimate, on what it would be told of the same."""
    axes, count = (2 if stage == "plane" else 1), 200
    torch.manual_seed(8)
    sayer = said.Sayer(_said(modality.lower()), modality, stage, 2, "cpu")
    true, extents = 0.1 + torch.rand(count, axes, 4), [torch.ones(count)] * axes
    sayer._transfer = lambda true, sharp, neighbour: true.clamp(max=1.1)  # type: ignore[method-assign]
    pairs = samples.Pairs(*[torch.zeros(count)] * 3, true, torch.zeros(count))
    coarse = None if stage == "plane" else torch.ones(count)
    vector = sayer(pairs, extents, torch.zeros(count, axes), torch.ones(count), coarse).numpy()
    middle = 4 * axes
    for number, found in enumerate(vector):
        reach = 1 - found[-axes:] / 5
        measured = [AxisDetail(tuple(values), float(end), 0.0, 0.05, 0.0, 0.0) for values, end in zip(true[number].clamp(max=1.1).tolist(), reach)]
        clear = is_clear(measured, modality)
        assert bool(found[middle + 2]) == clear
        unsure = [0.5 * clear] * axes
        expected = told_of([axis.transfer for axis in measured], clear, clear, float(found[middle]), True, None if coarse is None else True, unsure, found[-axes:].tolist())
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_scan_seems_as_soft_as_it_is_along_each_axis():
    """Softer along its columns: an estimate is too low there, wherever that axis has come to lie in a crop."""
    torch.manual_seed(3)
    sayer = said.Sayer(_said(), "MR", "plane", 2, "cpu")
    scan, order = torch.zeros(2, dtype=torch.long), torch.tensor([[0, 1, 2], [0, 2, 1]])
    np.testing.assert_allclose(sayer.sharpness(scan, order, torch.tensor([0.0, 2.0])), [[0.0, -0.5], [-1.0, -0.5]], atol=1e-3)
    true = torch.full((2000, 2, 4), 0.8)
    sharp = torch.tensor([0.0, -0.5]).repeat(2000, 1)
    seems = sayer._transfer(true, sharp, torch.zeros(2000, dtype=torch.long)).mean(0)
    np.testing.assert_allclose(seems[1] / seems[0], np.exp(-0.5 * np.square(samples.FREQUENCIES)), rtol=0.02)


def test_softened_crops_are_those_of_a_gaussian_filter():
    """exp(-s f^2) of a scan that is mirrored at its ends: what SciPy's Gaussian filter does, with f over the Nyquist frequency."""
    from scipy.ndimage import gaussian_filter

    torch.manual_seed(2)
    softening = said.Softening((1, 40, 48), "MR", "cpu")
    softening._range = (3.0, 3.0, 1.0)
    crops = torch.rand(2, 1, 40, 48)
    softer, strength = softening(crops)
    assert strength.tolist() == [3.0, 3.0]
    sigma = np.sqrt(2 * 3.0) / np.pi  # exp(-s f^2) = exp(-sigma^2 w^2 / 2), w = pi f
    expected = gaussian_filter(crops.numpy().astype(float), (0, 0, sigma, sigma), mode="reflect", truncate=8)
    np.testing.assert_allclose(softer, expected, atol=0.02)
    softening._range = (-0.3, -0.3, 1.0)
    assert float(softening(crops)[0].std()) > float(crops.std())


def test_all_steps_run_and_what_they_trained_comes_back(tmp_path, monkeypatch):
    import tarfile

    import run

    monkeypatch.chdir(tmp_path)
    pack.write_pack(tmp_path / "x.pack", "MR", [_scan("a", "train", any_axis=True), _scan("b", "val")])
    run.main(["train=x.pack:12", "right=none:5"], tmp_path / "out", budget=60.0, device="cpu", tiny=True)
    with tarfile.open(tmp_path / "out" / "trained.tar.0") as tar:
        assert {"x/weights.safetensors", "x/state.pt", "x/results.jsonl"} <= set(tar.getnames())
    with tarfile.open(tmp_path / "out" / "logs.tar") as tar:
        assert b"gains" in tar.extractfile("train-x.txt").read()


def test_a_step_that_hangs_is_ended(tmp_path, monkeypatch):
    import run

    monkeypatch.setattr(run, "commands", lambda *_: [[sys.executable, "-c", "import time; time.sleep(60)"], [sys.executable, "-c", ""]])
    monkeypatch.setattr(run, "_GRACE", 0.5)
    [ended] = run.run("right=x:1", 30.0, tmp_path, "cpu", True)
    assert ended["ended"] == ["took too long", 0]


def test_a_step_that_is_not_known_is_refused(tmp_path):
    import run

    with pytest.raises(SystemExit, match="does not exist"):
        run.commands("bake=x", 5.0, tmp_path, "cpu", True, [])
