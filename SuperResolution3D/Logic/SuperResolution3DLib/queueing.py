"""Several volumes, or all frames of a sequence, one after the other: a list with a state for each, one worker at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import slicer
import slicer.util
from slicer.i18n import tr as _
from superres3d.errors import Cancelled, InputError, ResourceError, SuperResolutionError

from .checks import check_input
from .dicom import children_of
from .frames import FrameResults, sequence_of, taken_out
from .job import Finished
from .package_words import in_language
from .sequences import current_frame

MOST = 200  # entries: more is work for the batch command


class State(Enum):
    """Of an entry."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"

    def label(self) -> str:
        """What the panel shows."""
        return {State.WAITING: _("waiting"), State.RUNNING: _("running"), State.DONE: _("done"), State.FAILED: _("not done")}[self]


@dataclass
class Entry:
    """One volume, or one frame.

    Attributes:
        name: that the list shows.
        node_id: of the volume; of a frame, of the volume that shows the sequence.
        state: see :class:`State`.
        told: the name of the result, the progress, or why there is none.
        frame: its number from 0, or None.
        results: where the results of the frames of one sequence go.
        sequence_id: of the sequence.
    """

    name: str
    node_id: str
    state: State = State.WAITING
    told: str = ""
    frame: int | None = None
    results: FrameResults | None = None
    sequence_id: str = ""

    def line(self) -> str:
        """State and what is told of it."""
        return f"{self.state.label()}: {self.told}" if self.told else self.state.label()


