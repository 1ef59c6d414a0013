"""Two volumes in one slice view: flip, blend, swipe, magnifier and difference, as at a workstation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from . import composing
from .choices import CompareMode

#: pixels of one square of the magnifier
LENS_PIXELS = 181
#: by which it magnifies
LENS_ZOOM = 4
#: of the display's window, at the right end of the slider: the difference that is shown black or white
_WIDEST_DIFFERENCE = 0.5


@dataclass(frozen=True)
class Pane:
    """One volume to show, and what stands on the image."""

    volume: slicer.vtkMRMLScalarVolumeNode
    label: str


class Canvas(Protocol):
    """What can be drawn over a slice view."""

    def draw(self, picture: np.ndarray | None) -> None:
        """Cover the view by a picture (row from the bottom, column, 3), or by nothing."""

    def say(self, text: str) -> None:
        """Write above the image."""

    def close(self) -> None:
        """Leave the view as it was."""


class OneView:
    """Shows two volumes in one slice view until closed.

    Args:
        scene: of the nodes.
        slice_node, composite: of the view.
        first, second: what is compared; the first is the background.
        canvas: drawn on.
    """

    def __init__(
        self, scene: slicer.vtkMRMLScene, slice_node: slicer.vtkMRMLSliceNode, composite: slicer.vtkMRMLSliceCompositeNode,
        first: Pane, second: Pane, canvas: Canvas,
    ):  # fmt: skip
        self._slice_node, self._composite, self._canvas = slice_node, composite, canvas
        self._panes = (first, second)
        self._layers = [_Layer(scene, slice_node, pane.volume) for pane in self._panes]
        self._lens_node = slicer.vtkMRMLSliceNode()
        self._lens_node.SetDimensions(LENS_PIXELS, LENS_PIXELS, 1)
        self._lenses = [_Layer(scene, self._lens_node, pane.volume) for pane in self._panes]
        self._mode, self._amount, self._second_shown = CompareMode.FLIP, 0.5, False
        self._pointer: tuple[int, int] | None = None
        composite.SetForegroundVolumeID(second.volume.GetID())
        watched = [slice_node, *(pane.volume.GetDisplayNode() for pane in self._panes if pane.volume.GetDisplayNode() is not None)]
        self._tags = [(node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._redraw)) for node in watched]

    def close(self) -> None:
        """Show the first volume alone, and let go of the view."""
        for node, tag in self._tags:
            node.RemoveObserver(tag)
        self._tags = []
        for layer in (*self._layers, *self._lenses):
            layer.close()
        self._composite.SetForegroundOpacity(0.0)
        self._composite.SetForegroundVolumeID(None)
        self._canvas.close()

    def choose(self, mode: CompareMode, amount: float | None = None) -> None:
        """Another manner, or another share (0 to 1) of the blend, the swipe or the window of the difference."""
        self._mode = mode
        self._amount = self._amount if amount is None else amount
        self._redraw()

    def flip(self) -> None:
        """The other volume, at the same place; in every manner."""
        if self._mode in (CompareMode.FLIP, CompareMode.BLEND):
            self._mode, self._second_shown = CompareMode.FLIP, not self._second_shown
        else:
            self._panes, self._layers, self._lenses = self._panes[::-1], self._layers[::-1], self._lenses[::-1]
        self._redraw()

    def point(self, column: int, row: int) -> None:
        """The mouse is there, in pixels from the lower left corner."""
        self._pointer = (column, row)
        if self._mode is CompareMode.MAGNIFIER:
            self._redraw()

    @property
    def half_window(self) -> float:
        """The difference that is shown black or white, in intensities."""
        display = self._panes[0].volume.GetDisplayNode()
        window = display.GetWindow() if display is not None else 1.0
        return window * _WIDEST_DIFFERENCE * max(self._amount, 0.01)

    def _redraw(self, _caller: object = None, _event: str = "") -> None:
        first, second = self._panes
        opacity = {CompareMode.FLIP: float(self._second_shown), CompareMode.BLEND: self._amount}.get(self._mode, 0.0)
        self._composite.SetForegroundOpacity(opacity)
        self._canvas.draw(self._picture())
        if self._mode is CompareMode.FLIP:
            text = (second if self._second_shown else first).label
        elif self._mode is CompareMode.BLEND:
            text = _("{share} % {second}, over {first}").format(share=round(100 * self._amount), second=second.label, first=first.label)
        elif self._mode is CompareMode.DIFFERENCE:
            text = self._difference_text(first, second)
        else:
            text = _("left: {first}   right: {second}").format(first=first.label, second=second.label)
        self._canvas.say(text)

    def _picture(self) -> np.ndarray | None:
        if self._mode is CompareMode.SWIPE:
            return composing.swipe(self._layers[0].picture(), self._layers[1].picture(), self._amount)
        if self._mode is CompareMode.DIFFERENCE:
            return composing.difference(self._layers[0].intensities(), self._layers[1].intensities(), self.half_window)
        if self._mode is CompareMode.MAGNIFIER:
            return self._magnified()
        return None

    def _magnified(self) -> np.ndarray:
        width, height, _one = self._slice_node.GetDimensions()
        column, row = self._pointer or (width // 2, height // 2)
        across, up, depth = self._slice_node.GetFieldOfView()
        pixel = across / max(width, 1), up / max(height, 1)
        place = self._slice_node.GetXYToRAS().MultiplyPoint((column + 0.5, row + 0.5, 0, 1))
        matrix = vtk.vtkMatrix4x4()
        matrix.DeepCopy(self._slice_node.GetSliceToRAS())
        for axis in range(3):
            matrix.SetElement(axis, 3, place[axis])
        self._lens_node.GetSliceToRAS().DeepCopy(matrix)
        self._lens_node.SetFieldOfView(LENS_PIXELS * pixel[0] / LENS_ZOOM, LENS_PIXELS * pixel[1] / LENS_ZOOM, depth)
        self._lens_node.UpdateMatrices()
        return composing.magnifier(self._layers[0].picture(), self._lenses[0].picture(), self._lenses[1].picture(), column, row)

    def _difference_text(self, first: Pane, second: Pane) -> str:
        units = first.volume.GetVoxelValueUnits()
        unit = f" {units.GetCodeValue()}" if units is not None and units.GetCodeValue() else ""
        return _("{second} minus {first}: black -{most}{unit}, grey 0, white +{most}{unit}").format(
            second=second.label.split("\n")[0], first=first.label.split("\n")[0], most=f"{self.half_window:.3g}", unit=unit
        )


class _Layer:
    """A volume as a slice node cuts it: Slicer's own sampling and colours."""

    def __init__(self, scene: slicer.vtkMRMLScene, slice_node: slicer.vtkMRMLSliceNode, volume: slicer.vtkMRMLScalarVolumeNode):
        self._logic = slicer.vtkMRMLSliceLayerLogic()
        self._logic.SetMRMLScene(scene)
        self._logic.SetSliceNode(slice_node)
        self._logic.SetVolumeNode(volume)

    def picture(self) -> np.ndarray:
        """As the view shows it, (row, column, 3); black outside of the volume."""
        connection = self._logic.GetImageDataConnection()
        connection.GetProducer().Update()
        colours = _array(connection.GetProducer().GetOutputDataObject(connection.GetIndex()))
        return np.where(colours[..., 3:] > 0, colours[..., :3], 0).astype(np.uint8)

    def intensities(self) -> np.ndarray:
        """Before window and level, (row, column)."""
        reslice = self._logic.GetReslice()
        reslice.Update()
        return _array(reslice.GetOutput())[..., 0]

    def close(self) -> None:
        """Let go of the nodes."""
        self._logic.SetVolumeNode(None)
        self._logic.SetSliceNode(None)
        self._logic.SetMRMLScene(None)


def _array(image: vtk.vtkImageData) -> np.ndarray:
    """(row, column, component) of a plane."""
    width, height, _depth = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)
