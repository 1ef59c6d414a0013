"""One run from a node to nodes: write the input, let the worker compute, put the results into the scene."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _
from superres3d import read_labels
from superres3d.errors import InputError
from superres3d.methods import METHODS
from superres3d.scan.volume import find_slice_axis

from .checks import check_input, check_output
from .error_map import show_as_errors
from .handing_over import HandingOver
from .loading import image_in_pieces
from .nodes import Product, Source, attributes, put_into_scene, result_name, volume_from_node
from .request import Request
from .segmentations import check_segmentation, drawn_on, put_segmentation
from .sequences import current_frame
from .worker import Workspace, command

#: by which networks may refine a scan, one after the other
MOST_TIMES = 4
#: what a report would say of the comparison
_LANCZOS: dict[str, Any] = {
    "method": "lanczos", "models": {}, "preset": None, "ensemble": None, "precision": "float32", "back_projections": 0, "invents": None, "detail": None, "check": None, "careful": False,
}  # fmt: skip


@dataclass(frozen=True)
class Outputs:
    """Where results go.

    Attributes:
        result, comparison: existing nodes to update in place; None: create a new one.
        segmentation: of the input, to be brought to the result's grid in a new one; or None.
    """

    result: slicer.vtkMRMLScalarVolumeNode | None = None
    comparison: slicer.vtkMRMLScalarVolumeNode | None = None
    segmentation: slicer.vtkMRMLSegmentationNode | None = None


@dataclass(frozen=True)
class Finished:
    """What came of a run.

    Attributes:
        source, result: nodes.
        comparison: node, or None.
        report: of the worker.
        warnings: what to tell of it, one sentence each.
        page: the report as an HTML page, or an empty string.
        error_map: node, or None.
        segmentation: node on the result's grid, or None.
        drawn: what it was made from, or None.
    """

    source: slicer.vtkMRMLScalarVolumeNode
    result: slicer.vtkMRMLScalarVolumeNode
    comparison: slicer.vtkMRMLScalarVolumeNode | None
    report: dict[str, Any]
    warnings: tuple[str, ...]
    page: str = ""
    error_map: slicer.vtkMRMLScalarVolumeNode | None = None
    segmentation: slicer.vtkMRMLSegmentationNode | None = None
    drawn: slicer.vtkMRMLSegmentationNode | None = None


class Job:
    """Holds what the run needs while the scene may change.

    Raises:
        InputError: the input or an output cannot be used; nothing was written.
        ResourceError: there is no room for temporary files.

    Attributes:
        workspace: its files.
        handing_over: of the input to the worker, to be done before :meth:`command`'s process starts.
    """

    def __init__(
        self, scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLScalarVolumeNode, request: Request,
        outputs: Outputs = Outputs(), temporary_folder: str | None = None,
    ):  # fmt: skip
        self._started = time.monotonic()
        check_choices(node, request, outputs)
        self.request = request
        self._scene = scene
        self._outputs = outputs
        self._first = (0, 0, 0)  # of the results, on the grid of the whole one
        self._source = Source.of(node, current_frame(node))
        self._drawn = drawn_on(outputs.segmentation, node) if outputs.segmentation is not None else None
        self.workspace = Workspace(temporary_folder)
        volume, self._state = volume_from_node(node), _state_of(node)
        labels = [(replace(volume, voxels=self._drawn.voxels), self.workspace.labels)] if self._drawn else []
        self.handing_over = HandingOver((volume, self.workspace.input), *labels)

    def command(self) -> list[str]:
        """Program and arguments of the worker."""
        return command(self.request, self.workspace, name=self._source.name)

    def check_unchanged(self) -> None:
        """InputError if the input was changed while it was handed over: half of it would be old."""
        if _state_of(self.check_source()) != self._state:
            raise InputError(_('"{name}" was changed while the run began; apply again.').format(name=self._source.name))

    def check_source(self) -> slicer.vtkMRMLScalarVolumeNode:
        """The input (InputError if it left the scene meanwhile)."""
        return self._source.node(self._scene)

    def finish(self, report: dict[str, Any]) -> Finished:
        """:meth:`loading`, all at once."""
        loading = self.loading(report)
        while True:
            try:
                next(loading)
            except StopIteration as end:
                return end.value

    def loading(self, report: dict[str, Any]) -> Generator[float, None, Finished]:
        """Put the worker's files into the scene: all of them or none.  Yields the share that is read; returns what came of it.

        Raises:
            InputError: the input or a chosen output left the scene meanwhile.
        """
        report = {**report, "source": self._source.name}  # not the temporary file
        self.check_source()
        # Read everything first: from here on nothing is expected to fail.
        images = yield from self._images()
        source = self.check_source()  # the user may have removed it meanwhile
        products, page = self._products(report, images), self._page()
        fine = read_labels(self.workspace.fine_labels).voxels if self._drawn else None
        targets = (self._outputs.result, self._outputs.comparison if self.request.makes_comparison else None, None)[: len(products)]
        _check_still_there(self._scene, targets)
        nodes = yield from self._put_all(products, targets)
        if "error_map" in nodes:
            show_as_errors(nodes["error_map"], report["error_map"])
        report["seconds"] = {**report["seconds"], "shown": round(time.monotonic() - self._started, 2)}
        segmentation = put_segmentation(self._scene, self._drawn, fine, nodes["result"]) if self._drawn and fine is not None else None
        return Finished(source, nodes["result"], nodes.get("comparison"), report, self._warnings(report), page, nodes.get("error_map"), segmentation, self._scene.GetNodeByID(self._drawn.node_id) if self._drawn else None)

    def in_words(self, error: Exception) -> Exception:
        """An error of the run with the volume's name in place of its temporary file."""
        file = str(self.workspace.input)
        return type(error)(str(error).replace(file, f'"{self._source.name}"')) if file in str(error) else error

    def keep(self) -> Path | None:
        """Put the results where no later run sweeps them away; None if there are none."""
        return self.workspace.keep()

    def close(self) -> None:
        """Remove the files."""
        self.handing_over.stop()
        self.workspace.close()

    def _images(self) -> Generator[float, None, dict[Path, vtk.vtkImageData]]:
        """The voxels of all results, by their files; yields the share that is read."""
        files, asked = self.workspace, self.request
        wanted = [files.result] + [files.comparison] * asked.makes_comparison + [files.error_map] * asked.makes_error_map
        images = {}
        for done, path in enumerate(wanted):
            loading = image_in_pieces(path)
            while path not in images:
                try:
                    yield (done + next(loading)) / len(wanted)
                except StopIteration as end:
                    images[path] = end.value
        return images

    def _products(self, report: dict[str, Any], images: dict[Path, vtk.vtkImageData]) -> dict[str, Product]:
        """By what they are; those that are not asked for are left out."""
        factors, distance, files = tuple(report["factors_ijk"]), self.request.refined[2], self.workspace
        self._first = tuple(start for start, _stop in report["region"]["result_ijk"]) if report.get("region") else (0, 0, 0)
        told = attributes(report, self._source, distance)
        result = self._product(images[files.result], self._kind(), factors, told)
        products = {"result": replace(result, name=self._told_apart(result.name, told))}
        if self.request.makes_comparison:
            products["comparison"] = self._product(images[files.comparison], "Lanczos", factors, attributes({**report, **_LANCZOS}, self._source, distance))
        if self.request.makes_error_map:
            products["error_map"] = self._product(images[files.error_map], f"{self._kind()} expected error", factors, {**told, "SuperResolution3D.ErrorMap": report["error_map"]["statement"]})
        return products

    def _put_all(self, products: dict[str, Product], targets: Sequence[Any]) -> Generator[float, None, dict[str, Any]]:
        """A node for each product; the window has its turn between two. New nodes go again if it does not come to the end."""
        nodes: dict[str, Any] = {}
        try:
            for (kind, product), target in zip(products.items(), targets):
                nodes[kind] = put_into_scene(self._scene, self._source, product, target)
                yield 1.0
        except BaseException:  # also that nobody waits any more
            for node in [node for node, target in zip(nodes.values(), targets) if target is None and self._scene.IsNodePresent(node)]:
                self._scene.RemoveNode(node)
            raise
        return nodes

    def _page(self) -> str:
        return self.workspace.page.read_text(encoding="utf-8") if self.request.makes_page and self.workspace.page.exists() else ""

    def _product(self, image: vtk.vtkImageData, kind: str, factors: tuple[float, float, float], told: dict[str, str]) -> Product:
        name = result_name(self._source.name, kind, *self.request.refined) + (" " + _("part") if self.request.region else "")
        return Product(image, name, factors, told, self._first)

    def _told_apart(self, name: str, told: dict[str, str]) -> str:
        """The name, with method and quality where another result that differs in them has it already."""
        other = self._scene.GetFirstNodeByName(name)
        keys = [f"SuperResolution3D.{key}" for key in ("Method", "Preset", "Noise", "Careful", "Region")]
        if other is None or all(other.GetAttribute(key) == told[key] for key in keys):
            return name
        return f"{name} ({', '.join(told[key] for key in keys[:2] if told[key] != 'none')})"

    def _kind(self) -> str:
        """What the name tells of the method; who sees only the name shall know what may be invented."""
        method = self.request.catalogued
        if self.request.is_careful:
            return "SR careful (may invent texture)" if method.adversarial else "SR careful"
        return "SR (may invent texture)" if method.adversarial else "SR" if method.networks else method.name.capitalize()

    def _warnings(self, report: dict[str, Any]) -> tuple[str, ...]:
        if not self._source.frame:
            return tuple(report["warnings"])
        number, count = self._source.frame
        told = _("Only the current frame of the sequence was upscaled ({number} of {count}).").format(number=number, count=count)
        return (told, *report["warnings"])


