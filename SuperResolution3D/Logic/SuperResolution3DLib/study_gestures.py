"""What mouse and keys do in the views of a reader study: as the instructions say, and nothing that changes what stands where."""

from __future__ import annotations

from typing import Any

import vtk


def as_instructed(widget: Any) -> None:
    """Let a view take the gestures of a study alone.

    Slicer's own would zoom with the right button, show one view alone on a double click, and put the next
    picture into a view at "]", so that the original stands under "left".

    Args:
        widget: a vtkMRMLSliceIntersectionWidget, which turns events of one view into actions.
    """
    widget.SetActionsEnabled(widget.ActionTranslate | widget.ActionZoom | widget.ActionBrowseSlice)  # also forgets what was set before
    press = (widget.WidgetStateIdle, vtk.vtkCommand.RightButtonPressEvent, vtk.vtkEvent.NoModifier)
    widget.SetEventTranslation(*press, widget.WidgetEventNone)  # the first translation of an event counts
    widget.SetEventTranslationClickAndDrag(*press, widget.WidgetStateTranslateSlice, widget.WidgetEventTranslateSliceStart, widget.WidgetEventTranslateSliceEnd)
    widget.SetEventTranslation(widget.WidgetStateIdle, vtk.vtkCommand.LeftButtonDoubleClickEvent, vtk.vtkEvent.NoModifier, widget.WidgetEventNone)


def gestures_of(slice_widget: Any) -> Any:
    """The part of a qMRMLSliceWidget that turns events into actions."""
    return slice_widget.sliceView().displayableManagerByClassName("vtkMRMLCrosshairDisplayableManager").GetSliceIntersectionWidget()
