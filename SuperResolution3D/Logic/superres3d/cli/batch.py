"""``superres3d batch``: every scan of a folder, a DICOM tree or a BIDS data set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from ..methods import DEFAULT_METHOD, DEFAULT_NOISE, DEFAULT_PRESET
from .common import (
    AxesChoice,
    Choice,
    Device,
    EnsembleChoice,
    ModalityChoice,
    NoiseChoice,
    PrecisionChoice,
    PresetChoice,
    SliceAxisChoice,
    StyleChoice,
    factors_of,
    reporting,
    spacing_of,
)

if TYPE_CHECKING:
    FormatChoice = Choice
    from ..batch.run import Batch, Settings
else:
    from ..batch.choices import FORMATS

    FormatChoice = Choice("FormatChoice", {word: word for word in FORMATS})


def batch(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder with scans, tree of DICOM, or BIDS data set.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the results; an earlier run in it goes on.")],
    scale: Annotated[str | None, typer.Option(help="2 or 4; or two factors, in-plane,through-plane, such as 2,4.", show_default="2, or what the method is made for")] = None,
    axes: Annotated[AxesChoice | None, typer.Option(help="Axes to refine (with a single factor).", show_default="all, or what the method is made for")] = None,
    slice_spacing: Annotated[float | None, typer.Option(metavar="MM", help="Millimetres between the slices of the results, in place of a factor.")] = None,
    spacing: Annotated[str | None, typer.Option(metavar="MM", help="Millimetres of the results' voxels, in place of a factor: 1; or along i,j,k, such as 0.5,0.5,1; or isotropic.")] = None,
    method: Annotated[str, typer.Option(help="See 'superres3d methods'.")] = DEFAULT_METHOD,
    modality: Annotated[ModalityChoice, typer.Option(help="Only scans that are CT (or MR); those that do not tell are taken as it. auto: any.")] = ModalityChoice("auto"),
    preset: Annotated[PresetChoice, typer.Option(help="How much work to spend; see 'superres3d methods'.")] = PresetChoice(DEFAULT_PRESET),
    ensemble: Annotated[EnsembleChoice, typer.Option(help="Turned copies whose median is the result; auto: as the preset says.")] = EnsembleChoice("auto"),
    precision: Annotated[PrecisionChoice, typer.Option(help="auto: half where the machine has units for it; single.")] = PrecisionChoice("auto"),
    device: Device = "auto",
    slice_axis: Annotated[SliceAxisChoice, typer.Option(help="auto: the clearly coarsest axis, else k.")] = SliceAxisChoice("auto"),
    consistency: Annotated[int, typer.Option(help="Back-projections, 0 to 10.")] = 0,
    noise: Annotated[NoiseChoice, typer.Option(help="keep or reduce the scans' noise; for two-stage-told.")] = NoiseChoice(DEFAULT_NOISE),
    anonymize: Annotated[bool, typer.Option("--anonymize", help="Leave the patient out of derived DICOM series and of names; see docs/dicom.md for what this does not cover.")] = False,
    format: Annotated[FormatChoice, typer.Option(help="Of the results; auto: that of the scan (DICOM: a derived series).")] = FormatChoice("auto"),  # noqa: A002
    suffix: Annotated[list[str] | None, typer.Option("--suffix", metavar="TEXT", help="Only images with this BIDS suffix, such as T2w, or whose names end so; may be repeated.")] = None,
    thicker_than: Annotated[float, typer.Option(metavar="MM", help="Only scans with voxels longer than this.")] = 0.0,
    participant_label: Annotated[list[str] | None, typer.Option("--participant-label", metavar="LABEL", help="Of a BIDS data set, only this participant; may be repeated.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done; write nothing.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try again scans that ended their process, and make anew what other weights made.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Scans at once on this machine; they share cores and memory.")] = 1,
    memory_limit: Annotated[float | None, typer.Option(metavar="GIB", help="GiB that all scans at once may use; default: most of what is free.", min=0.1)] = None,
    progress: Annotated[StyleChoice, typer.Option(help="bar, JSON lines on standard output, or none.")] = StyleChoice("bar"),
) -> None:
    """Upscale every scan of a folder; the same command goes on where it stopped, and never computes a finished result again."""
    asked = {
        "scale": factors_of(scale), "axes": axes.value if axes else None, "slice_spacing": slice_spacing, "spacing": spacing_of(spacing), "modality": modality.value,
        "preset": preset.value, "ensemble": ensemble.value, "precision": precision.value, "slice_axis": slice_axis.value, "consistency": consistency, "noise": noise.value,
    }  # fmt: skip
    with reporting("none"):
        from ..batch.choices import Choices
        from ..batch.planning import Filters
        from ..batch.run import Settings

        choices = Choices(method, asked, format.value, anonymize, device)
        filters = Filters("" if modality.value == "auto" else modality.value, thicker_than, tuple(suffix or ()), tuple(participant_label or ()))
        settings = Settings(workers, int(memory_limit * 2**30) if memory_limit else None, retry)
        code = _carried_out(source, target, choices, filters, settings, progress.value, dry_run)
    if code:
        raise typer.Exit(code)


def _carried_out(source: Path, target: Path, choices: Any, filters: Any, settings: Settings, style: str, dry_run: bool) -> int:
    """The exit code."""
    from ..batch.run import Batch
    from ..batch.teller import Teller, make_teller

    _check(choices)
    if dry_run:
        return _shown(Batch(source, target, choices, filters, settings, Teller()), settings, style)
    with make_teller(style) as teller:
        return Batch(source, target, choices, filters, settings, teller).run().exit_code


def _check(choices: Any) -> None:
    """Refuse at once what no scan could be asked for (InputError)."""
    from ..methods import find_method, find_preset

    find_method(choices.method)
    find_preset(choices.asked["preset"], choices.asked["ensemble"], choices.asked["precision"])
    if choices.anonymize and choices.format not in ("auto", "dicom"):
        raise InputError("--anonymize leaves the patient out of DICOM series, and the results will be none; leave out --format.")


def _shown(batch: Batch, settings: Settings, style: str) -> int:
    from ..batch.run import estimate, plan_rows

    items, found = batch.plan()
    rows = plan_rows(items, found)
    if style == "json":
        print(json.dumps({"scans": rows, "estimate": estimate(items, settings.workers)}, indent=2))
    else:
        _print(rows, estimate(items, settings.workers))
    return 0


def _print(rows: list[dict[str, Any]], total: str) -> None:
    from ..batch.teller import columns_of, in_words
    from ..reporter import printable

    cells: list[Callable[[dict[str, Any]], str]] = [
        lambda row: row["name"],
        lambda row: row["state"],
        lambda row: row.get("result", ""),
        lambda row: f"{row['bytes'] / 2**20:.0f}" if row.get("bytes") else "",
        lambda row: f"{row['memory'] / 2**20:.0f}" if row.get("memory") else "",
        lambda row: in_words(row["seconds"]) if row.get("seconds") else "",
        lambda row: row["reason"],
    ]
    table = [[printable(cell(row)) for cell in cells] for row in rows]
    print(columns_of(table, ("scan", "state", "result", "MiB", "memory, MiB", "time", "why, or note")))
    print(total)
