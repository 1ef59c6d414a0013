"""Files that belong together by a header or by a name: what an output must not touch, and what other programs mix up."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

_HEADER_BYTES = 1 << 16
_MOST_FILES = 100_000
_DATA_LINE = re.compile(rb"^[ \t]*(?:ElementDataFile[ \t]*=|data ?file[ \t]*:)[ \t]*(.+?)[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
_PATTERN = re.compile(r"(.*%[0-9]*d\S*)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)")
_TEXT_HEADERS = (".mhd", ".mha", ".nhdr", ".nrrd")
_PAIRS = {".hdr": (".img", ".img.gz"), ".hdr.gz": (".img", ".img.gz"), ".img": (".hdr", ".hdr.gz"), ".img.gz": (".hdr", ".hdr.gz")}
_NIFTI = (".nii.gz", ".nii", *_PAIRS)


def split_name(path: Path, suffixes: tuple[str, ...]) -> tuple[str, str]:
    """The name without its suffix, and the suffix in small letters ("" if it is none of ``suffixes``, of which longer ones come first)."""
    suffix = next((suffix for suffix in suffixes if path.name.lower().endswith(suffix)), "")
    return path.name[: len(path.name) - len(suffix)], suffix


def data_files(header: Path) -> list[Path]:
    """The other files of a scan: those that the text of a MetaImage or NRRD header names (ElementDataFile, data file), and the
    other half of an Analyze or NIfTI pair; empty if there are none.
    """
    stem, suffix = split_name(header, tuple(_PAIRS))
    if suffix:
        return [path for path in (header.with_name(stem + other) for other in _PAIRS[suffix]) if os.path.exists(path)]
    if not header.name.lower().endswith(_TEXT_HEADERS) or not os.path.isfile(header):
        return []
    try:
        with open(header, "rb") as file:
            text = file.read(_HEADER_BYTES)
    except OSError:  # nobody can read it, or not this user
        return []
    return [header.parent / name for name in _named(text)]


def owners(data: Path) -> list[Path]:
    """The headers in the same folder whose data file ``data`` is."""
    headers = [path for path in _entries(data.parent) if path.name.lower().endswith((*_TEXT_HEADERS, ".hdr"))]
    return [header for header in headers if any(same_file(data, other) for other in data_files(header))]


def twins(path: Path) -> list[Path]:
    """The files beside ``path`` that many programs open for it, or it for them: see :func:`are_twins`."""
    return sorted(other for other in _entries(path.parent) if are_twins(path, other) and not same_file(other, path))


def _entries(folder: Path) -> list[Path]:
    """None where a folder may be written to but not read."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def are_twins(one: Path, other: Path) -> bool:
    """Two NIfTI or Analyze files of one name and different suffixes in one folder, such as scan.nii and scan.nii.gz: niftilib goes by the name."""
    (stem, suffix), (other_stem, other_suffix) = split_name(one, _NIFTI), split_name(other, _NIFTI)
    alike = suffix and other_suffix and suffix != other_suffix and stem.casefold() == other_stem.casefold()
    return bool(alike) and one.parent.resolve() == other.parent.resolve()


def same_file(one: Path, other: Path) -> bool:
    """The same file on the disk, whatever the paths: links of both kinds, letter case; False if one is missing."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def _named(text: bytes) -> Iterator[str]:
    """The names in a header: one, a list of lines, or a pattern with first, last and step."""
    found = _DATA_LINE.search(text.split(b"\n\n", 1)[0] if text.startswith(b"NRRD") else text)
    if not found or found[1].upper() == b"LOCAL":
        return
    name = found[1].decode("utf-8", "surrogateescape")
    pattern = _PATTERN.fullmatch(name)
    if pattern:
        yield from _numbered(pattern[1], *map(int, pattern.groups()[1:]))
    elif name.split()[0].upper() == "LIST":
        yield from (line.strip() for line in text[found.end() :].decode("utf-8", "surrogateescape").splitlines() if line.strip())
    else:
        yield name


def _numbered(pattern: str, first: int, last: int, step: int) -> Iterator[str]:
    if step == 0 or abs(last - first) // abs(step) > _MOST_FILES:
        return
    for number in range(first, last + (1 if step > 0 else -1), step):
        yield pattern % number
