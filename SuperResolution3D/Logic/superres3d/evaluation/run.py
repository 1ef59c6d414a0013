"""Runs an evaluation subject by subject, keeps what is finished, and writes the tables and figures.

``results.json`` is rewritten whole after every cell (subject, task, factor).  A row of it is
used again where its conditions (scan, slices, ensemble, models, software) are the same.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .. import __version__
from ..errors import Cancelled, InputError
from ..files import make_folder, replace_text
from ..methods import METHODS
from ..plan import plan_upscaling
from ..upscaling import NOT_FOR_DIAGNOSIS, upscale
from ..volume import Volume, read_volume
from ..weights import verified_weights
from .figures import draw_comparison
from .metrics import make_reference, measure
from .protocol import BASELINE, MINIMUM_SLICES, TASKS, Protocol, Subject, central_crop, low_resolution, read_subjects
from .tables import render

METRICS = ("psnr", "ssim", "psnr_foreground", "mae_hu", "bias_hu")
SOFTWARE = f"SuperResolution3D {__version__}"
Row = dict[str, Any]
Key = tuple[str, str, int, str]  # subject, task, scale, method


@dataclass(frozen=True)
class Cell:
    """One task at one factor on one subject.

    Attributes:
        subject, task, scale: which.
        slice_axis: array axis of the slices.
        conditions: method -> what its result depends on; ready for JSON.
        skip: why the cell cannot be measured; empty if it can.
    """

    subject: Subject
    task: str
    scale: int
    slice_axis: int
    conditions: dict[str, dict[str, Any]]
    skip: str = ""

    @property
    def factors(self) -> tuple[int, int, int]:
        """Along (k, j, i)."""
        factors = [self.scale] * 3
        if self.task == "in-plane":
            factors[self.slice_axis] = 1
        return tuple(factors)

    @property
    def name(self) -> str:
        return f"{self.subject.name} {self.task} x{self.scale}"

    def key(self, method: str) -> Key:
        return self.subject.name, self.task, self.scale, method


def evaluate_folder(
    data: str | os.PathLike, split: str | os.PathLike, subset: str, out: str | os.PathLike, protocol: Protocol, subjects: tuple[str, ...] = ()
) -> str:
    """Degrade the scans of a subset, upscale them again, and tabulate how close each method comes.

    Args:
        data: folder of the scans.
        split: CSV with the columns id, split, modality and perhaps sequence.
        subset: which rows of it.
        out: folder for results.json, results.csv, tables.md and the figures; made if missing.
            Rows that it holds already are used again where their conditions are the same.
        protocol: the settings.
        subjects: only these ids; empty: all of the subset.

    Returns:
        The text of tables.md.

    Raises:
        InputError, ModelError: before any work starts; see :mod:`superres3d.errors`.
        Cancelled: interrupted; what was finished is kept.
    """
    chosen = read_subjects(Path(data), Path(split), subset, subjects)
    cells = [cell for subject in chosen for cell in plan_cells(subject, protocol)]
    folder = make_folder(Path(out))
    heading = {"split": Path(split).name, "subset": subset, **protocol.as_dict(), "statement": protocol.statement()}
    results = Results(folder / "results.json", heading, cells)
    try:
        _run(cells, protocol, results, folder)
    except KeyboardInterrupt:
        raise Cancelled(f"Cancelled; {len(results.rows())} finished results are kept in {folder}; the same command goes on from there.") from None
    text = render(protocol, f"{subset} of {Path(split).name}", results.rows(), results.skipped)
    replace_text(folder / "results.csv", _as_csv(results.rows()))
    replace_text(folder / "tables.md", text)
    return text


def plan_cells(subject: Subject, protocol: Protocol) -> list[Cell]:
    """The cells of a subject, checked: the scan can be read and every model that is needed is there and whole.

    Raises:
        InputError, ModelError, ResourceError: from reading and planning.
    """
    volume = read_volume(subject.path)
    scan = hashlib.sha256(np.ascontiguousarray(volume.voxels)).hexdigest()
    axis = _slice_axis(volume, protocol.scales[0])
    cells = []
    for task in protocol.tasks:
        for scale in protocol.scales:
            cell = Cell(subject, task, scale, axis, {})
            truth = central_crop(volume, axis, protocol.slices, cell.factors)
            small = [size // factor for size, factor in zip(truth.voxels.shape, cell.factors)]
            if task == "3-D" and small[axis] < MINIMUM_SLICES:
                skip = f"{small[axis]} low-resolution slices, fewer than {MINIMUM_SLICES}"
            else:
                skip = make_reference(truth.voxels, subject.modality, axis).why_not()
            conditions = {} if skip else {method: _conditions(cell, method, truth, scan, protocol) for method in protocol.methods}
            cells.append(Cell(subject, task, scale, axis, conditions, skip))
    return cells


def _slice_axis(volume: Volume, scale: int) -> int:
    """Of the truth; in the low-resolution scan the spacing no longer tells."""
    return plan_upscaling(volume.voxels.shape, volume.spacing, "float32", scale, method=BASELINE).slice_axis


def _conditions(cell: Cell, method: str, truth: Volume, scan: str, protocol: Protocol) -> dict[str, Any]:
    """What the numbers of a method depend on, models included."""
    shape = [size // factor for size, factor in zip(truth.voxels.shape, cell.factors)]
    plan = plan_upscaling(
        shape, truth.spacing, "float32", cell.scale, axes=TASKS[cell.task], method=method,
        modality=cell.subject.modality, preset=protocol.preset, ensemble=protocol.ensemble, slice_axis="kji"[cell.slice_axis],
    )  # fmt: skip
    for model in plan.models.values():
        verified_weights(model)
    return {
        "software": SOFTWARE,
        "scan_sha256": scan,
        "slices": protocol.slices,
        "preset": protocol.preset if METHODS[method].networks else None,
        "ensemble": protocol.ensemble if METHODS[method].networks else None,
        "order": list(plan.models),
        "models": {stage: {"name": model.name, "sha256": model.sha256} for stage, model in plan.models.items()},
    }


def _run(cells: list[Cell], protocol: Protocol, results: Results, folder: Path) -> None:
    """Work off what is not there yet; one scan in memory at a time."""
    figures = _figure_paths(cells, folder)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("Evaluating", total=len(cells))
        subject, volume = None, None
        for number, cell in enumerate(cells):
            bar.update(task, completed=number, description=cell.name)
            figure = figures.get(cell.name)
            methods = _methods_to_run(cell, protocol, results, figure)
            if methods:
                if cell.subject is not subject:
                    subject, volume = cell.subject, read_volume(cell.subject.path)
                results.add(_evaluate(cell, methods, volume, protocol, figure, bar))
        bar.update(task, completed=len(cells), description="Evaluated")
    results.write()


def _methods_to_run(cell: Cell, protocol: Protocol, results: Results, figure: Path | None) -> list[str]:
    """Those without a result, and those of the figure if it is missing or would change."""
    missing = [method for method in cell.conditions if not results.has(cell, method)]
    shown = _shown(protocol)
    if figure and cell.conditions and (not figure.exists() or set(shown) & set(missing)):
        missing = [method for method in cell.conditions if method in missing or method in shown]
    return missing


def _evaluate(cell: Cell, methods: list[str], volume: Volume, protocol: Protocol, figure: Path | None, bar: Progress) -> list[Row]:
    """Degrade the truth of a cell, and upscale and measure it by every method."""
    truth = central_crop(volume, cell.slice_axis, protocol.slices, cell.factors)
    low = low_resolution(truth, cell.factors)
    reference = make_reference(truth.voxels, cell.subject.modality, cell.slice_axis)
    rows, images = [], {}
    middle = reference.slices.shape[0] // 2
    task = bar.add_task("", total=1.0)
    for method in methods:
        bar.update(task, completed=0, description=f"  {method}")
        done = upscale(
            low, cell.scale, axes=TASKS[cell.task], method=method, modality=cell.subject.modality, preset=protocol.preset, ensemble=protocol.ensemble, precision="single",
            device=protocol.device, slice_axis="kji"[cell.slice_axis], progress=lambda _, share: bar.update(task, completed=share),
        )  # fmt: skip
        rows.append(_row(cell, method, measure(reference, done.volume.voxels), len(reference.slices), len(reference.measured), done.report))
        if method in _shown(protocol):
            images[method] = reference.prepare(done.volume.voxels)[middle]
    bar.remove_task(task)
    if figure and len(images) == len(_shown(protocol)):
        shown = {method: images[method] for method in _shown(protocol)}
        small = np.moveaxis(low.voxels, cell.slice_axis, 0)
        draw_comparison(figure, cell.name, truth, reference, middle, small[middle * len(small) // len(reference.slices)], shown)
    return rows


def _row(cell: Cell, method: str, values: dict[str, float], slices: int, measured: int, report: dict[str, Any]) -> Row:
    return {
        "subject": cell.subject.name,
        "modality": cell.subject.modality,
        "group": cell.subject.group,
        "task": cell.task,
        "scale": cell.scale,
        "method": method,
        **{name: round(value, 6) for name, value in values.items()},
        "slices": slices,
        "slices_left_out": slices - measured,
        "seconds": report["seconds"]["total"],
        "device": report["device"],
        "conditions": cell.conditions[method],
    }


def _shown(protocol: Protocol) -> list[str]:
    """The methods of a figure."""
    return [method for method in (BASELINE, protocol.featured) if method]


def _figure_paths(cells: list[Cell], folder: Path) -> dict[str, Path]:
    """Cell name -> its figure, for the first subject of each modality that can be measured."""
    paths: dict[tuple[str, str, int], tuple[str, Path]] = {}
    for cell in cells:
        kind = (cell.subject.modality, cell.task, cell.scale)
        if not cell.skip:
            paths.setdefault(kind, (cell.name, folder / f"figure-{cell.subject.name}-{cell.task}-x{cell.scale}.png"))
    return dict(paths.values())


class Results:
    """The rows of an evaluation and the file that keeps them.

    Rows of an earlier call that this one does not ask for stay in the file under ``earlier``.

    Args:
        path: results.json; read if it is there.
        protocol: written as its heading.
        cells: what this call asks for.

    Raises:
        InputError: the file is not a results file.
    """

    def __init__(self, path: Path, protocol: dict[str, Any], cells: list[Cell]):
        self._path = path
        self._protocol = protocol
        self._cells = cells
        self._known = {_key(row): row for row in _read_rows(path)}
        self.skipped = [{"subject": c.subject.name, "task": c.task, "scale": c.scale, "reason": c.skip} for c in cells if c.skip]

    def has(self, cell: Cell, method: str) -> bool:
        """True if the result is there and was made under the same conditions."""
        row = self._known.get(cell.key(method))
        return row is not None and row["conditions"] == cell.conditions[method]

    def add(self, rows: list[Row]) -> None:
        self._known.update({_key(row): row for row in rows})
        self.write()

    def rows(self) -> list[Row]:
        """Of this call, as far as they are there."""
        return [self._known[cell.key(method)] for cell in self._cells for method in cell.conditions if self.has(cell, method)]

    def write(self) -> None:
        """Write beside, then rename."""
        rows = self.rows()
        asked = {_key(row) for row in rows}
        models = {model["name"]: model["sha256"] for row in rows for model in row["conditions"]["models"].values()}
        content = {
            "software": SOFTWARE,
            "statement": NOT_FOR_DIAGNOSIS,
            "protocol": self._protocol,
            "models": dict(sorted(models.items())),
            "skipped": self.skipped,
            "results": rows,
            "earlier": [row for key, row in self._known.items() if key not in asked],
        }
        replace_text(self._path, json.dumps(content, indent=1) + "\n")


def _key(row: Row) -> Key:
    return row["subject"], row["task"], row["scale"], row["method"]


def _read_rows(path: Path) -> list[Row]:
    if not path.exists():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = content["results"] + content["earlier"]
        for row in rows:
            _key(row), row["conditions"], row["psnr"]
        return rows
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} is not a results file of this program; move it away or choose another folder.") from None


def _as_csv(rows: list[Row]) -> str:
    """Long form: a line a metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ("subject", "modality", "group", "task", "scale", "method")
    writer.writerow((*names, "metric", "value"))
    for row in rows:
        for metric in METRICS:
            if metric in row:
                writer.writerow((*(row[name] for name in names), metric, row[metric]))
    return text.getvalue()
