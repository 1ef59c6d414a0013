"""Cases: places in scans, chosen at random within strata, where there is a body to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..evaluation.split import rows_of
from ..methods import MODALITIES
from ..scan.images import find_volume
from ..scan.volume import Volume
from ..trust.body import body_mask

_BODY = 0.5  # of the scan's fullest slice: what a case must show of the body


@dataclass(frozen=True)
class Scan:
    """A row of the list of scans.

    Attributes:
        name: its id.
        modality: "CT" or "MR".
        stratum: values of the columns that make the strata.
        path: the file.
    """

    name: str
    modality: str
    stratum: tuple[str, ...]
    path: Path


@dataclass(frozen=True)
class Case:
    """A place in a scan, at one factor.

    Attributes:
        scan: which.
        scale: the factor.
        number: first slice of the slab along the axis that is looked along.
    """

    scan: Scan
    scale: int
    number: int

    @property
    def stratum(self) -> str:
        """In words."""
        return stratum_name(self.scan.stratum, self.scale)


def stratum_name(values: Sequence[str], scale: int) -> str:
    """Such as "CT, 2x"."""
    return ", ".join((*values, f"{scale}x"))


def read_scans(data: Path, split: Path, subset: str, columns: Sequence[str]) -> list[Scan]:
    """The scans of a subset.

    Args:
        data: folder with <id>.nii.gz or another format.
        split: see :func:`superres3d.evaluation.split.rows_of`.
        subset: which rows.
        columns: that make the strata.

    Raises:
        InputError: no such subset, column, modality or scan.
    """
    rows = rows_of(subset, split)
    for column in columns:
        if column not in rows[0]:
            raise InputError(f"The split {split} has no column {column!r} to make strata of; use one of {', '.join(rows[0])}.")
    for row in rows:
        if row["modality"] not in MODALITIES:
            raise InputError(f"The subject {row['id']} has the modality {row['modality']!r}; use {' or '.join(MODALITIES)}.")
    return [Scan(row["id"], row["modality"], tuple(row[column] or "?" for column in columns), find_volume(row["id"], data)) for row in rows]


def places(truth: Volume, modality: str, axis: int, slices: int) -> tuple[np.ndarray, np.ndarray]:
    """Where a slab of a scan shows enough of the body.

    Args:
        truth: voxels (k, j, i).
        modality: "CT" or "MR".
        axis: array axis that is looked along.
        slices: of the slab.

    Returns:
        First slices of such slabs in rising order, and the body (bool, as the voxels).
    """
    body = np.moveaxis(body_mask(np.moveaxis(truth.voxels, axis, 0), modality), 0, axis)
    area = body.sum(axis=tuple(other for other in range(3) if other != axis))
    enough = area >= max(1.0, _BODY * area.max())
    starts = np.arange(len(area) - slices + 1)
    return starts[[bool(enough[start : start + slices].all()) for start in starts]], body


def draw(scans: Sequence[Scan], scales: Sequence[int], count: int, found: Callable[[Scan, int], tuple[np.ndarray, int]], rng: np.random.Generator) -> list[Case]:
    """Cases at random within strata: each stratum gets as many (off by one), its scans take turns, and a scan's places are drawn.

    Args:
        scans: to draw from.
        scales: each gets ``count`` cases.
        count: a factor.
        found: of a scan and a factor, its places and how far apart two of them must be, in slices.
        rng: every choice comes from it.

    Raises:
        InputError: a stratum has too few places.
    """
    strata = sorted({scan.stratum for scan in scans})
    if count < len(strata):
        raise InputError(f"{count} cases are too few for {len(strata)} strata; ask for {len(strata)} or more with --cases, or name fewer columns with --stratum.")
    cases = []
    for scale in scales:
        shares = np.full(len(strata), count // len(strata))
        shares[rng.permutation(len(strata))[: count % len(strata)]] += 1
        for stratum, share in zip(strata, shares):
            members = [scan for scan in scans if scan.stratum == stratum]
            cases += _drawn(members, scale, int(share), {scan.name: found(scan, scale) for scan in members}, rng)
    return cases


def _drawn(scans: Sequence[Scan], scale: int, count: int, found: dict[str, tuple[np.ndarray, int]], rng: np.random.Generator) -> list[Case]:
    left = {name: _thinned(*places_, rng) for name, places_ in found.items()}
    available = sum(map(len, left.values()))
    if available < count:
        raise InputError(
            f"The stratum {stratum_name(scans[0].stratum, scale)} has {available} places that show enough of the body and lie far enough apart, and {count} cases are asked of it; "
            "give fewer --cases, a smaller --apart, or more scans."
        )
    cases: list[Case] = []
    while len(cases) < count:
        for turn in rng.permutation(len(scans)):
            scan = scans[int(turn)]
            if left[scan.name] and len(cases) < count:
                cases.append(Case(scan, scale, left[scan.name].pop()))
    return cases


def _thinned(starts: np.ndarray, apart: int, rng: np.random.Generator) -> list[int]:
    """Places in random order, none nearer to an earlier one than ``apart``."""
    kept: list[int] = []
    for start in rng.permutation(starts).tolist():
        if all(abs(start - other) >= apart for other in kept):
            kept.append(start)
    return kept
