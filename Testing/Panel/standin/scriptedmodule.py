"""The base classes of a scripted module, as far as the module uses them."""

from __future__ import annotations

import os
import unittest

import qt
import slicer
import slicer.util

__all__ = ["ScriptedLoadableModule", "ScriptedLoadableModuleLogic", "ScriptedLoadableModuleTest", "ScriptedLoadableModuleWidget"]


class ScriptedLoadableModule:
    """The registration."""

    def __init__(self, parent):
        self.parent = parent
        self.moduleName = type(self).__name__


class ScriptedLoadableModuleWidget:
    """The panel."""

    def __init__(self, parent=None):
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent
        self.layout = parent.layout()

    def resourcePath(self, name):
        """Path of a file beside the module."""
        return os.path.join(os.path.dirname(slicer.util.modulePath(self.moduleName)), "Resources", name)

    def setup(self):
        """Slicer's adds the developer's section here."""

    def onReload(self):
        """The module's file anew."""
        slicer.util.reloadScriptedModule(self.moduleName)


class ScriptedLoadableModuleLogic:
    """What scripts call."""

    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self):
        """The module's node of the scene; made where there is none."""
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            made = slicer.vtkMRMLScriptedModuleNode()
            made.SetSingletonTag(self.moduleName)
            made.SetAttribute("ModuleName", self.moduleName)
            made.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
            node = slicer.mrmlScene.AddNode(made)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The module's own test."""

    def delayDisplay(self, message, msec=None):
        """Slicer's shows the message for a while."""
        print(message)


assert qt
