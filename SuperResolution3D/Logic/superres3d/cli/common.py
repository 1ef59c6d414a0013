"""What the commands share: words that an option takes, how they are read, and how errors are told; the options themselves are in :mod:`.options`."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING

import typer

from ..errors import InputError, SuperResolutionError, in_words
from ..methods import AXES, ENSEMBLES, MODALITIES, NOISES, PRECISIONS, PRESETS
from ..refinement import ISOTROPIC
from ..reporter import STYLES, Reporter, make_reporter
from ..study.design import DESIGNS


class Choice(str, Enum):
    """One of the words that an option takes."""


if TYPE_CHECKING:  # members that are made of the catalogue cannot be known beforehand
    AxesChoice = Choice
    DesignChoice = Choice
    EnsembleChoice = Choice
    ModalityChoice = Choice
    NoiseChoice = Choice
    PrecisionChoice = Choice
    PresetChoice = Choice
    SliceAxisChoice = Choice
    StyleChoice = Choice
else:

    def _choice(name: str, words: Iterable[str]) -> type[Choice]:
        return Choice(name, {word: word for word in words})

    AxesChoice = _choice("AxesChoice", AXES)
    DesignChoice = _choice("DesignChoice", DESIGNS)
    EnsembleChoice = _choice("EnsembleChoice", ("auto", *ENSEMBLES))
    ModalityChoice = _choice("ModalityChoice", ("auto", *MODALITIES))
    NoiseChoice = _choice("NoiseChoice", NOISES)
    PrecisionChoice = _choice("PrecisionChoice", PRECISIONS)
    PresetChoice = _choice("PresetChoice", PRESETS)
    SliceAxisChoice = _choice("SliceAxisChoice", ("auto", "i", "j", "k"))
    StyleChoice = _choice("StyleChoice", STYLES)


@contextmanager
def reporting(style: str) -> Iterator[Reporter]:
    """Run a command's body with a reporter, and tell its errors through it; another exception is a defect and shows its traceback.

    Raises:
        typer.Exit: with the error's code, after it was told.
    """
    reporter = make_reporter(style)
    try:
        with reporter:
            yield reporter
    except (KeyboardInterrupt, MemoryError, SuperResolutionError, OSError) as error:
        if isinstance(error, OSError) and not error.filename:
            raise  # nothing that a user named
        told = in_words(error)
        reporter.error(type(told).__name__, str(told))
        raise typer.Exit(told.exit_code) from None


def factors_of(text: str | None) -> int | tuple[int, ...] | None:
    """One factor, or (in-plane, through-plane); their values are checked with the method."""
    if not text:
        return None
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"The factor {text!r} cannot be used; use 2 or 4, or two factors such as 2,4.") from None
    return numbers[0] if len(numbers) == 1 else numbers


def spacing_of(text: str | None) -> float | tuple[float, ...] | str | None:
    """One number, three, or the word; checked with the scan."""
    if text is None or text.strip().lower() == ISOTROPIC:
        return text and ISOTROPIC
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        return text
    return numbers[0] if len(numbers) == 1 else numbers


def bytes_of(gib: float | None) -> int | None:
    """Of a limit in GiB (InputError: no number)."""
    if gib and not math.isfinite(gib):
        raise InputError(f"The memory limit {gib:g} cannot be used; give GiB such as 8, or leave it out for what is free.")
    return int(gib * 2**30) if gib else None


def needs(extra: str, *modules: str) -> None:
    """Refuse a command whose packages are not installed (InputError with how to install them)."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(f"This command needs {' and '.join(missing)}, not installed here; run: pip install 'superres3d[{extra}]'")
