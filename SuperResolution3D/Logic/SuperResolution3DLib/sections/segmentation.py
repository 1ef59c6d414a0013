"""A segmentation that comes along, and its models in 3-D."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from ..job import Finished
from .state import PanelState


class SegmentationSection:
    """Chooses it, and shows what became of it.

    Args:
        ui: the widgets of the form.
        state: shared with the other sections.
        scene_parameters: returns the parameters of the scene, where the panel is connected to none.
        show_beside: shows two segmentations in 3-D.
    """

    def __init__(self, ui: Any, state: PanelState, scene_parameters: Callable[[], Any], show_beside: Callable[[Any, Any], None]):
        self._ui = ui
        self._state = state
        self._scene_parameters = scene_parameters
        self._show_beside = show_beside
        ui.segmentationSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._choose)
        ui.modelsButton.connect("clicked(bool)", self._show)

    def refresh(self) -> None:
        """Show what follows from the choices."""
        parameters, ui = self._state.parameters, self._ui
        ui.segmentationSelector.visible = ui.segmentationLabel.visible = parameters.bringSegmentation
        if ui.segmentationSelector.currentNode() is not parameters.segmentation:
            ui.segmentationSelector.setCurrentNode(parameters.segmentation)
        ui.modelsButton.visible = ui.modelsButton.enabled = parameters.lastSegmentation is not None and parameters.lastDrawn is not None

    def take(self, finished: Finished) -> None:
        """Remember the segmentations of a run with the scene."""
        parameters = self._state.parameters or self._scene_parameters()
        if finished.segmentation is not None:
            parameters.lastDrawn, parameters.lastSegmentation = finished.drawn, finished.segmentation

    def _choose(self, node: Any) -> None:
        parameters = self._state.editable
        if parameters:
            parameters.segmentation = node

    def _show(self) -> None:
        parameters = self._state.parameters
        self._show_beside(parameters.lastDrawn, parameters.lastSegmentation)


def show_in_scene(drawn: Any, refined: Any) -> None:
    """In the layout of the scene, if there is one."""
    from ..segmentations import show_beside

    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if layout:
        show_beside(drawn, refined, layout)
