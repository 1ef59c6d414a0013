"""What a batch works on: a scan, what its header says of it, and what was left out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..scan.companions import data_files


@dataclass(frozen=True)
class Outline:
    """A scan's grid as its header tells it; the voxels were not looked at.

    Attributes:
        shape: voxels (k, j, i).
        spacing: millimetres along (i, j, k).
        dtype: of a voxel, as numpy names it.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    dtype: str

    @property
    def thickest(self) -> float:
        """The largest spacing in millimetres."""
        return max(self.spacing)


@dataclass(frozen=True)
class BatchScan:
    """One scan.

    Attributes:
        name: how it is told, such as its path within the folder.
        identity: what makes it this scan and no other: its path, or the UID of its DICOM series.
        files: of an image the file itself, of a DICOM series all slices.
        folder: of the result, relative to the output folder; "" is that folder itself.
        stem: the result's name begins with it.
        suffix: of the file, as written; "" for DICOM.
        modality: what the data set says; "" where only the file may tell.
        outline: None where the header could not be read.
        stamp: changes when the scan changes.
        entities: of BIDS, in the order of its name; empty for others.
        kind: "file", "DICOM" or "BIDS".
        labels: its label map, "" without one.
    """

    name: str
    identity: str
    files: tuple[str, ...]
    folder: str
    stem: str
    suffix: str = ""
    modality: str = ""
    outline: Outline | None = None
    stamp: str = ""
    entities: dict[str, str] = field(default_factory=dict)
    kind: str = "file"
    labels: str = ""

    @property
    def path(self) -> Path:
        """The file, or the folder of a DICOM series' first slice."""
        first = Path(self.files[0])
        return first.parent if self.kind == "DICOM" else first


@dataclass(frozen=True)
class LeftOut:
    """What is not worked on.

    Attributes:
        name: as of a scan.
        reason: one sentence or a few words.
        broken: it should have been a scan, so the batch is not whole without it.
    """

    name: str
    reason: str
    broken: bool = False


@dataclass
class Found:
    """What there is in a folder."""

    scans: list[BatchScan] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    is_bids: bool = False

    def leave_out(self, name: str, reason: str, broken: bool = False) -> None:
        """Note what is not worked on; arguments as :class:`LeftOut` has them."""
        self.left_out.append(LeftOut(name, reason, broken))


def stamp_of(path: Path) -> str:
    """Size and time of a file and of those that its header names; "" where it is gone."""
    try:
        told = [(file.stat().st_size, file.stat().st_mtime_ns) for file in (path, *data_files(path))]
    except OSError:
        return ""
    return digest(told)


def digest(content: Any) -> str:
    """A short hash of anything that prints itself."""
    return hashlib.sha256(repr(content).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def as_text(name: str) -> str:
    """A name for texts and tables: letters that are not UTF-8 are replaced."""
    return os.fsencode(name).decode("utf-8", "replace")


def relative_name(path: Path, root: Path) -> str:
    """With slashes on every system, and letters that are not UTF-8 replaced."""
    return as_text(os.path.relpath(path, root)).replace(os.sep, "/")


def plural(count: int, one: str, many: str = "") -> str:
    """ "1 scan", "2 scans"."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def shortened(names: Sequence[str], most: int = 3) -> str:
    """The first few, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
