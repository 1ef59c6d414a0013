"""The child process: its folder, its command, its messages, and how to end it.

Free of Qt and of the scene, so that it is tested as it is.  The child is the command line of
the package; it tells what it does in JSON lines on its standard output (see
``superres3d.reporter``) and stops when its standard input ends, which happens on Cancel and
also when Slicer itself dies.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from slicer.i18n import tr as _
from superres3d.errors import Cancelled, DeviceError, InputError, ModelError, ResourceError, SuperResolutionError

from .request import Request

#: seconds that a cancelled worker has to end by itself before it is killed
GRACE_SECONDS = 0.9
_LOG_CHARACTERS = 20000
_OWNER = "owner.txt"
KINDS = {kind.__name__: kind for kind in (Cancelled, DeviceError, InputError, ModelError, ResourceError)}


@dataclass(frozen=True)
class Progress:
    """``share`` of the whole is done; ``seconds_left`` is None as long as it is unknown."""

    stage: str
    share: float
    seconds_left: float | None


@dataclass(frozen=True)
class Done:
    """The outputs are written."""

    report: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    """The worker refused or gave up."""

    error: SuperResolutionError


Event = Progress | Done | Failed


class EventParser:
    """Turns the bytes of the worker's standard output into events; other lines are kept as log."""

    def __init__(self) -> None:
        self._rest = b""
        self.log: list[str] = []

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that became complete with ``data``."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            event = self._parse(line.decode("utf-8", errors="replace").strip())
            if event:
                yield event

    def _parse(self, line: str) -> Event | None:
        try:
            content = json.loads(line)
            kind = content["event"]
            if kind == "progress":
                return Progress(content["stage"], float(content["share"]), content["seconds_left"])
            if kind == "done":
                return Done(content["report"])
            if kind == "error":
                return Failed(KINDS.get(content["kind"], SuperResolutionError)(content["message"]))
        except (ValueError, KeyError, TypeError):
            pass
        if line:
            self.log.append(line)
        return None


def own_folder(prefix: str, parent: str | os.PathLike | None) -> Path:
    """A new folder that says which process it belongs to, so that :func:`sweep` finds it if that process dies (OSError)."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    (folder / _OWNER).write_text(str(os.getpid()), encoding="ascii")
    return folder


def sweep(parent: Path) -> None:
    """Remove what runs left behind whose process is gone: Slicer crashed, or was killed."""
    try:
        import psutil
    except ImportError:
        return
    for owner in parent.glob(f"SuperResolution3D-*/{_OWNER}"):
        try:
            alive = psutil.pid_exists(int(owner.read_text(encoding="ascii")))
        except (OSError, ValueError):  # another user's, or just being made
            continue
        if not alive:
            shutil.rmtree(owner.parent, ignore_errors=True)


class Workspace:
    """A folder of its own for the files of one run; removed by :meth:`close`.

    Raises:
        ResourceError: the folder cannot be made.
    """

    def __init__(self, parent: str | os.PathLike | None = None):
        try:
            sweep(Path(parent or tempfile.gettempdir()))
            self.folder = own_folder("SuperResolution3D-", parent)
        except OSError as error:
            raise ResourceError(
                _("No temporary folder can be made in {folder} ({reason}); choose another one in the application settings.")
                .format(folder=parent or tempfile.gettempdir(), reason=error.strerror)
            ) from None  # fmt: skip
        self.input = self.folder / "input.nrrd"
        self.result = self.folder / "result.nrrd"
        self.comparison = self.folder / "lanczos.nrrd"
        self.error_map = self.folder / "errors.nrrd"
        self.page = self.folder / "report.html"
        self.labels = self.folder / "labels.nrrd"
        self.fine_labels = self.folder / "fine-labels.nrrd"
        self.log = self.folder / "log.txt"

    def log_text(self) -> str:
        """The end of what the worker wrote to its standard error."""
        try:
            return self.log.read_text(encoding="utf-8", errors="replace")[-_LOG_CHARACTERS:]
        except OSError:
            return ""

    def keep(self) -> Path | None:
        """Move the results into a folder that stays (None if there are none, or it cannot be made)."""
        results = [path for path in (self.result, self.comparison, self.error_map) if path.exists()]
        if not results:
            return None
        try:
            kept = Path(tempfile.mkdtemp(prefix="SuperResolution3D-kept-", dir=self.folder.parent))
            for path in results:
                path.rename(kept / path.name)
        except OSError:
            return None
        return kept

    def close(self) -> None:
        """Remove the folder; a file that is still held open (Windows) is tried for a second."""
        for _attempt in range(10):
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                return
            time.sleep(0.1)
        logging.warning("SuperResolution3D: %s could not be removed", self.folder)


def command(request: Request, workspace: Workspace, python: str | None = None, name: str = "") -> list[str]:
    """Program and arguments of the worker.

    Args:
        request: the choices.
        workspace: its files.
        python: an interpreter; None: that of :func:`find_python`.
        name: what the report calls the scan; empty: its file.
    """
    outputs = ["--compare", str(workspace.comparison)] if request.makes_comparison else []
    outputs += ["--labels", str(workspace.labels), "--labels-out", str(workspace.fine_labels)] if workspace.labels.exists() else []
    outputs += ["--error-map", str(workspace.error_map)] if request.makes_error_map else []
    outputs += ["--report", str(workspace.page)] if request.makes_page else []
    outputs += [f"--source-name={name}"] if name else []
    return [
        python or find_python(), "-m", "superres3d.cli", "upscale", str(workspace.input), str(workspace.result),
        *request.arguments(), *outputs, "--progress", "json", "--stop-with-parent",
    ]  # fmt: skip


def find_python() -> str:
    """Slicer's own interpreter as a program, or the running one outside of Slicer."""
    return shutil.which("PythonSlicer") or sys.executable


