"""A volume laid over another in the slice views, and taken away again: what lay there before comes back."""

from __future__ import annotations

import slicer
import slicer.util


class Overlay:
    """Shows one volume over another at a time.

    Args:
        scene: with the views.
    """

    def __init__(self, scene: slicer.vtkMRMLScene):
        self._scene = scene
        self._before: dict[str, tuple[str | None, float]] = {}  # of a view: its foreground and opacity

    @property
    def shown(self) -> bool:
        """Whether something is laid over."""
        return bool(self._before)

    def show(self, over: slicer.vtkMRMLScalarVolumeNode, source: slicer.vtkMRMLScalarVolumeNode) -> None:
        """In every view whose background is ``source``."""
        for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", self._scene):
            if view.GetBackgroundVolumeID() != source.GetID():
                continue
            if view.GetForegroundVolumeID() != over.GetID():
                self._before[view.GetID()] = view.GetForegroundVolumeID(), view.GetForegroundOpacity()
                view.SetForegroundVolumeID(over.GetID())
            view.SetForegroundOpacity(1.0)

    def take_away(self, over: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Views that still show it get back what they had."""
        for identity, (foreground, opacity) in self._before.items():
            view = self._scene.GetNodeByID(identity)
            if view is not None and view.GetForegroundVolumeID() == over.GetID():
                view.SetForegroundVolumeID(foreground if foreground and self._scene.GetNodeByID(foreground) else None)
                view.SetForegroundOpacity(opacity)
        self._before = {}
