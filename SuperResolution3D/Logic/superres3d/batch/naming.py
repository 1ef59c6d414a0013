"""Where the result of a scan lies: named by the scan and by what was asked for, each name once."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from ..scan.companions import split_name
from .choices import Choices
from .scans import BatchScan, digest
from .tree import IMAGE_SUFFIXES

#: what a scan's suffix becomes in its result: never two files, and what can be written
_WRITTEN = {".nhdr": ".nrrd", ".mhd": ".mha", ".mgz": ".nii.gz", ".mgh": ".nii", ".hdr": ".nii", ".hdr.gz": ".nii.gz"}
_LONGEST_STEM = 100
_RES_AFTER = ("den", "label", "desc")  # entities that come after res in a name


def key_of(scan: BatchScan, choices: Choices) -> str:
    """What the ledger calls a scan with what was asked for."""
    return digest((scan.identity, choices.identity))


class Names:
    """Gives each scan's result a path relative to the output folder, with slashes.

    Args:
        scans: all of the run: two of one name (d.nhdr, d.nrrd) both tell their suffix.
        choices: what is asked for.
        known: key -> path, of earlier runs: they keep it, and nobody else gets it.
    """

    def __init__(self, scans: Sequence[BatchScan], choices: Choices, known: dict[str, str]) -> None:
        self._choices, self._known = choices, known
        self._taken = {_level(_without_suffix(path)) for path in known.values()}
        self._alike = Counter(_level(f"{_folder(scan, choices)}/{_stem(scan, choices)}") for scan in scans)

    def path_of(self, scan: BatchScan) -> str:
        """The same for the same scan, always."""
        key = key_of(scan, self._choices)
        if key not in self._known:
            self._known[key] = self._free_path(scan)
        return self._known[key]

    def _free_path(self, scan: BatchScan) -> str:
        suffix = _suffix(scan, self._choices)
        base = next(base for base in self._bases(scan) if _level(base) not in self._taken)
        self._taken.add(_level(base))
        return base + suffix

    def _bases(self, scan: BatchScan) -> Iterable[str]:
        folder, stem = _folder(scan, self._choices), _stem(scan, self._choices)
        apart = f"{stem}-{scan.suffix.strip('.').replace('.', '-')}" if scan.suffix and scan.kind != "BIDS" else stem
        alone = self._alike[_level(f"{folder}/{stem}")] < 2
        for name in ([stem] if alone else []) + [apart]:
            yield self._named(folder, name, scan)
        number = 2
        while True:
            yield self._named(folder, f"{apart}-{number}", scan)
            number += 1

    def _named(self, folder: str, stem: str, scan: BatchScan) -> str:
        name = _bids_name(scan, stem, self._choices) if scan.kind == "BIDS" else f"{stem}_{self._choices.tag}"
        return str(PurePosixPath(folder, name))


def _bids_name(scan: BatchScan, suffix: str, choices: Choices) -> str:
    """Entities in the order of the specification: res and desc after all others, den and label between them."""
    kept = {name: value for name, value in scan.entities.items() if name not in ("suffix", "uri", "res", "desc")}
    before = [f"{name}-{value}" for name, value in kept.items() if name not in _RES_AFTER]
    after = [f"{name}-{value}" for name, value in kept.items() if name in _RES_AFTER]
    return "_".join((*before, f"res-{choices.resolution_label}", *after, f"desc-{choices.description_label}", suffix))


def _folder(scan: BatchScan, choices: Choices) -> str:
    if scan.kind != "DICOM" or not choices.anonymize:
        return _plain(scan.folder)
    return "/".join(f"{what}-{digest(part)[:8]}" for what, part in zip(("patient", "study"), scan.folder.split("/")))


def _stem(scan: BatchScan, choices: Choices) -> str:
    stem = f"series-{digest(scan.identity)[:8]}" if scan.kind == "DICOM" and choices.anonymize else _plain(scan.stem)
    return stem if len(stem.encode("utf-8", "surrogateescape")) <= _LONGEST_STEM else f"{stem[:_LONGEST_STEM // 4]}-{digest(stem)[:8]}"


def _plain(name: str) -> str:
    """What disks, libraries and terminals all take: letters that are not UTF-8, and signs that cannot be printed, become "_"."""
    return "".join(letter if letter.isprintable() and not 0xD800 <= ord(letter) < 0xE000 else "_" for letter in name)


def _suffix(scan: BatchScan, choices: Choices) -> str:
    if choices.format == "auto":
        return _WRITTEN.get(scan.suffix, scan.suffix)
    return "" if choices.format == "dicom" else f".{choices.format}"


def _without_suffix(path: str) -> str:
    folder = PurePosixPath(path)
    return str(folder.with_name(split_name(folder, IMAGE_SUFFIXES)[0]))  # type: ignore[arg-type]


def _level(path: str) -> str:
    """Equal for names that some disk takes for one."""
    return unicodedata.normalize("NFC", path).casefold()
