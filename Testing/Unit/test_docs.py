"""README and docs: links lead somewhere, sentences are short, code blocks run, and command lines are ones that the programs take."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import typer
from superres3d import errors, read_volume
from superres3d.cli import app

from .conftest import smooth_noise, write

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
LINKED = [*PAGES, *sorted((ROOT / ".github").rglob("*.md")), *sorted((ROOT / "models").rglob("*.md"))]
LONGEST_README = 130
LONGEST_SENTENCE = 320
#: of the made-up scans: slices, rows, columns
SHAPE = (6, 12, 14)
#: Languages of code blocks; "python slicer" needs Slicer: it is compiled here, and run by Testing/Panel/test_scripting_page.py.
LANGUAGES = {"python", "python slicer", "sh", "text", "toml", "json", "mermaid"}
#: Programs that these tests cannot ask what they take.
FOREIGN = {"git", "cd", "cmake", "ctest", "PythonSlicer", "Slicer", "gh"}


class Block(NamedTuple):
    """A fenced block of code of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def without_code(text: str) -> str:
    """A page whose fenced blocks are blank lines and whose comments are gone."""
    text = re.sub(r"^ *```.*?^ *```$", lambda found: "\n" * found.group().count("\n"), text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^( *)```([^\n]*)\n(.*?)^\1```$", text, flags=re.MULTILINE | re.DOTALL):
        indent = len(found[1])
        body = "".join(line[indent:] for line in found[3].splitlines(keepends=True))
        yield Block(page, text.count("\n", 0, found.start()) + 1, found[2].strip(), body)


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors_of(page: Path) -> set[str]:
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ +(.+)$", without_code(page.read_text(encoding="utf-8")), flags=re.MULTILINE):
        found[slug(heading)] = found.get(slug(heading), 0) + 1
    return {name if n == 0 else f"{name}-{n}" for name, count in found.items() for n in range(count)}


def broken_links(page: Path) -> list[str]:
    """Relative links and pictures of a page that lead nowhere."""
    text = re.sub(r"`[^`\n]*`", "", without_code(page.read_text(encoding="utf-8")))
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", link)]
    return [link for link in links if not leads_somewhere(page, *link.partition("#")[::2])]


def leads_somewhere(page: Path, path: str, anchor: str) -> bool:
    target = (page.parent / path).resolve() if path else page
    return target.exists() and target.is_relative_to(ROOT) and (not anchor or anchor in anchors_of(target))


def sentences_of(text: str) -> list[str]:
    """As a reader sees them: without addresses of links; headings, tables and code do not count."""
    seen = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", without_code(text))
    paragraphs = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )|\n(?=[|#])", seen)
    prose = (" ".join(paragraph.split()) for paragraph in paragraphs if not paragraph.strip().startswith(("|", "#")))
    return [sentence for text in prose for sentence in re.split(r"(?<=[.!?])\*{0,2} (?=[A-Z*`\[\"(])", text) if sentence]


def commands_of(block: Block) -> list[list[str]]:
    """The lines of a shell block as words, without comments; a backslash joins two of them."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def named_in_text() -> list[tuple[str, str]]:
    """(page, command) for what stands between backticks: ``superres3d evaluate ...``, whole or in part."""
    found = ((page.name, text) for page in PAGES for text in re.findall(r"`(superres3d [a-z][^`\n]*)`", without_code(page.read_text(encoding="utf-8"))))
    return list(dict.fromkeys(found))


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
COMMANDS = [(str(block), words) for block in BLOCKS if block.language == "sh" for words in commands_of(block)]


def why_not_taken(command: Any, words: list[str]) -> str:
    """What the command's own parser says against an argument list; empty where it takes it.  Nothing is run."""
    try:
        context = command.make_context(command.name, list(words), resilient_parsing="--help" in words)
    except Exception as error:
        return f"{type(error).__name__}: {getattr(error, 'message', error)}"
    if not hasattr(command, "commands"):
        return ""
    if words and words[0] in command.commands:
        return why_not_taken(command.commands[words[0]], words[1:])
    return "" if context.params.get("version") else f"no command {words[:1]}"


def script_refuses(path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The same for a script of the benchmarks, which has a function ``main`` for typer, or one that asks argparse."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    monkeypatch.syspath_prepend(path.parent)  # as Python does for a script
    spec.loader.exec_module(module)
    if hasattr(module, "typer"):
        program = typer.Typer()
        program.command()(module.main)
        return why_not_taken(typer.main.get_command(program), words)

    class Parsed(Exception):
        """The arguments are accepted."""

    parse = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser) -> None:
        parse(parser, words)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    try:
        module.main()
    except Parsed:
        return ""
    except SystemExit as error:
        return "" if "--help" in words else f"ended with {error.code}"
    return "did not ask argparse"


def why_refused(words: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What is wrong with a command line of the docs, or an empty string."""
    program, *rest = words
    if program in FOREIGN:
        return ""
    if program == "superres3d":
        return why_not_taken(typer.main.get_command(app), rest)
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        return "" if set(rest) <= set(targets) else f"no target {rest}"
    if program == "pip":
        return "" if extras_named(rest) <= extras() else f"no extra of {extras_named(rest)}"
    if program in ("python", ".venv/bin/python"):
        return why_python_refuses(rest, monkeypatch)
    return "" if (ROOT / program).is_file() else "unknown program"


def why_python_refuses(words: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What is wrong with tests or a script of the project, or an empty string."""
    if words[:2] == ["-m", "pytest"]:
        return "" if all((ROOT / path).exists() for path in words[2:] if not path.startswith("-")) else f"no such tests: {words[2:]}"
    if (ROOT / words[0]).is_file():
        return script_refuses(ROOT / words[0], words[1:], monkeypatch)
    return "unknown program"


def extras() -> set[str]:
    section = (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")[1].split("\n[")[0]
    return set(re.findall(r"^(\w+) = \[", section, flags=re.MULTILINE))


def extras_named(words: list[str]) -> set[str]:
    return {name for word in words for group in re.findall(r"^\.\[(.*)\]$", word) for name in group.split(",")}


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_exist(page):
    assert broken_links(page) == []


def test_a_broken_link_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("# A `b`, c\n\n## Twice\n\n## Twice\n\n[right](#a-b-c) [right](page.md#twice-1) [wrong](#twice-2) ![wrong](no.png) [out](../page.md) [web](https://x.y)\n")
    assert broken_links(page) == ["#twice-2", "no.png", "../page.md"]


def test_readme_is_for_two_minutes():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= LONGEST_README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sentences_are_short(page):
    assert [sentence for sentence in sentences_of(page.read_text(encoding="utf-8")) if len(sentence) > LONGEST_SENTENCE] == []


def test_sentences_are_told_apart():
    text = "# Heading\n\nOne [link](address.md) is\none. **Two.** Three:\n- four.\n\n| table |\n\n```sh\ncode\n```\n"
    assert sentences_of(text) == ["One link is one.", "**Two.", "Three:", "- four."]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_blocks_name_their_language(block):
    """Or the file of the example of a new network, which test_contributing.py makes and runs."""
    assert block.language in LANGUAGES or (block.page.name == "CONTRIBUTING.md" and re.fullmatch(r"python [\w/]+\.py", block.language))


def test_every_fence_is_a_block():
    for page in PAGES:
        assert len(re.findall(r"^ *```", page.read_text(encoding="utf-8"), flags=re.MULTILINE)) == 2 * len(list(blocks_of(page))), page.name


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The current folder holds small scans under the names that the pages use; nothing outside it is written."""
    rng = np.random.default_rng(0)
    lungs = np.rint(smooth_noise(SHAPE) * 1500 - 1000) + rng.integers(-10, 10, SHAPE)
    write(tmp_path / "chest.nii.gz", lungs.astype(np.int16), (0.8, 0.8, 3.0))
    write(tmp_path / "head.nii.gz", np.rint(smooth_noise(SHAPE, seed=1) * 900).astype(np.int16), (0.9, 0.9, 4.0))
    monkeypatch.setenv("SUPERRES3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "python"], ids=str)
def test_python_runs(block, files):
    """With the models that come with the project."""
    exec(compile(block.text, str(block), "exec"), {"__name__": "block"})
    for name, factor in re.findall(r'write_volume\(.*"([^"]+-x(\d)[^"]*)"\)', block.text):
        assert read_volume(files / name).voxels.shape == tuple(int(factor) * n for n in SHAPE)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "python slicer"], ids=str)
def test_python_for_slicer_compiles_and_names_existing_arguments(block):
    taken = arguments_of_logic()
    for node in ast.walk(ast.parse(block.text, str(block))):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "upscale":
            assert {keyword.arg for keyword in node.keywords} <= taken


def test_arguments_for_slicer_are_documented():
    page = (ROOT / "docs" / "scripting.md").read_text(encoding="utf-8")
    table = page.split("### Arguments")[1].split("###")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == arguments_of_logic()


def arguments_of_logic() -> set[str]:
    """Of ``SuperResolution3DLogic.upscale``, read without Slicer."""
    for path in sorted((ROOT / "SuperResolution3D").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name == "SuperResolution3DLogic":
                (method,) = (item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "upscale")
                return {argument.arg for argument in (*method.args.args, *method.args.kwonlyargs)} - {"self"}
    raise AssertionError("no SuperResolution3DLogic")


@pytest.mark.parametrize("where,words", COMMANDS, ids=[f"{where} {' '.join(words)[:50]}" for where, words in COMMANDS])
def test_shell_lines_are_taken(where, words, monkeypatch):
    assert why_refused(words, monkeypatch) == ""


@pytest.mark.parametrize("where,text", named_in_text())
def test_commands_in_the_text_are_taken(where, text, monkeypatch):
    """A part of a command line may lack arguments."""
    reason = why_refused(shlex.split(text), monkeypatch)
    assert not reason or reason.startswith("MissingParameter")


@pytest.mark.parametrize(
    "line",
    ["superres3d upscale a b --no-such-option", "superres3d upscale a b --preset finest", "superres3d sharpen a b", "superres3d upscale a", "make coffee", "pip install '.[nothing]'",
     "python Testing/Benchmarks/real_pair.py a b --no-such-option", "python Testing/Benchmarks/engine_speed.py --no-such-option", "python -m pytest Testing/None", "rm -rf x"],
)  # fmt: skip
def test_what_no_program_takes_is_refused(line, monkeypatch):
    assert why_refused(shlex.split(line), monkeypatch)


def test_options_are_documented():
    """Of ``upscale``, all and no others; the hidden one is for the panel."""
    command = typer.main.get_command(app).commands["upscale"]
    options = {name for parameter in command.params for name in parameter.opts if name.startswith("--") and not parameter.hidden}
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(--[a-z-]+)` \|", page, flags=re.MULTILINE)) == options


def test_options_of_batch_are_documented():
    """Those that ``upscale`` has not, or means otherwise, on their own page; no others."""
    commands = typer.main.get_command(app).commands
    options = {name: {opt for parameter in commands[name].params for opt in parameter.opts if opt.startswith("--") and not parameter.hidden} for name in ("upscale", "batch")}
    page = (ROOT / "docs" / "batch.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(--[a-z-]+)` \|", page, flags=re.MULTILINE))
    assert options["batch"] - options["upscale"] <= told <= options["batch"]


def test_exit_codes_are_documented():
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", page, flags=re.MULTILINE)}
    classes = (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.SuperResolutionError))
    assert listed == {0, *(kind.exit_code for kind in classes)}


def test_own_pages_named_by_their_address_exist():
    """In forms and pages, as https://github.com/.../blob/main/<path>."""
    texts = [path.read_text(encoding="utf-8") for path in (*LINKED, *(ROOT / ".github").rglob("*.yml"))]
    named = {path for text in texts for path in re.findall(r"SlicerSuperResolution3D/(?:blob|tree)/main/([\w./-]*\w)", text)}
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda form: form.stem)
def test_forms_are_complete(form):
    """What GitHub asks of a form: otherwise it is left out without a word."""
    content = pytest.importorskip("yaml").safe_load(form.read_text(encoding="utf-8"))
    if form.stem == "config":
        assert all({"name", "url", "about"} <= set(link) for link in content["contact_links"])
        return
    fields = [item for item in content["body"] if item["type"] != "markdown"]
    assert {"name", "description"} <= set(content)
    assert len({item["id"] for item in fields}) == len(fields)
    assert {item["type"] for item in fields} <= {"textarea", "input", "dropdown", "checkboxes"}
    assert all(item["attributes"]["label"] for item in fields)
    assert all(item["attributes"]["options"] for item in fields if item["type"] in ("dropdown", "checkboxes"))


def test_hooks_need_no_download():
    content = pytest.importorskip("yaml").safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repository["repo"] for repository in content["repos"]] == ["local"]
    assert all(hook["language"] == "system" for repository in content["repos"] for hook in repository["hooks"])


def test_the_texts_for_translators_are_those_of_the_package():
    """If this fails: python docs/texts.py."""
    spec = importlib.util.spec_from_file_location("texts", ROOT / "docs" / "texts.py")
    texts = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(texts)
    assert texts.TARGET.read_text(encoding="utf-8") == texts.written()