def _state_of(node: slicer.vtkMRMLScalarVolumeNode) -> tuple[str, int]:
    """Another one if any voxel may have changed."""
    image = node.GetImageData()
    return (image.GetAddressAsString(""), image.GetMTime()) if image else ("", 0)


def check_choices(node: slicer.vtkMRMLNode | None, request: Request, outputs: Outputs) -> None:
    """Refuse a run before it starts (InputError)."""
    check_input(node)
    _check_again(node, request)
    if outputs.segmentation is not None:
        check_segmentation(outputs.segmentation)
    check_output(outputs.result, node, _("The upscaled volume"))
    if not request.makes_comparison:
        return
    check_output(outputs.comparison, node, _("The Lanczos volume"))
    if outputs.comparison is not None and outputs.comparison is outputs.result:
        raise InputError(_('The upscaled and the Lanczos volume are the same; choose another one, or "Create new volume on Apply".'))


def _check_again(node: slicer.vtkMRMLScalarVolumeNode, request: Request) -> None:
    """Networks on what networks made draw detail from drawn detail; nobody has measured more than 4x."""
    made = METHODS.get(node.GetAttribute("SuperResolution3D.Method") or "")
    if not (made and made.networks and request.catalogued.networks):
        return
    before = [float(text) for text in (node.GetAttribute("SuperResolution3D.Factors") or "1 1 1").split()]
    if max(factor * asked for factor, asked in zip(before, _factors(node, request))) > MOST_TIMES:
        raise InputError(
            _('"{name}" was made by a network already, and with it the scan would be refined more than {most} times; upscale the scan itself, or choose an interpolation.')
            .format(name=node.GetName(), most=MOST_TIMES)
        )  # fmt: skip


def _factors(node: slicer.vtkMRMLScalarVolumeNode, request: Request) -> list[float]:
    """By which a run refines the axes i, j, k."""
    spacing = node.GetSpacing()
    slices = 2 - find_slice_axis(spacing)
    factor, axes, distance = request.refined
    if request.spacing:
        return [length / min(spacing) for length in spacing]
    through = spacing[slices] / distance if distance else factor if axes != "in-plane" else 1
    within = factor if factor and axes != "through-plane" else 1
    return [through if axis == slices else within for axis in range(3)]


def _check_still_there(scene: slicer.vtkMRMLScene, targets: Sequence[slicer.vtkMRMLScalarVolumeNode | None]) -> None:
    """An output that the user removed meanwhile must not fail after another one was filled."""
    for target in targets:
        if target is not None and not scene.IsNodePresent(target):
            raise InputError(_("An output volume was removed from the scene during the run; the result was discarded. Choose another and apply again."))
