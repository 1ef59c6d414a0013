"""How a batch tells what it does: a bar and lines for people, JSON lines for programs.

A JSON line is an object with the key ``event``: ``looking`` (where), ``scan`` (name, state, result, messages, seconds, done, total), ``note`` (text) and
``summary`` (see :class:`Summary`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..reporter import printable
from .ledger import DONE, Entry
from .scans import plural, shortened

_MOST_LINES = 40  # of reasons, at the end


@dataclass
class Summary:
    """How a run ended.

    Attributes:
        meant: scans that should have a result.
        done: results of this run.
        kept: results that were there, whole.
        without: scans without a result: name and reason.
        left_out: how many were not meant.
        not_handed_on: results for which the command of --after failed.
        page: the report.
        seconds: of the run.
        cancelled: True if it was stopped; the same command goes on.
    """

    meant: int = 0
    done: int = 0
    kept: int = 0
    without: list[tuple[str, str]] = field(default_factory=list)
    left_out: int = 0
    not_handed_on: int = 0
    page: str = ""
    seconds: float = 0.0
    cancelled: bool = False

    @property
    def exit_code(self) -> int:
        """0: every scan that was meant has its result."""
        return 130 if self.cancelled else 1 if self.done + self.kept < self.meant or self.not_handed_on else 0

    @property
    def sentence(self) -> str:
        """For a person."""
        begun = f"{'Stopped: ' if self.cancelled else ''}{self.done + self.kept} of {plural(self.meant, 'scan')} ha{'s' if self.meant == 1 else 've'} {'its' if self.meant == 1 else 'their'} result"
        kept = f" ({self.kept} of them from before)" if self.kept else ""
        waiting = self.meant - self.done - self.kept - len(self.without)
        left = (f"; {waiting} not begun or not ended, the same command goes on" if waiting else "") + (f"; {self.left_out} left out" if self.left_out else "")
        left += f"; {self.not_handed_on} not handed on" if self.not_handed_on else ""
        return f"{begun}{kept}{left}; {self.seconds:.0f} s."


class Teller:
    """Nothing but a summary, on standard error."""

    def looking(self, where: str) -> None:
        """Told while folders are looked through."""

    def begin(self, total: int, seconds: float) -> None:
        """Told once: how many scans there are to do, and a guess of the time."""

    def scan(self, entry: Entry, done: int, total: int) -> None:
        """Told of every scan that ended."""

    def note(self, text: str) -> None:
        """One sentence."""
        print(printable(text), file=sys.stderr, flush=True)

    def summary(self, summary: Summary) -> None:
        """Told once, in the end."""
        reasons: dict[str, list[str]] = {}
        for name, reason in summary.without:
            reasons.setdefault(reason, []).append(name)
        for reason, names in list(reasons.items())[:_MOST_LINES]:
            self.note(f"Without result: {shortened(names)}: {reason}")
        if len(reasons) > _MOST_LINES:
            self.note(f"Without result for {len(reasons) - _MOST_LINES} other reasons: see the report.")
        self.note(summary.sentence)
        if summary.page:
            self.note(f"Report: {summary.page}")

    def __enter__(self) -> Teller:
        return self

    def __exit__(self, *_: Any) -> None:
        pass


class BarTeller(Teller):
    """A bar, and a line for every scan."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._console = Console(stderr=True, soft_wrap=True, markup=False, emoji=False, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=self._console
        )
        self._task = self._bar.add_task("looking", total=None)

    def looking(self, where: str) -> None:
        """Moves nothing: a tree may be of any size."""

    def begin(self, total: int, seconds: float) -> None:
        """The bar's length."""
        self._bar.update(self._task, description="scans", total=total)

    def scan(self, entry: Entry, done: int, total: int) -> None:
        """A line, and a step of the bar."""
        self._bar.update(self._task, completed=done)
        caution = f"; caution: {entry.facts['invents']}" if entry.facts.get("invents") else ""
        told = f"{entry.result}, {entry.seconds:.0f} s{caution}" if entry.state == DONE else f"{entry.state}: {(entry.messages or ['?'])[0]}"
        self._console.print(printable(f"[{done}/{total}] {entry.name}: {told}"))

    def note(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(printable(text))

    def summary(self, summary: Summary) -> None:
        """The bar ends first."""
        self._bar.stop()
        super().summary(summary)

    def __enter__(self) -> BarTeller:
        self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.stop()


class JsonTeller(Teller):
    """One JSON object a line on standard output."""

    def looking(self, where: str) -> None:
        """A line with the event "looking"."""
        self._say(event="looking", where=where)

    def scan(self, entry: Entry, done: int, total: int) -> None:
        """A line with the event "scan"."""
        self._say(event="scan", name=entry.name, state=entry.state, result=entry.result, messages=entry.messages, seconds=entry.seconds, done=done, total=total)

    def note(self, text: str) -> None:
        """A line with the event "note"."""
        self._say(event="note", text=text)

    def summary(self, summary: Summary) -> None:
        """A line with the event "summary"."""
        self._say(event="summary", **asdict(summary), exit_code=summary.exit_code)

    @staticmethod
    def _say(**content: Any) -> None:
        print(json.dumps(content), flush=True)


def make_teller(style: str) -> Teller:
    """For one of :data:`superres3d.reporter.STYLES` (KeyError for any other)."""
    return {"bar": BarTeller, "json": JsonTeller, "none": Teller}[style]()


def in_words(seconds: float) -> str:
    """A time for a person."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def columns_of(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> str:
    """A table as text, each column as wide as it must be."""
    widths = [max(len(cell) for cell in column) for column in zip(heads, *rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in (heads, *rows))
