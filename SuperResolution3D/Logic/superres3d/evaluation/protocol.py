"""What is compared, on which subjects, and under which conditions.

The conditions are those of Georgescu 2020, section IV-B, where the paper states them;
:meth:`Protocol.statement` says in full what it leaves open.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..methods import DEFAULT_METHOD, DEFAULT_PRESET, METHODS, MODALITIES, find_method, find_preset
from ..scan.images import find_volume
from ..scan.volume import Volume
from ..trust import ground
from . import metrics, statistics
from .split import rows_of
from .tasks import PUBLISHED_TASKS, TASKS, three

BASELINE = "lanczos"
MINIMUM_SLICES = 4  # low-resolution slices that a cell needs in which slices are refined


@dataclass(frozen=True)
class Protocol:
    """The settings of an evaluation.

    Attributes:
        methods: names from the catalogue; :data:`BASELINE` is added where it is missing.
        scales: 2, 4, or 8 for thick slices; empty: those of each task.
        tasks: keys of :data:`TASKS`.
        slices: at most this many central slices of a scan.
        preset: how much work the networks may spend.
        ensemble: self-ensemble of the networks; "auto": the preset's.
        device: where the networks run.

    Raises:
        InputError: an unknown method, scale, task or ensemble, a method or scale for none of the tasks, or too few slices.
    """

    methods: tuple[str, ...] = (DEFAULT_METHOD, BASELINE)
    scales: tuple[int, ...] = ()
    tasks: tuple[str, ...] = PUBLISHED_TASKS
    slices: int = 48
    preset: str = DEFAULT_PRESET
    ensemble: str = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        # a name given twice is the same as given once
        object.__setattr__(self, "methods", tuple(dict.fromkeys((*self.methods, BASELINE))))
        object.__setattr__(self, "scales", tuple(sorted(set(self.scales))))
        object.__setattr__(self, "tasks", tuple(dict.fromkeys(self.tasks)))
        self._check_tasks()
        self._check_methods()
        if self.slices < 2:
            raise InputError(f"{self.slices} slices of a scan are too few; use 2 or more (8 or more for the 3-D task at 2x, 32 for thick slices at 8x).")
        object.__setattr__(self, "ensemble", find_preset(self.preset, self.ensemble).ensemble)

    def _check_tasks(self) -> None:
        for task in self.tasks:
            if task not in TASKS:
                raise InputError(f"The task {task!r} does not exist; use one of {', '.join(TASKS)}.")
        known = sorted({scale for task in self.tasks for scale in TASKS[task].scales})
        for scale in self.scales:
            if scale not in known:
                raise InputError(f"The factor {scale} cannot be evaluated in {' and '.join(self.tasks)}; use {' or '.join(map(str, known))}.")

    def _check_methods(self) -> None:
        cells = [(TASKS[task], scale, modality) for task in self.tasks for scale in self.scales_of(task) for modality in MODALITIES]
        for name in self.methods:
            if not any(task.fits(find_method(name), modality, scale) for task, scale, modality in cells):
                raise InputError(f"The method {name} is for none of the tasks {', '.join(self.tasks)}; leave it out or name a task with --task.")

    @property
    def networks(self) -> tuple[str, ...]:
        """The methods with a network, in the order given."""
        return tuple(name for name in self.methods if METHODS[name].networks)

    def scales_of(self, task: str) -> tuple[int, ...]:
        """The factors at which a task is measured."""
        return tuple(scale for scale in TASKS[task].scales if not self.scales or scale in self.scales)

    def featured(self, task: str) -> str | None:
        """The method of the figures and of the table by subject: the one that the task is meant for, else the first network
        for it, else the first other than the baseline; None if there is no other."""
        others = [name for name in self.methods if name != BASELINE and self._is_for(name, task)]
        networks = [name for name in others if METHODS[name].networks]
        meant = [name for name in others if name == TASKS[task].featured]
        return next(iter((*meant, *networks, *others)), None)

    def _is_for(self, name: str, task: str) -> bool:
        """Whether a task asks a method at any of its factors."""
        found = TASKS[task]
        return any(found.fits(METHODS[name], modality, scale) for modality in found.modalities for scale in self.scales_of(task))

    def as_dict(self) -> dict[str, Any]:
        """Every setting with its value, ready for JSON."""
        return asdict(self)

    def statement(self) -> list[str]:
        """The protocol in full, one sentence or two an item."""
        return [
            f"Truth: the {self.slices} central slices of a scan (all, if it has fewer), cropped centrally to a multiple of the factor on the refined axes.",
            *(TASKS[task].description for task in self.tasks),
            "Low-resolution scans stay float32: no rounding, no added noise.",
            "Every method gets that low-resolution scan alone; the networks' intensity scale is taken from it, never from the truth. Results are not rounded.",
            f"Networks: preset {self.preset}, self-ensemble {self.ensemble}, single precision." if self.networks else "Networks: none.",
            *metrics.STATEMENT,
            *ground.STATEMENT,
            *(metrics.FLICKER_STATEMENT if any(TASKS[task].refines_slices for task in self.tasks) else ()),
            *(metrics.DETAILED_STATEMENT if any(TASKS[task].detailed for task in self.tasks) else ()),
            f"Cells with fewer than {MINIMUM_SLICES} low-resolution slices where slices are refined are left out and listed.",
            *statistics.STATEMENT,
        ]


@dataclass(frozen=True)
class Subject:
    """A row of the split.

    Attributes:
        name: the row's id.
        modality: "CT" or "MR".
        group: sequence group of an MR scan: "T1", "T2" (with FLAIR) or "other"; "" for CT.
        path: the scan.
    """

    name: str
    modality: str
    group: str
    path: Path


def read_subjects(data: Path, split: Path, subset: str, only: tuple[str, ...] = ()) -> list[Subject]:
    """The subjects of a subset, in the order of the file.

    Args:
        data: folder of the scans, ``<id>.nii.gz`` or another readable format.
        split: CSV with the columns id, split, modality and perhaps sequence.
        subset: a value of the column split.
        only: ids; empty: all.

    Raises:
        InputError: unreadable file, missing column, unknown subset, id or modality, missing scan.
    """
    rows = rows_of(subset, Path(split))
    names = [row["id"] for row in rows]
    for name in only:
        if name not in names:
            raise InputError(f"The subset {subset} of {split} has no subject {name!r}; use one of {', '.join(names)}.")
    return [_subject(row, Path(data)) for row in rows if not only or row["id"] in only]


def sequence_group(sequence: str) -> str:
    """Sequence group of an MR scan by how the name of its sequence begins: "T1", "T2" or "other".

    >>> sequence_group("T1w MPRAGE"), sequence_group("FLAIR 2D"), sequence_group("TOF 3D MRA")
    ('T1', 'T2', 'other')
    """
    name = sequence.strip().upper()
    return "T1" if name.startswith("T1") else "T2" if name.startswith(("T2", "FLAIR")) else "other"


def central_crop(volume: Volume, slice_axis: int, slices: int, factors: tuple[int, int, int]) -> Volume:
    """The truth of a cell: at most ``slices`` central slices, every size a multiple of its factor.

    Args:
        volume: voxels (k, j, i).
        slice_axis: array axis of the slices.
        slices: how many at most.
        factors: along (k, j, i).
    """
    sizes = list(volume.voxels.shape)
    sizes[slice_axis] = min(sizes[slice_axis], slices)
    sizes = [size - size % factor for size, factor in zip(sizes, factors)]
    starts = [(full - size) // 2 for full, size in zip(volume.voxels.shape, sizes)]
    voxels = volume.voxels[tuple(slice(start, start + size) for start, size in zip(starts, sizes))]
    return replace(volume, voxels=voxels, origin=three(map(float, volume.position(three(starts[::-1])))))


def _subject(row: dict[str, str], data: Path) -> Subject:
    name, modality = row["id"], row["modality"]
    if modality not in MODALITIES:
        raise InputError(f"The subject {name} has the modality {modality!r}; use {' or '.join(MODALITIES)}.")
    group = sequence_group(row.get("sequence") or "") if modality == "MR" else ""
    return Subject(name, modality, group, find_volume(name, data))
