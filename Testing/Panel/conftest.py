"""The real panel in real Qt (PySide6, offscreen) over real MRML (slicer-core), with the stand-in for the rest."""

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
_PROBE = """
import sys, PySide6, slicer_core
from PySide6 import QtCore, QtGui, QtTest, QtUiTools, QtWidgets
application = QtWidgets.QApplication(["probe"])
before = sys.getrefcount(None)
for _turn in range(100):
    application.property("none of these")
if sys.getrefcount(None) < before - 50:
    sys.exit(f"PySide6 {PySide6.__version__} drops references to None, which ends this Python before long; install an older PySide6")
"""


def _why_not() -> str:
    """Why the panel cannot run here, or an empty string; asked in a process of its own, for Qt ends a process that lacks its libraries."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, encoding="utf-8", errors="replace")
    said = probe.stderr.strip().splitlines()
    return "" if probe.returncode == 0 else said[-1] if said else f"Qt ended with code {probe.returncode}"


REASON = _why_not()
collect_ignore_glob = ["test_*.py"] if REASON else []


def pytest_report_header(config):
    return f"Testing/Panel is skipped: {REASON}" if REASON else None


def pytest_configure(config):
    """Without the panel a sixth of the lines cannot be reached: the figure is shown, and not held against its limit."""
    coverage = config.pluginmanager.getplugin("_cov")
    if REASON and coverage:
        coverage.options.cov_fail_under = 0


def pytest_terminal_summary(terminalreporter):
    """The header is not shown under -q, and nobody should believe that the panel was tested."""
    if REASON:
        terminalreporter.write_line(f"Testing/Panel is skipped: {REASON}")


if not REASON:
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    from shiboken6 import Shiboken
    from standin import application, pythonqt, widgets
    from untrained_models import install  # noqa: F401  # a fixture

    application.install()
    import slicer
    import slicer.util
    from vtk.util.numpy_support import vtk_to_numpy


class Panel:
    """The module's panel as a user has it before them.

    Attributes:
        widget: the module's widget class.
        ui: its widgets, with PythonQt's manners.
        raw: the QWidget that is shown.
    """

    def __init__(self, module, pictures: Path):
        self.module = module
        self.pictures = pictures
        parent, self.raw = application.new_panel_parent()
        self.raw.setProperty("isEntered", True)
        self.widget = module.SuperResolution3DWidget(parent)
        self.widget.setup()
        self.ui = self.widget.ui
        self.raw.resize(430, 860)
        self.raw.show()
        self.wait(lambda: True)

    @property
    def parameters(self):
        return self.widget._parameterNode

    @property
    def run(self):
        """The run under way, or None."""
        return self.widget.panel.run.current

    def request(self):
        """What Apply would ask for."""
        return self.widget.panel.state.request()

    def wait(self, until, seconds: float = 120.0) -> None:
        """Let Qt work until a condition holds; fails after ``seconds``."""
        end = time.monotonic() + seconds
        while True:
            slicer.app.processEvents()
            if until():
                slicer.app.processEvents()
                return
            assert time.monotonic() < end, f"waited {seconds} s in vain; the panel says: {self.status!r}"
            time.sleep(0.005)

    def finish(self) -> None:
        self.wait(lambda: self.run is None)

    @property
    def status(self) -> str:
        return self.ui.statusLabel.text

    @property
    def reason(self) -> str:
        return self.ui.reasonLabel.text

    def choose_cubic(self) -> None:
        """A method that needs neither torch nor a model."""
        box = self.ui.methodComboBox
        box.currentIndex = box.findData("cubic")

    def picture(self, name: str) -> Path:
        """Write what the panel looks like once its layout has settled; wrapped labels find their height in the second round."""
        for _round in range(3):
            slicer.app.processEvents()
        self.pictures.mkdir(parents=True, exist_ok=True)
        path = self.pictures / f"{name}.png"
        assert self.raw.grab().save(str(path))
        return path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """Where the screenshots go: SUPERRES3D_PICTURES, else a temporary folder."""
    named = os.environ.get("SUPERRES3D_PICTURES")
    return Path(named) if named else tmp_path_factory.mktemp("pictures")


@pytest.fixture(autouse=True)
def unmeasured_machine(monkeypatch):
    """No test but those of it waits for a measurement of the machine."""
    from SuperResolution3DLib import machine

    monkeypatch.setattr(machine, "_SETTLED", 3_600_000)


@pytest.fixture
def panel(tmp_path, pictures, monkeypatch):
    """A fresh panel over an empty scene; fails if any slot raised, or if a file, a process or the panel itself was left behind."""
    from panel_steps import worker_pids

    import SuperResolution3D as module

    slicer.mrmlScene.Clear(True)
    layout = application.Layout()
    temporary = tmp_path / "slicer-temporary"
    temporary.mkdir()
    monkeypatch.setattr(slicer.app, "temporaryPath", str(temporary))
    panel = Panel(module, pictures)
    yield panel
    panel.widget.cleanup()
    left = {"files": list(temporary.iterdir()), "workers": worker_pids(), "errors in slots": list(pythonqt.slot_errors)}
    _destroy(panel.raw)
    layout.close()
    slicer.mrmlScene.Clear(True)
    assert left == {"files": [], "workers": [], "errors in slots": []}


def _destroy(widget) -> None:
    """The panel ends inside its own test, not whenever Python happens to collect it, perhaps in the middle of another."""
    for selector in widget.findChildren(widgets.qMRMLNodeComboBox):
        selector.setMRMLScene(None)
    widget.close()
    widget.deleteLater()
    slicer.app.processEvents()
    slicer.app.deleteLeftovers()
    assert not Shiboken.isValid(widget)
    pythonqt.forget()
    widgets.UiLoader.forget()


@pytest.fixture
def snapshot():
    """Returns the content of all nodes and the voxels of all volumes; the panel's own choices are left out."""

    def take() -> dict[str, tuple[str, bytes]]:
        scene = slicer.mrmlScene
        scene.SetSaveToXMLString(1)
        scene.Commit()
        nodes = [e for e in ElementTree.fromstring(scene.GetSceneXMLString()) if e.get("name") != "SuperResolution3D"]
        return {e.get("id"): (ElementTree.tostring(e, encoding="unicode"), _voxels(scene.GetNodeByID(e.get("id")))) for e in nodes}

    return take


