"""What a batch leaves for people: a table for the statistician, and a page with pictures, warnings first."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .. import __version__
from ..files import replace_text
from .choices import DEFAULTS
from .ledger import DONE, FAILED, KILLED, LEFT_OUT, Entry
from .place import Place
from .scans import LeftOut

_TEMPLATE = "page.html"
_COLUMNS = (
    "name", "state", "result", "method", "modality", "shape_ijk", "spacing_mm", "result_shape_ijk", "result_spacing_mm", "seconds", "bytes", "sha256", "attempts", "device", "check_gain_db",
    "peak_memory_bytes", "models", "messages", "source", "changed",
)  # fmt: skip
#: order on the page: what somebody must look at comes first
_URGENCY = {KILLED: 0, FAILED: 1, "running": 2, "waiting": 2, DONE: 4, LEFT_OUT: 5}
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
_NOTED = 3  # a result with notes


def write_pages(place: Place, entries: Sequence[Entry], left_out: Iterable[LeftOut], source: Path) -> None:
    """Table and page over all that the ledger knows.

    Args:
        place: the output folder.
        entries: of the ledger.
        left_out: what this run did not work on.
        source: the folder of the scans.

    Raises:
        ResourceError: the disk refuses.
    """
    left = [Entry("", part.name, state=FAILED if part.broken else LEFT_OUT, messages=[part.reason]) for part in left_out]
    everything = sorted([*entries, *left], key=lambda entry: (_urgency(entry), entry.name))
    replace_text(place.table, _table(everything))
    replace_text(place.page, _page(place, everything, source))


def _urgency(entry: Entry) -> int:
    return _NOTED if entry.state == DONE and entry.messages else _URGENCY[entry.state]


def _table(entries: Sequence[Entry]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _plain(value) for name, value in _row(entry).items()} for entry in entries)
    return text.getvalue()


def _plain(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula begins with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value


def _row(entry: Entry) -> dict[str, Any]:
    before, after = entry.facts.get("input") or {}, entry.facts.get("output") or {}
    told = {name: getattr(entry, name, "") for name in _COLUMNS}
    return told | {
        "method": entry.facts.get("method") or entry.choices.get("method", ""),
        **{name: entry.facts.get(name, "") for name in ("modality", "device", "peak_memory_bytes")},
        "shape_ijk": _numbers(before.get("shape_ijk")), "spacing_mm": _numbers(before.get("spacing_mm")),
        "result_shape_ijk": _numbers(after.get("shape_ijk")), "result_spacing_mm": _numbers(after.get("spacing_mm")),
        "models": " ".join(f"{name}:{sha256}" for name, sha256 in entry.models.items()),
        "check_gain_db": (entry.facts.get("check") or {}).get("gain_db", ""),
        "messages": " | ".join(entry.messages),
    }  # fmt: skip


def _numbers(values: Sequence[float] | None) -> str:
    return " x ".join(f"{value:.5g}" for value in values or ())


def _page(place: Place, entries: Sequence[Entry], source: Path) -> str:
    import jinja2

    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        resources.files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    )
    counts = {state: sum(entry.state == state for entry in entries) for state in _URGENCY}
    rows = [_shown(place, entry) for entry in entries]
    return template.render(
        rows=rows, counts={state: count for state, count in counts.items() if count}, source=str(source), software=f"SuperResolution3D {__version__}",
        moment=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"), seconds=sum(entry.seconds for entry in entries if entry.state == DONE),
        checked=any(row["check"] for row in rows),
    )  # fmt: skip


def _shown(place: Place, entry: Entry) -> dict[str, Any]:
    """A row of the page; links are relative, so the folder may be moved."""
    row = _row(entry)
    beside = {"picture": place.thumbnail_of(entry.result), "report": place.report_of(entry.result)} if entry.state == DONE else {}
    links = {name: quote(path.relative_to(place.own).as_posix()) if path.exists() else "" for name, path in beside.items()}
    return {
        **row, "picture": "", "report": "", **links, "urgency": _urgency(entry), "messages": entry.messages, "choices": _told(entry.choices), "check": entry.facts.get("check") or "",
        "link": quote(f"../{entry.result}") if entry.state == DONE else "",
    }  # fmt: skip


def _told(choices: dict[str, Any]) -> str:
    """What is not as usual, and the method."""
    return ", ".join(f"{name} {value}" for name, value in choices.items() if value not in (None, "auto", 0) and value != DEFAULTS.get(name))
