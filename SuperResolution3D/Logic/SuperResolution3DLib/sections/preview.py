"""A small block around the crosshair, upscaled in about a second and shown in its place, by a click or while choices change."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import qt
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _
from superres3d.errors import InputError, SuperResolutionError
from superres3d.scan.region import Spans
from superres3d.scan.volume import find_slice_axis

from .. import wording
from ..checks import check_input
from ..nodes import Product, attributes, image_from_voxels, put_preview
from ..overlay import Overlay
from ..package_words import in_language
from ..preview import Part, PreviewWorker
from ..regions import crosshair_spans, place_crosshair
from ..request import Request
from .controls import show
from .state import PanelState

_SETTLED = 150  # milliseconds after the last change
_WITHIN, _SLICES = 64, 32  # voxels of the block, of the scan; half as many where they become four times as many, or where networks are large


class PreviewSection:
    """Asks the worker, and shows what it makes over the scan.

    Args:
        ui: the widgets of the form.
        state: shared with the other sections.
        temporary_folder: where the worker's files may lie.
        ensure_packages: installs what a request needs (SuperResolutionError).
        make_worker: as :class:`..preview.PreviewWorker`.
    """

    def __init__(
        self, ui: Any, state: PanelState, temporary_folder: Callable[[], str | None], ensure_packages: Callable[[Request], object],
        make_worker: Callable[..., Any] = PreviewWorker,
    ):  # fmt: skip
        self._ui = ui
        self._state = state
        self._ensure_packages = ensure_packages
        self._worker = make_worker(temporary_folder, self._take, self._fail)
        self._overlay = Overlay(slicer.mrmlScene)
        self._node: Any = None
        self._asked: Any = None
        self._awaited = self._marked = False
        self._began = 0.0
        self._crosshair: tuple[Any, int] | None = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SETTLED)
        self._timer.connect("timeout()", self._ask_again)
        ui.previewButton.connect("clicked(bool)", self.ask)
        ui.livePreviewCheckBox.connect("toggled(bool)", self._go_live)
        ui.removePreviewButton.connect("clicked(bool)", self.remove)
        show(ui.previewLabel, "")

    def refresh(self) -> None:
        """Show what can be done; where the preview is live, make it anew if a choice has changed."""
        usable = self._state.parameters.inputVolume is not None
        self._ui.previewButton.enabled = self._ui.livePreviewCheckBox.enabled = usable
        self._ui.removePreviewButton.enabled = self._node is not None
        if self._ui.livePreviewCheckBox.checked and usable:
            self._timer.start()

    def ask(self) -> None:
        """One preview with the choices as they are."""
        self._asked = None
        self._ask_again()

    def remove(self) -> None:
        """Take the preview out of the views and of the scene."""
        self._ui.livePreviewCheckBox.checked = self._awaited = False
        self._timer.stop()
        node, self._node = self._node, None
        if node is not None and slicer.mrmlScene.IsNodePresent(node):
            self._overlay.take_away(node)
            slicer.mrmlScene.RemoveNode(node)
        self._unmark()
        show(self._ui.previewLabel, "")
        self._ui.removePreviewButton.enabled = False

    def close(self) -> None:
        """The scene or the module closes: the worker ends."""
        self._timer.stop()
        self.remove()
        self._worker.stop()
        self._asked = None

    def _ask_again(self) -> None:
        """Unless that was asked last."""
        parameters = self._state.parameters
        if not parameters:
            return
        node = parameters.inputVolume
        try:
            check_input(node)
            request = self._request()
            place_crosshair(node)
            spans = self._spans(node, request)
            wanted = (node.GetID(), node.GetImageData().GetMTime(), request, spans)
            if wanted == self._asked:
                return
            self._ensure_packages(request)
            self._began = time.monotonic()
            self._worker.ask(node, request, spans)
        except SuperResolutionError as error:
            self._fail(error)
        else:
            self._asked, self._awaited = wanted, True
            self._tell(self._making(request))

    def _request(self) -> Request:
        """The panel's, of what a small block can show."""
        return replace(self._state.request(whole=True), check=False, careful=False, error_map=False, compare=False)

    def _spans(self, node: Any, request: Request) -> Spans:
        less = 2 if (request.scale or 0) > 2 or request.catalogued.otherwise else 1
        slices = 2 - find_slice_axis(node.GetSpacing())
        return crosshair_spans(node, [(_SLICES if axis == slices else _WITHIN) // less for axis in range(3)])

    def _making(self, request: Request) -> str:
        """Large networks take ten times as long as others."""
        if request.catalogued.otherwise:
            return _("Making the preview. With this method it takes several seconds, the first time the longest...")
        return _("Making the preview...")

    def _take(self, part: Part) -> None:
        if not self._awaited:  # it was removed before it came
            return
        report = part.report
        first = tuple(start for start, _stop in report["region"]["result_ijk"])
        told = attributes({**report, "check": None}, part.source)
        product = Product(image_from_voxels(part.voxels), f"{part.source.name} preview", tuple(report["factors_ijk"]), told, first)
        if self._node is not None and not slicer.mrmlScene.IsNodePresent(self._node):
            self._node = None
        try:
            self._node = put_preview(slicer.mrmlScene, part.source, product, self._node)
            self._overlay.show(self._node, part.source.node(slicer.mrmlScene))
        except InputError as error:  # the scan left the scene meanwhile
            self._fail(error)
            return
        self._ui.removePreviewButton.enabled = True
        self._mark()
        self._tell(
            _("Preview: {part} voxels around the crosshair in {seconds} s ({method}, quality Fast).")
            .format(part=wording.dimensions([stop - start for start, stop in report["region"]["voxels_ijk"]]), seconds=f"{time.monotonic() - self._began:.1f}", method=wording.title(report["method"]))
        )  # fmt: skip

    def _mark(self) -> None:
        """A small crosshair in the middle of it, for thin slices look much alike; one that is shown already stays as it is."""
        crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        if crosshair is not None and crosshair.GetCrosshairMode() == crosshair.NoCrosshair:
            crosshair.SetCrosshairMode(crosshair.ShowSmallBasic)
            self._marked = True

    def _unmark(self) -> None:
        crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        if self._marked and crosshair is not None and crosshair.GetCrosshairMode() == crosshair.ShowSmallBasic:
            crosshair.SetCrosshairMode(crosshair.NoCrosshair)
        self._marked = False

    def _fail(self, error: Exception) -> None:
        self._asked = None
        if not isinstance(error, InputError):  # a crosshair that leaves the scan comes back
            self._ui.livePreviewCheckBox.checked = False
        self._tell(in_language(str(error)))

    def _tell(self, text: str) -> None:
        show(self._ui.previewLabel, text)

    def _go_live(self, on: bool) -> None:
        if self._crosshair:
            node, tag = self._crosshair
            node.RemoveObserver(tag)
            self._crosshair = None
        crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        if on and crosshair:
            self._crosshair = crosshair, crosshair.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._timer.start())
        if on:
            self._timer.start()
