"""Whether a result is segmented as the truth is (Chen 2020, sections 4.1 and 4.2, table 3): the task ``segmentation``.

Scans are degraded and refined as in the other tasks, but whole; then a segmenter draws the truth and each result.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from ..errors import Cancelled
from ..files import claim_folder, replace_text
from ..scan.images import read_volume
from ..scan.volume import Volume
from . import agreement, metrics, segmenters, statistics, surfaces
from .agreement_tables import render
from .meshnet import MeshNet
from .protocol import Protocol, Subject, central_crop, read_subjects
from .run import Cell, Results, Row, plan_cells, refined, row_of
from .segmenters import Measure, Segmenter, find_segmenter
from .tasks import TASKS

SEGMENTATION = "segmentation"
DEGRADATIONS = ("k-space", "through-plane")
FLOOR = "noise floor"
_FILES = ("segmentation.json", "segmentation.md")
_WHOLE = 1_000_000  # slices
_MULTIPLE = (4, 4, 4)  # all factors divide it: the truth of a subject is one for all its cells
_NOISE_MR, _NOISE_HU = 2.0 / 255.0, 10.0
_SEED = 2020
_T1 = "T1"


def statement(protocol: Protocol, segmenter: str) -> list[str]:
    """The protocol in full, one sentence or two an item."""
    return [
        "Truth: the whole scan, cropped centrally to a multiple of four voxels along each axis.",
        *(TASKS[task].description for task in protocol.tasks),
        "Every method gets the low-resolution scan alone. Results are not rounded, and then segmented; compared are the segmentations of truth and result, so a fault of the segmenter that both share does not count.",
        f"Segmenter of MR: {segmenter}." if segmenter == segmenters.TISSUE else f"Segmenter of MR: the network in the folder {segmenter}; for T1-weighted heads alone.",
        *(segmenters.STATEMENT if segmenter == segmenters.TISSUE else ()),
        *agreement.STATEMENT,
        *surfaces.STATEMENT,
        f"{FLOOR.capitalize()}: the truth with white noise (MR: {_NOISE_MR:.2%} of the data range; CT: {_NOISE_HU:g} HU) in place of a result: differences smaller than what is missing to 1 there say little.",
        *statistics.STATEMENT,
    ]


def evaluate_segmentation(
    data: str | os.PathLike, split: str | os.PathLike, subset: str, out: str | os.PathLike, protocol: Protocol, segmenter: str, subjects: tuple[str, ...] = ()
) -> str:
    """Degrade the scans of a subset, upscale them again, and tabulate how far the segmentations agree with those of the truth.

    Args:
        data, split, subset, subjects: as :func:`superres3d.evaluation.run.evaluate_folder` takes them.
        out: folder for segmentation.json and segmentation.md; made if missing.  Rows that it holds already are used again where their conditions are the same.
        protocol: the settings; its number of slices does not count here.
        segmenter: "tissue", or a folder with a network (:mod:`superres3d.evaluation.meshnet`).

    Returns:
        The text of segmentation.md.

    Raises:
        InputError, ModelError: before any work starts; see :mod:`superres3d.errors`.
        Cancelled: interrupted; what was finished is kept.
    """
    drawing = find_segmenter(segmenter)
    whole = replace(protocol, slices=_WHOLE)
    cells = [_with_segmenter(cell, drawing) for subject in read_subjects(Path(data), Path(split), subset, subjects) for cell in plan_cells(subject, whole)]
    path = Path(out) / _FILES[0]
    folder = claim_folder(Path(out), _FILES, ours=path.exists())
    lines = statement(whole, drawing.name)
    results = Results(path, {"split": Path(split).name, "subset": subset, **whole.as_dict(), "statement": lines}, cells)
    try:
        _run(cells, drawing, whole, results)
    except KeyboardInterrupt:
        raise Cancelled(f"Cancelled; {len(results.rows())} finished results are kept in {folder}; the same command goes on from there.") from None
    text = render(lines, f"{subset} of {Path(split).name}", results.rows(), results.skipped)
    replace_text(folder / _FILES[1], text)
    return text


def _with_segmenter(cell: Cell, drawing: Segmenter) -> Cell:
    """The cell, its conditions those of this task; or skipped, where the segmenter is for other scans."""
    if cell.skip:
        return cell
    if isinstance(drawing, MeshNet) and cell.subject.modality == "MR" and cell.subject.group != _T1:
        return replace(cell, conditions={}, skip=f"the segmenter {drawing.name} is for T1-weighted heads")
    of = {"segmenter": drawing.identity if cell.subject.modality == "MR" else "surfaces"}
    methods = {method: {**conditions, **of} for method, conditions in cell.conditions.items()}
    first = next(iter(methods.values()), None)
    return replace(cell, conditions={**methods, **({FLOOR: {**first, "models": {}, "order": [], "preset": None, "ensemble": None}} if first else {})})


def _run(cells: list[Cell], drawing: Segmenter, protocol: Protocol, results: Results) -> None:
    """Work off what is not there yet; a truth is segmented once for all its cells."""
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("Segmenting", total=sum(len(cell.conditions) for cell in cells))
        for subject, group in groupby(cells, key=lambda cell: cell.subject):
            own = list(group)
            bar.update(task, description=subject.name)
            if any(not results.has(cell, method) for cell in own for method in cell.conditions):
                truth = central_crop(read_volume(subject.path), own[0].slice_axis, _WHOLE, _MULTIPLE)
                measure, why_not = segmenters.prepare(drawing, truth, subject.modality)
                if why_not:
                    results.skipped += [{"subject": subject.name, "task": cell.task, "scale": cell.scale, "reason": why_not} for cell in own]
                else:
                    for rows in _measured(own, truth, measure, protocol, results):
                        results.add(rows)
                        bar.update(task, advance=len(rows))
    results.write()


def _measured(cells: Iterable[Cell], truth: Volume, measure: Measure, protocol: Protocol, results: Results) -> Iterator[list[Row]]:
    """The rows of a subject that are missing, one at a time."""
    floor: dict[str, float] | None = None
    for cell in cells:
        reference = metrics.make_reference(truth.voxels, cell.subject.modality, cell.slice_axis)
        low = cell.kind.low_resolution(truth, cell.factors, cell.slice_axis)
        for method in cell.conditions:
            if results.has(cell, method):
                continue
            report: dict[str, Any] = {"seconds": {"total": 0.0}, "device": "cpu"}
            if method == FLOOR:
                noisy = _noisy(truth.voxels, cell.subject, reference.data_range)
                floor = floor or metrics.measure(reference, noisy) | measure(noisy)
                values = floor
            else:
                voxels, report = refined(cell, low, method, protocol, lambda _: None)
                values = metrics.measure(reference, voxels) | measure(voxels)
            yield [row_of(cell, method, values, reference, report)]


def _noisy(voxels: np.ndarray, subject: Subject, data_range: float) -> np.ndarray:
    deviation = _NOISE_HU if subject.modality == "CT" else _NOISE_MR * data_range
    return voxels + np.float32(deviation) * np.random.default_rng(_SEED).standard_normal(voxels.shape, np.float32)


