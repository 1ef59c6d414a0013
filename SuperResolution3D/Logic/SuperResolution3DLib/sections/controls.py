"""Habits of the panel's labels, lists and tips."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any

_LONG_WORD = re.compile(r"\S{40,}")


def show(label: Any, text: str) -> None:
    """Set a label's text; an empty one takes no room."""
    # A long name may break at its underscores; else it would widen the panel.
    label.text = _LONG_WORD.sub(lambda word: word.group().replace("_", "_\u200b"), text)
    label.visible = bool(text)


def fill(box: Any, entries: Sequence[tuple[str, str]]) -> None:
    """Fill a combo box with (text, data) unless it holds the same data already."""
    if [box.itemData(index) for index in range(box.count)] != [data for _text, data in entries]:
        box.clear()
        for text, data in entries:
            box.addItem(text, data)


def rich(text: str) -> str:
    """Lines of text for a tip; Qt breaks long lines of rich text only."""
    return "<p>" + "<br>".join(escape(line) for line in text.split("\n")) + "</p>"


def reveal(widget: Any) -> None:
    """Scroll the panel so that a widget is in sight; on a small screen the form is longer than the window."""
    area = widget.parent()
    while area is not None and not area.inherits("QScrollArea"):
        area = area.parent()
    if area is not None:
        area.ensureWidgetVisible(widget)
