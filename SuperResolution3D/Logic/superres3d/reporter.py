"""How the command line tells what it is doing: a bar for people, JSON lines for programs.

A JSON line is an object with the key ``event``:
``progress`` (stage, share of the whole, seconds_left or null), ``done`` (output, report) and
``error`` (kind, message).
"""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType
from typing import Any, Protocol

STYLES = ("bar", "json", "none")


def printable(text: str) -> str:
    """A line for a terminal: signs that it would obey, or cannot show, as Python writes them (file names may hold any)."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


class Reporter(Protocol):
    """What a command needs of any of the styles; used as a context manager."""

    def progress(self, stage: str, share: float) -> None:
        """Told often while the work goes on.

        Args:
            stage: what is being done, such as "depth".
            share: of the whole that is done, 0 to 1.
        """
        ...

    def done(self, output: str, report: dict[str, Any]) -> None:
        """Told once, in the end.

        Args:
            output: the file or folder that was written.
            report: as :class:`superres3d.upscaling.Result` has it.
        """
        ...

    def error(self, kind: str, message: str) -> None:
        """Told once, in place of :meth:`done`.

        Args:
            kind: the error's class, such as "InputError".
            message: one sentence.
        """
        ...

    def __enter__(self) -> Reporter: ...
    def __exit__(self, *_: Any) -> None: ...


class SilentReporter:
    """Errors on standard error, nothing else; see :class:`Reporter`."""

    def progress(self, stage: str, share: float) -> None:
        """Nothing is shown."""

    def done(self, output: str, report: dict[str, Any]) -> None:
        """Nothing is shown."""

    def error(self, kind: str, message: str) -> None:
        """A line on standard error."""
        print(f"Error: {printable(message)}", file=sys.stderr, flush=True)

    def __enter__(self) -> SilentReporter:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        pass


class BarReporter(SilentReporter):
    """A progress bar with the time left, then one line on the result."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._console = Console(stderr=True, soft_wrap=True, markup=False, emoji=False, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description:>13}"), BarColumn(), TaskProgressColumn(),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=self._console,
        )  # fmt: skip
        self._task = self._bar.add_task("reading", total=1.0)

    def progress(self, stage: str, share: float) -> None:
        """Moves the bar."""
        self._bar.update(self._task, description=stage, completed=share)

    def done(self, output: str, report: dict[str, Any]) -> None:
        """The bar ends; then the result's size, voxels (i, j, k) and millimetres, and what there is to know of it."""
        self._bar.stop()
        size = " x ".join(str(n) for n in report["output"]["shape_ijk"])
        spacing = " x ".join(f"{s:.3g}" for s in report["output"]["spacing_mm"])
        self._console.print(printable(f"{output}: {size} voxels of {spacing} mm, {report['method']}, {report['seconds']['total']:.1f} s. {report['statement']}"))
        told = [*(report["check"]["sentences"][:2] if report.get("check") else ()), *(report["fit"]["sentences"] if report.get("fit") else ())]
        for line in told:
            self._console.print(printable(line))
        for warning in report["warnings"]:
            self._console.print(printable(f"Note: {warning}"))

    def __enter__(self) -> BarReporter:
        self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.stop()


class JsonReporter(SilentReporter):
    """One JSON object a line on standard output."""

    _EVERY = 0.1  # seconds
    _SETTLED = 2.0  # the first seconds go into starting up and tell nothing of the rest

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._first: tuple[float, float] | None = None
        self._last = -1.0

    def progress(self, stage: str, share: float) -> None:
        """A line with the event "progress", at most ten a second."""
        now = time.monotonic()
        if self._first is None and now - self._started > self._SETTLED and share > 0:
            self._first = (now, share)
        if now - self._last < self._EVERY and share < 1.0:
            return
        self._last = now
        began, before = self._first or (now, share)
        left = (now - began) * (1.0 - share) / (share - before) if share > before else None
        self._say(event="progress", stage=stage, share=round(share, 4), seconds_left=None if left is None else round(left, 1))

    def done(self, output: str, report: dict[str, Any]) -> None:
        """A line with the event "done"."""
        self._say(event="done", output=output, report=report)

    def error(self, kind: str, message: str) -> None:
        """A line with the event "error"."""
        self._say(event="error", kind=kind, message=message)

    @staticmethod
    def _say(**content: Any) -> None:
        print(json.dumps(content), flush=True)


def make_reporter(style: str) -> Reporter:
    """The reporter for one of :data:`STYLES` (KeyError for any other)."""
    return {"bar": BarReporter, "json": JsonReporter, "none": SilentReporter}[style]()
