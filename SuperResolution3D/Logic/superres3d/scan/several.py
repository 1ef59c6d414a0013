"""Files that hold more than one volume: counted, and one of them chosen by its number."""

from __future__ import annotations

from ..errors import InputError


def chosen(count: int, volume: int | None, name: object) -> int:
    """Index from 0 of the volume to read.

    Args:
        count: how many there are.
        volume: the number that the user gave, from 1; None: not given.
        name: the file, for messages.

    Raises:
        InputError: several and none chosen, or a number that is not there.
    """
    if volume is None and count > 1:
        raise InputError(f"{name} holds {count} volumes (times, echoes or directions); choose one with --volume N, from 1 to {count}.")
    if volume is not None and not 1 <= volume <= count:
        there = f"{count} volumes" if count > 1 else "one volume"
        raise InputError(f"{name} holds {there}, and number {volume} was asked for; give a number from 1 to {count}.")
    return (volume or 1) - 1
