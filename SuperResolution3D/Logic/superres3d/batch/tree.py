"""Scans of any kind in a folder and those below it: images by name, DICOM by what the files hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import InputError
from ..scan.companions import data_files, split_name
from ..scan.dicom.content import SUFFIXES, is_dicom
from .outline import outline_of
from .scans import BatchScan, Found, plural, relative_name, stamp_of
from .series import SeriesCollector

#: of images that can be read; longer ones first
IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh", ".hdr.gz", ".hdr")
#: Lies in the folder of every batch's own files.
OWN_FILE = "superres3d-ledger.sqlite"
_DIRECTORY_FILE = "DICOMDIR"


def find_in_tree(root: Path, without: Path, told: Callable[[str], None] = lambda text: None) -> Found:
    """All scans in a folder and in those below it.

    Args:
        root: the folder.
        without: the output folder, which may lie in it.
        told: called with what is being looked at.

    Raises:
        InputError: the folder cannot be read.
    """
    found, collector = Found(), SeriesCollector(root)
    seen: dict[str, str] = {}
    others = 0
    for folder, names in _folders(root, without, found):
        told(relative_name(folder, root))
        files = sorted(folder / name for name in names if not name.startswith("."))
        images, rest = _images(files)
        for path in images:
            _add_image(path, root, found, seen)
        others += collector.take(folder, [path for path in rest if _may_be_dicom(path, root, found)])
    collector.finish(found)
    if others:
        found.leave_out(plural(others, "other file"), "neither images that can be read nor DICOM")
    return found


def _folders(root: Path, without: Path, found: Found) -> Iterator[tuple[Path, list[str]]]:
    """(folder, names of its files), each once though links may lead in circles."""
    visited: set[str] = set()

    def refuse(error: OSError) -> None:
        if Path(error.filename) == root:
            raise InputError(f"The folder {root} cannot be read ({error.strerror}); check its name and its permissions.")
        found.leave_out(relative_name(Path(error.filename), root), f"the folder cannot be read ({error.strerror})", broken=True)

    for place, folders, names in os.walk(root, followlinks=True, onerror=refuse):
        real = os.path.realpath(place)
        if real in visited or real == os.path.realpath(without):
            folders.clear()
            continue
        visited.add(real)
        # A folder itself before the links to it.
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=lambda name: (os.path.islink(os.path.join(place, name)), name))
        if any(OWN_FILE in _names_in(Path(place) / name) for name in folders) and real != os.path.realpath(root):
            found.leave_out(relative_name(Path(place), root), "results of another batch")
            folders.clear()
            continue
        yield Path(place), names


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder) if folder.name == "batch" else []
    except OSError:
        return []


def _images(files: list[Path]) -> tuple[list[Path], list[Path]]:
    """(images by their names, the rest but the files that belong to images)."""
    images = [path for path in files if split_name(path, IMAGE_SUFFIXES)[1]]
    parts = {part for path in images for part in data_files(path)}
    return [path for path in images if path not in parts], [path for path in files if path not in parts and path not in set(images)]


def _add_image(path: Path, root: Path, found: Found, seen: dict[str, str]) -> None:
    name, real = relative_name(path, root), os.path.realpath(path)
    if not os.path.exists(path):
        found.leave_out(name, "a link that leads nowhere", broken=True)
    elif not os.path.isfile(path):
        found.leave_out(name, "neither a file nor a folder")
    elif real in seen:
        found.leave_out(name, f"the same file as {seen[real]}")
    else:
        seen[real] = name
        found.scans.append(image_scan(path, root))


def image_scan(path: Path, root: Path) -> BatchScan:
    """A scan of one image file.

    Args:
        path: the file.
        root: the folder of the batch; the result lies in the same folder below the output folder.
    """
    stem, suffix = split_name(path, IMAGE_SUFFIXES)
    folder = relative_name(path.parent, root)
    return BatchScan(
        relative_name(path, root), os.path.abspath(path), (os.path.abspath(path),), "" if folder == "." else folder, stem, suffix, outline=outline_of(path), stamp=stamp_of(path)
    )


def _may_be_dicom(path: Path, root: Path, found: Found) -> bool:
    """Whether a file is looked into: a plain one, not the index of a medium."""
    if path.name.upper() == _DIRECTORY_FILE or not os.path.isfile(path):
        return False
    try:
        return path.suffix.lower() in SUFFIXES or is_dicom(path) or True
    except OSError as error:
        found.leave_out(relative_name(path, root), f"it cannot be opened ({error.strerror})", broken=path.suffix.lower() in SUFFIXES)
        return False
