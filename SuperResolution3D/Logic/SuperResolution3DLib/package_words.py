"""What the package says, in the language of the application.

The package knows no languages: its errors and reports come as English sentences, from another process, too.  The sentence's pattern is looked for
among the package's texts, translated, and filled with the values.
"""

from __future__ import annotations

import re
from functools import lru_cache

from slicer.i18n import translate

from .package_texts import TEXTS

CONTEXT = "SuperResolution3DLib.package_texts"
_VALUE = re.compile(r"\{(\w+)\}")
_BETWEEN_PARTS = re.compile(r"((?<=[.!?]) (?=[A-Z\"{])|; )")


def in_language(text: str) -> str:
    """One or several sentences, or a part of one; what is not known stays as it is, and so does what the panel has translated already."""
    found = _pattern_of(text)
    if found:
        return _filled(text, *found)
    parts = _BETWEEN_PARTS.split(text)  # with what stands between them
    for end in range(len(parts) - 2, 0, -2):
        begin = "".join(parts[:end])
        if _pattern_of(begin) or end == 1:
            return in_language(begin) + parts[end] + in_language("".join(parts[end + 1 :]))
    return text


def _filled(text: str, pattern: str, values: dict[str, str]) -> str:
    told = translate(CONTEXT, pattern)
    if sorted(_VALUE.findall(told)) != sorted(values):  # a translator's slip
        told = pattern
    translated = {name: in_language(value) if value else value for name, value in values.items()}
    return text if told == pattern and translated == values else told.format(**translated)


@lru_cache(maxsize=256)
def _pattern_of(text: str) -> tuple[str, dict[str, str]] | None:
    """The text of the package that this one is, and its values; of several the one with the fewest letters left to values."""
    for pattern, expression in _patterns():
        found = expression.fullmatch(text)
        if found:
            return pattern, found.groupdict()
    return None


@lru_cache(maxsize=1)
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    by_words = sorted(TEXTS, key=lambda text: -len(_VALUE.sub("", text)))
    return [(text, re.compile(_expression(text), re.DOTALL)) for text in by_words]


def _expression(text: str) -> str:
    """Names stand between plain pieces; braces of the text itself are doubled."""
    pieces = re.split(r"(?<!\{)\{(\w+)\}(?!\})", text)
    plain = [re.escape(piece.replace("{{", "{").replace("}}", "}")) for piece in pieces[::2]]
    return "".join(part for pair in zip(plain, [*(f"(?P<{name}>.*?)" for name in pieces[1::2]), ""]) for part in pair)
