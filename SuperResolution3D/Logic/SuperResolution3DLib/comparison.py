"""Input, Lanczos and CNN side by side, or two of them in one view: linked and labelled.

Nothing of the user's is lost: the layout, the crosshair, the volumes' interpolation and their
window/level links are as before after :meth:`ComparisonView.leave`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from superres3d.methods import METHODS

from . import wording
from .choices import CompareMode, Orientation
from .comparison_layouts import VIEW_GROUP, VIEWS, better_stacked, is_ours, layout_number, register_layouts
from .nodes import SOURCE_ROLE
from .one_view import OneView, Pane
from .slice_canvas import SliceCanvas, write_above
from .slice_link import SliceLink, follow

_WIDE = 10_000  # pixels, more than there are: they are shared alike
_USUAL = "SuperResolution3D.Interpolate"  # attribute of a display node: as it was before the comparison; it is saved with the scene


def panes(source: slicer.vtkMRMLScalarVolumeNode, comparison: slicer.vtkMRMLScalarVolumeNode | None, result: slicer.vtkMRMLScalarVolumeNode) -> list[Pane]:
    """Input, Lanczos (where there is one) and the upscaled volume."""
    return [Pane(source, _("Input (voxels as they are)")), *(pane_of(volume) for volume in (comparison, result) if volume is not None)]


def panes_of_scan(source: slicer.vtkMRMLScalarVolumeNode, shown: Sequence[slicer.vtkMRMLScalarVolumeNode]) -> list[Pane]:
    """The input, the volumes of the last run, and what else the scene holds that was made of the same scan."""
    others = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if node.GetNodeReference(SOURCE_ROLE) is source]
    others = [node for node in others if node not in shown and not node.GetAttribute("SuperResolution3D.ErrorMap")]
    return [Pane(source, _("Input (voxels as they are)")), *map(pane_of, shown), *(Pane(node, f"{_result_label(node)} ({node.GetName()})") for node in others)]


def pane_of(volume: slicer.vtkMRMLScalarVolumeNode) -> Pane:
    """A volume under the name of the method that made it."""
    return Pane(volume, _result_label(volume))


def run_text(source: slicer.vtkMRMLScalarVolumeNode, result: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Which run is compared, in one sentence."""
    quality = result.GetAttribute("SuperResolution3D.Preset") or "none"
    method = _result_label(result).split("\n")[0] + ("" if quality == "none" else f", {quality}")
    return _('Compares "{result}" ({method}) with its scan "{source}".').format(result=result.GetName(), method=method, source=source.GetName())


def _result_label(result: slicer.vtkMRMLScalarVolumeNode) -> str:
    """The method's title; below it a warning if it may invent."""
    name = result.GetAttribute("SuperResolution3D.Method") or ""
    if name == "lanczos":
        return _("Lanczos interpolation")
    method = METHODS.get(name)
    if method is None:
        return name
    return wording.title(method) + ("\n" + _("may show texture that is not in the scan") if method.adversarial else "")


