"""The worker behind the preview: one process that stays, with the scan in memory and the networks ready.

It begins with the first preview, takes the latest request, and ends with the module, with Slicer, or when nobody asked for a while.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _
from superres3d.errors import ResourceError, SuperResolutionError
from superres3d.scan.region import Spans

from .handing_over import HandingOver
from .nodes import Source, volume_from_node
from .request import Request
from .worker import GRACE_SECONDS, KINDS, Workspace, cannot_start, environment, find_python, kill_tree

PRESET = "fast"


@dataclass(frozen=True)
class Part:
    """A preview that was made.

    Attributes:
        voxels: (k, j, i).
        report: of the worker.
        source: the volume as it was asked for.
    """

    voxels: np.ndarray
    report: dict[str, Any]
    source: Source


def live_choices(request: Request) -> dict[str, Any]:
    """What the worker is asked for: a request's choices but for its region and what looks at a whole result; always without turned copies."""
    return {
        "scale": request.scale, "axes": request.axes, "slice_spacing": request.slice_spacing, "spacing": request.spacing, "method": request.method,
        "modality": request.modality, "preset": PRESET, "precision": request.precision, "device": request.device, "noise": request.noise,
        "consistency": request.consistency,
    }  # fmt: skip


class PreviewWorker:
    """Asks for parts of volumes.

    Callbacks come from the event loop, on the main thread: ``on_part(Part)`` for the latest request, or ``on_failure(error)``.

    Args:
        temporary_folder: returns where the scan lies for the worker; None: the system's place.
    """

    def __init__(self, temporary_folder: Callable[[], str | None], on_part: Callable[[Part], None], on_failure: Callable[[Exception], None]):
        self._temporary_folder = temporary_folder
        self._on_part = on_part
        self._on_failure = on_failure
        self._process: Any = None
        self._workspace: Workspace | None = None
        self._scan: tuple | None = None  # that the worker has, or will have
        self._handing_over: HandingOver | None = None
        self._written: list[Path] = []
        self._waiting: dict[str, Any] | None = None  # the latest request, until the worker has the scan
        self._number = 0
        self._source: Source | None = None
        self._rest = b""

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    @property
    def process_id(self) -> int:
        """0: there is none."""
        return int(self._process.processId()) if self._process else 0

    def ask(self, node: slicer.vtkMRMLScalarVolumeNode, request: Request, spans: Spans) -> None:
        """Have a part of a volume upscaled (ResourceError: there is no room for temporary files)."""
        if not self._process:
            self._start()
        assert self._workspace
        self._number += 1
        self._source = Source.of(node, None)
        output = self._workspace.folder / f"part-{self._number}.npy"
        self._waiting = {"number": self._number, "region": spans, "choices": live_choices(request), "output": str(output)}
        self._hand_over(node)
        self._send_waiting()

    def stop(self) -> None:
        """End the process and remove its files; tells nobody."""
        process, self._process = self._process, None
        self._scan = self._waiting = None
        if self._handing_over:
            self._handing_over.stop()
            self._handing_over = None
        if process:
            process.disconnect("readyReadStandardOutput()", self._read)
            process.disconnect("finished(int,QProcess::ExitStatus)", self._finished)
            process.disconnect("errorOccurred(QProcess::ProcessError)", self._error)
            process.closeWriteChannel()
            if process.state() != qt.QProcess.NotRunning and not process.waitForFinished(int(GRACE_SECONDS * 1000)):
                kill_tree(int(process.processId()))
                process.kill()
                process.waitForFinished(1000)
        if self._workspace:
            self._workspace.close()
            self._workspace, self._written = None, []

    def _start(self) -> None:
        self._workspace = Workspace(self._temporary_folder())
        self._rest = b""
        self._process = qt.QProcess()
        variables = qt.QProcessEnvironment.systemEnvironment()
        for name, value in environment().items():
            variables.insert(name, value)
        self._process.setProcessEnvironment(variables)
        self._process.setStandardErrorFile(str(self._workspace.log))
        self._process.connect("readyReadStandardOutput()", self._read)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._finished)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._error)
        self._process.start(find_python(), ["-m", "superres3d.cli", "live"])

    def _hand_over(self, node: slicer.vtkMRMLScalarVolumeNode) -> None:
        """The scan, unless the worker has it."""
        assert self._workspace
        image = node.GetImageData()
        known = node.GetID(), image.GetAddressAsString(""), image.GetMTime(), node.GetSpacing()
        if known == self._scan:
            return
        if self._handing_over:
            self._handing_over.discard()
        self._scan, name = known, node.GetName()
        path = self._workspace.folder / f"scan-{self._number}.nrrd"  # the worker may be reading the one before
        self._handing_over = HandingOver((volume_from_node(node), path))
        self._handing_over.beside(lambda step: qt.QTimer.singleShot(0, step), lambda error: self._handed_over(path, name, error))

    def _handed_over(self, path: Path, name: str, error: Exception | None) -> None:
        self._handing_over = None
        if error:
            self._scan = self._waiting = None
            self._on_failure(type(error)(str(error).replace(str(path), f'"{name}"')))
            return
        self._written.append(path)
        while len(self._written) > 2:  # the worker may not have read the one before yet
            self._written.pop(0).unlink(missing_ok=True)
        self._send({"scan": str(path)})
        self._send_waiting()

    def _send_waiting(self) -> None:
        if self._waiting and not self._handing_over:
            request, self._waiting = self._waiting, None
            self._send(request)

    def _send(self, request: Mapping[str, Any]) -> None:
        self._process.write((json.dumps(request) + "\n").encode())

    def _read(self) -> None:
        *lines, self._rest = (self._rest + self._process.readAllStandardOutput().data()).split(b"\n")
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            self._take(event)

    def _take(self, event: Mapping[str, Any]) -> None:
        if event.get("event") == "part":
            path = Path(event["output"])
            voxels = np.load(path, allow_pickle=False)
            path.unlink()
            if event["number"] == self._number and self._source:  # else there is a later one
                self._on_part(Part(voxels, event["report"], self._source))
        elif event.get("event") == "error":
            if event.get("number") is None:  # the scan
                self._scan = None
            self._on_failure(KINDS.get(event["kind"], SuperResolutionError)(event["message"]))

    def _finished(self, code: int, status: int) -> None:
        """It ended by itself: nobody asked for long, or it crashed."""
        crashed = code != 0 or status != qt.QProcess.NormalExit
        self.stop()
        if crashed:
            self._on_failure(ResourceError(_("The preview's computation ended or was ended (code {code}); click Preview to start it again.").format(code=code)))

    def _error(self, kind: int) -> None:
        if kind == qt.QProcess.FailedToStart:
            error = cannot_start(find_python(), self._process.errorString())
            qt.QTimer.singleShot(0, lambda: self._on_failure(error))
            self.stop()
