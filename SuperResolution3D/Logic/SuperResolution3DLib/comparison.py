"""Input, Lanczos and CNN side by side: one layout of slice views, linked and labelled.

Nothing of the user's is lost: the layout, the volumes' interpolation and their window/level
links are as before after :meth:`ComparisonView.leave`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _
from superres3d.methods import METHODS

from .choices import Orientation

#: any number from 100 on is free for modules; the layout node refuses one that is taken
LAYOUT_ID = 8301
_COUNTS = (2, 3)
_WIDE = 10_000  # pixels, more than there are: they are shared alike
_VIEW_GROUP = 8301
_USUAL = "SuperResolution3D.Interpolate"  # attribute of a display node: as it was before the comparison; it is saved with the scene
_VIEWS = ("SuperResolution3D-1", "SuperResolution3D-2", "SuperResolution3D-3")


@dataclass(frozen=True)
class Pane:
    """One view: a volume, and what stands on the image."""

    volume: slicer.vtkMRMLScalarVolumeNode
    label: str


def panes(
    source: slicer.vtkMRMLScalarVolumeNode, comparison: slicer.vtkMRMLScalarVolumeNode | None, result: slicer.vtkMRMLScalarVolumeNode
) -> list[Pane]:
    """Input, Lanczos (where there is one) and the upscaled volume."""
    shown = [Pane(source, _("Input (voxels as they are)"))]
    if comparison is not None:
        shown.append(Pane(comparison, _("Lanczos interpolation")))
    shown.append(Pane(result, _result_label(result)))
    return shown


def _result_label(result: slicer.vtkMRMLScalarVolumeNode) -> str:
    """The method's title; below it a warning if it may invent."""
    name = result.GetAttribute("SuperResolution3D.Method") or ""
    method = METHODS.get(name)
    if method is None:
        return name
    return method.title + ("\n" + _("may show texture that is not in the scan") if method.adversarial else "")


