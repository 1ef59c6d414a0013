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
from .common import Choice, StyleChoice, bytes_of, needs, reporting
from .options import Adapt, Anonymize, AsStored, Careful, Check, Made, Progress, with_options

if TYPE_CHECKING:
    FormatChoice = Choice
    from ..batch.choices import Choices
    from ..batch.run import Batch, Settings
    from ..batch.teller import Teller
else:
    from ..batch.choices import FORMATS

    FormatChoice = Choice("FormatChoice", {word: word for word in FORMATS})

_GIB_OF_JOB = 8.0  # where nothing was said


@with_options
def batch(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder with scans, tree of DICOM, or BIDS data set.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the results; an earlier run in it goes on.")],
    made: Made,
    as_stored: AsStored = False,
    adapt: Adapt = None,
    careful: Careful = False,
    check: Check = False,
    anonymize: Anonymize = False,
    labels: Annotated[str, typer.Option(metavar="PATTERN", help="Label maps of the scans come along: such as {name}_seg.nii.gz, beside each scan; or /maps/{folder}/{name}.nrrd.")] = "",
    format: Annotated[FormatChoice, typer.Option(help="Of the results; auto: that of the scan (DICOM: a derived series).")] = FormatChoice("auto"),  # noqa: A002
    suffix: Annotated[list[str] | None, typer.Option("--suffix", metavar="TEXT", help="Only images with this BIDS suffix, such as T2w, or whose names end so; may be repeated.")] = None,
    thicker_than: Annotated[float, typer.Option(metavar="MM", help="Only scans with voxels longer than this.", min=0.0)] = 0.0,
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
    progress: Progress = StyleChoice("bar"),
) -> None:
    """Upscale every scan of a folder; the same command goes on where it stopped, and never computes a finished result again.  With --modality, scans that say another are left out."""
    filtered = {"thicker_than": thicker_than, "suffixes": tuple(suffix or ()), "participants": tuple(participant_label or ())}
    with reporting("none"):
        from ..batch.choices import Choices
        from ..batch.teller import make_teller

        with make_teller("none" if dry_run else progress.value) as teller:
            settings = replace(_settings(target, workers, memory_limit, retry, scheduler, slurm, resource or [], teller), after=after)
            asked = {**made.arguments(), "as_stored": as_stored, "adapt": adapt, "careful": careful}
            choices = Choices(asked.pop("method"), asked, format.value, anonymize, asked.pop("device"), check, labels)
            code = _carried_out(source, target, choices, filtered, settings, teller, progress.value if dry_run else "", watch)
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
    from ..batch.labels import check_pattern
    from ..methods import find_method, find_preset

    find_method(choices.method)
    if choices.labels:
        check_pattern(choices.labels)
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
