"""The real panel in real Qt (PySide6, offscreen) over real MRML (slicer-core), with the stand-in for the rest."""

import importlib.util
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
MISSING = [name for name in ("slicer_core", "PySide6") if importlib.util.find_spec(name) is None]


def pytest_report_header(config):
    return f"Testing/Panel is skipped: not installed: {', '.join(MISSING)} (PyPI: slicer-core, PySide6-Essentials)" if MISSING else None


if not MISSING:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    sys.path.insert(0, str(HERE))
    from standin import application, pythonqt

    application.install()
    import slicer
    import slicer.util


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
        self.wait(lambda: self.widget._run is None)

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
        """Write what the panel looks like now."""
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


@pytest.fixture
def panel(tmp_path, pictures, monkeypatch):
    """A fresh panel over an empty scene; fails if any slot raised, or if a file or process was left behind."""
    import SuperResolution3D as module

    slicer.mrmlScene.Clear(True)
    pythonqt.slot_errors.clear()
    temporary = tmp_path / "slicer-temporary"
    temporary.mkdir()
    monkeypatch.setattr(slicer.app, "temporaryPath", str(temporary))
    panel = Panel(module, pictures)
    yield panel
    panel.widget.cleanup()
    panel.raw.close()
    panel.raw.deleteLater()
    slicer.app.processEvents()
    slicer.mrmlScene.Clear(True)
    assert not pythonqt.slot_errors, pythonqt.slot_errors
    assert list(temporary.iterdir()) == []
    assert _children() == []


def _children() -> list:
    import psutil

    return [child.cmdline() for child in psutil.Process().children() if "superres3d.cli" in " ".join(child.cmdline())]


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
