"""The pictures of a case in Slicer's own slice views: linked, with one window, and under names that tell nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from .slice_link import SliceLink
from .study_gestures import as_instructed, gestures_of

_LAYOUT = 8401  # and the number of views; from 100 on numbers are free for modules
_SETTLED = 300  # milliseconds after which the first case's views have their final size
_VIEWS = ("ReaderStudy-1", "ReaderStudy-2", "ReaderStudy-3")
_MARK = "SuperResolution3D.ReaderStudy"
_TITLES = {1: (" ",), 2: ("left", "right"), 3: ("left", "original", "right")}


class StudyViews:
    """Shows cases, and leaves the scene as it was.

    Args:
        scene: with the layout node.
        layout_manager: the application's, or None; needed for fitting.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, layout_manager: Any):
        self._scene, self._layouts = scene, layout_manager
        self._before: int | None = None
        self._mouse: int | None = None
        self._link: SliceLink | None = None
        self._window = (0.0, 1.0)
        self._fitted = 0.0
        self._touched = False
        self.volumes: list[slicer.vtkMRMLScalarVolumeNode] = []

    def show(self, pictures: Sequence[np.ndarray], pixel_mm: tuple[float, float], window: tuple[float, float]) -> None:
        """Show a case; the one before goes.

        Args:
            pictures: from left to right, each (slices, rows, columns).
            pixel_mm: height and width of a pixel.
            window: least and largest value that is shown.
        """
        self.hide()
        self._lay_out(len(pictures))
        display = self._display(window)
        for view, title, values in zip(_VIEWS, _TITLES[len(pictures)], pictures):
            volume = self._volume(title, values, pixel_mm, display)
            self.volumes.append(volume)
            self._composite(view).SetBackgroundVolumeID(volume.GetID())
            self._slice(view).SetOrientationToAxial()
            self._slice(view).SetLayoutLabel(_(title))  # a view that another design had keeps its label otherwise
        self._link = SliceLink([self._slice(view) for view in _VIEWS[: len(pictures)]])
        self._window = window
        self._touched = False
        self._fit()
        if self._layouts:
            import qt  # only the application has it

            qt.QTimer.singleShot(_SETTLED, lambda volumes=self.volumes: self.settle(volumes))

    def settle(self, volumes: list[slicer.vtkMRMLScalarVolumeNode]) -> None:
        """Fit once more when panel and views have their final sizes, unless the reader has magnified, or sees another case."""
        if self.volumes is volumes and volumes and not self._touched:
            self._fit()

    def hide(self) -> None:
        """Take the case away; the views stay."""
        if self._link:
            self._link.close()
        self._link, self.volumes = None, []
        for node in _of_class(self._scene, "vtkMRMLScalarVolumeNode") + _of_class(self._scene, "vtkMRMLScalarVolumeDisplayNode"):
            if node.GetAttribute(_MARK):
                self._scene.RemoveNode(node)

    def leave(self) -> None:
        """The user's own layout again."""
        self.hide()
        layout = self._layout_node()
        if layout is not None and self._before is not None and layout.GetViewArrangement() in range(_LAYOUT + 1, _LAYOUT + 4):
            layout.SetViewArrangement(self._before)
        mouse = self._scene.GetFirstNodeByClass("vtkMRMLInteractionNode")
        if mouse is not None and self._mouse is not None:
            mouse.SetCurrentInteractionMode(self._mouse)
        self._before = self._mouse = None

    def magnify(self, factor: float) -> None:
        """Larger by a factor in all views; never smaller than the whole picture."""
        if self.volumes:
            self._touched = True
            node = self._slice(_VIEWS[0])
            across, up, deep = node.GetFieldOfView()
            factor = min(factor, 16 * across / self._fitted) if factor > 1 else max(factor, across / self._fitted)
            node.SetFieldOfView(across / factor, up / factor, deep)

    def leaf(self, step: int) -> None:
        """To another slice of the slab."""
        if self.volumes:
            self._touched = True
            node, count = self._slice(_VIEWS[0]), self.volumes[0].GetImageData().GetDimensions()[2]
            node.SetSliceOffset(float(np.clip(round(node.GetSliceOffset()) + step, 0, count - 1)))

    def reset(self) -> None:
        """Window, magnification and slice as at first."""
        if self.volumes:
            _set_window(self.volumes[0].GetDisplayNode(), self._window)
            self._fit()

    def _fit(self) -> None:
        node = self._slice(_VIEWS[0])
        if self._layouts:
            slicer.app.processEvents()  # new views get their size only now
            for view in _VIEWS[: len(self.volumes)]:
                self._layouts.sliceWidget(view).fitSliceToBackground()
        else:
            bounds = [0.0] * 6
            self.volumes[0].GetRASBounds(bounds)
            node.SetFieldOfView(bounds[1] - bounds[0], bounds[3] - bounds[2], 1.0)
        node.SetSliceOffset(float(self.volumes[0].GetImageData().GetDimensions()[2] // 2))
        self._fitted = node.GetFieldOfView()[0]

    def _display(self, window: tuple[float, float]) -> slicer.vtkMRMLScalarVolumeDisplayNode:
        """One for all panels: what is changed on one is changed on all."""
        display = self._scene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
        display.SetAttribute(_MARK, "1")
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
        display.SetInterpolate(0)
        _set_window(display, window)
        return display

    def _volume(self, title: str, values: np.ndarray, pixel_mm: tuple[float, float], display: slicer.vtkMRMLScalarVolumeDisplayNode) -> slicer.vtkMRMLScalarVolumeNode:
        """Columns to the patient's left and rows to the back, so that an axial view shows the picture upright."""
        volume = self._scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", title)
        volume.SetAttribute(_MARK, "1")
        volume.SetHideFromEditors(True)
        slicer.util.updateVolumeFromArray(volume, np.ascontiguousarray(values))
        volume.SetSpacing(pixel_mm[1], pixel_mm[0], 1.0)
        volume.SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)
        rows, columns = values.shape[1:]
        volume.SetOrigin(pixel_mm[1] * (columns - 1) / 2, pixel_mm[0] * (rows - 1) / 2, 0.0)
        volume.SetAndObserveDisplayNodeID(display.GetID())
        return volume

    def _lay_out(self, count: int) -> None:
        layout = self._layout_node()
        if layout.GetViewArrangement() not in range(_LAYOUT + 1, _LAYOUT + 4):
            self._before = layout.GetViewArrangement()
        if not layout.IsLayoutDescription(_LAYOUT + count):
            layout.AddLayoutDescription(_LAYOUT + count, _layout_xml(count))
        layout.SetViewArrangement(_LAYOUT + count)
        self._drag_window()
        if self._layouts:
            slicer.app.processEvents()
            self._layouts.sliceWidget(_VIEWS[0]).parent().setSizes([1000] * count)  # a splitter: all views as wide
            for view in _VIEWS[:count]:
                as_instructed(gestures_of(self._layouts.sliceWidget(view)))

    def _drag_window(self) -> None:
        """Dragging with the left button changes window and level, as the instructions say."""
        mouse = self._scene.GetFirstNodeByClass("vtkMRMLInteractionNode")
        if mouse is not None and self._mouse is None:
            self._mouse = mouse.GetCurrentInteractionMode()
            mouse.SetCurrentInteractionMode(mouse.AdjustWindowLevel)

    def _layout_node(self) -> Any:
        return self._scene.GetFirstNodeByClass("vtkMRMLLayoutNode")

    def _slice(self, view: str) -> Any:
        return next(node for node in _of_class(self._scene, "vtkMRMLSliceNode") if node.GetLayoutName() == view)

    def _composite(self, view: str) -> Any:
        return next(node for node in _of_class(self._scene, "vtkMRMLSliceCompositeNode") if node.GetLayoutName() == view)


def _of_class(scene: slicer.vtkMRMLScene, name: str) -> list[Any]:
    return [scene.GetNthNodeByClass(number, name) for number in range(scene.GetNumberOfNodesByClass(name))]


def _set_window(display: slicer.vtkMRMLScalarVolumeDisplayNode, window: tuple[float, float]) -> None:
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(window[1] - window[0], (window[0] + window[1]) / 2)


def _layout_xml(count: int) -> str:
    """A row of slice views, labelled by where they stand."""
    items = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{view}"><property name="orientation" action="default">Axial</property>'
        f'<property name="viewlabel" action="default">{_(title)}</property><property name="viewgroup" action="default">{_LAYOUT}</property></view></item>'
        for view, title in zip(_VIEWS, _TITLES[count])
    )
    return f'<layout type="horizontal" split="true">{items}</layout>'
