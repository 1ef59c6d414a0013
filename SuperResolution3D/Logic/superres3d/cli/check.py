"""``superres3d check``: whether a method is ahead of Lanczos on the scan at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError, NotAhead
from ..reporter import printable
from .common import bytes_of, reporting
from .options import Adapt, AsJson, Careful, Made, MemoryLimit, Series, VolumeNumber, with_options

if TYPE_CHECKING:
    from ..reporter import Reporter
    from ..scan.volume import Volume
    from ..trust.result import CheckResult
    from ..upscaling import Result


@with_options
def check(
    source: Annotated[Path, typer.Argument(metavar="SCAN", help="As upscale takes it.")],
    made: Made,
    series: Series = None,
    volume: VolumeNumber = None,
    memory_limit: MemoryLimit = None,
    careful: Careful = False,
    adapt: Adapt = None,
    against: Annotated[Path | None, typer.Option(metavar="STACK", help="SCAN is a result: compare it with another stack of the same session, in another orientation.")] = None,
    scan: Annotated[Path | None, typer.Option("--scan", metavar="FILE", help="With --against: what the result was made from; Lanczos is compared as well.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a scan coarser once more, upscale it again, and tell whether that came closer to the scan than Lanczos.  Ends with 6 where it did not."""
    if against or scan:
        with reporting("none"):
            _compare(source, against, scan, made.arguments()["modality"], as_json)
        return
    with reporting("none" if as_json else "bar") as reporter:
        found = _checked(source, reporter, series, volume, careful, **made.arguments(), adapt=adapt, memory_limit=bytes_of(memory_limit))
    with reporting("none"):
        _tell(source, found, as_json)


def _checked(source: Path, reporter: Reporter, series: str | None, number: int | None, careful: bool, **choices: Any) -> CheckResult:
    from ..scan.images import read_volume
    from ..trust.selfcheck import check as check_volume

    return check_volume(read_volume(source, series=series, volume=number), careful=careful, progress=reporter.progress, **choices)


def _tell(source: Path, found: CheckResult, as_json: bool) -> None:
    """On standard output (NotAhead if the method is not)."""
    if as_json:
        print(json.dumps({"source": str(source), **found.to_dict()}, indent=2))
    else:
        _print(source, found)
    if not found.ahead:
        raise NotAhead(found.warnings[0])


def _compare(source: Path, stack: Path | None, scan: Path | None, modality: str, as_json: bool) -> None:
    """``--against``, told on standard output."""
    from ..scan.images import read_volume
    from ..trust.against import against as compare

    if stack is None:
        raise InputError("--scan names what a result was made from, for --against; give --against with the other stack, or leave --scan out.")
    found = compare(read_volume(source), read_volume(stack), scan=read_volume(scan) if scan else None, modality=modality)
    if as_json:
        print(json.dumps({"source": str(source), "against": str(stack), **found.to_dict()}, indent=2))
        return
    for line in (*found.sentences, *(f"Note: {note}" for note in found.notes)):
        print(printable(line))


def _print(source: Path, found: CheckResult) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    first, *others = found.sentences
    console.print(printable(f"{source}: {first}"), style="bold green" if found.ahead else "bold yellow")
    for line in others:
        console.print(line)
    for line in found.notes:
        console.print(printable(f"Note: {line}"))
    for line in found.warnings if found.ahead else found.warnings[1:]:
        console.print(printable(f"Warning: {line}"), style="yellow")
    console.print(f"What this cannot show: {' '.join(found.cannot_show)}", style="dim")


def check_result(volume: Volume, result: Result, reporter: Reporter, choices: dict[str, Any]) -> None:
    """``upscale --check``: what is found goes into the report; a scan that cannot be checked is told there, and its result stays.

    Args:
        volume: the scan.
        result: of the run; its report gets ``check`` and ``fit``.
        reporter: of the run.
        choices: the arguments of the run.
    """
    from ..trust.along import check_along

    reporter.progress("checking", 1.0)
    check_along(volume, result, lambda stage, _: reporter.progress(stage, 1.0), **choices)