def _voxels(node) -> bytes:
    image = node.GetImageData() if node is not None and node.IsA("vtkMRMLVolumeNode") else None
    return vtk_to_numpy(image.GetPointData().GetScalars()).tobytes() if image else b""


@pytest.fixture
def make_ct(make_volume):
    """Makes a CT with slices so many millimetres apart."""

    def make(distance=5.0, name="Chest"):
        node = make_volume(name, shape=(8, 40, 36), spacing=(0.8, 0.8, distance))
        voxels = slicer.util.arrayFromVolume(node)
        voxels[...] = np.maximum(3.2 * voxels - 1000, -1080 + voxels % 7)  # tissue near 0, noisy air near -1000
        slicer.util.arrayFromVolumeModified(node)
        return node

    return make


@pytest.fixture
def make_volume():
    """Makes a volume node with smooth content; ``large`` ones keep the worker busy for seconds."""

    def make(name="MR head", shape=(6, 40, 36), spacing=(1.0, 1.0, 5.0), dtype="int16"):
        k, j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
        voxels = (600 * np.exp(-3 * (k**2 + j**2 + i**2)) + 60 * np.sin(20 * i) * np.sin(17 * j)).astype(dtype)
        node = slicer.util.addVolumeFromArray(voxels, name=name)
        node.SetSpacing(*spacing)
        node.CreateDefaultDisplayNodes()
        return node

    return make
