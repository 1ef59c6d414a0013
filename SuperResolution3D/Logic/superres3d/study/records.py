"""Answers and key put together: who preferred what, where it stood, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from .answers import SUFFIX, Line, Record, read_record
from .design import RATINGS
from .key import CaseTold, Key
from .session import LEFT, RIGHT, SAME, check_reader, replay
from .sheet import Sheet
from .trials import CATCH, CLEAR, MAIN, REPEAT, Trial

_LONGEST = 1e12  # seconds of a case; a clock may have been set meanwhile


@dataclass(frozen=True)
class Answer:
    """One question, answered.

    Attributes:
        reader: number.
        name: of the trial.
        trial: what it is.
        told: its case.
        chosen: name of the method that was preferred; None: no difference, or ratings.
        left: name of the method that stood on the left; "" for a rating.
        ratings: item -> 1 to 5.
        position: how many answers the reader had given before.
        seconds: that the case was shown.
    """

    reader: int
    name: str
    trial: Trial
    told: CaseTold
    chosen: str | None
    left: str
    ratings: dict[str, int]
    position: int
    seconds: float


@dataclass(frozen=True)
class Reader:
    """A reader and the file of their answers.

    Attributes:
        number: from 1.
        role: as they named it.
        simulated: no person answered.
        answered, asked: how many questions.
        problems: of the file, one sentence each.
        receipt: first digits of the last hash.
    """

    number: int
    role: str
    simulated: bool
    answered: int
    asked: int
    problems: tuple[str, ...]
    receipt: str

    @property
    def name(self) -> str:
        """For the tables."""
        return f"{self.role or 'reader'} {self.number}"


@dataclass(frozen=True)
class Answers:
    """All that was answered.

    Attributes:
        key: what is what.
        readers: in the order of their numbers.
        all: every answer.
    """

    key: Key
    readers: tuple[Reader, ...]
    all: tuple[Answer, ...] = field(repr=False)

    def of(self, kind: str, reader: int | None = None, scale: int | None = None) -> list[Answer]:
        """Those of a kind of trial, of one reader or all, of one factor or all."""
        return [a for a in self.all if a.trial.kind == kind and reader in (None, a.reader) and scale in (None, a.told.scale)]

    @property
    def main(self) -> list[Answer]:
        """Those that count for the preference."""
        return self.of(MAIN)

    @property
    def scales(self) -> list[int]:
        """The study's factors."""
        return sorted({case.scale for case in self.key.cases})

    def catches(self, reader: int) -> tuple[int, int]:
        """(right, all) of the trials with a known answer."""
        given = self.of(CATCH, reader)
        return sum(_is_right(answer) for answer in given), len(given)

    def repeats(self, reader: int | None = None) -> list[tuple[Answer, Answer]]:
        """(first, second) answer to the same question."""
        first = {(a.reader, a.name): a for a in self.main}
        names = list(self.key.trials)
        found = ((first.get((a.reader, names[a.trial.of or 0])), a) for a in self.of(REPEAT, reader))
        return [(one, other) for one, other in found if one is not None]


def _is_right(answer: Answer) -> bool:
    return answer.ratings["sharpness"] <= 2 if answer.ratings else answer.chosen == CLEAR


def find_answers(paths: Sequence[Path]) -> list[Path]:
    """The files of answers that were named, or lie in a folder that was named (InputError: there are none)."""
    found = [file for path in paths for file in (sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path])]
    if not found:
        raise InputError(f"No answers in {', '.join(map(str, paths))}; give files that end in {SUFFIX}, or a folder that holds some.")
    return found


def collect(sheet: Sheet, key: Key, paths: Sequence[Path]) -> Answers:
    """Read the answers of all readers.

    Args:
        sheet, key: of the study.
        paths: a file a reader.

    Raises:
        InputError: a file is of another study, is none, or is of a reader who has one already.
    """
    readers, answers = {}, []
    for path in paths:
        record = read_record(path, sheet.sha256)
        about = _about(record, path, sheet)
        if about["reader"] in readers:
            raise InputError(f"{path} is a second file of reader {about['reader']}; give one file a reader.")
        strange = [line for line in record.lines if line.body["kind"] == "answer" and not _is_answer(line.body, key, sheet)]
        mine = _answers([line for line in record.lines if line not in strange], key, sheet, about["reader"])
        answers += mine
        told = record.problems + [f"line {line.number} is no answer to a question of this study and was dropped." for line in strange]
        problems = tuple(f"{path.name}: {problem}" for problem in told)
        readers[about["reader"]] = Reader(
            about["reader"], str(about.get("role") or ""), bool(about.get("simulated")), len(mine), len(sheet.trials), problems, record.receipt
        )
    return Answers(key, tuple(readers[number] for number in sorted(readers)), tuple(answers))


def _about(record: Record, path: Path, sheet: Sheet) -> dict[str, Any]:
    for line in record.lines:
        if line.body["kind"] in ("begun", "opened") and isinstance(line.body.get("reader"), int):
            check_reader(sheet, line.body["reader"])
            return line.body
    raise InputError(f"{path} does not tell whose answers it holds; ask the reader for the file once more.")


def _is_answer(body: dict[str, Any], key: Key, sheet: Sheet) -> bool:
    """Whether a session could have written that: whoever edits a file can make its hashes right again."""
    trial, seconds = body.get("trial"), body.get("seconds")
    if not isinstance(trial, str) or trial not in key.trials or not isinstance(seconds, (int, float)) or not abs(seconds) < _LONGEST:
        return False
    if sheet.asks.items:
        ratings = body.get("ratings")
        return isinstance(ratings, dict) and set(ratings) == {item.name for item in sheet.asks.items} and all(value in RATINGS for value in ratings.values())
    side, panel = body.get("side"), body.get("panel")
    return panel in (0, 1) if side in (LEFT, RIGHT) else sheet.same and side == SAME and panel is None


def _answers(lines: Sequence[Line], key: Key, sheet: Sheet, reader: int) -> list[Answer]:
    given = replay(list(lines))
    return [_answer(name, body, key, sheet.turned[reader - 1], reader, position) for position, (name, body) in enumerate(given.items())]


def _answer(name: str, body: dict[str, Any], key: Key, turned: bool, reader: int, position: int) -> Answer:
    trial = key.trials[name]
    panel = body.get("panel")
    chosen = None if panel is None else trial.panels[panel]
    left = trial.panels[1 if turned else 0] if len(trial.panels) == 2 else ""
    return Answer(reader, name, trial, key.cases[trial.case], chosen, left, dict(body.get("ratings") or {}), position, float(body["seconds"]))
