"""Pictures, words, mouse and space bar over one slice view of the application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk


class SliceCanvas:
    """Draws over a slice view until closed.

    Args:
        widget: the slice widget; None: nothing is seen, as without a main window.
    """

    def __init__(self, widget: Any):
        self._widget = widget
        self._view = widget.sliceView() if widget else None
        if not self._view:
            return
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._actor = vtk.vtkActor2D()
        self._actor.SetMapper(self._mapper)
        self._actor.VisibilityOff()
        self._renderer = self._view.renderWindow().GetRenderers().GetFirstRenderer()
        insert_above_image(self._renderer, self._actor)

    def listen(self, on_pointer: Callable[[int, int], None], on_space: Callable[[], None]) -> None:
        """Call ``on_pointer`` with column and row when the mouse moves, and ``on_space`` when the space bar is pressed over the view."""
        if not self._view:
            return
        self._on_pointer = on_pointer
        self._interactor = self._view.interactor()
        self._tag = self._interactor.AddObserver(vtk.vtkCommand.MouseMoveEvent, self._moved)
        import qt  # only the application has it

        self._space = qt.QShortcut(qt.QKeySequence("Space"), self._widget)
        self._space.setContext(qt.Qt.WidgetWithChildrenShortcut)
        self._space.connect("activated()", on_space)
        self._view.setFocus()

    def draw(self, picture: np.ndarray | None) -> None:
        """Cover the view by a picture (row from the bottom, column, 3), or by nothing."""
        if not self._view:
            return
        self._actor.SetVisibility(picture is not None)
        if picture is not None:
            image = vtk.vtkImageData()
            image.SetDimensions(picture.shape[1], picture.shape[0], 1)
            image.GetPointData().SetScalars(numpy_to_vtk(picture.reshape(-1, 3), deep=True))
            self._mapper.SetInputData(image)
        self._view.scheduleRender()

    def say(self, text: str) -> None:
        """Write above the image."""
        if self._view:
            write_above(self._view, text)

    def close(self) -> None:
        """Leave the view as it was."""
        if not self._view:
            return
        self._renderer.RemoveViewProp(self._actor)
        self._interactor.RemoveObserver(self._tag)
        self._space.disconnect("activated()")
        self._space.deleteLater()
        self._view.scheduleRender()
        self._view = None

    def _moved(self, interactor: Any, _event: str) -> None:
        self._on_pointer(*interactor.GetEventPosition())


def write_above(view: Any, text: str) -> None:
    """At the upper edge: the Data Probe writes into the four corners."""
    annotation = view.cornerAnnotation()
    annotation.SetText(vtk.vtkCornerAnnotation.UpperEdge, text)
    annotation.GetTextProperty().SetShadow(True)
    view.scheduleRender()


def insert_above_image(renderer: vtk.vtkRenderer, actor: vtk.vtkActor2D) -> None:
    """Draw over the image, and under what Slicer draws on it: words and crosshair.  The order in a renderer is that of being added."""
    props = [renderer.GetViewProps().GetItemAsObject(index) for index in range(renderer.GetViewProps().GetNumberOfItems())]
    renderer.AddViewProp(actor)
    for prop in props:
        if not (isinstance(prop, vtk.vtkActor2D) and isinstance(prop.GetMapper(), vtk.vtkImageMapper)):
            renderer.RemoveViewProp(prop)
            renderer.AddViewProp(prop)
