"""The list of scans: a CSV file with a row a scan."""

from __future__ import annotations

import csv
from pathlib import Path

from ..errors import InputError

COLUMNS = ("id", "split", "modality")


def rows_of(subset: str, split: Path) -> list[dict[str, str]]:
    """The rows of a subset, in the order of the file.

    Args:
        subset: a value of the column split.
        split: CSV with the columns :data:`COLUMNS` and perhaps others.

    Raises:
        InputError: unreadable file, missing column, double id, or no such subset.
    """
    rows = _read_rows(split)
    known = sorted({row["split"] for row in rows})
    if subset not in known:
        raise InputError(f"The split {split} has no subset {subset!r}; use one of {', '.join(known) or '(the file has no rows)'}.")
    return [row for row in rows if row["split"] == subset]


def _read_rows(split: Path) -> list[dict[str, str]]:
    try:
        with open(split, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = (error.strerror or "the system refused it") if isinstance(error, OSError) else "it is no text in rows"
        raise InputError(f"The split {split} cannot be read ({reason}); give a CSV file with the columns {', '.join(COLUMNS)}.") from None
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"The split {split} has no column {', '.join(missing)}; give a CSV file with the columns {', '.join(COLUMNS)}.")
    names = [row["id"] for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"The split {split} names {', '.join(twice)} more than once; give each id one row.")
    return rows
