"""``superres3d batch``: every scan of a folder, a DICOM tree or a BIDS data set."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import replace
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
    bytes_of,
    factors_of,
    needs,
    reporting,
    spacing_of,
)

if TYPE_CHECKING:
    FormatChoice = Choice
    from ..batch.choices import Choices
    from ..batch.run import Batch, Settings
    from ..batch.teller import Teller
else:
    from ..batch.choices import FORMATS

    FormatChoice = Choice("FormatChoice", {word: word for word in FORMATS})

_GIB_OF_JOB = 8.0  # where nothing was said


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
    precision: Annotated[PrecisionChoice, typer.Option(help="auto: half or 8 bits where the machine is faster in them; half; single.")] = PrecisionChoice("auto"),
    device: Device = "auto",
    slice_axis: Annotated[SliceAxisChoice, typer.Option(help="auto: the clearly coarsest axis, else k.")] = SliceAxisChoice("auto"),
    consistency: Annotated[int, typer.Option(help="Back-projections, 0 to 10.")] = 0,
    noise: Annotated[NoiseChoice, typer.Option(help="keep or reduce the scans' noise; for two-stage-told.")] = NoiseChoice(DEFAULT_NOISE),
    as_stored: Annotated[bool, typer.Option("--as-stored", help="As for upscale: do not bring scans back to the grid on which they were measured.")] = False,
    careful: Annotated[bool, typer.Option("--careful", help="As for upscale: take back what the networks add over Lanczos where they are likely to be wrong.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Also check on each scan, made coarser once more, whether the method is ahead of Lanczos; see 'superres3d check'.")] = False,
    anonymize: Annotated[bool, typer.Option("--anonymize", help="Leave the patient out of derived DICOM series and of names; see docs/dicom.md for what this does not cover.")] = False,
    format: Annotated[FormatChoice, typer.Option(help="Of the results; auto: that of the scan (DICOM: a derived series).")] = FormatChoice("auto"),  # noqa: A002
    suffix: Annotated[list[str] | None, typer.Option("--suffix", metavar="TEXT", help="Only images with this BIDS suffix, such as T2w, or whose names end so; may be repeated.")] = None,
    thicker_than: Annotated[float, typer.Option(metavar="MM", help="Only scans with voxels longer than this.")] = 0.0,
    participant_label: Annotated[list[str] | None, typer.Option("--participant-label", metavar="LABEL", help="Of a BIDS data set, only this participant; may be repeated.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done; write nothing.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try again scans that ended their process, and make anew what other weights made.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Scans at once on this machine, which share cores and memory; or jobs of --slurm.")] = 1,
    memory_limit: Annotated[float | None, typer.Option(metavar="GIB", help="GiB that all scans at once may use, of SLURM that of a job; default: most of what is free.", min=0.1)] = None,
    scheduler: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Compute on the workers of a Dask scheduler, such as tcp://host:8786.")] = None,
    slurm: Annotated[str | None, typer.Option(metavar="QUEUE", help="Compute in jobs of SLURM, which are started and ended.")] = None,
    resource: Annotated[list[str] | None, typer.Option("--resource", metavar="LABEL", help="Of a cluster, only workers with this label, such as GPU; may be repeated.")] = None,
    watch: Annotated[float | None, typer.Option(metavar="SECONDS", help="Go on until Ctrl+C: take what is new in IN once it has not changed for so long.", min=0.1)] = None,
    after: Annotated[str, typer.Option(metavar="COMMAND", help="Run this for every result, with its path as last word; such as storescu, to a PACS.")] = "",
    progress: Annotated[StyleChoice, typer.Option(help="bar, JSON lines on standard output, or none.")] = StyleChoice("bar"),
) -> None:
    """Upscale every scan of a folder; the same command goes on where it stopped, and never computes a finished result again."""
    asked = {
        "scale": factors_of(scale), "axes": axes.value if axes else None, "slice_spacing": slice_spacing, "spacing": spacing_of(spacing), "modality": modality.value,
        "preset": preset.value, "ensemble": ensemble.value, "precision": precision.value, "slice_axis": slice_axis.value, "consistency": consistency, "noise": noise.value,
        "as_stored": as_stored, "careful": careful,
    }  # fmt: skip
    filtered = {"thicker_than": thicker_than, "suffixes": tuple(suffix or ()), "participants": tuple(participant_label or ())}
    with reporting("none"):
        from ..batch.choices import Choices
        from ..batch.teller import make_teller

        with make_teller("none" if dry_run else progress.value) as teller:
            settings = replace(_settings(target, workers, memory_limit, retry, scheduler, slurm, resource or [], teller), after=after)
            code = _carried_out(source, target, Choices(method, asked, format.value, anonymize, device, check), filtered, settings, teller, progress.value if dry_run else "", watch)
    if code:
        raise typer.Exit(code)


def _settings(target: Path, workers: int, gibibytes: float | None, retry: bool, scheduler: str | None, slurm: str | None, labels: list[str], teller: Teller) -> Settings:
    """With a cluster where one is asked for (InputError: two of them, or Dask is missing)."""
    from ..batch.run import Settings

    settings = Settings(workers, bytes_of(gibibytes), retry)
    if scheduler and slurm:
        raise InputError("--scheduler takes a cluster that runs, and --slurm starts one; give one of them.")
    if not (scheduler or slurm):
        return _without_labels(settings, labels)
    needs("batch", "dask", "distributed", *(["dask_jobqueue"] if slurm else []))
    from ..batch.cluster import connected, on_slurm, parsed_resources

    run, resources = secrets.token_hex(4), parsed_resources(labels)
    if scheduler:
        return replace(settings, crew=lambda _: connected(scheduler, run, resources, teller.note))
    return replace(settings, crew=lambda _: on_slurm(str(slurm), workers, gibibytes or _GIB_OF_JOB, target / "batch" / "jobs", run, resources, teller.note))


def _without_labels(settings: Settings, labels: list[str]) -> Settings:
    if labels:
        raise InputError("--resource is a label of a cluster's workers; give --scheduler or --slurm as well, or leave it out.")
    return settings


def _carried_out(source: Path, target: Path, choices: Choices, filtered: dict[str, Any], settings: Settings, teller: Teller, dry: str, seconds: float | None) -> int:
    """The exit code; ``dry`` is the style in which a plan is shown, "" for a run."""
    from ..batch.after import check_command
    from ..batch.planning import Filters
    from ..batch.run import Batch

    _check(choices)
    if settings.after:
        check_command(settings.after)
    modality = choices.asked["modality"]
    batch = Batch(source, target, choices, Filters("" if modality == "auto" else modality, **filtered), settings, teller)
    if dry:
        return _shown(batch, settings, dry)
    return (batch.watch(seconds) if seconds else batch.run()).exit_code


def _check(choices: Choices) -> None:
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
