"""What cannot work is told in the panel in one sentence: before Apply where it can be known, else after; the scene stays."""

import json
import shutil
from pathlib import Path

import numpy as np
import psutil
import pytest
import slicer
import slicer.util
from panel_steps import start_large_run, volumes, worker_pids
from superres3d.errors import ResourceError
from superres3d.networks import weights
from SuperResolution3DLib.choices import Axes, Ensemble, Scale

MODELS = Path(__file__).resolve().parents[2] / "models"
MODEL = "two-stage-residual-mr-plane-x2"


def assert_sentence(text: str) -> None:
    assert text.endswith(".") and "\n" not in text and len(text) < 400, text


def assert_apply_refused(panel, words: str) -> None:
    """Disabled, with the reason in sight, and the shortcut does nothing either."""
    assert not panel.ui.applyButton.enabled
    assert words in panel.reason and panel.ui.reasonLabel.isVisible()
    assert_sentence(panel.reason)
    assert panel.ui.applyButton.toolTip == panel.reason
    assert not panel.ui.estimateLabel.isVisible()
    panel.widget._applyShortcut.activated()
    assert panel.run is None and worker_pids() == []


def assert_run_refused(panel, words: str) -> None:
    """Apply could be clicked, and the run ended with a sentence; the panel is ready for the next."""
    assert panel.ui.applyButton.enabled, panel.reason
    panel.ui.applyButton.click()
    panel.finish()
    assert words in panel.status and panel.ui.statusLabel.isVisible(), panel.status
    assert_sentence(panel.status)
    assert not panel.ui.progressBar.isVisible() and not panel.ui.cancelButton.enabled
    assert panel.ui.inputsCollapsibleButton.enabled and panel.ui.applyButton.enabled
    assert worker_pids() == []


# ---------------------------------------------------------------------- the input


def colours():
    return slicer.util.addVolumeFromArray(np.zeros((4, 5, 6, 3), "uint8"), name="Photograph", nodeClassName="vtkMRMLVectorVolumeNode")


def four_frames():
    """4-D data that was loaded as the components of a scalar volume."""
    node = slicer.util.addVolumeFromArray(np.zeros((4, 5, 6), "int16"), name="Perfusion")
    node.GetImageData().AllocateScalars(node.GetImageData().GetScalarType(), 4)
    return node


def one_slice():
    return slicer.util.addVolumeFromArray(np.arange(30, dtype="int16").reshape(1, 5, 6), name="Scout")


def with_nan():
    voxels = np.arange(120, dtype="float32").reshape(4, 5, 6)
    voxels[2, 3, 4] = np.nan
    return slicer.util.addVolumeFromArray(voxels, name="Perfusion map")


def with_infinity():
    voxels = np.arange(120, dtype="float32").reshape(4, 5, 6)
    voxels[2, 3, 4] = -np.inf
    return slicer.util.addVolumeFromArray(voxels, name="Logarithm")


def constant():
    return slicer.util.addVolumeFromArray(np.full((4, 5, 6), 7, "int16"), name="Nothing")


def without_image():
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Hollow")


def tilted():
    node = slicer.util.addVolumeFromArray(np.arange(120, dtype="int16").reshape(4, 5, 6), name="Gantry tilt")
    matrix = np.eye(4)
    matrix[1, 2] = 0.4
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    return node


BAD_IN_THE_SELECTOR = {
    "four-dimensional": (four_frames, "4 components per voxel"),
    "one-slice": (one_slice, "single slice"),
    "nan": (with_nan, "NaN or infinite"),
    "infinity": (with_infinity, "NaN or infinite"),
    "constant": (constant, "same value"),
    "no-image-data": (without_image, "no image data"),
    "tilted": (tilted, "not at right angles"),
}


