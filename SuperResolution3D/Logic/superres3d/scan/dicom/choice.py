"""Which of several series or volumes is meant: listed by number, chosen by number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ...errors import InputError

_SHOWN = 16
_Item = TypeVar("_Item")


def choose(items: Sequence[tuple[str, str, _Item]], wanted: str | int | None, what: str, option: str, name: object) -> tuple[int, _Item]:
    """The only one, or the wanted one.

    Args:
        items: (a name by which it can be chosen besides its number, or ""; how it is told; itself).
        wanted: a number from 1 on, or such a name; None where nothing was said.
        what: "DICOM series" or "volumes".
        option: of the command line.
        name: what messages call the file or folder.

    Returns:
        (its number from 1 on, itself).

    Raises:
        InputError: several and none wanted, or there is none such.
    """
    if wanted is None and len(items) == 1:
        return 1, items[0][2]
    listed = "; ".join(f"{number}: {told}" for number, (_, told, _) in enumerate(items[:_SHOWN], 1))
    listed += f"; and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    if wanted is None:
        raise InputError(f"{name} holds {len(items)} {what}; choose one with {option} and its number ({listed}).")
    told = str(wanted).strip()
    found = [(number, item) for number, (key, _, item) in enumerate(items, 1) if told in (str(number), key)]
    if not found:
        raise InputError(f"{name} has nothing that {option} {told} means; give a number from 1 to {len(items)} ({listed}).")
    return found[0]
