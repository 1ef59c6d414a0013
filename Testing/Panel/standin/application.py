"""``slicer.app`` and the modules that only the application has; :func:`install` puts them in place."""

from __future__ import annotations

import os
import sys
import tempfile
import types
from pathlib import Path

import slicer
import slicer.util
import vtk
from PySide6 import QtCore, QtWidgets

from . import pythonqt, widgets

MODULE_PATH = Path(__file__).resolve().parents[3] / "SuperResolution3D" / "SuperResolution3D.py"


class Application:
    """``slicer.app``."""

    applicationName = "Slicer (stand-in)"

    def __init__(self, qt_application: QtWidgets.QApplication):
        self.qt = qt_application
        self.temporaryPath = tempfile.gettempdir()
        self.started = []

    def connect(self, signal, receiver):
        """Keeps what is to be called when Slicer has started."""
        assert signal == "startupCompleted()"
        self.started.append(receiver)
        return True

    def processEvents(self):
        """Qt's."""
        self.qt.processEvents()

    def deleteLeftovers(self):
        """What ``deleteLater`` promised: outside of an event loop nobody else does it."""
        self.qt.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)

    def topLevelWidgets(self):
        """None that is a main window."""
        return ()

    def testingEnabled(self):
        """No dialogs."""
        return True

    def layoutManager(self):
        """None, as without a main window."""

    def translate(self, context, text):
        """The text as it is."""
        return text

    def setOverrideCursor(self, cursor):
        """Nothing is shown."""

    def restoreOverrideCursor(self):
        """Nothing is shown."""

    def moduleManager(self):
        """One that never loads another module."""
        return types.SimpleNamespace(connect=lambda *_: True, disconnect=lambda *_: True)


def install() -> Application:
    """Create the QApplication, the scene and the modules ``qt``, ``ctk`` and ``slicer.*``; once."""
    if hasattr(slicer, "app"):
        return slicer.app
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    slicer.mrmlScene = slicer.vtkMRMLScene()
    slicer.mrmlScene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())  # as the module Colors does
    slicer.app = Application(QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"]))
    sys.modules["qt"] = pythonqt.module("qt", {"QUiLoader": widgets.UiLoader})
    sys.modules["ctk"] = pythonqt.module("ctk", {"ctkCollapsibleButton": widgets.ctkCollapsibleButton})
    slicer.qMRMLNodeComboBox = pythonqt.class_for(widgets.qMRMLNodeComboBox)
    slicer.qMRMLWidget = pythonqt.class_for(widgets.qMRMLWidget)
    slicer.modules = types.SimpleNamespace(superresolution3d=types.SimpleNamespace(path=str(MODULE_PATH)))
    _install_slicer_modules()
    sys.path[:0] = [str(MODULE_PATH.parent), str(MODULE_PATH.parent / "Logic"), str(MODULE_PATH.parents[1] / "SuperResolution3DReaderStudy")]
    return slicer.app


def _install_slicer_modules() -> None:
    from . import parameternode

    i18n = types.ModuleType("slicer.i18n")
    i18n.tr = lambda text: text
    i18n.translate = lambda context, text: text
    sys.modules["slicer.i18n"] = slicer.i18n = i18n
    sys.modules["slicer.parameterNodeWrapper"] = slicer.parameterNodeWrapper = parameternode
    from . import scriptedmodule

    sys.modules["slicer.ScriptedLoadableModule"] = slicer.ScriptedLoadableModule = scriptedmodule
    packaging = types.ModuleType("slicer.packaging")  # a machine where nothing is missing
    packaging.load_requirements = lambda path: Path(path).read_text(encoding="utf-8").splitlines()
    packaging.pip_ensure = lambda requirements, requester=None, prompt_install=True: None
    sys.modules["slicer.packaging"] = slicer.packaging = packaging


class Layout:
    """The views as MRML nodes, made by Slicer's own logic as its layout manager does; nothing is drawn."""

    def __init__(self):
        scene = slicer.mrmlScene
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
        self._slices: dict[str, slicer.vtkMRMLSliceLogic] = {}
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLScene(scene)
        node = self._logic.GetLayoutNode()
        node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._follow)
        node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)

    def _follow(self, *_) -> None:
        """A slice logic for each new view; it makes the node that says which volumes the view shows."""
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            if node.GetID() not in self._slices:
                logic = self._slices[node.GetID()] = slicer.vtkMRMLSliceLogic()
                logic.SetMRMLScene(slicer.mrmlScene)
                logic.SetSliceNode(node)
            node.SetMappedInLayout(self._logic.GetViewNodes().IsItemPresent(node) > 0)

    def close(self) -> None:
        """Let go of the scene."""
        for logic in self._slices.values():
            logic.SetMRMLScene(None)
        self._logic.SetMRMLScene(None)


def new_panel_parent():
    """An empty module panel: ``parent`` of a module widget."""
    parent = widgets.qMRMLWidget()
    parent.setLayout(QtWidgets.QVBoxLayout())
    wrapped = pythonqt.wrap(parent)
    return wrapped, parent