@pytest.mark.parametrize("name", BAD_IN_THE_SELECTOR)
def test_bad_input_from_the_selector(panel, make_volume, snapshot, name):
    make, words = BAD_IN_THE_SELECTOR[name]
    bad, good = make(), make_volume()
    before = snapshot()
    panel.choose_cubic()
    panel.ui.inputSelector.setCurrentNode(bad)
    assert_apply_refused(panel, words)
    assert bad.GetName() in panel.reason
    assert snapshot() == before
    panel.picture(f"bad-{name}")
    panel.ui.inputSelector.setCurrentNode(good)  # and a good one after it
    assert panel.ui.applyButton.enabled and not panel.ui.reasonLabel.isVisible()


def label_map():
    return slicer.util.addVolumeFromArray(np.ones((4, 5, 6), "uint8"), name="Liver", nodeClassName="vtkMRMLLabelMapVolumeNode")


@pytest.mark.parametrize("make, words", [(label_map, "is a label map"), (colours, "3 components per voxel")], ids=["label-map", "vector"])
def test_other_kinds_of_volumes_are_not_offered_and_refused_from_scripts(panel, snapshot, make, words):
    bad = make()
    before = snapshot()
    panel.ui.inputSelector.setCurrentNode(bad)
    assert panel.parameters.inputVolume is None  # the selector does not have it
    panel.parameters.inputVolume = bad
    assert_apply_refused(panel, words)
    assert snapshot() == before
    panel.picture(f"bad-{'label-map' if make is label_map else 'vector'}")


def test_voxels_that_became_nan_unnoticed_are_refused_at_apply(panel, make_volume, snapshot):
    """A script may change the array without a word; the panel still offers Apply then."""
    volume = make_volume(dtype="float32")
    panel.parameters.inputVolume = volume
    panel.choose_cubic()
    slicer.util.arrayFromVolume(volume)[1, 2, 3] = np.nan
    volume.GetImageData().Modified()
    before = snapshot()
    assert panel.ui.applyButton.enabled
    panel.ui.applyButton.click()
    assert panel.run is None and "NaN" in panel.status
    assert snapshot() == before
    assert_apply_refused(panel, "NaN or infinite")  # and now the panel knows


def test_input_removed_before_apply(panel, make_volume):
    volume = make_volume()
    panel.parameters.inputVolume = volume
    panel.choose_cubic()
    slicer.mrmlScene.RemoveNode(volume)
    assert_apply_refused(panel, "Choose an input volume.")
    assert panel.ui.sampleButton.isVisible() and not panel.ui.factsLabel.isVisible()


# ---------------------------------------------------------------------- the outputs


def test_output_equal_to_input(panel, make_volume, snapshot):
    volume = make_volume()
    panel.parameters.inputVolume = volume
    panel.choose_cubic()
    before = snapshot()
    panel.ui.outputSelector.setCurrentNode(volume)
    assert_apply_refused(panel, "is the input volume itself")
    assert snapshot() == before
    panel.picture("bad-output-is-input")


def test_both_outputs_the_same(panel, make_volume):
    panel.parameters.inputVolume = make_volume()
    panel.choose_cubic()
    other = make_volume("Other")
    panel.ui.outputSelector.setCurrentNode(other)
    panel.ui.comparisonSelector.setCurrentNode(other)
    assert_apply_refused(panel, "are the same")
    panel.ui.compareCheckBox.click()  # without a comparison there is no conflict
    assert panel.ui.applyButton.enabled


def test_output_removed_during_a_run(panel, make_volume, snapshot):
    output = make_volume("Mine")
    panel.parameters.outputVolume = output
    start_large_run(panel, make_volume)
    slicer.mrmlScene.RemoveNode(output)
    before = snapshot()
    panel.finish()
    assert "output volume was removed" in panel.status
    assert_sentence(panel.status)
    assert set(volumes()) == {"MR head"} and snapshot() == before


# ---------------------------------------------------------------------- memory


