"""``superres3d study make``: from scans and a seed to a folder for readers, and a key that stays at home."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import InputError
from ..evaluation.tasks import TASKS
from ..files import check_new_folder
from ..methods import find_method
from ..scan.intensity import CT_RANGE_HU
from ..staging import Staging
from .candidates import Kitchen, candidate, pixel_mm, prepare, window
from .choosing import Case, Scan, draw, read_scans
from .design import DESIGNS
from .key import KEY, READERS, CaseTold, Key
from .page import page_of
from .sheet import LEVELS, PAGE, PICTURES, SHEET, Sheet, Shown, levels_of, png_of, sha256_of
from .trials import CATCH, CLEAR, REPEAT, SPOILT, Trial, orders, plan_trials

_HEADROOM = 0.05  # of an MR scan's range, on either side: what results may overshoot
_DATE = 946_684_800  # 2000-01-01: of every file for readers
_TITLE = "Reader study"
_PICTURE = re.compile(rb'"[0-9a-f]{8}": "[A-Za-z0-9+/=]*"')  # in the page


@dataclass(frozen=True)
class Wishes:
    """What a study shall be.

    Attributes:
        methods: two or more names from the catalogue; the first is the one that is asked about.
        design: a key of :data:`superres3d.study.design.DESIGNS`.
        scales: factors.
        cases: a factor.
        task, preset, device: how results are made.
        strata: columns of the list of scans.
        slices: of a case.
        apart: millimetres between two cases of a scan, at least.
        repeats: trials that come twice; None: a tenth.
        catches: trials with a known answer; None: a twentieth.
        readers: how many orders are made.
        same: "no difference" may be answered.
        seed: decides cases and sides.
        title: for the readers.

    Raises:
        InputError: one of them cannot be used.
    """

    methods: tuple[str, ...]
    design: str = "choice-with-original"
    scales: tuple[int, ...] = (2,)
    cases: int = 100
    task: str = "in-plane"
    preset: str = "best"
    device: str = "auto"
    strata: tuple[str, ...] = ("modality",)
    slices: int = 1
    apart: float = 5.0
    repeats: int | None = None
    catches: int | None = None
    readers: int = 24
    same: bool = False
    seed: int = 0
    title: str = _TITLE

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", tuple(dict.fromkeys(self.methods)))
        object.__setattr__(self, "scales", tuple(sorted(set(self.scales))))
        if len(self.methods) < 2:
            raise InputError("A study compares two or more methods; name each with --method.")
        for name in self.methods:
            find_method(name)
        named = next((name for name in self.methods if name in self.title.lower()), None)
        if named:
            raise InputError(f"The title {self.title!r} names the method {named}, which readers must not know; give another title.")
        if self.task not in TASKS:
            raise InputError(f"The task {self.task!r} does not exist; use one of {', '.join(TASKS)}.")
        if self.design not in DESIGNS:
            raise InputError(f"The design {self.design!r} does not exist; use one of {', '.join(DESIGNS)}.")
        for scale in self.scales:
            if scale not in TASKS[self.task].scales:
                raise InputError(f"The task {self.task} is not made for the factor {scale}; use {' or '.join(map(str, TASKS[self.task].scales))}.")

    def check(self, scans: Sequence[Scan]) -> None:
        """Refuse scans that a method or the task is not for (InputError)."""
        task = TASKS[self.task]
        for scan in scans:
            for scale in self.scales:
                unfit = [name for name in self.methods if not task.fits(find_method(name), scan.modality, scale)]
                if unfit:
                    raise InputError(f"The method {unfit[0]} cannot make {scan.modality} scans finer by {scale} in the task {self.task}; leave it out, or leave out scans such as {scan.name}.")


Progress = Callable[[str, float], None]


def make_study(data: Path, split: Path, subset: str, out: Path, wishes: Wishes, progress: Progress = lambda stage, share: None) -> Sheet:
    """Make a study.

    Args:
        data: folder of the scans.
        split: CSV with the columns id, split, modality and those that make the strata.
        subset: which rows.
        out: a new folder; "reader" in it is for the readers, "key.json" is not.
        wishes: see :class:`Wishes`.
        progress: called with (what, share of the whole that is done).

    Returns:
        What the readers see.

    Raises:
        InputError, ModelError, DeviceError, ResourceError: see :mod:`superres3d.errors`; nothing was written.
    """
    check_new_folder(out)
    scans = read_scans(data, split, subset, wishes.strata)
    wishes.check(scans)
    kitchen = Kitchen(wishes.task, wishes.preset, wishes.device, wishes.slices)
    rng, salt = np.random.default_rng(wishes.seed), secrets.token_hex(32)
    progress("choosing", 0.0)
    cases = draw(scans, wishes.scales, wishes.cases, lambda scan, scale: _places(scan, scale, kitchen, wishes.apart), rng)
    trials = _trials(cases, wishes, rng)
    with Staging() as staging:
        folder = staging.folder(out)
        sheet = _write(folder, cases, trials, wishes, kitchen, salt, progress)
        _forget_dates(folder / READERS)
        staging.commit()
    return sheet


def _places(scan: Scan, scale: int, kitchen: Kitchen, apart: float) -> tuple[np.ndarray, int]:
    found = prepare(scan, scale, kitchen)
    return found.starts, max(kitchen.slices, round(apart / found.truth.spacing[2 - found.axis]))


def _trials(cases: Sequence[Case], wishes: Wishes, rng: np.random.Generator) -> list[Trial]:
    panels = DESIGNS[wishes.design].panels
    main = len(plan_trials([""] * len(cases), wishes.methods, panels, 0, 0, np.random.default_rng(0)))
    repeats = -(-main // 10) if wishes.repeats is None else wishes.repeats
    catches = -(-main // 20) if wishes.catches is None else wishes.catches
    return plan_trials([case.stratum for case in cases], wishes.methods, panels, repeats, catches, rng)


def _write(folder: Path, cases: Sequence[Case], trials: Sequence[Trial], wishes: Wishes, kitchen: Kitchen, salt: str, progress: Progress) -> Sheet:
    """Everything into ``folder``.  What readers can see (names, places in the list, orders) comes from the salt, which nobody can guess."""
    hidden = np.random.default_rng(int(salt, 16))
    names = [f"{number:08x}" for number in hidden.choice(2**32, size=len(trials), replace=False)]
    made = _pictures(cases, trials, names, wishes, kitchen, progress)
    _store(folder / READERS / PICTURES, dict(zip(names, (content for _, content in made))))
    study = f"{hidden.integers(2**63):016x}"
    key = Key(study, wishes.methods, wishes.seed, salt, _settings(wishes, trials), tuple(map(_told, cases)), dict(zip(names, trials)))
    (folder / KEY).write_text(key.text(), encoding="utf-8", newline="\n")
    shuffled = hidden.permutation(len(trials)).tolist()
    place = {old: new for new, old in enumerate(shuffled)}
    ways, turned = orders(trials, wishes.readers, hidden)
    design = DESIGNS[wishes.design]
    sheet = Sheet(
        study, wishes.title, wishes.design, wishes.same and not design.items, tuple(design.instructions(wishes.same, wishes.slices, any(t.kind == CATCH for t in trials))),
        tuple(made[old][0] for old in shuffled), tuple(tuple(place[old] for old in way) for way in ways), tuple(turned), sha256_of(key.text().encode()),
    )  # fmt: skip
    (folder / READERS / SHEET).write_text(sheet.text(), encoding="utf-8", newline="\n")
    (folder / READERS / PAGE).write_text(page_of(folder / READERS), encoding="utf-8", newline="\n")
    progress("done", 1.0)
    return sheet


def _pictures(
    cases: Sequence[Case], trials: Sequence[Trial], names: Sequence[str], wishes: Wishes, kitchen: Kitchen, progress: Progress
) -> list[tuple[Shown, bytes]]:
    """A picture a trial, and what is told of it; scan by scan, so that each is read once a factor."""
    made: dict[int, tuple[Shown, bytes]] = {}
    by_case = sorted(range(len(cases)), key=lambda number: (cases[number].scan.name, cases[number].scale))
    for done, number in enumerate(by_case):
        progress("pictures", done / len(cases))
        mine = [index for index, trial in enumerate(trials) if trial.case == number]
        needed = {panel for index in mine for panel in trials[index].panels} | {CLEAR}
        values = {panel: candidate(cases[number], panel, kitchen) for panel in sorted(needed)}
        for index in mine:
            panels = ((CLEAR,) if DESIGNS[wishes.design].original else ()) + trials[index].panels
            made[index] = _picture(names[index], cases[number], np.stack([values[panel] for panel in panels]), kitchen)
    return [made[index] for index in range(len(trials))]


def _picture(name: str, case: Case, values: np.ndarray, kitchen: Kitchen) -> tuple[Shown, bytes]:
    found = prepare(case.scan, case.scale, kitchen)
    offset, step = _scale(found.truth.voxels, case.scan.modality)
    panels, slices, rows, columns = values.shape
    return Shown(name, rows, columns, slices, panels, pixel_mm(found), offset, step, window(found, case, kitchen.slices)), png_of(levels_of(values, offset, step))


def _store(folder: Path, contents: dict[str, bytes]) -> None:
    """In the order of their random names: how they lie on the disk tells nothing."""
    folder.mkdir(parents=True)
    for name in sorted(contents):
        (folder / f"{name}.png").write_bytes(contents[name])


def _scale(voxels: np.ndarray, modality: str) -> tuple[float, float]:
    """(offset, step) of a picture's numbers; the same for all panels of a scan."""
    if modality == "CT":
        return CT_RANGE_HU[0], 1.0
    low, high = float(voxels.min()), float(voxels.max())
    rim = _HEADROOM * ((high - low) or 1.0)
    return low - rim, (high - low + 2 * rim) / (LEVELS - 1)


