"""Agreement of segmentations: closed formulas, SimpleITK, and a network beside PyTorch's own layers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from safetensors.torch import load_file, save_file
from superres3d import Volume, write_volume
from superres3d.errors import InputError
from superres3d.evaluation import agreement, segmentation, segmenters, surfaces
from superres3d.evaluation.meshnet import MeshNet
from superres3d.evaluation.protocol import Protocol
from superres3d.evaluation.segmentation import FLOOR, evaluate_segmentation

SPACING = (2.0, 1.0, 0.5)


def _ball(radius: float, shape=(40, 70, 140), shift=(0.0, 0.0, 0.0)) -> np.ndarray:
    """bool (k, j, i), of a radius in millimetres."""
    places = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, SPACING)), indexing="ij")
    return np.sqrt(sum((place - by) ** 2 for place, by in zip(places, shift))) <= radius


def test_two_spheres_agree_as_the_formulas_say():
    large, small = _ball(28.0), _ball(25.0)
    found = agreement.agreement(large.astype(np.uint8), small.astype(np.uint8), SPACING)
    common = (25.0 / 28.0) ** 3
    assert found["dice"] == pytest.approx(2 * common / (1 + common), abs=0.003)
    assert found["jaccard"] == pytest.approx(common, abs=0.005)
    assert found["surface_mm"] == pytest.approx(3.0, abs=0.35)  # voxels at the surface lie up to one inside it
    assert found["surface95_mm"] == pytest.approx(3.0, abs=1.0)


def test_overlap_and_distance_are_those_of_simpleitk():
    random = np.random.default_rng(1)
    truth = _ball(20.0).astype(np.uint8) + _ball(12.0)
    other = _ball(19.0, shift=(1.0, 2.0, 0.0)).astype(np.uint8) + _ball(13.0, shift=(0.0, 0.0, 3.0))
    other[random.random(other.shape) < 0.01] = 0
    images = [sitk.GetImageFromArray(array) for array in (truth, other)]
    for image in images:
        image.SetSpacing(SPACING[::-1])
    measures = sitk.LabelOverlapMeasuresImageFilter()
    measures.Execute(*images[::-1])
    assert agreement.overlaps(truth, other) == pytest.approx({label: measures.GetDiceCoefficient(label) for label in (1, 2)})
    found = agreement.agreement(truth, other, SPACING)
    assert found["jaccard"] == pytest.approx(np.mean([measures.GetJaccardCoefficient(label) for label in (1, 2)]))
    apart = []
    for label in (1, 2):
        contours = [sitk.LabelContour(image == label, fullyConnected=False) for image in images]
        fields = [sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(contour, squaredDistance=False, useImageSpacing=True)) for contour in contours]
        masks = [sitk.GetArrayFromImage(contour) > 0 for contour in contours]
        apart.append(np.concatenate([np.abs(fields[1][masks[0]]), np.abs(fields[0][masks[1]])]))
    assert found["surface_mm"] == pytest.approx(np.mean([values.mean() for values in apart]), abs=1e-4)
    assert found["surface95_mm"] == pytest.approx(np.mean([np.percentile(values, 95) for values in apart]), abs=1e-4)


def test_small_labels_do_not_count_and_missing_ones_count_nothing():
    truth = np.repeat([0, 1, 2, 3], [1000, 200, 200, 99])
    labels = np.where(truth == 2, 0, truth)
    assert agreement.overlaps(truth, labels) == {1: 1.0, 2: 0.0}
    assert agreement.agreement(truth[:, None], labels[:, None], (1.0, 1.0))["dice"] == 0.5
    with pytest.raises(ValueError, match="100"):
        agreement.agreement(truth[-99:], truth[-99:], (1.0,))


def test_surfaces_of_a_shifted_bone_are_close_up_to_the_tolerance():
    shape, spacing = (40, 48, 48), (0.8, 0.8, 0.8)
    places = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * 0.8 for n in shape), indexing="ij")

    def bone(radius: float) -> np.ndarray:
        """HU that falls by 400 a millimetre through 200 at the radius."""
        return np.clip(200.0 + 400.0 * (radius - np.sqrt(sum(p**2 for p in places))), -900, 1500).astype(np.float32) + 1.0

    compare = surfaces.prepare_surfaces(bone(12.0), spacing)
    same, near, far = (compare(bone(radius)) for radius in (12.0, 12.3, 12.8))
    assert same == {"bone_surface": 1.0, "bone_volume": 1.0}
    assert near["bone_surface"] == pytest.approx(1.0, abs=0.01)
    assert far["bone_surface"] < 0.1
    assert far["bone_volume"] == pytest.approx((12.8 / 12.0) ** 3, rel=0.03)
    assert compare(np.full(shape, -1000.0, np.float32)) == {"bone_surface": 0.0, "bone_volume": 0.0}


def test_lung_and_vessels_are_looked_for_in_the_truths_lungs():
    shape, spacing = (30, 80, 80), (2.0, 1.0, 1.0)
    k, j, i = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    body = np.full(shape, -1000.0, np.float32)
    body[np.hypot(j - 40, i - 40) < 38] = 40.0
    lung = (np.hypot(j - 40, i - 40) < 28) & (k > 2) & (k < 27)
    vessel = np.hypot(j - 40, i - 40) < 9
    truth = np.where(lung & ~vessel, -850.0, body).astype(np.float32)
    compare = surfaces.prepare_surfaces(truth, spacing)
    assert compare(truth) == {"lung_surface": 1.0, "lung_volume": 1.0, "vessel_surface": 1.0, "vessel_volume": 1.0}
    lost = compare(np.where(lung, -850.0, body).astype(np.float32))
    assert lost["vessel_surface"] == 0.0 and lost["vessel_volume"] == 0.0
    assert lost["lung_volume"] == pytest.approx(28**2 / (28**2 - 9**2), rel=0.02)
    assert 0.5 < lost["lung_surface"] < 1.0  # without the vessel's own wall


def test_tissue_is_found_whatever_the_order_of_the_classes():
    random = np.random.default_rng(2)
    truth = np.zeros((12, 30, 30), np.uint8)
    truth[:, 3:27, 3:11], truth[:, 3:27, 11:19], truth[:, 3:27, 19:27] = 3, 1, 2
    values = np.choose(truth, [0.0, 300.0, 600.0, 900.0]) + random.normal(0, 8, truth.shape)
    labelled, spacing = segmenters.Tissue().prepare(Volume(values.astype(np.float32), (1.0, 1.0, 2.0)))
    assert spacing == (2.0, 1.0, 1.0)
    assert (labelled(values.astype(np.float32)) == truth).mean() > 0.999


def _folder(tmp_path, layers, weights, **more):
    folder = tmp_path / "net"
    folder.mkdir(exist_ok=True)
    (folder / "model.json").write_text(json.dumps({"layers": layers, **more}))
    save_file(weights, str(folder / "weights.safetensors"))
    return folder


def _small_network(tmp_path, **more):
    torch.manual_seed(3)
    kinds = [(1, 4, 3, 1, "elu"), (4, 4, 3, 2, "gelu"), (4, 5, 1, 1, "")]
    layers = [{"in_channels": a, "out_channels": b, "kernel": k, "dilation": d, "bias": True, "instance_norm": n == 1, "activation": act} for n, (a, b, k, d, act) in enumerate(kinds)]
    weights = {}
    for number, layer in enumerate(layers):
        weights[f"{number}.weight"] = torch.randn(layer["out_channels"], layer["in_channels"], *[layer["kernel"]] * 3)
        weights[f"{number}.bias"] = torch.randn(layer["out_channels"])
    return _folder(tmp_path, layers, weights, **more), layers, weights


def test_the_network_computes_what_pytorchs_layers_do(tmp_path):
    folder, layers, weights = _small_network(tmp_path)
    modules = []
    for number, layer in enumerate(layers):
        convolution = torch.nn.Conv3d(layer["in_channels"], layer["out_channels"], layer["kernel"], padding="same", dilation=layer["dilation"])
        convolution.load_state_dict({part: weights[f"{number}.{part}"] for part in ("weight", "bias")})
        modules += [convolution, *([torch.nn.InstanceNorm3d(4)] if layer["instance_norm"] else []), *{"elu": [torch.nn.ELU()], "gelu": [torch.nn.GELU()], "": []}[layer["activation"]]]
    seen = np.random.default_rng(4).integers(0, 256, (20, 21, 22)).astype(np.uint8)
    seen[0, 0, :2] = 0, 255
    window = (slice(2, 19), slice(0, 21), slice(3, 22))
    with torch.inference_mode():
        expected = torch.nn.Sequential(*modules)(torch.from_numpy(seen.astype(np.float32) / 255)[window][None, None])[0].argmax(0).numpy()
    assert (MeshNet(folder)._labels(seen, window) == expected).mean() > 0.999


def test_the_network_sees_the_patients_left_feet_and_front(tmp_path):
    from superres3d.evaluation.meshnet import _conformed, _grid_of

    voxels = np.zeros((30, 40, 50), np.float32)
    voxels[20, 10, 5] = 1000.0
    scan = Volume(voxels, (2.0, 1.5, 1.0), (7.0, -3.0, 20.0), np.diag([-1.0, -1.0, 1.0]))
    seen = _conformed(scan, _grid_of(scan), (0.0, 1000.0))
    place = np.array(np.unravel_index(seen.argmax(), seen.shape), float) - 127.5
    # from the centre of the scan, in LPS millimetres: i runs to the right, j to the front, k to the head
    left, back, head = -(5 - 24.5) * 2.0, -(10 - 19.5) * 1.5, (20 - 14.5) * 1.0
    np.testing.assert_allclose(place, [left, -head, -back], atol=0.51)


@pytest.mark.parametrize(
    "broken, words",
    [
        (lambda folder: (folder / "model.json").unlink(), "has no model.json"),
        (lambda folder: (folder / "model.json").write_text("[1]"), "lists no layers"),
        (lambda folder: (folder / "weights.safetensors").write_bytes(b"nothing"), "that can be read"),
        (lambda folder: _changed(folder, dilation="two"), "does not tell dilation of layer 1"),
        (lambda folder: _changed(folder, activation="tanh"), "does not tell activation of layer 1"),
        (lambda folder: _changed(folder, kernel=5), "the weights of layer 1"),
        (lambda folder: _changed(folder, in_channels=3), "the weights of layer 1"),
        (lambda folder: _changed(folder, bias=False), "the weights of layer 1"),
        (lambda folder: _changed(folder, kernel=2), "a kernel, a dilation or channels"),
        (lambda folder: _changed(folder, kernel=-3), "a kernel, a dilation or channels"),
        (lambda folder: _changed(folder, dilation=0), "a kernel, a dilation or channels"),
        (lambda folder: _reweighted(folder, "1.bias", torch.zeros(7)), "the weights of layer 1 are not those"),
        (lambda folder: _reweighted(folder, "0.weight", torch.full((4, 1, 3, 3, 3), torch.nan)), "the weights of layer 0 are no numbers"),
        (lambda folder: _reweighted(folder, "2.bias", torch.zeros(5, dtype=torch.int32)), "the weights of layer 2 are no numbers"),
        (lambda folder: _widened(folder, 300), "300 labels"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused_in_one_sentence(tmp_path, broken, words):
    folder, _, _ = _small_network(tmp_path)
    broken(folder)
    with pytest.raises(InputError, match=words) as refused:
        segmenters.find_segmenter(str(folder))
    assert str(refused.value).startswith(f"The segmenter {folder}") and str(refused.value).endswith("tissue.")


def _changed(folder, **change):
    description = json.loads((folder / "model.json").read_text())
    description["layers"][1] |= change
    (folder / "model.json").write_text(json.dumps(description))


def _reweighted(folder, name, weight):
    weights = load_file(folder / "weights.safetensors") | {name: weight}
    save_file(weights, folder / "weights.safetensors")


def _widened(folder, labels):
    _reweighted(folder, "2.weight", torch.zeros(labels, 4, 1, 1, 1))
    _reweighted(folder, "2.bias", torch.zeros(labels))
    description = json.loads((folder / "model.json").read_text())
    description["layers"][2]["out_channels"] = labels
    (folder / "model.json").write_text(json.dumps(description))


def test_weights_in_half_precision_are_taken(tmp_path):
    folder, _, weights = _small_network(tmp_path)
    seen = np.random.default_rng(4).integers(0, 256, (12, 12, 12)).astype(np.uint8)
    window = (slice(None),) * 3
    single = MeshNet(folder)._labels(seen, window)
    save_file({name: weight.half() for name, weight in weights.items()}, folder / "weights.safetensors")
    assert (MeshNet(folder)._labels(seen, window) == single).mean() > 0.98


def test_unknown_intensities_and_a_lost_folder_are_refused(tmp_path):
    folder, _, _ = _small_network(tmp_path, input={"key": "z-score"})
    with pytest.raises(InputError, match="intensities"):
        MeshNet(folder)
    with pytest.raises(InputError, match="is no folder"):
        segmenters.find_segmenter(str(tmp_path / "lost"))


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    random = np.random.default_rng(5)
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in (26, 40, 42)), indexing="ij")
    radius = np.sqrt(k**2 + j**2 + i**2)
    head = np.select([radius < 0.3, radius < 0.6, radius < 0.9], [300.0, 600.0, 900.0], 0.0) * (1 + 0.05 * np.sin(12 * j)) + random.normal(0, 5, radius.shape)
    skull = np.where((radius > 0.6) & (radius < 0.85), 900.0, np.where(radius < 0.6, 40.0, -1000.0)) + random.normal(0, 5, radius.shape)
    lines = ["id,split,modality,sequence"]
    for name, modality, sequence, voxels in (("t1", "MR", "T1", head), ("t2", "MR", "T2", head), ("ct", "CT", "bone", skull)):
        write_volume(Volume(voxels.astype(np.int16), (1.0, 1.0, 1.5)), folder / f"{name}.nii.gz")
        lines.append(f"{name},test,{modality},{sequence}")
    (folder / "split.csv").write_text("\n".join(lines) + "\n")
    return folder


PROTOCOL = Protocol(methods=("nearest", "lanczos"), tasks=("k-space", "through-plane"), scales=(2,), preset="fast", device="cpu")


def test_the_task_tells_agreement_gains_and_the_noise_floor_and_goes_on(data, tmp_path, monkeypatch):
    out = tmp_path / "out"
    text = evaluate_segmentation(data, data / "split.csv", "test", out, PROTOCOL, "tissue")
    rows = json.loads((out / "segmentation.json").read_text())["results"]
    assert {(row["subject"], row["task"], row["method"]) for row in rows} == {
        *((subject, task, method) for subject in ("t1", "t2") for task in ("k-space", "through-plane") for method in ("nearest", "lanczos", FLOOR)),
        *(("ct", "through-plane", method) for method in ("nearest", "lanczos", FLOOR)),
    }
    of = {(row["subject"], row["method"]): row for row in rows if row["task"] == "through-plane"}
    assert of["t1", "nearest"]["dice"] < of["t1", "lanczos"]["dice"] < of["t1", FLOOR]["dice"] < 1.0
    assert of["ct", "nearest"]["bone_surface"] < of["ct", "lanczos"]["bone_surface"] < of["ct", FLOOR]["bone_surface"] <= 1.0
    assert "### MR, through-plane 2x" in text and "| noise floor |" in text and (out / "segmentation.md").read_text() == text
    monkeypatch.setattr(segmenters, "prepare", lambda *_: pytest.fail("segmented again"))
    assert evaluate_segmentation(data, data / "split.csv", "test", out, PROTOCOL, "tissue") == text


def test_only_the_method_that_is_new_is_computed(data, tmp_path, monkeypatch):
    asked = []
    true_refined = segmentation.refined
    monkeypatch.setattr(segmentation, "refined", lambda cell, low, method, *rest: (asked.append(method), true_refined(cell, low, method, *rest))[1])
    for methods in (("lanczos",), ("nearest", "lanczos")):
        protocol = Protocol(methods=methods, tasks=("through-plane",), scales=(2,), preset="fast", device="cpu")
        text = evaluate_segmentation(data, data / "split.csv", "test", tmp_path / "out", protocol, "tissue", ("ct",))
    assert asked == ["lanczos", "nearest"]
    assert text.count("| noise floor |") == 1  # it gains nothing


def test_a_network_is_asked_for_t1_alone_and_a_scan_in_which_it_finds_nothing_is_told(data, tmp_path):
    folder, layers, weights = _small_network(tmp_path)
    _folder(tmp_path, layers, {**weights, "2.weight": torch.zeros_like(weights["2.weight"])})  # one class everywhere
    text = evaluate_segmentation(data, data / "split.csv", "test", tmp_path / "out", PROTOCOL, str(folder), ("t1", "t2"))
    assert "t2, k-space 2x: not measured, the segmenter net is for T1-weighted heads." in text
    assert "t1, through-plane 2x: not measured, the segmenter net finds too little in it." in text


def test_a_network_labels_results_on_its_own_grid(data, tmp_path):
    folder, _, _ = _small_network(tmp_path)
    evaluate_segmentation(data, data / "split.csv", "test", tmp_path / "out", PROTOCOL, str(folder), ("t1",))
    rows = json.loads((tmp_path / "out" / "segmentation.json").read_text())["results"]
    assert {row["method"] for row in rows} == {"nearest", "lanczos", FLOOR}
    assert all(0.0 < row["dice"] < 1.0 and row["conditions"]["segmenter"]["name"] == "net" for row in rows)