def test_memory_limit_too_small(panel, make_volume, snapshot):
    panel.parameters.inputVolume = make_volume()
    panel.choose_cubic()
    before = snapshot()
    panel.ui.advancedCollapsibleButton.collapsed = False
    panel.ui.memoryLimitSpinBox.value = 0.1
    assert_apply_refused(panel, "of memory and the limit is 102 MiB; raise the limit, or use")
    assert snapshot() == before
    panel.picture("bad-memory-limit")
    panel.ui.memoryLimitSpinBox.value = 0.0
    assert panel.ui.applyButton.enabled


def test_result_larger_than_the_memory_of_this_machine(panel):
    """A real volume whose 64-fold result does not fit; nothing is allocated for it."""
    count = int(psutil.virtual_memory().available / 64 * 1.05)
    if count > 2**30:
        pytest.skip("this machine has so much memory that the input alone would take more than 1 GiB")
    side = int(count ** (1 / 3)) + 1
    voxels = np.zeros((side, side, side), "uint8")
    voxels[0, 0, 0] = 1
    volume = slicer.util.addVolumeFromArray(voxels, name="Whole body")
    panel.parameters.inputVolume = volume
    panel.choose_cubic()
    assert panel.parameters.axes is Axes.ALL
    panel.ui.scaleComboBox.currentIndex = 1
    assert_apply_refused(panel, "of memory")
    assert "smaller factor" in panel.reason
    panel.picture("bad-too-large")


def test_temporary_folder_that_is_gone(panel, make_volume, monkeypatch):
    volume = make_volume()
    panel.parameters.inputVolume = volume
    panel.choose_cubic()
    monkeypatch.setattr(slicer.app, "temporaryPath", "/nowhere/tmp")
    with pytest.raises(ResourceError, match="/nowhere/tmp"):
        panel.widget.logic.estimate(volume, panel.request())


# ---------------------------------------------------------------------- models


@pytest.fixture
def own_models(tmp_path, monkeypatch):
    """A copy of one shipped model in a folder that is the only one looked at, so that a test may damage it."""
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copytree(MODELS / MODEL, folder / MODEL)
    monkeypatch.setenv("SUPERRES3D_MODELS", str(folder))  # the worker looks here first
    monkeypatch.setattr(weights, "model_folders", lambda: [folder])
    return folder


def choose_network(panel, make_volume):
    """A network that needs no other to step in, as cheaply as it goes."""
    volume = make_volume()
    panel.parameters.inputVolume = volume
    panel.parameters.axes, panel.parameters.scale = Axes.IN_PLANE, Scale.TWO
    panel.parameters.ensemble = Ensemble.NONE
    panel.parameters.method = "two-stage-residual"
    return volume


def test_missing_model(panel, make_volume, snapshot, own_models):
    choose_network(panel, make_volume)
    assert panel.ui.applyButton.enabled  # so that what follows is about the model
    before = snapshot()
    panel.ui.axesComboBox.currentIndex = 0  # all axes need a depth network too, which is not in the folder
    assert_apply_refused(panel, "two-stage-residual-mr-depth-x2 is not installed")
    assert snapshot() == before
    panel.picture("bad-model-missing")
    panel.choose_cubic()
    assert panel.ui.applyButton.enabled


def test_damaged_card(panel, make_volume, own_models):
    (own_models / MODEL / "card.json").write_text('{"sha256": ')
    choose_network(panel, make_volume)
    assert_apply_refused(panel, "card of the model")


@pytest.mark.parametrize("damage", ["one byte", "cut off", "swapped"])
def test_damaged_weights(panel, make_volume, snapshot, own_models, damage):
    path = own_models / MODEL / "weights.safetensors"
    content = path.read_bytes()
    if damage == "one byte":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "cut off":
        path.write_bytes(content[:1000])
    else:
        shutil.copy(MODELS / "two-stage-residual-ct-plane-x2" / "weights.safetensors", path)
    choose_network(panel, make_volume)
    before = snapshot()
    assert_run_refused(panel, "damaged or swapped")
    assert snapshot() == before
    panel.picture("bad-model-damaged")


