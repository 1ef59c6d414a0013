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
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .. import __version__
from ..errors import Cancelled, InputError
from ..files import claim_folder, replace_text
from ..methods import METHODS
from ..networks.weights import find_model, verified_weights
from ..plan import plan_upscaling
from ..resampling.consistency import with_means_of
from ..resampling.interpolation import resize
from ..scan.images import read_volume
from ..scan.volume import Volume, find_slice_axis
from ..upscaling import NOT_FOR_DIAGNOSIS, upscale
from .figures import draw_comparison
from .metrics import Reference, make_reference, measure, measure_detail, measure_flicker, measure_ground
from .protocol import BASELINE, MINIMUM_SLICES, Protocol, Subject, central_crop, read_subjects
from .tables import GROUND, render
from .tasks import SPLINE, SPLINE_MEANS, TASKS, Task

_RESULTS, _FILES = "results.json", ("results.csv", "tables.md", "figure-*.png")

METRICS = ("psnr", "ssim", "psnr_foreground", "mae_hu", "bias_hu", "nrmse", "blur", "flicker", "swing", *GROUND)
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
        return self.kind.factors(self.scale, self.slice_axis)

    @property
    def kind(self) -> Task:
        """The task that :attr:`task` names."""
        return TASKS[self.task]

    @property
    def name(self) -> str:
        """For the progress bar and the figure."""
        return f"{self.subject.name} {self.task} x{self.scale}"

    def key(self, method: str) -> Key:
        """Under which the result of a method is kept."""
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
    folder = claim_folder(Path(out), _FILES, ours=(Path(out) / _RESULTS).exists())
    heading = {"split": Path(split).name, "subset": subset, **protocol.as_dict(), "statement": protocol.statement()}
    results = Results(folder / _RESULTS, heading, cells)
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
    scan = hashlib.sha256(np.ascontiguousarray(volume.voxels).data).hexdigest()
    axis = find_slice_axis(volume.spacing)  # of the truth; in the low-resolution scan the spacing no longer tells
    cells = []
    for task in protocol.tasks:
        if subject.modality not in TASKS[task].modalities:
            continue
        thin = TASKS[task].thin(volume, axis)
        for scale in protocol.scales_of(task):
            cell = Cell(subject, task, scale, axis, {})
            truth = central_crop(thin, axis, protocol.slices, cell.factors)
            skip = _why_not(cell, truth)
            methods = [] if skip else [name for name in protocol.methods if cell.kind.fits(METHODS[name], subject.modality, scale)]
            conditions = {method: _conditions(cell, method, truth, scan, protocol) for method in methods}
            if conditions:
                conditions |= {name: _reference_conditions(scan, protocol) for name in cell.kind.references}
            cells.append(Cell(subject, task, scale, axis, conditions, skip))
    return cells


def _why_not(cell: Cell, truth: Volume) -> str:
    """Why a cell cannot be measured, as the end of a sentence; empty if it can."""
    slices = truth.voxels.shape[cell.slice_axis] // cell.factors[cell.slice_axis]
    if cell.factors[cell.slice_axis] > 1 and slices < MINIMUM_SLICES:
        return f"{slices} low-resolution slices, fewer than {MINIMUM_SLICES}"
    return make_reference(truth.voxels, cell.subject.modality, cell.slice_axis).why_not()


