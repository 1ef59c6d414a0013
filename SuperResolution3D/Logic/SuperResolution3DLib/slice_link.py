"""Slice views in step, whatever moved one of them.

Slicer's own link passes on what a view tells to have changed.  Zooming with Ctrl and the wheel
tells the zoom but not that the picture was shifted under the mouse, so that linked views drift
apart.  Here the views are compared as they are, after every change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
import vtk

#: of the thick slab
_SLAB = ("SlabReconstructionEnabled", "SlabReconstructionType", "SlabReconstructionThickness", "SlabReconstructionOversamplingFactor")


class SliceLink:
    """Keeps place, direction, zoom, shift and thick slab of slice nodes alike until closed.

    Views of different size show the same millimetres a pixel, around the same point.

    Args:
        nodes: the slice nodes; the others follow the one that changed last.
    """

    def __init__(self, nodes: Sequence[slicer.vtkMRMLSliceNode]):
        self._nodes = list(nodes)
        self._busy = False
        self._tags = [(node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._changed)) for node in self._nodes]
        if self._nodes:
            self._changed(self._nodes[0], "")

    def close(self) -> None:
        """From now on each goes its own way again."""
        for node, tag in self._tags:
            node.RemoveObserver(tag)
        self._tags, self._nodes = [], []

    def _changed(self, leader: Any, _event: str) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            for node in self._nodes:
                if node is not leader:
                    follow(leader, node)
        finally:
            self._busy = False


def follow(leader: slicer.vtkMRMLSliceNode, node: slicer.vtkMRMLSliceNode) -> None:
    """Show in ``node`` what ``leader`` shows; nothing happens where it does already."""
    was_modifying = node.StartModify()
    try:
        if not _same_matrix(leader.GetSliceToRAS(), node.GetSliceToRAS()):
            node.GetSliceToRAS().DeepCopy(leader.GetSliceToRAS())
            node.UpdateMatrices()
        view = _field_of_view(leader, node)
        if view and not _close(view, node.GetFieldOfView()):
            node.SetFieldOfView(*view)
        if not _close(leader.GetXYZOrigin(), node.GetXYZOrigin()):
            node.SetXYZOrigin(*leader.GetXYZOrigin())
        for name in _SLAB:
            wanted = getattr(leader, f"Get{name}")()
            if getattr(node, f"Get{name}")() != wanted:
                getattr(node, f"Set{name}")(wanted)
    finally:
        node.EndModify(was_modifying)


def _field_of_view(leader: slicer.vtkMRMLSliceNode, node: slicer.vtkMRMLSliceNode) -> tuple[float, float, float] | None:
    """Width, height and depth in mm at the leader's millimetres a pixel; None as long as one of them has no size."""
    (width, height, _one), (wide, high, _also) = leader.GetDimensions(), node.GetDimensions()
    if min(width, height, wide, high) < 1:
        return None
    across, up, depth = leader.GetFieldOfView()
    return across * wide / width, up * high / height, depth


def _same_matrix(one: vtk.vtkMatrix4x4, other: vtk.vtkMatrix4x4) -> bool:
    return all(abs(one.GetElement(row, column) - other.GetElement(row, column)) < 1e-9 for row in range(4) for column in range(4))


def _close(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(abs(a - b) <= 1e-9 * max(1.0, abs(a)) for a, b in zip(one, other))
