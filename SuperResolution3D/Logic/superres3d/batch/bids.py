"""A BIDS data set: which of its images are scans to upscale, and how their results are named by its rules.

The specification: bids-specification.readthedocs.io, "Derivatives", and the entities ``res`` and ``desc``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import InputError
from .scans import BatchScan, Found, relative_name
from .tree import image_scan

DESCRIPTION = "dataset_description.json"
#: of the folder "anat": images in arbitrary units, in the order of the specification; maps and label maps are none
SUFFIXES = ("T1w", "T2w", "PDw", "T2starw", "FLAIR", "inplaneT1", "inplaneT2", "PDT2", "angio", "UNIT1", "T1rho")


def is_bids(folder: Path) -> bool:
    """Whether a folder is a raw BIDS data set, by its description (InputError: that is there, and cannot be read)."""
    description = folder / DESCRIPTION
    if not description.exists():
        return False
    try:
        content = json.loads(description.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{description} cannot be read as JSON, so whether the folder is a BIDS data set is not known; correct it (the BIDS validator tells where), or move it away.") from None
    return isinstance(content, dict) and "BIDSVersion" in content


def find_in_bids(root: Path, suffixes: tuple[str, ...] = (), participants: tuple[str, ...] = ()) -> Found:
    """The anatomical images of a data set; those of its derivatives are not looked at.

    Args:
        root: the folder of the data set.
        suffixes: take images of these instead, whatever their folder.
        participants: labels, with or without "sub-"; empty: all.

    Raises:
        InputError: ancpbids is missing or cannot read it, or a participant is not there.
    """
    found = Found(is_bids=True)
    wanted = tuple(label.removeprefix("sub-") for label in participants)
    images = _images(root)
    _check_participants(wanted, images)
    for path, entities, suffix in images:
        reason = _reason(path, entities, suffix, suffixes, wanted)
        if reason:
            found.leave_out(relative_name(path, root), reason)
        else:
            found.scans.append(_scan(path, root, entities, suffix))
    return found


def _images(root: Path) -> list[tuple[Path, dict[str, str], str]]:
    """(file, entities, suffix) of every NIfTI file of the raw data, by name."""
    try:
        import ancpbids
    except ImportError:
        raise InputError(f"{root} is a BIDS data set, and the package ancpbids to read it is not installed; run: pip install 'superres3d[batch]'") from None
    try:
        artifacts: list[Any] = [item for item in ancpbids.load_dataset(str(root)).query(scope="raw") if str(getattr(item, "extension", "")) in (".nii", ".nii.gz")]
    except Exception as error:  # it has no base class of its own
        raise InputError(f"{root} cannot be read as a BIDS data set ({type(error).__name__}); check it with the BIDS validator.") from None
    return sorted((Path(item.get_absolute_path()), _entities(Path(item.get_absolute_path())), str(item.suffix)) for item in artifacts)


def _entities(path: Path) -> dict[str, str]:
    """Of the name, in its order, zeros before numbers kept."""
    pairs = (part.partition("-")[::2] for part in path.name.split(".")[0].split("_") if "-" in part)
    return dict(pairs)


def _check_participants(wanted: tuple[str, ...], images: list[tuple[Path, dict[str, str], str]]) -> None:
    there = sorted({entities.get("sub", "") for _, entities, _ in images})
    missing = next((label for label in wanted if label not in there), None)
    if missing is not None:
        raise InputError(f"The data set has no images of the participant {missing}; those that it has are {', '.join(there[:16]) or 'none'}.")


def _reason(path: Path, entities: dict[str, str], suffix: str, suffixes: tuple[str, ...], participants: tuple[str, ...]) -> str:
    """Why an image is not upscaled, "" if it is."""
    if participants and entities.get("sub") not in participants:
        return "of another participant"
    if suffixes:
        return "" if suffix in suffixes else f"suffix {suffix}, not {' or '.join(suffixes)}"
    if path.parent.name != "anat":
        return f"of the folder {path.parent.name}, not anat"
    return "" if suffix in SUFFIXES else f"suffix {suffix}: a map, or no plain image"


def _scan(path: Path, root: Path, entities: dict[str, str], suffix: str) -> BatchScan:
    plain = image_scan(path, root)
    modality = "MR" if path.parent.name in ("anat", "func", "dwi", "fmap", "perf") else ""
    return BatchScan(
        plain.name, plain.identity, plain.files, plain.folder, suffix, plain.suffix, modality, plain.outline, plain.stamp, {**entities, "suffix": suffix, "uri": f"bids:raw:{plain.name}"}, "BIDS"
    )