class Queue:
    """Works the entries off.

    Args:
        scene: of the volumes.
        start_run: as ``SuperResolution3DLogic.start``, with (node, request, onProgress, onSuccess, onFailure).
        make_request: of a node, and whether it is a frame: what is asked for (InputError: it cannot be).
        later: calls a function when the event loop is free.
        on_change: called when an entry or the queue has changed.
    """

    def __init__(
        self, scene: slicer.vtkMRMLScene, start_run: Callable[..., Any], make_request: Callable[[Any, bool], Any], later: Callable[[Callable[[], None]], None], on_change: Callable[[], None],
    ):  # fmt: skip
        self.entries: list[Entry] = []
        self.notice = ""
        self._scene = scene
        self._start_run = start_run
        self._make_request = make_request
        self._later = later
        self._on_change = on_change
        self._run: Any = None
        self._frame_node: Any = None
        self._going = False

    @property
    def going(self) -> bool:
        """Whether it works."""
        return self._going

    def add_volumes(self, nodes: list[slicer.vtkMRMLNode]) -> int:
        """Add volumes that are not waiting already; returns how many (InputError: there would be too many)."""
        waiting = {entry.node_id for entry in self.entries if entry.state in (State.WAITING, State.RUNNING) and entry.frame is None}
        new = [Entry(node.GetName(), node.GetID()) for node in nodes if node.GetID() not in waiting]
        return self._add(new)

    def add_study(self, node: slicer.vtkMRMLNode) -> int:
        """Add all scans that lie beside a volume in the subject hierarchy, itself among them (InputError: as above)."""
        return self.add_volumes(scans_beside(node))

    def add_frames(self, proxy: slicer.vtkMRMLNode) -> int:
        """Add all frames of the sequence that a volume shows (InputError: it shows none, or one of other content)."""
        sequence, browser = sequence_of(proxy)
        results = FrameResults(self._scene, sequence, browser)
        count = sequence.GetNumberOfDataNodes()
        return self._add([Entry(f"{proxy.GetName()} [{n + 1}/{count}]", proxy.GetID(), frame=n, results=results, sequence_id=sequence.GetID()) for n in range(count)])

    def start(self) -> None:
        """Begin with the first that waits."""
        if self._going or not any(entry.state is State.WAITING for entry in self.entries):
            return
        self._going, self.notice = True, ""
        self._next()

    def stop(self) -> None:
        """Cancel the run under way; what is done stays, the rest waits."""
        self._going = False
        if self._run:
            self._run.cancel()
        self._on_change()

    def abort(self) -> None:
        """The scene or the module closes: stop without a word."""
        self._going = False
        run, self._run = self._run, None
        if run:
            run.abort()
        self._drop_frame()
        self.entries, self.notice = [], ""

    def clear(self) -> None:
        """Empty the list, but for what runs."""
        self.entries = [entry for entry in self.entries if entry.state is State.RUNNING]
        self.notice = ""
        self._on_change()

    def stop_without_input(self) -> None:
        """A node left the scene: a run without its input ends."""
        run = self._run
        if not run:
            return
        try:
            run.check_source()
        except SuperResolutionError as error:
            self._run = None  # what it takes out of the scene brings us here again
            run.abort()
            self._failed(error, "")

    def _add(self, new: list[Entry]) -> int:
        if len(self.entries) + len(new) > MOST:
            raise InputError(_("{count} volumes are too many for the list ({most}); use superres3d batch for so many.").format(count=len(self.entries) + len(new), most=MOST))
        self.entries += new
        self._on_change()
        return len(new)

    def _next(self) -> None:
        entry = next((entry for entry in self.entries if entry.state is State.WAITING), None)
        if not self._going or entry is None:
            self._end()
            return
        entry.state, entry.told = State.RUNNING, ""
        self._on_change()
        try:
            node = self._node_of(entry)
            self._run = self._start_run(node, self._make_request(node, entry.frame is not None), onProgress=self._progressed, onSuccess=self._succeeded, onFailure=self._failed)
        except SuperResolutionError as error:
            self._failed(error, "")
        except Exception as error:  # a defect must not leave the list running for ever
            logging.exception("SuperResolution3D: an entry of the list could not be started")
            self._failed(SuperResolutionError(_("It could not be started ({reason}); see the Python console.").format(reason=error)), "")

    def _node_of(self, entry: Entry) -> slicer.vtkMRMLNode:
        node = self._scene.GetNodeByID(entry.node_id)
        if entry.frame is None:
            if node is None:
                raise InputError(_("It is no longer in the scene."))
            return node
        sequence = self._scene.GetNodeByID(entry.sequence_id)
        if sequence is None or entry.frame >= sequence.GetNumberOfDataNodes():
            raise InputError(_("Its sequence is no longer in the scene."))
        self._frame_node = taken_out(self._scene, sequence, entry.frame, node)
        return self._frame_node

    def _progressed(self, progress: Any) -> None:
        entry = self._running()
        if entry:
            entry.told = f"{round(100 * progress.share)} %"
            self._on_change()

    def _succeeded(self, finished: Finished) -> None:
        entry, self._run = self._running(), None
        if entry:
            entry.state, entry.told = State.DONE, finished.result.GetName()
            if entry.frame is not None and entry.results:
                ending = finished.result.GetName().removeprefix(finished.source.GetName()).strip()
                entry.told = entry.results.put(entry.frame, finished.result, ending)
        self._drop_frame()
        self._on_change()
        self._later(self._next)

    def _failed(self, error: Exception, log: str) -> None:
        entry, self._run = self._running(), None
        cancelled = isinstance(error, Cancelled)
        if entry:
            entry.state, entry.told = (State.WAITING, "") if cancelled else (State.FAILED, in_language(str(error)))
        if isinstance(error, ResourceError) and self._going:  # what is full for one is full for all
            self._going = False
            self.notice = _("The list was stopped: {reason} What is done stays; Start goes on with the rest.").format(reason=in_language(str(error)))
        self._drop_frame()
        self._on_change()
        self._later(self._next if self._going else self._end)

    def _running(self) -> Entry | None:
        return next((entry for entry in self.entries if entry.state is State.RUNNING), None)

    def _drop_frame(self) -> None:
        node, self._frame_node = self._frame_node, None
        if node is not None and self._scene.IsNodePresent(node):
            display = node.GetDisplayNode()
            self._scene.RemoveNode(node)
            if display is not None and self._scene.IsNodePresent(display):
                self._scene.RemoveNode(display)

    def _end(self) -> None:
        if not self.notice and self.entries:
            done = sum(entry.state is State.DONE for entry in self.entries)
            self.notice = _("{done} of {count} done.").format(done=done, count=len(self.entries))
        self._going = False
        self._on_change()


def scans_beside(node: slicer.vtkMRMLNode) -> list[slicer.vtkMRMLNode]:
    """The scans of a volume's study, or folder, in the subject hierarchy: no results, label maps, or frames of sequences (InputError: none can be upscaled)."""
    scene = node.GetScene()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    items = children_of(hierarchy, hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)))
    found = [candidate for item in items if (candidate := hierarchy.GetItemDataNode(item)) is not None and _is_scan(candidate)]
    if not found:
        raise InputError(_('There is no scan beside "{name}" that could be upscaled.').format(name=node.GetName()))
    return found


def _is_scan(node: slicer.vtkMRMLNode) -> bool:
    if node.GetClassName() != "vtkMRMLScalarVolumeNode" or node.GetAttribute("SuperResolution3D.Method") or current_frame(node):
        return False
    try:
        check_input(node)
    except SuperResolutionError:
        return False
    return True