class ComparisonView:
    """Shows and leaves the comparison.

    Args:
        scene: with the layout node and the slice views.
        layout_manager: the application's, or None; needed for the labels and for fitting.

    Attributes:
        one_view: shows two volumes in one view, while that is what is shown.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, layout_manager: Any):
        self._scene = scene
        self._layouts = layout_manager
        self._before: int | None = None
        self._crosshair: int | None = None
        self._shown_as: tuple[Orientation, str] | None = None
        self._link: WindowLevelLink | None = None
        self._slices: SliceLink | None = None
        self._busy = False
        self._whole: tuple[float, ...] | None = None  # scale and shift at which the whole slice is seen
        self.one_view: OneView | None = None

    @property
    def laid_out(self) -> bool:
        """True while the comparison is what the user sees; a scene may have been saved so."""
        layout = self._layout_node()  # None without a main window
        return layout is not None and is_ours(layout.GetViewArrangement())

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
        self._show(shown, orientation, len(shown))

    def show_in_one(self, first: Pane, second: Pane, orientation: Orientation, mode: CompareMode) -> None:
        """Both in one view, in the given manner; may be called again."""
        self._show((first, second), orientation, 1)
        if self.one_view:
            self.one_view.choose(mode)

    def _show(self, shown: Sequence[Pane], orientation: Orientation, views: int) -> None:
        if self._busy:  # called by an event that was waiting
            return
        self._busy = True
        try:
            self._release()
            whole, looked_at = self._whole, self._looked_at(orientation, shown[0].volume)
            self._lay_out(views, orientation, shown[0].volume)
            self._fill(shown[:views], orientation)
            if looked_at is not None:
                _look_again(looked_at, self._slice_node(VIEWS[0]), zoomed=_scale(looked_at) != whole)
            self._show_voxels([pane.volume for pane in shown])
            self._show_crosshair()
            self._link = WindowLevelLink([pane.volume for pane in shown])
            self._slices = SliceLink([self._slice_node(view) for view in VIEWS[:views]])
            if views == 1:
                self.one_view = self._make_one_view(shown[0], shown[1])
        finally:
            self._busy = False

    def _make_one_view(self, first: Pane, second: Pane) -> OneView:
        canvas = SliceCanvas(self._layouts.sliceWidget(VIEWS[0]) if self._layouts else None)
        made = OneView(self._scene, self._slice_node(VIEWS[0]), self._composite(VIEWS[0]), first, second, canvas)
        canvas.listen(made.point, made.flip)
        return made

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

    def _lay_out(self, count: int, orientation: Orientation, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
        layout = self._layout_node()
        bounds = [0.0] * 6
        volume.GetRASBounds(bounds)
        stacked = better_stacked(count, orientation, bounds, self._room())
        now, wanted = layout.GetViewArrangement(), layout_number(count, orientation, stacked)
        if not is_ours(now):
            self._before = now
        register_layouts(layout)
        layout.SetViewArrangement(wanted)
        if self._layouts:
            self._let_shrink(count)
            slicer.app.processEvents()  # Qt gives new views their size only now; a fit before that would be wrong
            if now != wanted:
                self._equal_widths()

    def _looked_at(self, orientation: Orientation, volume: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLSliceNode | None:
        """Place, zoom and slab of a comparison of the same scan in the same direction, which another manner of showing it keeps."""
        before, self._shown_as = self._shown_as, (orientation, volume.GetNodeReferenceID(SOURCE_ROLE) or volume.GetID())
        if not self.laid_out or before != self._shown_as:
            return None
        now, kept = self._slice_node(VIEWS[0]), slicer.vtkMRMLSliceNode()
        kept.SetDimensions(*now.GetDimensions())
        follow(now, kept)
        return kept

    def _room(self) -> tuple[float, float]:
        """Width and height of all views together, in pixels."""
        viewport = self._layouts.viewport() if self._layouts else None
        return (viewport.width, viewport.height) if viewport else (4.0, 3.0)

    def _show_crosshair(self) -> None:
        """The same place in all views; Shift moves it with the mouse."""
        crosshair = self._crosshair_node()
        if crosshair is not None:
            self._crosshair = crosshair.GetCrosshairMode()
            crosshair.SetCrosshairMode(crosshair.ShowBasic)

    def _show_voxels(self, volumes: Sequence[slicer.vtkMRMLScalarVolumeNode]) -> None:
        """Voxels as they are; smoothing would be a fourth method."""
        for volume in volumes:
            display = volume.GetDisplayNode()
            if display is not None:
                display.SetAttribute(_USUAL, str(display.GetInterpolate()))
                display.SetInterpolate(0)

    def _release(self) -> None:
        for link in (self._link, self._slices, self.one_view):
            if link:
                link.close()
        self._link = self._slices = self.one_view = None
        crosshair = self._crosshair_node()
        if crosshair is not None and self._crosshair is not None:
            crosshair.SetCrosshairMode(self._crosshair)
        self._crosshair = None
        for display in slicer.util.getNodesByClass("vtkMRMLScalarVolumeDisplayNode", scene=self._scene):
            usual = display.GetAttribute(_USUAL)  # a result that was made during the comparison has copied it
            if usual in ("0", "1"):
                display.SetInterpolate(int(usual))
            display.RemoveAttribute(_USUAL)

    def _fill(self, shown: Sequence[Pane], orientation: Orientation) -> None:
        """Slicer's own links are off: they would pass one view's volume to the others, and leave out where the zoom shifts a view."""
        composites = [self._composite(view) for view in VIEWS[: len(shown)]]
        for composite in composites:
            composite.SetLinkedControl(False)
            composite.SetHotLinkedControl(False)
        fitted = min((pane.volume for pane in shown), key=_extent)  # a part of the scan fills the views, not the scan around it
        for view, composite, pane in zip(VIEWS, composites, shown):
            composite.SetBackgroundVolumeID(fitted.GetID())
            composite.SetForegroundVolumeID(None)
            composite.SetLabelVolumeID(None)
            slice_node = self._slice_node(view)
            slice_node.SetViewGroup(VIEW_GROUP)
            slice_node.SetOrientation(orientation.value)
            slice_node.RotateToVolumePlane(shown[0].volume)  # oblique slices lie in a view as they were measured
            self._label(view, pane.label)
        self._fit(len(shown), _centre(fitted))
        for composite, pane in zip(composites, shown):
            composite.SetBackgroundVolumeID(pane.volume.GetID())

    def _fit(self, count: int, centre: Sequence[float]) -> None:
        """The whole slice in each view, at the place ``centre`` (RAS, mm)."""
        for view in VIEWS[:count]:
            logic = self._slice_logic(view)
            if logic is not None:
                logic.FitSliceToBackground()
        self._whole = _scale(self._slice_node(VIEWS[0]))
        for view in VIEWS[:count]:  # a new view starts at the scene's origin, which may lie outside the volume
            self._slice_node(view).JumpSliceByOffsetting(*centre)

    def _let_shrink(self, count: int) -> None:
        """On a small screen three bars above the views are wider than the room: the window must not grow beyond the screen for them."""
        import qt  # only the application has it

        for view in VIEWS[:count]:
            widget = self._layouts.sliceWidget(view)
            if widget:
                policy = widget.sizePolicy
                policy.setHorizontalPolicy(qt.QSizePolicy.Ignored)
                policy.setVerticalPolicy(qt.QSizePolicy.Ignored)
                widget.setSizePolicy(policy)

    def _equal_widths(self) -> None:
        """A layout that gets another view leaves it the room that is left."""
        widget = self._layouts.sliceWidget(VIEWS[0])
        row = widget.parent() if widget else None
        if row and row.inherits("QSplitter"):
            row.setSizes([_WIDE] * row.count())
            slicer.app.processEvents()

    def _label(self, view: str, text: str) -> None:
        widget = self._layouts.sliceWidget(view) if self._layouts else None
        if widget:
            write_above(widget.sliceView(), text)

    def _slice_logic(self, view: str) -> slicer.vtkMRMLSliceLogic | None:
        return slicer.app.applicationLogic().GetSliceLogic(self._slice_node(view)) if self._layouts else None

    def _crosshair_node(self) -> slicer.vtkMRMLCrosshairNode | None:
        return self._scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")

    def _layout_node(self) -> slicer.vtkMRMLLayoutNode:
        return self._scene.GetFirstNodeByClass("vtkMRMLLayoutNode")

    def _slice_node(self, view: str) -> slicer.vtkMRMLSliceNode:
        return self._scene.GetSingletonNode(view, "vtkMRMLSliceNode")

    def _composite(self, view: str) -> slicer.vtkMRMLSliceCompositeNode:
        return self._scene.GetSingletonNode(view, "vtkMRMLSliceCompositeNode")


def _look_again(looked_at: slicer.vtkMRMLSliceNode, node: slicer.vtkMRMLSliceNode, zoomed: bool) -> None:
    """At the same place as before; a whole slice fills the new view as it did the old one."""
    field, origin = node.GetFieldOfView(), node.GetXYZOrigin()
    follow(looked_at, node)
    if not zoomed:
        node.SetFieldOfView(*field)
        node.SetXYZOrigin(*origin)


def _scale(node: slicer.vtkMRMLSliceNode) -> tuple[float, ...]:
    """Millimetres a pixel across and up, and the shift, of a view."""
    width, height, _one = node.GetDimensions()
    across, up, _depth = node.GetFieldOfView()
    return tuple(round(value, 6) for value in (across / max(width, 1), up / max(height, 1), *node.GetXYZOrigin()))


def any_in_views(*volumes: slicer.vtkMRMLScalarVolumeNode | None) -> bool:
    """True if one of the volumes is in a slice view of the present layout."""
    shown = _in_views()
    return any(volume is not None and volume.GetID() in shown for volume in volumes)


def nothing_in_views() -> bool:
    """True if the slice views of the present layout are empty."""
    return not _in_views()


def _in_views() -> set[str]:
    """IDs of the volumes in the slice views of the present layout."""
    views = {node.GetLayoutName() for node in slicer.util.getNodesByClass("vtkMRMLSliceNode") if node.IsMappedInLayout()}
    composites = [node for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode") if node.GetLayoutName() in views]
    return {layer for node in composites for layer in (node.GetBackgroundVolumeID(), node.GetForegroundVolumeID()) if layer}


def _extent(volume: slicer.vtkMRMLScalarVolumeNode) -> float:
    """Cubic millimetres, so rounded that volumes over the same field of view are alike."""
    bounds = [0.0] * 6
    volume.GetRASBounds(bounds)
    low, high = np.reshape(bounds, (3, 2)).T
    return round(float(np.prod(high - low)), -1)


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
