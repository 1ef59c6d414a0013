"""``superres3d upscale``: a scan in, a sharper one out."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import SuperResolutionError
from ..reporter import Reporter
from .common import StyleChoice, bytes_of, reporting
from .options import Adapt, Anonymize, AsStored, Careful, Check, Made, MemoryLimit, Progress, Series, VolumeNumber, with_options
from .worker import stop_at_end_of_input, take_usual_priority

if TYPE_CHECKING:
    from ..page.pictures import View
    from ..plan import Plan
    from ..scan.volume import Volume
    from ..staging import Staging
    from ..trust.error_map import ErrorMap
    from ..upscaling import Result
    from .labels import Segmentation
    from .outputs import Outputs


@with_options
def upscale(
    source: Annotated[Path, typer.Argument(metavar="IN", help="NIfTI, MGH, NRRD, MetaImage or DICOM file, or a folder with DICOM files.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="NIfTI, NRRD or MetaImage file to write; from DICOM also a folder, for a derived series.")],
    made: Made,
    series: Series = None,
    volume: VolumeNumber = None,
    region: Annotated[str | None, typer.Option(metavar="BOX", help="Only a part of the scan: lps= or ras= and three ranges in millimetres, such as ras=-40:20,10:70,-300:-250, or ijk= and voxels from 0, the last not included.")] = None,
    as_stored: AsStored = False,
    adapt: Adapt = None,
    memory_limit: MemoryLimit = None,
    compare: Annotated[str | None, typer.Option(metavar="LANCZOS_OUT", help="Also write a Lanczos interpolation on the same grid.")] = None,
    anonymize: Anonymize = False,
    labels: Annotated[Path | None, typer.Option(metavar="SEGMENTATION", help="A label map of the scan, to be brought to the grid of the result as well.")] = None,
    labels_out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write that label map.")] = None,
    careful: Careful = False,
    error_map: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write how large the errors around each voxel are to be expected, in the scan's units; the report tells where to look twice.")] = None,
    residual_map: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write what the result, averaged over the scan's voxels, has more or less than the scan; on the scan's grid.")] = None,
    check: Check = False,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the report: a page with pictures (.html), or JSON.")] = None,
    source_name: Annotated[str | None, typer.Option(hidden=True, help="What reports call the scan, in place of its file.")] = None,
    progress: Progress = StyleChoice("bar"),
    stop_with_parent: Annotated[bool, typer.Option(hidden=True, help="Stop when standard input ends.")] = False,
) -> None:
    """Upscale a scan 2x or 4x, or to a spacing or a distance of slices; the field of view, dtype and intensity scale stay."""
    from .labels import Segmentation
    from .outputs import Outputs

    if stop_with_parent:
        take_usual_priority()
        stop_at_end_of_input()
    with reporting(progress.value) as reporter:
        segmentation = Segmentation.named(labels, labels_out)
        _upscale_file(
            source, replace(Outputs.named(target, compare, report, anonymize, labels_out, error_map), called=source_name, residual_map=residual_map), segmentation, reporter, series, volume, check, careful,
            **made.arguments(), region=region, as_stored=as_stored, adapt=adapt, memory_limit=bytes_of(memory_limit),
        )  # fmt: skip


def _upscale_file(
    source: Path, outputs: Outputs, segmentation: Segmentation | None, reporter: Reporter, series: str | None, number: int | None, checked: bool, careful: bool, **choices: Any
) -> None:
    """``choices`` are the arguments of :func:`superres3d.upscaling.upscale`."""
    from ..scan.images import read_volume
    from ..scan.region import asked_region
    from ..staging import Staging
    from ..upscaling import NOT_PLANNED, plan_for

    if choices["region"] is not None:
        asked_region(choices["region"])
    outputs.check(source, *([segmentation.source] if segmentation else []))
    volume = read_volume(source, series=series, volume=number)
    outputs.check_scan(volume)
    plan, _ = plan_for(volume, **{key: value for key, value in choices.items() if key not in NOT_PLANNED})
    if careful or outputs.error_map:
        from ..trust.error_map import check_doubt

        check_doubt(volume, errors=outputs.error_map is not None, careful=careful, **choices)
    labels = segmentation.read(volume, plan, choices["memory_limit"]) if segmentation else None
    outputs.check_disk(plan.result_bytes)
    with Staging() as staging:
        report, slices, views = _stage_result(volume, source, outputs, staging, reporter, checked, careful, choices)
        if segmentation and labels:
            from .labels import grid_of

            told = segmentation.stage(labels, grid_of(volume, plan), plan, slices, staging, reporter)
            report["labels"] = {name: value for name, value in told.items() if name != "source" or not outputs.anonymize}
        if outputs.comparison:
            _stage_lanczos(volume, source, outputs, staging, plan, choices)
        staging.commit()
    if outputs.report:
        _write_report(report, views, outputs)
    reporter.done(str(outputs.result), report)


def _stage_result(
    volume: Volume, source: Path, outputs: Outputs, staging: Staging, reporter: Reporter, checked: bool, careful: bool, choices: dict[str, Any]
) -> tuple[dict[str, Any], list[Path], list[View]]:
    """Returns report, slices of a DICOM series, and pictures of a page; the voxels are let go of before another volume is made."""
    from ..upscaling import refined_part
    from ..upscaling import upscale as upscale_volume

    errors: ErrorMap | None = None
    if careful or outputs.error_map:
        from ..trust.error_map import upscale_with_doubt
        from ..trust.part import upscale_part_with_doubt

        doubting = upscale_part_with_doubt if choices["region"] else upscale_with_doubt
        result, errors = doubting(volume, errors=outputs.error_map is not None, careful=careful, progress=reporter.progress, **choices)
    else:
        result = upscale_volume(volume, progress=reporter.progress, **choices)
    if checked:
        from .check import check_result

        check_result(volume, result, reporter, choices)
    reporter.progress("writing", 1.0)
    views = _views(refined_part(volume, result.report), result, errors) if outputs.page else []
    slices = outputs.stage(result, outputs.result, staging, _provenance(source, result.report))
    if errors and outputs.error_map:
        outputs.stage_error_map(errors.volume, slices, staging)
    if outputs.residual_map:
        outputs.stage_residual_map(refined_part(volume, result.report), result, slices, staging)
    report = result.report if outputs.anonymize else {**result.report, "source": outputs.called or str(source)}
    return report, slices, views


def _views(volume: Volume, result: Result, errors: ErrorMap | None) -> list[View]:
    """Of a page; none where they fail: the result is worth more than its pictures, and the report says so."""
    from ..page.pictures import views_of

    try:
        return views_of(volume, result.volume, result.report["modality"], result.report["method"], errors.volume if errors else None)
    except Exception as error:
        result.report["warnings"].append(f"The report has no pictures ({type(error).__name__}: {error}); please report this.")
        return []


def _stage_lanczos(volume: Volume, source: Path, outputs: Outputs, staging: Staging, plan: Plan, choices: dict[str, Any]) -> None:
    from ..upscaling import upscale as upscale_volume

    assert outputs.comparison
    kept = {key: choices[key] for key in ("modality", "slice_axis", "memory_limit", "region")}
    result = upscale_volume(volume, method="lanczos", **plan.refinement, **kept)
    outputs.stage(result, outputs.comparison, staging, _provenance(source, result.report))


def _write_report(report: dict[str, Any], views: list[View], outputs: Outputs) -> None:
    """After the images: they are worth more than the report, and stay without it (the error says so)."""
    from ..files import replace_text
    from ..page.write import write_page

    assert outputs.report
    try:
        if outputs.page:
            write_page(outputs.report, report, views)
        else:
            replace_text(outputs.report, json.dumps(report, indent=2) + "\n")
    except SuperResolutionError as error:
        raise type(error)(f"The result is whole in {outputs.result}, but its report is missing: {error}") from None


def _provenance(source: Path, report: dict[str, Any]) -> dict[str, str]:
    """Text for the image file itself; NIfTI keeps 79 characters of ``descrip``."""
    factors = "x".join(f"{f:.4g}" for f in report["factors_ijk"])
    preset = f" {report['preset']}" if report["preset"] else ""
    short = f"{report['software']} {report['method']}{preset} {factors}; not for diagnosis"
    caution = f"caution: {report['invents']} " if report["invents"] else ""
    noise = f"noise {report['detail']['noise']}; " if report["detail"] else ""
    name = os.fsencode(source.name).decode("utf-8", "replace")  # image files hold text
    hashes = " ".join(f"{stage}:{model['name']}:{model['sha256'][:12]}" for stage, model in report["models"].items())
    return {
        "ITK_FileNotes": short[:79],
        "SuperResolution3D": f"{short}; {caution}models {hashes or 'none'}; ensemble {report['ensemble'] or 'none'}; {noise}{'careful; ' if report.get('careful') else ''}{report['precision']}; source {name}",
    }