def test_model_of_another_network(panel, make_volume, snapshot, own_models):
    """The hash is right, and the card describes a network that the weights do not fit."""
    path = own_models / MODEL / "card.json"
    card = json.loads(path.read_text())
    card["network"]["factors"] = [4, 4]
    path.write_text(json.dumps(card))
    choose_network(panel, make_volume)
    before = snapshot()
    assert_run_refused(panel, "do not fit its network")
    assert snapshot() == before


# ---------------------------------------------------------------------- engines


@pytest.fixture
def no_torch(tmp_path, monkeypatch):
    """An installation of torch that was broken off: its metadata come first and are empty."""
    folder = tmp_path / "half-installed"
    (folder / "torch-2.9.0.dist-info").mkdir(parents=True)
    (folder / "torch-2.9.0.dist-info" / "METADATA").write_text("")
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_a_graphics_card_without_torch_and_without_the_extension_that_installs_it(panel, make_volume, snapshot, no_torch):
    choose_network(panel, make_volume)
    panel.parameters.device = "cuda"
    before = snapshot()
    assert_run_refused(panel, "needs the PyTorch extension")
    assert snapshot() == before
    panel.picture("bad-torch-missing")
    panel.parameters.device = "auto"
    panel.ui.applyButton.click()  # the processor needs no torch
    panel.finish()
    assert panel.status == "Done"


def test_torch_declined(panel, make_volume, snapshot, no_torch, monkeypatch):
    (no_torch / "PyTorchUtils.py").touch()
    asked = []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, *_, **__: asked.append(text))  # the user says no
    choose_network(panel, make_volume)
    panel.parameters.device = "cuda"
    before = snapshot()
    assert_run_refused(panel, "PyTorch was declined")
    assert len(asked) == 1 and "GB" in asked[0]
    assert snapshot() == before


def break_package(tmp_path, monkeypatch, *statements):
    """Packages that are installed to the eye of pip, but broken: only the worker can find out."""
    for name, statement in statements:
        broken = tmp_path / "broken" / name
        broken.mkdir(parents=True)
        (broken / "__init__.py").write_text(statement)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))


@pytest.mark.parametrize(
    "statement",
    [
        "raise ImportError('half-installed')",
        # What is raised where a library is missing or, on Windows, a DLL cannot be initialised.
        "raise OSError('libopenvino.so: cannot open shared object file')",
    ],
    ids=["ImportError", "OSError"],
)
def test_no_engine_that_loads(panel, make_volume, snapshot, tmp_path, monkeypatch, statement):
    break_package(tmp_path, monkeypatch, ("openvino", statement), ("torch", statement))
    choose_network(panel, make_volume)
    before = snapshot()
    assert_run_refused(panel, "No engine for the networks can be loaded")
    assert snapshot() == before
    panel.picture("bad-no-engine")


def test_a_broken_openvino_is_said_and_torch_computes(panel, make_volume, tmp_path, monkeypatch):
    break_package(tmp_path, monkeypatch, ("openvino", "raise ImportError('half-installed')"))
    choose_network(panel, make_volume)
    panel.ui.applyButton.click()
    panel.finish()
    assert panel.status == "Done"
    assert "OpenVINO could not be used (half-installed); PyTorch computed on the CPU" in panel.ui.reportLabel.text


def test_other_packages_missing_are_named(panel, make_volume, snapshot, monkeypatch, tmp_path):
    """As torch above, with a package that every run needs; in testing mode Slicer installs nothing."""
    (tmp_path / "half" / "rich-13.0.dist-info").mkdir(parents=True)
    (tmp_path / "half" / "rich-13.0.dist-info" / "METADATA").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "half"))
    panel.parameters.inputVolume = make_volume()
    panel.choose_cubic()
    before, asked = snapshot(), []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, *_, **__: asked.append(text) or True)
    assert panel.ui.applyButton.enabled
    panel.ui.applyButton.click()
    assert len(asked) == 1 and "rich" in asked[0]
    assert panel.run is None and "packages rich are missing" in panel.status
    assert snapshot() == before