class ComparisonView:
    """Shows and leaves the comparison.

    Args:
        scene: with the layout node and the slice views.
        layout_manager: the application's, or None; needed for the labels and for fitting.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, layout_manager: Any):
        self._scene = scene
        self._layouts = layout_manager
        self._before: int | None = None
        self._link: WindowLevelLink | None = None
        self._busy = False

    @property
    def laid_out(self) -> bool:
        """True while the comparison is what the user sees; a scene may have been saved so."""
        layout = self._layout_node()  # None without a main window
        return layout is not None and _is_ours(layout.GetViewArrangement())

    @property
    def interrupted(self) -> bool:
        """True if the scene was saved during a comparison and only the layout came back with it."""
        return self._link is None and not self._busy and self.laid_out

    @property
    def active(self) -> bool:
        """True while there is something to leave."""
        return self._before is not None or self.laid_out

    def show(self, shown: Sequence[Pane], orientation: Orientation) -> None:
        """Lay out two or three panes; may be called again with other panes."""
        if self._busy:  # called by an event that was waiting
            return
        self._busy = True
        try:
            self._release()
            self._lay_out(len(shown), orientation)
            self._fill(shown, orientation)
            self._show_voxels([pane.volume for pane in shown])
            self._link = WindowLevelLink([pane.volume for pane in shown])
        finally:
            self._busy = False

    def leave(self) -> None:
        """Back to the layout that was there before; also when the scene is about to close."""
        self._release()
        if self.laid_out:  # else the user chose another one meanwhile
            layout = self._layout_node()
            layout.SetViewArrangement(layout.SlicerLayoutConventionalView if self._before is None else self._before)
        self._before = None

    def tidy(self) -> None:
        """A scene was saved during a comparison, but is not shown so: the volumes look as they did before it."""
        if self._link is None and not self.laid_out:
            self._release()

    def _lay_out(self, count: int, orientation: Orientation) -> None:
        layout = self._layout_node()
        now, wanted = layout.GetViewArrangement(), _layout_number(count, orientation)
        if not _is_ours(now):
            self._before = now
        register_layouts(layout)
        layout.SetViewArrangement(wanted)
        if self._layouts:
            slicer.app.processEvents()  # Qt gives new views their size only now; a fit before that would be wrong
            if now != wanted:
                self._equal_widths()

    def _show_voxels(self, volumes: Sequence[slicer.vtkMRMLScalarVolumeNode]) -> None:
        """Voxels as they are; smoothing would be a fourth method."""
        for volume in volumes:
            display = volume.GetDisplayNode()
            if display is not None:
                display.SetAttribute(_USUAL, str(display.GetInterpolate()))
                display.SetInterpolate(0)

    def _release(self) -> None:
        if self._link:
            self._link.close()
            self._link = None
        for display in slicer.util.getNodesByClass("vtkMRMLScalarVolumeDisplayNode", scene=self._scene):
            usual = display.GetAttribute(_USUAL)  # a result that was made during the comparison has copied it
            if usual in ("0", "1"):
                display.SetInterpolate(int(usual))
            display.RemoveAttribute(_USUAL)

    def _fill(self, shown: Sequence[Pane], orientation: Orientation) -> None:
        """The volumes first, the links last: a linked view would pass its volume to the others."""
        composites = [self._composite(view) for view in _VIEWS[: len(shown)]]
        for composite in composites:
            composite.SetLinkedControl(False)
            composite.SetHotLinkedControl(False)
        for view, composite, pane in zip(_VIEWS, composites, shown):
            composite.SetBackgroundVolumeID(pane.volume.GetID())
            composite.SetForegroundVolumeID(None)
            composite.SetLabelVolumeID(None)
            slice_node = self._slice_node(view)
            slice_node.SetViewGroup(_VIEW_GROUP)
            slice_node.SetOrientation(orientation.value)
            slice_node.RotateToVolumePlane(shown[0].volume)  # oblique slices lie in a view as they were measured
            self._label(view, pane.label)
        self._fit(len(shown), _centre(shown[0].volume))
        for composite in composites:
            composite.SetHotLinkedControl(True)
            composite.SetLinkedControl(True)

    def _fit(self, count: int, centre: Sequence[float]) -> None:
        """The whole slice in each view, at the place ``centre`` (RAS, mm)."""
        for view in _VIEWS[:count]:
            logic = slicer.app.applicationLogic().GetSliceLogic(self._slice_node(view)) if self._layouts else None
            if logic is not None:
                logic.FitSliceToBackground()
        for view in _VIEWS[:count]:  # a new view starts at the scene's origin, which may lie outside the volume
            self._slice_node(view).JumpSliceByOffsetting(*centre)

    def _equal_widths(self) -> None:
        """A layout that gets another view leaves it the room that is left."""
        widget = self._layouts.sliceWidget(_VIEWS[0])
        row = widget.parent() if widget else None
        if row and row.inherits("QSplitter"):
            row.setSizes([_WIDE] * row.count())
            slicer.app.processEvents()

    def _label(self, view: str, text: str) -> None:
        widget = self._layouts.sliceWidget(view) if self._layouts else None
        if not widget:
            return
        annotation = widget.sliceView().cornerAnnotation()
        # The edges are free: the Data Probe writes into the four corners.
        annotation.SetText(vtk.vtkCornerAnnotation.UpperEdge, text)
        annotation.GetTextProperty().SetShadow(True)
        widget.sliceView().scheduleRender()

    def _layout_node(self) -> slicer.vtkMRMLLayoutNode:
        return self._scene.GetFirstNodeByClass("vtkMRMLLayoutNode")

    def _slice_node(self, view: str) -> slicer.vtkMRMLSliceNode:
        return self._scene.GetSingletonNode(view, "vtkMRMLSliceNode")

    def _composite(self, view: str) -> slicer.vtkMRMLSliceCompositeNode:
        return self._scene.GetSingletonNode(view, "vtkMRMLSliceCompositeNode")


def register_layouts(layout: slicer.vtkMRMLLayoutNode) -> None:
    """Tell Slicer the layouts, so that a scene that was saved while comparing opens as it was.

    Each count and orientation has a number of its own: a description that changed under the
    number in use would not be laid out again.
    """
    for count in _COUNTS:
        for orientation in Orientation:
            number = _layout_number(count, orientation)
            if not layout.IsLayoutDescription(number):
                layout.AddLayoutDescription(number, layout_xml(count, orientation))


def _layout_number(count: int, orientation: Orientation) -> int:
    return LAYOUT_ID + 10 * count + list(Orientation).index(orientation)


def _is_ours(number: int) -> bool:
    return number in {_layout_number(count, orientation) for count in _COUNTS for orientation in Orientation}


def any_in_views(*volumes: slicer.vtkMRMLScalarVolumeNode | None) -> bool:
    """True if one of the volumes is in a slice view of the present layout."""
    views = {node.GetLayoutName() for node in slicer.util.getNodesByClass("vtkMRMLSliceNode") if node.IsMappedInLayout()}
    composites = [node for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode") if node.GetLayoutName() in views]
    shown = {layer for node in composites for layer in (node.GetBackgroundVolumeID(), node.GetForegroundVolumeID())}
    return any(volume is not None and volume.GetID() in shown for volume in volumes)


def _centre(volume: slicer.vtkMRMLScalarVolumeNode) -> tuple[float, ...]:
    """RAS position of the middle of a volume, in mm."""
    bounds = [0.0] * 6
    volume.GetRASBounds(bounds)
    return tuple((low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2]))


class WindowLevelLink:
    """Keeps the window/level of volumes alike until closed; slice linking leaves it out."""

    def __init__(self, volumes: Sequence[slicer.vtkMRMLScalarVolumeNode]):
        self._displays = [volume.GetDisplayNode() for volume in volumes if volume.GetDisplayNode() is not None]
        self._busy = False
        self._tags = [(display, display.AddObserver(vtk.vtkCommand.ModifiedEvent, self._copy)) for display in self._displays]
        if self._displays:
            self._copy(self._displays[0], "")

    def close(self) -> None:
        """From now on each has its own again."""
        for display, tag in self._tags:
            display.RemoveObserver(tag)
        self._tags, self._displays = [], []

    def _copy(self, changed: Any, _event: str) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            for display in self._displays:
                if display is not changed and (display.GetWindow(), display.GetLevel()) != (changed.GetWindow(), changed.GetLevel()):
                    display.SetAutoWindowLevel(False)
                    display.SetWindowLevel(changed.GetWindow(), changed.GetLevel())
        finally:
            self._busy = False


def layout_xml(count: int, orientation: Orientation) -> str:
    """A row of ``count`` slice views."""
    items = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{view}">'
        f'<property name="orientation" action="default">{orientation.value}</property>'
        f'<property name="viewlabel" action="default">{number}</property>'
        f'<property name="viewgroup" action="default">{_VIEW_GROUP}</property>'
        "</view></item>"
        for number, view in enumerate(_VIEWS[:count], start=1)
    )
    return f'<layout type="horizontal" split="true">{items}</layout>'
