"""Writes SuperResolution3DLib/package_texts.py: ``python docs/texts.py``.  What the package may say in the panel, for Slicer's translators.

The package knows no languages.  Its sentences are found in its source, values in braces; the panel finds the sentence that fits what it is told.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

LOGIC = Path(__file__).resolve().parents[1] / "SuperResolution3D" / "Logic"
TARGET = LOGIC / "SuperResolution3DLib" / "package_texts.py"
#: modules whose words reach the panel; those of the command line and of files that the panel does not read are left out
MODULES = (
    "errors", "staging", "methods", "refinement", "plan", "ahead", "speed", "upscaling", "live", "networks/weights", "engine/choose", "engine/engine",
    "detail/words", "study/sheet", "study/session", "study/records", "scan/region", "scan/volume", "trust/selfcheck", "trust/error_map", "trust/words",
)  # fmt: skip
_FEWEST_WORDS = 3
#: parts of sentences with fewer words than that
_ALSO = ("twice", "four times")
_LISTED = re.compile(r"\d{4}[ ;,)]|\b20\d\d$|--")  # a paper, or an option of the command line
_HEAD = '''"""What the package may say in the panel.  Written by docs/texts.py; do not edit."""


def _(text: str) -> str:
    """Marks a text for Slicer's translators; it is translated when it is shown, see package_words."""
    return text


#: sentences and parts of sentences, with values in braces
TEXTS = (
'''


def texts() -> list[str]:
    """All texts, in the order of the modules and of their lines."""
    found: dict[str, None] = {}
    for module in MODULES:
        for text in _texts_of(ast.parse((LOGIC / "superres3d" / f"{module}.py").read_text(encoding="utf-8"))):
            found[text] = None
    return [*found, *_ALSO]


def written() -> str:
    """The module."""
    return _HEAD + "".join(f"    _({_quoted(text)}),\n" for text in texts()) + ")\n"


def template(node: ast.Constant | ast.JoinedStr) -> str:
    """The text with a name in braces for each value."""
    if isinstance(node, ast.Constant):
        return _plain(node.value)
    told, used, before = "", {}, None
    for part in node.values:
        after_value, before = isinstance(before, ast.FormattedValue), part
        if isinstance(part, ast.Constant):
            told += _plain(part.value)
        elif not after_value:  # two values with nothing between them count as one: nobody could tell them apart
            name = _name_of(part.value)
            used[name] = used.get(name, 0) + 1
            told += "{" + (name if used[name] == 1 else f"{name}_{used[name]}") + "}"
    return told


def _texts_of(tree: ast.Module) -> list[str]:
    left_out = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    left_out |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    strings = [node for node in ast.walk(tree) if _is_text(node) and id(node) not in left_out]
    found = [template(node) for node in sorted(strings, key=lambda node: (node.lineno, node.col_offset))]
    return [text for text in found if len(re.findall(r"[A-Za-z]{2,}", re.sub(r"\{\w+\}", "", text))) >= _FEWEST_WORDS and " " in text and not _LISTED.search(text)]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or isinstance(node, ast.Constant) and isinstance(node.value, str)


def _plain(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _name_of(value: ast.expr) -> str:
    name = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else "value"
    return name.strip("_").lower()


def _quoted(text: str) -> str:
    quote = "'" if '"' in text and "'" not in text else '"'
    return quote + text.replace("\\", "\\\\").replace("\n", "\\n").replace(quote, "\\" + quote) + quote


if __name__ == "__main__":
    TARGET.write_text(written(), encoding="utf-8")