def _conditions(cell: Cell, method: str, truth: Volume, scan: str, protocol: Protocol) -> dict[str, Any]:
    """What the numbers of a method depend on, models included."""
    shape = [size // factor for size, factor in zip(truth.voxels.shape, cell.factors)]
    spacing = [size * factor for size, factor in zip(truth.spacing, cell.factors[::-1])]
    plan = plan_upscaling(
        shape, spacing, "float32", **cell.kind.choices(method, cell.scale), method=method,
        modality=cell.subject.modality, preset=protocol.preset, ensemble=protocol.ensemble, slice_axis="kji"[cell.slice_axis],
    )  # fmt: skip
    for model in plan.models.values():
        verified_weights(model)
    return {
        "software": SOFTWARE,
        "metrics": list(METRICS),
        "scan_sha256": scan,
        "slices": protocol.slices,
        "preset": protocol.preset if METHODS[method].networks else None,
        "ensemble": protocol.ensemble if METHODS[method].networks else None,
        "order": list(plan.models),
        "models": {stage: {"name": model.name, "sha256": model.sha256} for stage, model in plan.models.items()},
    }


def _reference_conditions(scan: str, protocol: Protocol) -> dict[str, Any]:
    return {"software": SOFTWARE, "metrics": list(METRICS), "scan_sha256": scan, "slices": protocol.slices, "preset": None, "ensemble": None, "order": [], "models": {}}


def _run(cells: list[Cell], protocol: Protocol, results: Results, folder: Path) -> None:
    """Work off what is not there yet; one scan in memory at a time."""
    figures = _figure_paths(cells, folder)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("Evaluating", total=len(cells))
        scan: tuple[Subject, Volume] | None = None
        for number, cell in enumerate(cells):
            bar.update(task, completed=number, description=cell.name)
            figure = figures.get(cell.name)
            methods = _methods_to_run(cell, protocol, results, figure)
            if methods:
                if scan is None or scan[0] is not cell.subject:
                    scan = cell.subject, read_volume(cell.subject.path)
                results.add(_evaluate(cell, methods, scan[1], protocol, figure, bar))
        bar.update(task, completed=len(cells), description="Evaluated")
    results.write()


def _methods_to_run(cell: Cell, protocol: Protocol, results: Results, figure: Path | None) -> list[str]:
    """Those without a result, and those of the figure if it is missing or would change."""
    missing = [method for method in cell.conditions if not results.has(cell, method)]
    shown = _shown(cell, protocol)
    if figure and cell.conditions and (not figure.exists() or set(shown) & set(missing)):
        missing = [method for method in cell.conditions if method in missing or method in shown]
    return missing


def _evaluate(cell: Cell, methods: list[str], volume: Volume, protocol: Protocol, figure: Path | None, bar: Progress) -> list[Row]:
    """Degrade the truth of a cell, and upscale and measure it by every method."""
    truth = central_crop(cell.kind.thin(volume, cell.slice_axis), cell.slice_axis, protocol.slices, cell.factors)
    low = cell.kind.low_resolution(truth, cell.factors, cell.slice_axis)
    reference = make_reference(truth.voxels, cell.subject.modality, cell.slice_axis)
    shown = _shown(cell, protocol)
    rows, images = [], {}
    task = bar.add_task("", total=1.0)
    for method in methods:
        bar.update(task, completed=0, description=f"  {method}")
        voxels, report = refined(cell, low, method, protocol, lambda share: bar.update(task, completed=share))
        values = _measured(cell, reference, voxels)
        if method != BASELINE:
            values |= measure_ground(reference, resize(low.voxels, cell.factors, BASELINE), voxels)
        rows.append(row_of(cell, method, values, reference, report))
        if figure and method in shown:
            images[method] = voxels
    bar.remove_task(task)
    if figure and len(images) == len(shown):
        _draw(figure, cell, truth, low, {method: images[method] for method in shown})
    return rows


def _measured(cell: Cell, reference: Reference, voxels: np.ndarray) -> dict[str, float]:
    """The metrics of a result that its task asks for."""
    values = measure(reference, voxels)
    if cell.kind.detailed:
        values |= measure_detail(reference, voxels, cell.factors)
    if cell.kind.refines_slices:
        values |= measure_flicker(reference, voxels, cell.factors[cell.slice_axis])
    return values


def refined(cell: Cell, low: Volume, method: str, protocol: Protocol, progress: Callable[[float], None]) -> tuple[np.ndarray, dict[str, Any]]:
    """A cell's coarse scan refined by a method: voxels (k, j, i) of the truth's shape, and the report."""
    if method in cell.kind.references:
        started = time.perf_counter()
        voxels = resize(low.voxels, cell.factors, SPLINE)
        if method == SPLINE_MEANS:
            slices, thick = (np.moveaxis(array, cell.slice_axis, 0) for array in (voxels, low.voxels))
            with_means_of(thick, slices)
        return voxels, {"seconds": {"total": round(time.perf_counter() - started, 3)}, "device": "cpu"}
    done = upscale(
        low, **cell.kind.choices(method, cell.scale), method=method, modality=cell.subject.modality, preset=protocol.preset, ensemble=protocol.ensemble,
        precision="single", device=protocol.device, slice_axis="kji"[cell.slice_axis], progress=lambda _, share: progress(share),
    )  # fmt: skip
    return done.volume.voxels, done.report


def _draw(figure: Path, cell: Cell, truth: Volume, low: Volume, results: dict[str, np.ndarray]) -> None:
    """The middle slice; where slices alone are refined, a cut across them, which shows it."""
    axis = cell.slice_axis
    if cell.kind.axes == "through-plane":
        axis = 1 if axis == 0 else 0
    reference = make_reference(truth.voxels, cell.subject.modality, axis)
    middle = reference.slices.shape[0] // 2
    small = np.moveaxis(low.voxels, axis, 0)
    shown = {method: reference.prepare(voxels)[middle] for method, voxels in results.items()}
    draw_comparison(figure, cell.name, truth, reference, middle, small[middle * len(small) // len(reference.slices)], shown)


def row_of(cell: Cell, method: str, values: dict[str, float], reference: Reference, report: dict[str, Any]) -> Row:
    """A result as it is kept and tabulated."""
    models = cell.conditions[method]["models"]
    return {
        "subject": cell.subject.name,
        "modality": cell.subject.modality,
        "group": cell.subject.group,
        "task": cell.task,
        "scale": cell.scale,
        "method": method,
        **{name: round(value, 6) for name, value in values.items()},
        "slices": len(reference.slices),
        "slices_left_out": len(reference.slices) - len(reference.measured),
        "voxels": reference.slices.size,
        "parameters": sum(find_model(model["name"]).card["parameters"] for model in models.values()),
        "seconds": report["seconds"]["total"],
        "device": report["device"],
        "conditions": cell.conditions[method],
    }


def _shown(cell: Cell, protocol: Protocol) -> list[str]:
    """The methods of a figure."""
    networks = [name for name in (protocol.featured(cell.task), *protocol.networks) if name in cell.conditions]
    return [method for method in (BASELINE, *networks[:1]) if method in cell.conditions]


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
        """Keep finished results, in the file as well; one of the same key is replaced."""
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