def _settings(wishes: Wishes, trials: Sequence[Trial]) -> dict[str, Any]:
    kinds = {kind: sum(trial.kind == kind for trial in trials) for kind in ("main", REPEAT, CATCH)}
    return asdict(wishes) | {"software": f"SuperResolution3D {__version__}", "trials": kinds, "catch": f"{CLEAR} before {SPOILT}"}


def _told(case: Case) -> CaseTold:
    return CaseTold(case.scan.name, case.scan.modality, case.stratum, case.scale, case.number)


def _forget_dates(folder: Path) -> None:
    """When a picture was made tells in which order, and so what stands where."""
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (_DATE, _DATE))


def telling(folder: Path, key: Key) -> list[str]:
    """Names that must not stand in what readers get, and do: methods, scans, and words of the key, in names of files or in their bytes."""
    words = {*key.methods, *(case.scan for case in key.cases), CLEAR + '"', SPOILT, key.salt, f'"seed": {key.seed}', "key.json"}
    found = []
    for path in sorted(folder.rglob("*")):
        content = path.name.encode() + (_PICTURE.sub(b"", path.read_bytes()) if path.is_file() and path.suffix != ".png" else b"")
        found += [f"{path.relative_to(folder)}: {word}" for word in sorted(words) if word.encode() in content]
    return found

