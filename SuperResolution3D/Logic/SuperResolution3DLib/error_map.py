"""The map of the expected error: its colours and legend, laid over the views, and the places where to look twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import slicer.util
from slicer.i18n import tr as _

OPACITY = 0.6
_COLOURS = 256
_TABLE = "SuperResolution3D expected error"
#: dark red, orange, yellow, white: the larger the error, the brighter
_STOPS = np.array([(90, 0, 60), (200, 50, 40), (250, 160, 20), (255, 255, 190)]) / 255.0
_HIGHEST = 99.8  # percentile that is shown brightest


@dataclass(frozen=True)
class Doubtful:
    """A place where to look twice.

    Attributes:
        position: (right, anterior, superior) mm, in the coordinates of the volume.
        error: to be expected, in the scan's units.
        words: where that is, for people.
        size: the error, for people.
    """

    position: tuple[float, float, float]
    error: float
    words: str
    size: str


def doubtful_places(report: Mapping[str, Any]) -> list[Doubtful]:
    """Of a run with an error map, the most doubtful first; of another none."""
    told = report.get("error_map") or {}
    unit = f" {told['unit']}" if told.get("unit") else ""
    return [_doubtful(place["position_ras_mm"], place["expected_error"], unit) for place in told.get("doubtful", [])]


def _doubtful(position: Sequence[float], error: float, unit: str) -> Doubtful:
    words = ", ".join(f"{names[value < 0]} {abs(value):.1f}" for names, value in zip(("RL", "AP", "SI"), position))
    right, anterior, superior = (float(value) for value in position)
    return Doubtful((right, anterior, superior), float(error), words, f"{error:.3g}{unit}")


def show_as_errors(node: slicer.vtkMRMLScalarVolumeNode, told: Mapping[str, Any]) -> None:
    """Give a map its colours, from the typical error up; what is below is transparent.

    Args:
        node: the map.
        told: the report's part on it.
    """
    scene = node.GetScene()
    display = slicer.vtkMRMLScalarVolumeDisplayNode()
    scene.AddNode(display)
    display.SetAndObserveColorNodeID(_colour_table(scene).GetID())
    values = slicer.util.arrayFromVolume(node)
    low = float(told["typical"])
    high = max(float(np.percentile(values.ravel()[:: max(1, values.size // 1_000_000)], _HIGHEST)), low * 1.01 + 1e-6)
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(low, high)
    display.SetAutoThreshold(False)
    display.SetThreshold(low, max(high, float(values.max())))
    display.SetApplyThreshold(True)
    node.SetAndObserveDisplayNodeID(display.GetID())
    _add_legend(node, told["unit"])


def lay_over(node: slicer.vtkMRMLScalarVolumeNode | None, opacity: float, result: slicer.vtkMRMLScalarVolumeNode | None = None) -> None:
    """Show a map over whatever the slice views show, with its legend; None, or an opacity of 0, takes both away.

    Args:
        node: the map.
        opacity: 0 to 1.
        result: that it belongs to; where it lies over its scan, as a part does, it takes the scan's place, so that both are seen.
    """
    for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if node is not None:
            if result is not None and view.GetForegroundVolumeID() == result.GetID():
                view.SetBackgroundVolumeID(result.GetID())
            view.SetForegroundVolumeID(node.GetID())
        view.SetForegroundOpacity(opacity if node is not None else 0.0)
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node) if node is not None else None
    if legend is not None:
        legend.SetVisibility(opacity > 0)
        legend.Modified()  # Slicer looks only then whether the views show the map


def jump_to(place: Doubtful, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Bring all slice views there, under the volume's transform as well."""
    world = [0.0, 0.0, 0.0]
    volume.TransformPointToWorld(place.position, world)
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        view.JumpSliceByCentering(*world)


def _colour_table(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLColorTableNode:
    """One for all maps of a scene."""
    found = scene.GetFirstNodeByName(_TABLE)
    if found is not None:
        return found
    table = scene.AddNewNodeByClass("vtkMRMLColorTableNode", _TABLE)
    table.SetTypeToUser()
    table.SetNumberOfColors(_COLOURS)
    at = np.linspace(0, len(_STOPS) - 1, _COLOURS)
    for index, colour in enumerate(np.stack([np.interp(at, range(len(_STOPS)), channel) for channel in _STOPS.T], axis=1)):
        table.SetColor(index, f"{index}", *map(float, colour), 1.0)
    table.SetAttribute("Category", "SuperResolution3D")
    return table


def _add_legend(node: slicer.vtkMRMLScalarVolumeNode, unit: str) -> None:
    """Slicer's own legend."""
    legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(node)
    if legend is not None:
        legend.SetTitleText(_("Expected error") + (f" ({unit})" if unit else ""))
        legend.SetVisibility(True)
