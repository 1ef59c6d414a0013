"""The command line, and the worker that the Slicer panel starts."""

from __future__ import annotations

import _thread
import importlib.util
import json
import os
import shutil
import signal
import threading
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import __version__
from .errors import Cancelled, InputError, ResourceError, SuperResolutionError
from .files import check_output_folder, replace_text
from .methods import AXES, DEFAULT_METHOD, DEFAULT_PRESET, ENSEMBLES, METHODS, MODALITIES, PRECISIONS, PRESETS, SCALES, is_installed
from .reporter import STYLES, Reporter, make_reporter

if TYPE_CHECKING:
    from .plan import Plan

app = typer.Typer(
    name="superres3d",
    help="Sharper CT and MR volumes by convolutional networks. Research software, not for diagnosis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _choice(name: str, values) -> Any:
    return Enum(name, {value: value for value in values}, type=str)


AxesChoice = _choice("AxesChoice", AXES)
EnsembleChoice = _choice("EnsembleChoice", ("auto", *ENSEMBLES))
PresetChoice = _choice("PresetChoice", PRESETS)
PrecisionChoice = _choice("PrecisionChoice", PRECISIONS)
ModalityChoice = _choice("ModalityChoice", ("auto", *MODALITIES))
SliceAxisChoice = _choice("SliceAxisChoice", ("auto", "i", "j", "k"))
StyleChoice = _choice("StyleChoice", STYLES)


@app.command()
def upscale(
    source: Annotated[Path, typer.Argument(metavar="IN", help="NIfTI, NRRD or MetaImage file, or a folder with one DICOM series.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="NIfTI, NRRD or MetaImage file to write.")],
    scale: Annotated[str | None, typer.Option(help="2 or 4; or two factors, in-plane,through-plane, such as 2,4.", show_default="2, or what the method is made for")] = None,
    axes: Annotated[AxesChoice | None, typer.Option(help="Axes to refine (with a single factor).", show_default="all, or what the method is made for")] = None,
    slice_spacing: Annotated[float | None, typer.Option(metavar="MM", help="Millimetres between the slices of the result, in place of a factor; for interpolations and virtual-thin-slice.")] = None,
    method: Annotated[str, typer.Option(help="See 'superres3d methods'.")] = DEFAULT_METHOD,
    modality: Annotated[ModalityChoice, typer.Option(help="auto: what the file says, else a guess from the intensities.")] = "auto",
    preset: Annotated[PresetChoice, typer.Option(help="How much work to spend; see 'superres3d methods'.")] = DEFAULT_PRESET,
    ensemble: Annotated[EnsembleChoice, typer.Option(help="Turned copies whose median is the result; auto: as the preset says.")] = "auto",
    precision: Annotated[PrecisionChoice, typer.Option(help="auto: half where the machine has units for it; single.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cuda, cuda:<n>, mps or cpu.")] = "auto",
    slice_axis: Annotated[SliceAxisChoice, typer.Option(help="auto: the clearly coarsest axis, else k.")] = "auto",
    consistency: Annotated[int, typer.Option(help="Back-projections that bring the downsampled result to the scan, 0 to 10: for scans with little noise.")] = 0,
    memory_limit: Annotated[float | None, typer.Option(help="GiB that may be used; default: what is free.", min=0.1)] = None,
    compare: Annotated[Path | None, typer.Option(metavar="LANCZOS_OUT", help="Also write a Lanczos interpolation on the same grid.")] = None,
    report: Annotated[Path | None, typer.Option(metavar="JSON", help="Also write the report.")] = None,
    progress: Annotated[StyleChoice, typer.Option(help="bar, JSON lines on standard output, or none.")] = "bar",
    stop_with_parent: Annotated[bool, typer.Option(hidden=True, help="Stop when standard input ends.")] = False,
) -> None:
    """Upscale a scan 2x or 4x, or to a distance of slices; the field of view, dtype and intensity scale stay."""
    if stop_with_parent:
        threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    with _reporting(progress.value) as reporter:
        _upscale_file(
            source, target, compare, report, reporter,
            scale=_parse_scale(scale) if scale else None, axes=axes.value if axes else None, slice_spacing=slice_spacing, method=method, modality=modality.value, preset=preset.value,
            ensemble=ensemble.value, precision=precision.value, device=device, slice_axis=slice_axis.value, consistency=consistency, memory_limit=int(memory_limit * 2**30) if memory_limit else None,
        )  # fmt: skip


def _upscale_file(source: Path, target: Path, compare: Path | None, report: Path | None, reporter: Reporter, **choices: Any) -> None:
    from .scan.images import check_writable, read_volume, write_volume
    from .upscaling import plan_for
    from .upscaling import upscale as upscale_volume

    outputs = [path for path in (target, compare, report) if path]
    resolved = [path.resolve() for path in (*outputs, source)]
    if len(set(resolved)) < len(resolved):
        raise InputError("Two of the input and output files are the same; give each its own name.")
    for path in (target, compare):
        if path:
            check_writable(path)
    if report:
        check_output_folder(report)
    volume = read_volume(source)
    plan, _ = plan_for(volume, **{key: value for key, value in choices.items() if key != "device"})
    _check_disk(plan, [path for path in (target, compare) if path])
    new = [path for path in outputs if not path.exists()]
    try:
        result = upscale_volume(volume, progress=reporter.progress, **choices)
        reporter.progress("writing", 1.0)
        write_volume(result.volume, target, _provenance(source, result.report))
        content = {**result.report, "source": str(source)}
        if compare:
            del result
            lanczos = _lanczos(volume, plan, choices)
            write_volume(lanczos.volume, compare, _provenance(source, lanczos.report))
        if report:
            replace_text(report, json.dumps(content, indent=2) + "\n")
    except BaseException:  # all of the outputs, or none
        for path in new:
            path.unlink(missing_ok=True)
        raise
    reporter.done(str(target), content)


def _lanczos(volume, plan: Plan, choices: dict[str, Any]):
    from .upscaling import upscale as upscale_volume

    kept = {key: choices[key] for key in ("modality", "slice_axis", "memory_limit")}
    return upscale_volume(volume, method="lanczos", **plan.refinement, **kept)


def _check_disk(plan: Plan, outputs: list[Path]) -> None:
    """Refuse before hours of work what the disk cannot take."""
    size = plan.result_bytes
    for folder in {path.resolve().parent for path in outputs}:
        here = [path for path in outputs if path.resolve().parent == folder]
        # gzip makes scans about half as large; a quarter is the most that one may hope for.
        needed = sum(size // 4 if path.name.endswith(".gz") else size for path in here)
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise ResourceError(f"The result needs about {needed / 2**30:.1f} GiB in {folder} and {free / 2**30:.1f} GiB are free; choose another disk or a smaller factor.")


def _provenance(source: Path, report: dict[str, Any]) -> dict[str, str]:
    """Text for the image file itself; NIfTI keeps 79 characters of ``descrip``."""
    factors = "x".join(f"{f:.4g}" for f in report["factors_ijk"])
    preset = f" {report['preset']}" if report["preset"] else ""
    short = f"{report['software']} {report['method']}{preset} {factors}; not for diagnosis"
    caution = f"caution: {report['invents']} " if report["invents"] else ""
    hashes = " ".join(f"{stage}:{model['name']}:{model['sha256'][:12]}" for stage, model in report["models"].items())
    return {
        "ITK_FileNotes": short[:79],
        "SuperResolution3D": f"{short}; {caution}models {hashes or 'none'}; ensemble {report['ensemble'] or 'none'}; {report['precision']}; source {source.name}",
    }


@app.command()
def methods(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """List the methods: what they are for, what they assume and cost, and when not to use them."""
    from .catalogue import describe_method

    described = [describe_method(method) for method in METHODS.values()]
    if as_json:
        print(json.dumps({"methods": described, "presets": [asdict(p) for p in PRESETS.values()]}, indent=2))
        return
    from rich.console import Console

    console = Console(highlight=False)
    for content in described:
        default = " (default)" if content["name"] == DEFAULT_METHOD else ""
        console.print(f"[bold]{content['name']}[/bold]{default}: {content['title']}. {', '.join(content['modalities'])}; {', '.join(content['axes'])}; {content['refines']}.")
        lines = [content["summary"], f"Assumes: {content['assumes']}" if content["kind"] != "interpolation" else "", f"When not: {content['when_not']}"]
        for line in filter(None, (*lines, content["caution"], content["cost"], content["paper"] and f"{content['paper']}.")):
            console.print(f"    {line}")
    console.print("\nPresets of the networks (--preset):")
    for preset in PRESETS.values():
        default = " (default)" if preset.name == DEFAULT_PRESET else ""
        console.print(f"[bold]{preset.name}[/bold]{default}: {preset.summary}")


@app.command()
def info(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A scan.")],
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Tell what a scan is, and what upscaling it would take.  The first time, a second goes into measuring this machine."""
    with _reporting("none"):
        content = _describe(source)
        if as_json:
            print(json.dumps(content, indent=2))
            return
        from rich.console import Console
        from rich.table import Column, Table

        console = Console(highlight=False)
        size, spacing = (" x ".join(f"{n:.4g}" for n in content[key]) for key in ("shape_ijk", "spacing_mm"))
        console.print(f"{source}: {size} voxels of {spacing} mm, {content['dtype']}, {content['minimum']:g} to {content['maximum']:g}, {content['modality']} ({content['modality_from']})")
        for note in content["notes"]:
            console.print(f"Note: {note}")
        table = Table(Column("axes", overflow="fold"), Column("factor", overflow="fold"), "result, voxels", "spacing, mm", "file, GiB", "memory, GiB", f"time, {' / '.join(PRESETS)}")
        for row in content["upscaling"]:
            factor = f"{row['scale']}" if row["scale"] else f"to {row['slice_spacing']:g} mm"
            factor += f" ({row['method']})" if "method" in row else ""
            if "refused" in row:
                table.add_row(row["axes"], factor, "refused, see below")
            else:
                table.add_row(
                    row["axes"], factor, " x ".join(map(str, row["shape_ijk"])), " x ".join(f"{s:.3g}" for s in row["spacing_mm"]),
                    f"{row['result_bytes'] / 2**30:.2f}", f"{row['memory_bytes'] / 2**30:.2f}", " / ".join(_in_words(seconds) for seconds in row["seconds"].values()),
                )  # fmt: skip
        console.print(table)
        for reason in dict.fromkeys(row["refused"] for row in content["upscaling"] if "refused" in row):
            console.print(f"Refused: {reason}")


def _describe(source: Path) -> dict[str, Any]:
    from .plan import guess_modality, plan_upscaling
    from .scan.images import read_volume
    from .speed import calibrate

    volume = read_volume(source)
    modality = volume.modality or guess_modality(volume.voxels)
    for preset in PRESETS:
        calibrate(modality, preset)
    requests: list[dict[str, Any]] = [{"axes": axes, "scale": scale} for axes in AXES for scale in SCALES]
    for method in METHODS.values():
        if method.volumetric and modality in method.modalities and is_installed(method, modality) and not (method.adversarial or method.compared):
            asked = {"slice_spacing": method.slice_spacing} if method.slice_spacing else {"scale": method.scales[0]}
            requests.append({"method": method.name, "axes": method.axes[0], **asked})
    rows = []
    for request in requests:
        row = {"scale": None, **request}
        try:
            plans = {
                preset: plan_upscaling(volume.voxels.shape, volume.spacing, volume.voxels.dtype, **request, modality=modality, preset=preset, inputs_in_memory=0)
                for preset in PRESETS
            }
            plan = plans[DEFAULT_PRESET]
            row |= {
                "shape_ijk": plan.output_shape[::-1],
                "spacing_mm": [s / f for s, f in zip(volume.spacing, plan.factors[::-1])],
                "result_bytes": plan.result_bytes,
                "memory_bytes": plan.memory_bytes,
                "seconds": {preset: plan.seconds for preset, plan in plans.items()},
            }
        except SuperResolutionError as error:
            row["refused"] = str(error)
        rows.append(row)
    return {
        "shape_ijk": volume.voxels.shape[::-1],
        "spacing_mm": volume.spacing,
        "origin_lps_mm": volume.origin,
        "direction": volume.direction.tolist(),
        "dtype": str(volume.voxels.dtype),
        "minimum": float(volume.voxels.min()),
        "maximum": float(volume.voxels.max()),
        "modality": modality,
        "modality_from": "the file" if volume.modality else "guessed from the intensities",
        "notes": volume.notes,
        "upscaling": rows,
    }


def _in_words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe (TOML), see models/recipes.")],
    data: Annotated[Path, typer.Option(help="Folder of the scans that the recipe names.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; an interrupted run in it goes on.")],
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Overrides a field of the recipe; may be repeated.")] = None,
    export: Annotated[Path | None, typer.Option(help="Folder of models in which to put the trained one.")] = None,
    accelerator: Annotated[str, typer.Option(help="As Lightning names it: auto, cpu, gpu, mps.")] = "auto",
    devices: Annotated[int, typer.Option(help="How many of them.", min=1)] = 1,
) -> None:
    """Train one network from a recipe; resumes what was interrupted."""
    with _reporting("none"):
        _needs("train", "lightning", "matplotlib")
        from .training.export import export_model
        from .training.fit import fit
        from .training.recipe import load_recipe

        pairs = dict(_pair(text) for text in settings or [])
        chosen = load_recipe(recipe, pairs)
        net = fit(chosen, data, out, accelerator=accelerator, devices=devices)
        model = export_model(net, chosen, data, export or out)
        print(f"{model.folder}: {model.card['parameters']} parameters, SHA-256 {model.sha256}")


@app.command()
def evaluate(
    data: Annotated[Path, typer.Argument(help="Folder of the scans.")],
    split: Annotated[Path, typer.Argument(help="CSV with the columns id, split, modality (and sequence); a scan is DATA/<id>.nii.gz or another format.")],
    out: Annotated[Path, typer.Option(help="Folder for the tables and figures.")],
    subset: Annotated[str, typer.Option(help="Which rows of the split.")] = "test",
    method: Annotated[list[str] | None, typer.Option("--method", help="May be repeated; default: all that are installed and for the tasks.")] = None,
    scale: Annotated[list[int] | None, typer.Option("--scale", help="May be repeated; default: those of the tasks.")] = None,
    task: Annotated[list[str] | None, typer.Option("--task", help="in-plane, 3-D, k-space (MR) or thick-slice (CT); may be repeated; default: in-plane and 3-D.")] = None,
    subject: Annotated[list[str] | None, typer.Option("--subject", help="Only these; may be repeated.")] = None,
    slices: Annotated[int, typer.Option(help="At most this many central slices of a scan.", min=8)] = 48,
    preset: Annotated[PresetChoice, typer.Option(help="How much work the networks may spend.")] = DEFAULT_PRESET,
    ensemble: Annotated[EnsembleChoice, typer.Option(help="Self-ensemble of the networks; auto: as the preset says.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cuda, cuda:<n>, mps or cpu.")] = "auto",
    cards: Annotated[Path | None, typer.Option(metavar="MODELS", help="Also put the metrics into the cards of the models in this folder.")] = None,
) -> None:
    """Degrade scans, upscale them again, and tabulate how close the methods come to the truth."""
    with _reporting("none"):
        _needs("train", "matplotlib", "scipy", "skimage")
        from .evaluation.protocol import Protocol
        from .evaluation.run import evaluate_folder
        from .evaluation.tasks import PUBLISHED_TASKS

        tasks = tuple(task or PUBLISHED_TASKS)
        protocol = Protocol(
            methods=tuple(method or _installed_for(tasks)), scales=tuple(scale or ()), tasks=tasks,
            slices=slices, preset=preset.value, ensemble=ensemble.value, device=device,
        )  # fmt: skip
        print(evaluate_folder(data, split, subset, out, protocol, subjects=tuple(subject or ())))
        if cards:
            from .evaluation.cards import update_cards

            update_cards(out / "results.json", cards)


def _installed_for(tasks: tuple[str, ...]) -> list[str]:
    """The methods that can be evaluated without asking."""
    from .evaluation.tasks import TASKS

    known = [TASKS[task] for task in tasks if task in TASKS]
    return [
        method.name for method in METHODS.values()
        if any(is_installed(method, m) and task.fits(method, m, s) for task in known for m in task.modalities for s in task.scales)
    ]  # fmt: skip


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the volumes and the picture.")] = Path("demo"),
    preset: Annotated[PresetChoice, typer.Option(help="How much work to spend.")] = DEFAULT_PRESET,
    device: Annotated[str, typer.Option(help="auto, cuda, cuda:<n>, mps or cpu.")] = "auto",
    progress: Annotated[StyleChoice, typer.Option(help="bar, json or none.")] = "bar",
) -> None:
    """Upscale the MNI152 T1 brain that ships with nilearn, and show it beside Lanczos and the truth."""
    with _reporting(progress.value) as reporter:
        _needs("demo", "matplotlib", "nilearn", "skimage")
        from .demo import run_demo

        run_demo(out, preset.value, device, reporter)


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"superres3d {__version__}")
        raise typer.Exit()


def main() -> None:
    """Entry point: every failure is one sentence and a non-zero exit code."""
    try:
        signal.signal(signal.SIGTERM, _interrupt)
        app()
    except KeyboardInterrupt:  # before a command could take it
        raise SystemExit(Cancelled.exit_code) from None


class _reporting:
    """Runs a command's body with a reporter and tells its errors through it."""

    def __init__(self, style: str):
        self._reporter = make_reporter(style)

    def __enter__(self) -> Reporter:
        return self._reporter.__enter__()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._reporter.__exit__(kind, error, trace)
        if isinstance(error, KeyboardInterrupt):
            error = Cancelled()
        elif isinstance(error, MemoryError):
            error = ResourceError("Memory ran out; use a smaller factor, fewer axes, or a part of the scan.")
        if not isinstance(error, SuperResolutionError):
            return  # a defect: let it show its traceback
        self._reporter.error(type(error).__name__, str(error))
        raise typer.Exit(error.exit_code) from None


def _stop_at_end_of_input() -> None:
    """A parent that closes the pipe, or dies, wants no more of this."""
    while os.read(0, 4096):  # not sys.stdin: its lock would be held at the interpreter's end
        pass
    _thread.interrupt_main(signal.SIGTERM)  # handled by main() even where SIGINT is ignored, as in background jobs


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _parse_scale(text: str) -> int | tuple[int, int]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"The factor {text!r} cannot be used; use 2 or 4, or two factors such as 2,4.") from None
    return numbers[0] if len(numbers) == 1 else numbers


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text} has no '='; write --set field=value.")
    return name, value


def _needs(extra: str, *modules: str) -> None:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(f"This command needs {' and '.join(missing)}, not installed here; run: pip install 'superres3d[{extra}]'")


if __name__ == "__main__":
    main()