def environment() -> dict[str, str]:
    """Variables to add to the environment, so that the worker finds the package of this extension."""
    logic = str(Path(__file__).resolve().parent.parent)
    others = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": logic + (os.pathsep + others if others else ""), "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


def outcome(last: Event | None, exit_code: int, crashed: bool, log: str) -> dict[str, Any]:
    """The report of a worker that ended.

    Args:
        last: the last ``Done`` or ``Failed`` event, None if there was none.
        exit_code: of the process; the signal's number if it crashed.
        crashed: it was ended by a signal or an access violation.
        log: its standard error.

    Raises:
        SuperResolutionError: what the worker told, or a sentence on its sudden end.
    """
    if isinstance(last, Failed):
        raise last.error
    if isinstance(last, Done):
        return last.report  # said after the files were written: an interpreter that stumbles on its way out spoils nothing
    if "No module named" in log:
        missing = log.rsplit("No module named", 1)[1].split("\n")[0].strip(" '\"")
        raise DeviceError(_("The Python package {name} is missing or damaged; apply again to install it, see the log.").format(name=missing))
    if crashed or exit_code < 0 or exit_code in (137, 9):
        told = _("The computation was ended from outside or crashed (code {code}), often because memory ran out; close other programs or use a smaller factor.")
        raise ResourceError(told.format(code=abs(exit_code)) + (" " + _("See the log.") if log.strip() else ""))
    raise SuperResolutionError(_("The computation failed (code {code}); see the log, and report it with the log if it happens again.").format(code=exit_code))


def kill_tree(pid: int) -> None:
    """Kill a process and its descendants.  PythonSlicer is a launcher: the worker is its child."""
    try:
        import psutil
    except ImportError:  # then no worker can have started either: it needs psutil itself
        return
    try:
        root = psutil.Process(pid)
        family = [*root.children(recursive=True), root]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            pass


class BlockingRunner:
    """Runs the worker and waits for it: for scripts and the console."""

    def __call__(self, arguments: list[str], workspace: Workspace, on_progress: Callable[[Progress], None]) -> dict[str, Any]:
        """The worker's report.

        Raises:
            SuperResolutionError: see :func:`outcome`; DeviceError if it cannot be started.
            KeyboardInterrupt: the console's Ctrl+C; the worker is ended.
        """
        parser = EventParser()
        last: Event | None = None
        with open(workspace.log, "wb") as log:
            process = _start(arguments, log)
            try:
                for line in process.stdout or ():  # a pipe
                    for event in parser.feed(line):
                        if isinstance(event, Progress):
                            on_progress(event)
                        else:
                            last = event
                process.wait()
            finally:
                _end(process)
        return outcome(last, process.returncode, process.returncode < 0, workspace.log_text())


def _start(arguments: list[str], log: IO[bytes]) -> subprocess.Popen:
    try:
        return subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env={**os.environ, **environment()},
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )  # fmt: skip
    except OSError as error:
        raise cannot_start(arguments[0], error.strerror or str(error)) from None


def cannot_start(program: str, reason: str) -> DeviceError:
    """The error for an interpreter that does not start."""
    return DeviceError(_("{program} cannot be started ({reason}); install 3D Slicer again or check its permissions.").format(program=program, reason=reason))


def _end(process: subprocess.Popen) -> None:
    """Close the worker's standard input; kill what is left after the grace period."""
    assert process.stdin and process.stdout
    if process.poll() is None:
        killer = threading.Timer(GRACE_SECONDS, kill_tree, args=(process.pid,))
        killer.start()
        process.stdin.close()
        process.wait()
        killer.cancel()
    else:
        process.stdin.close()
    process.stdout.close()
