"""``superres3d study analyse``: from answers to tables and figures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..files import claim_folder, replace_text
from .figures import draw
from .findings import Findings, as_json, find
from .key import READERS, read_study
from .records import Answer, Answers, collect, find_answers
from .tables import render

_TABLES, _RESULTS, _ROWS = "tables.md", "results.json", "answers.csv"
_MARK = "superres3d reader study"


def analyse(study: Path, answers: Sequence[Path], out: Path) -> tuple[Findings, str]:
    """Analyse a study.

    Args:
        study: the folder that was made, with the key.
        answers: files of answers, or folders that hold some.
        out: folder for tables.md, results.json, answers.csv and figures; those of an earlier analysis are replaced.

    Returns:
        The findings, and the text of tables.md.

    Raises:
        InputError: the study, its key or a file of answers cannot be used; or ``out`` is what readers get.
        ResourceError: the disk refuses.
    """
    if out.resolve().is_relative_to((study / READERS).resolve()):
        raise InputError(f"{out} is part of what readers get, and the tables name the methods; give another folder.")
    sheet, key = read_study(study)
    collected = collect(sheet, key, find_answers(answers))
    if not collected.main:
        raise InputError("Nothing was answered yet in these files; let a reader answer first.")
    findings = find(collected)
    text = render(findings)
    folder = claim_folder(out, (_TABLES, _RESULTS, _ROWS, "figure-*.png"), ours=_is_ours(out))
    replace_text(folder / _RESULTS, json.dumps({"of": _MARK, "simulated": findings.simulated, **as_json(findings)}, indent=1) + "\n")
    replace_text(folder / _ROWS, rows_of(collected))
    replace_text(folder / _TABLES, text)
    draw(findings, folder)
    return findings, text


def _is_ours(out: Path) -> bool:
    try:
        return bool(json.loads((out / _RESULTS).read_text(encoding="utf-8"))["of"] == _MARK)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def rows_of(answers: Answers) -> str:
    """A line an answer, CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    items = sorted({item for answer in answers.all for item in answer.ratings})
    writer.writerow(("reader", "role", "position", "kind", "scan", "stratum", "scale", "slice", "panels", "left", "chosen", *items, "seconds"))
    roles = {reader.number: reader.role for reader in answers.readers}
    for answer in answers.all:
        writer.writerow(_row(answer, roles[answer.reader], items))
    return text.getvalue()


def _row(a: Answer, role: str, items: Sequence[str]) -> tuple[object, ...]:
    chosen = a.chosen or ("" if a.ratings else "same")
    return (
        a.reader, role, a.position, a.trial.kind, a.told.scan, a.told.stratum, a.told.scale, a.told.number, " ".join(a.trial.panels), a.left, chosen,
        *(a.ratings.get(item, "") for item in items), a.seconds,
    )  # fmt: skip
