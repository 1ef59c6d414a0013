"""Volumes that show the current frame of a sequence."""

from __future__ import annotations

import slicer
import slicer.util


def current_frame(node: slicer.vtkMRMLNode) -> tuple[int, int] | None:
    """(number from 1, count) if a sequence browser shows its frames in ``node``, else None."""
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode"):
        if browser.IsProxyNodeID(node.GetID()):
            return browser.GetSelectedItemNumber() + 1, browser.GetNumberOfItems()
    return None
