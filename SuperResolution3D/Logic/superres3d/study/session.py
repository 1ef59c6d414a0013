"""One reader's way through a study: what is shown, what the keys do, and what is written.  The panel in Slicer is a thin picture of it.

The page for browsers (``page.html``) does the same in its own words; a test compares them key by key.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..errors import InputError
from .answers import SUFFIX, AnswerFile, Line
from .design import RATINGS, Item
from .sheet import Sheet, Shown

INSTRUCTIONS, TRIAL, PAUSED, DONE = "instructions", "trial", "paused", "done"
LEFT, RIGHT, SAME = "left", "right", "same"
Clock = Callable[[], float]


class Session:
    """A reader at work.

    Args:
        sheet: the questions.
        folder: of the answers; each reader has a file there. What it holds already is gone on with.
        reader: number of the reader, from 1.
        role: such as "radiologist"; a word for the tables.
        clock: seconds.
        simulated: no person answers.

    Attributes:
        state: :data:`INSTRUCTIONS`, :data:`TRIAL`, :data:`PAUSED` or :data:`DONE`.

    Raises:
        InputError, ResourceError: see :class:`superres3d.study.answers.AnswerFile`, or there is no such reader.
    """

    def __init__(self, sheet: Sheet, folder: Path, reader: int, role: str = "", clock: Clock = time.monotonic, simulated: bool = False):
        self.sheet, self.reader, self._clock = sheet, check_reader(sheet, reader), clock
        self.file = AnswerFile(answers_path(folder, reader), sheet.sha256)
        self._order, self._turned = sheet.orders[reader - 1], sheet.turned[reader - 1]
        self.answers = replay(self.file.record.lines)
        self._ratings: dict[str, int] = {}
        self._shown, self._seen = 0.0, 0.0
        self.state = INSTRUCTIONS
        about = {"reader": reader, "role": role, "study": sheet.study, "sheet": sheet.sha256} | ({"simulated": True} if simulated else {})
        self._note("opened" if self.file.record.lines else "begun", **about)

    @property
    def position(self) -> int:
        """How many cases are answered."""
        return len(self.answers)

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self._order)

    @property
    def trial(self) -> Shown:
        """The case that is to be answered (the last one, when all are)."""
        open_ = (index for index in self._order if self.sheet.trials[index].name not in self.answers)
        return self.sheet.trials[next(open_, self._order[-1])]

    @property
    def sides(self) -> tuple[int, ...]:
        """Which panels of :attr:`trial` stand from left to right, the original left out: (0, 1), (1, 0) or (0,)."""
        return (0,) if self.sheet.asks.items else (1, 0) if self._turned else (0, 1)

    @property
    def item(self) -> Item | None:
        """What is to be rated next; None where a side is chosen."""
        return next((item for item in self.sheet.asks.items if item.name not in self._ratings), None)

    def begin(self) -> None:
        """The instructions are read, or a pause is over."""
        if self.state in (INSTRUCTIONS, PAUSED):
            if self.state == PAUSED:
                self._note("resumed")
            self._go_on()

    def choose(self, side: str) -> None:
        """Answer with :data:`LEFT`, :data:`RIGHT`, or :data:`SAME` where it is allowed; anything else does nothing."""
        if self.state != TRIAL or self.sheet.asks.items or (side == SAME and not self.sheet.same) or side not in (LEFT, RIGHT, SAME):
            return
        panel = None if side == SAME else self.sides[side == RIGHT]
        self._answer(side=side, panel=panel)

    def rate(self, value: int) -> None:
        """Rate :attr:`item`; after the last one the case is answered."""
        if self.state != TRIAL or self.item is None or value not in RATINGS:
            return
        self._ratings[self.item.name] = value
        if self.item is None:
            self._answer(ratings=dict(self._ratings))

    def undo(self) -> None:
        """Take the last rating of this case back, or the last answer."""
        if self.state == PAUSED or self.state == INSTRUCTIONS:
            return
        if self._ratings:
            self._ratings.popitem()
        elif self.answers:
            name = next(reversed(self.answers))
            self._note("undone", trial=name)
            del self.answers[name]
            self._go_on()

    def pause(self) -> None:
        """Hide the case and stop its time."""
        if self.state == TRIAL:
            self._seen += self._clock() - self._shown
            self.state = PAUSED
            self._note("paused")

    def shown(self) -> None:
        """The case is on the screen now: what it took to bring it there does not count."""
        self._shown = self._clock()

    def key(self, name: str) -> bool:
        """What a key does, by its name in Qt and browsers without regard to capitals; False: nothing."""
        before = (self.state, self.position, dict(self._ratings), self.file.receipt)
        name = name.lower()
        if self.state in (INSTRUCTIONS, PAUSED):
            if name in ("enter", "return", " ", "p"):
                self.begin()
        elif name in ("backspace", "u"):
            self.undo()
        elif name in (" ", "p"):
            self.pause()
        elif name in _SIDES:
            self.choose(_SIDES[name])
        elif name.isdecimal():
            self.rate(int(name))
        return before != (self.state, self.position, self._ratings, self.file.receipt)

    def _answer(self, **content: Any) -> None:
        seconds = self._seen + self._clock() - self._shown
        name = self.trial.name
        self._note("answer", trial=name, **content, seconds=round(seconds, 3))
        self.answers[name] = content
        self._go_on()

    def _go_on(self) -> None:
        """To the next case, or to the end; a pause keeps the time that the case was seen."""
        if self.state != PAUSED:
            self._seen, self._ratings = 0.0, {}
        self._shown = self._clock()
        done = self.position == self.total
        if done and self.state != DONE:
            self._note("ended")
        self.state = DONE if done else TRIAL

    def _note(self, kind: str, **content: Any) -> None:
        self.file.append(kind, **content, at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"))


_SIDES = {"arrowleft": LEFT, "left": LEFT, "f": LEFT, "arrowright": RIGHT, "right": RIGHT, "j": RIGHT, "s": SAME}


def check_reader(sheet: Sheet, reader: int) -> int:
    """The number, if the study has such a reader (InputError)."""
    if not 1 <= reader <= len(sheet.orders):
        raise InputError(f"The study is made for {len(sheet.orders)} readers, and reader {reader} is none of them; give a number from 1 to {len(sheet.orders)}.")
    return reader


def answers_path(folder: Path, reader: int) -> Path:
    """Where a reader's answers are kept."""
    return folder / f"reader-{reader:02d}{SUFFIX}"


def replay(lines: list[Line]) -> dict[str, dict[str, Any]]:
    """Trial -> its answer, as it stands after every line; in the order in which they were given."""
    answers: dict[str, dict[str, Any]] = {}
    for line in lines:
        name = line.body.get("trial")
        if line.body["kind"] in ("answer", "undone") and isinstance(name, str):
            answers.pop(name, None)
            if line.body["kind"] == "answer":
                answers[name] = line.body
    return answers
