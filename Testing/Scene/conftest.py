"""Real MRML from the PyPI package slicer-core; only Slicer's translation module is stood in for."""

import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
HAVE_MRML = importlib.util.find_spec("slicer_core") is not None
collect_ignore_glob = []


def pytest_report_header(config):
    return None if HAVE_MRML else "Testing/Scene is skipped: the PyPI package slicer-core (real MRML) is not installed"


if HAVE_MRML:
    sys.path[:0] = [str(ROOT / "SuperResolution3D" / "Logic"), str(ROOT / "Testing")]
    import slicer
    import slicer.util
    from untrained_models import install  # noqa: F401  # a fixture

    if not hasattr(slicer, "mrmlScene"):
        slicer.mrmlScene = slicer.vtkMRMLScene()
        slicer.mrmlScene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())  # as the module Colors does
    if "slicer.i18n" not in sys.modules:
        i18n = types.ModuleType("slicer.i18n")
        i18n.tr = lambda text: text
        sys.modules["slicer.i18n"] = slicer.i18n = i18n


@pytest.fixture
def scene():
    """An empty scene."""
    slicer.mrmlScene.Clear(True)
    yield slicer.mrmlScene
    slicer.mrmlScene.Clear(True)


@pytest.fixture
def make_volume(scene):
    """Makes a volume node of smooth random voxels (k, j, i) with an oblique, anisotropic grid."""

    def make(name="CT chest", shape=(6, 9, 8), dtype="int16", spacing=(0.9, 1.1, 5.0), voxels=None, kind=None):
        if voxels is None:
            voxels = np.random.default_rng(7).integers(0, 100, shape).astype(dtype)
        node = slicer.util.addVolumeFromArray(voxels, name=name, nodeClassName=kind)
        turn, tilt = np.radians([20, -11])
        direction = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]) @ np.array(
            [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
        )
        matrix = np.eye(4)
        matrix[:3, :3] = direction * np.asarray(spacing)
        matrix[:3, 3] = 12.5, -40.0, 7.25
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
        node.CreateDefaultDisplayNodes()
        return node

    return make


@pytest.fixture
def snapshot(scene):
    """Returns the content of the whole scene: all nodes as XML, and the voxels of all volumes."""

    def take():
        scene.SetSaveToXMLString(1)
        scene.Commit()
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        voxels = {node.GetID(): slicer.util.arrayFromVolume(node).tobytes() for node in volumes if node.GetImageData()}
        return scene.GetSceneXMLString(), voxels

    return take


@pytest.fixture
def make_ct(make_volume):
    """Makes a CT with so many slices, so many millimetres apart."""

    def make(distance, slices=6, name="Chest"):
        k, j, i = np.indices((slices, 24, 20))
        voxels = np.where((j - 12) ** 2 + (i - 10) ** 2 < 60, 40 + 200 * np.sin(0.9 * k + 0.5 * i), -1000 + 9 * np.sin(1.7 * j + 2.3 * i))  # air is noisy
        return make_volume(name, voxels=voxels.astype("int16"), spacing=(0.8, 0.8, distance))

    return make


@pytest.fixture
def fake_model(tmp_path, monkeypatch):
    """Makes a folder that looks like a model from outside, with weights that are not those of its card."""

    def make(name, sha256="0" * 64):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / "weights.safetensors").write_bytes(b"damaged")
        (folder / "card.json").write_text(json.dumps({"sha256": sha256, "network": {}, "multiply_accumulates_per_pixel": 1}))
        monkeypatch.setenv("SUPERRES3D_MODELS", str(tmp_path / "models"))

    return make
