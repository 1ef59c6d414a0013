"""What a reader relies on: modules and functions of a size that fits into the head, and public names that say what they are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = sorted(path for path in ROOT.glob("SuperResolution3D*/**/*.py") if "Testing" not in path.relative_to(ROOT).parts)
TESTS = sorted((ROOT / "Testing").rglob("*.py"))
LONGEST_MODULE, LONGEST_TEST_MODULE, LONGEST_FUNCTION = 400, 500, 50
MEDIAN_FUNCTION, LONG_FUNCTION = 5, 18  # the latter at the 95th percentile
LEAST_DOCUMENTED = 0.95
Function = ast.FunctionDef | ast.AsyncFunctionDef


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def length(node: Function) -> int:
    """Lines of a function, its docstring left out: a long one is no fault."""
    first = node.body[0]
    documented = ast.get_docstring(node) is not None
    return (node.end_lineno or 0) - node.lineno + 1 - ((first.end_lineno or 0) - first.lineno + 1 if documented else 0)


def public(tree: ast.Module | ast.ClassDef, name: str) -> Iterator[tuple[str, ast.AST]]:
    """A module or class, and the public classes, functions and methods in it; not what a function holds, nor properties' setters."""
    yield name, tree
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public(node, f"{name}.{node.name}")
        elif isinstance(node, Function) and not node.name.startswith("_"):
            yield f"{name}.{node.name}", node


def undocumented(paths: list[Path]) -> tuple[list[str], int]:
    """The names without a docstring, and how many names there are; an empty ``__init__.py`` has nothing to say."""
    trees = ((path, tree_of(path)) for path in paths)
    names = [item for path, tree in trees if tree.body for item in public(tree, f"{path.parent.name}/{path.stem}")]
    return [name for name, node in names if not ast.get_docstring(node)], len(names)


@pytest.mark.parametrize("path", [*CODE, *TESTS], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_sizes(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    functions = {node.name: length(node) for node in ast.walk(tree_of(path)) if isinstance(node, Function)}
    assert lines <= (LONGEST_MODULE if path in CODE else LONGEST_TEST_MODULE)
    assert {name: count for name, count in functions.items() if count > LONGEST_FUNCTION} == {}


def test_most_functions_are_short():
    lengths = sorted(length(node) for path in CODE for node in ast.walk(tree_of(path)) if isinstance(node, Function))
    assert lengths[len(lengths) // 2] <= MEDIAN_FUNCTION
    assert lengths[int(0.95 * len(lengths))] <= LONG_FUNCTION


def test_public_names_are_documented():
    missing, count = undocumented(CODE)
    share = 1 - len(missing) / count
    assert share >= LEAST_DOCUMENTED, f"{share:.1%} of {count}; without: {', '.join(missing)}"


def test_what_is_missing_is_seen(tmp_path):
    path = tmp_path / "module.py"
    path.write_text('"""Told."""\nclass A:\n    def told(self):\n        """Told."""\n    def untold(self): ...\n    def _private(self): ...\ndef function():\n    def inner(): ...\n')
    missing, count = undocumented([path])
    assert [name.split(".", 1)[1] for name in missing] == ["A", "A.untold", "function"]
    assert count == 5
    assert [length(node) for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef) and node.name in ("told", "function")] == [2, 1]
