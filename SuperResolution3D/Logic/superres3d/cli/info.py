"""``superres3d info``: what a scan is, and what upscaling it would take."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError, SuperResolutionError
from ..methods import AXES, DEFAULT_PRESET, METHODS, PRESETS, SCALES, Method, is_installed
from ..reporter import printable
from ..speed import busy_words
from .common import ModalityChoice, reporting
from .options import AsJson, Modality, Series, VolumeNumber

if TYPE_CHECKING:
    from rich.table import Table

    from ..scan.volume import Volume


def info(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A scan.")],
    series: Series = None,
    volume: VolumeNumber = None,
    modality: Modality = ModalityChoice("auto"),
    as_json: AsJson = False,
) -> None:
    """Tell what a scan is, and what upscaling it would take.  The first time, a second goes into measuring this machine."""
    with reporting("none"):
        content = _describe(source, series, volume, modality.value)
        if as_json:
            print(json.dumps(content, indent=2))
        else:
            _print(source, content)


def _describe(source: Path, series: str | None, number: int | None, asked: str) -> dict[str, Any]:
    from ..scan.images import read_volume
    from ..speed import busy, calibrate

    volume = read_volume(source, series=series, volume=number)
    modality, known_from, notes, refusal = _modality(volume, asked)
    for preset in PRESETS if not refusal else ():
        calibrate(modality, preset)
    times = 1.0 if refusal else round(busy(), 1)
    return {
        **_grid(volume),
        "modality": modality,
        "modality_from": known_from,
        "notes": [*volume.notes, *notes],
        "detail": None if refusal else _detail(volume, modality),
        "busy": times,
        "upscaling": [{"scale": None, **request, "refused": refusal} if refusal else _row(volume, modality, request, times) for request in _requests(modality)],
    }


def _modality(volume: Volume, asked: str) -> tuple[str, str, list[str], str]:
    """What the scan is, or "unknown"; what it is known from; what is to be said where that was asked for; why no network takes it, or ""."""
    from ..upscaling import taken_as

    try:
        modality, notes = taken_as(volume, asked)
    except InputError as error:
        return volume.modality or "unknown", "the file" if volume.modality else "neither the file nor the intensities tell it", [], str(error)
    if asked != "auto":
        return modality, "as asked", notes, ""
    return modality, "guessed from the intensities" if notes else "the file", [], ""


def _detail(volume: Volume, modality: str) -> dict[str, Any]:
    """How the scan lost its detail, and its noise; see :mod:`superres3d.detail`."""
    import numpy as np

    from ..detail import acquisition as acquired
    from ..detail.measured_grid import detail_with_ends
    from ..detail.telling import in_report
    from ..detail.words import resolutions, sentences
    from ..scan.dicom.thickness import told_thickness
    from ..scan.volume import find_slice_axis

    axis = find_slice_axis(volume.spacing)
    slices = np.moveaxis(volume.voxels, axis, 0)
    detail = detail_with_ends(slices, modality)
    found = acquired.acquisition(slices, modality, detail, volume.spacing[2 - axis], told_thickness(volume) if axis == 0 else None)
    return {
        **in_report(detail),
        "resolution_mm": [None if size is None else round(size, 3) for size in resolutions(detail, volume.spacing, axis)],
        **acquired.in_report(found),
        "in_words": sentences(detail, volume.spacing, axis) + acquired.sentences(found),
    }


def _grid(volume: Volume) -> dict[str, Any]:
    """Where the voxels are, and between which values they lie."""
    return {
        "shape_ijk": volume.voxels.shape[::-1],
        "spacing_mm": volume.spacing,
        "origin_lps_mm": volume.origin,
        "direction": volume.direction.tolist(),
        "dtype": str(volume.voxels.dtype),
        "minimum": float(volume.voxels.min()),
        "maximum": float(volume.voxels.max()),
    }


def _requests(modality: str) -> Iterator[dict[str, Any]]:
    """What is told of: the default method by each factor, and each volumetric network as it is made."""
    for axes in AXES:
        for scale in SCALES:
            yield {"axes": axes, "scale": scale}
    for method in METHODS.values():
        if _is_told(method, modality):
            asked = {"slice_spacing": method.slice_spacing} if method.slice_spacing else {"scale": method.scales[0]}
            yield {"method": method.name, "axes": method.axes[0], **asked}


def _is_told(method: Method, modality: str) -> bool:
    return method.volumetric and modality in method.modalities and is_installed(method, modality) and not (method.adversarial or method.compared)


def _row(volume: Volume, modality: str, request: dict[str, Any], times: float) -> dict[str, Any]:
    """A request with its plan, or with why it is refused; all takes so many times as long as on an idle machine."""
    row = {"scale": None, **request}
    try:
        return row | _planned(volume, modality, request, times)
    except SuperResolutionError as error:
        return row | {"refused": str(error)}


def _planned(volume: Volume, modality: str, request: dict[str, Any], times: float) -> dict[str, Any]:
    from ..plan import plan_upscaling
    from ..scan.uneven import uneven_shares

    uneven = uneven_shares(volume.voxels)
    plans = {
        preset: plan_upscaling(volume.voxels.shape, volume.spacing, volume.voxels.dtype, **request, modality=modality, preset=preset, inputs_in_memory=0, uneven=uneven)
        for preset in PRESETS
    }
    plan = plans[DEFAULT_PRESET]
    return {
        "shape_ijk": plan.output_shape[::-1],
        "spacing_mm": [s / f for s, f in zip(volume.spacing, plan.factors[::-1])],
        "result_bytes": plan.result_bytes,
        "memory_bytes": plan.memory_bytes,
        "seconds": {preset: plan.seconds * times for preset, plan in plans.items()},
    }


def _print(source: Path, content: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    grid = f"{_product(content['shape_ijk'], '.4g')} voxels of {_product(content['spacing_mm'], '.4g')} mm"
    values = f"{content['dtype']}, {content['minimum']:g} to {content['maximum']:g}, {content['modality']} ({content['modality_from']})"
    console.print(printable(f"{source}: {grid}, {values}"))
    for note in content["notes"]:
        console.print(printable(f"Note: {note}"))
    for sentence in content["detail"]["in_words"] if content["detail"] else ():
        console.print(sentence)
    console.print(_table(content["upscaling"]))
    if said := busy_words(content["busy"]):
        console.print(said)
    for reason in dict.fromkeys(row["refused"] for row in content["upscaling"] if "refused" in row):
        console.print(printable(f"Refused: {reason}"))


def _table(rows: list[dict[str, Any]]) -> Table:
    from rich.table import Column, Table

    folded = (Column(name, overflow="fold") for name in ("axes", "factor"))
    table = Table(*folded, "result, voxels", "spacing, mm", "file, GiB", "memory, GiB", f"time, {' / '.join(PRESETS)}")
    for row in rows:
        table.add_row(row["axes"], _asked(row), *(["refused, see below"] if "refused" in row else _cells(row)))
    return table


def _asked(row: dict[str, Any]) -> str:
    factor = f"{row['scale']}" if row["scale"] else f"to {row['slice_spacing']:g} mm"
    return factor + (f" ({row['method']})" if "method" in row else "")


def _cells(row: dict[str, Any]) -> list[str]:
    times = " / ".join(_in_words(seconds) for seconds in row["seconds"].values())
    return [_product(row["shape_ijk"], ""), _product(row["spacing_mm"], ".3g"), f"{row['result_bytes'] / 2**30:.2f}", f"{row['memory_bytes'] / 2**30:.2f}", times]


def _product(numbers: Sequence[float], form: str) -> str:
    return " x ".join(format(number, form) for number in numbers)


def _in_words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
