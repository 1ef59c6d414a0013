"""``superres3d evaluate``: how close the methods come to the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..methods import DEFAULT_PRESET, METHODS, Method, is_installed
from .common import EnsembleChoice, PresetChoice, needs, reporting
from .options import Device


def evaluate(
    data: Annotated[Path, typer.Argument(help="Folder of the scans.")],
    split: Annotated[Path, typer.Argument(help="CSV with the columns id, split, modality (and sequence); a scan is DATA/<id>.nii.gz or another format.")],
    out: Annotated[Path, typer.Option(help="Folder for the tables and figures.")],
    subset: Annotated[str, typer.Option(help="Which rows of the split.")] = "test",
    method: Annotated[list[str] | None, typer.Option("--method", help="May be repeated; default: all that are installed and for the tasks.")] = None,
    scale: Annotated[list[int] | None, typer.Option("--scale", help="May be repeated; default: those of the tasks.")] = None,
    task: Annotated[list[str] | None, typer.Option("--task", help="in-plane, through-plane, 3-D, k-space (MR), thick-slice (CT), or segmentation; may be repeated; default: in-plane and 3-D.")] = None,
    segmenter: Annotated[str, typer.Option(metavar="tissue|FOLDER", help="Of the task segmentation, for MR: k-means of tissue, or a folder with a MeshNet.")] = "tissue",
    subject: Annotated[list[str] | None, typer.Option("--subject", help="Only these; may be repeated.")] = None,
    slices: Annotated[int, typer.Option(help="At most this many central slices of a scan.", min=8)] = 48,
    preset: Annotated[PresetChoice, typer.Option(help="How much work the networks may spend.")] = PresetChoice(DEFAULT_PRESET),
    ensemble: Annotated[EnsembleChoice, typer.Option(help="Self-ensemble of the networks; auto: as the preset says.")] = EnsembleChoice("auto"),
    device: Device = "auto",
    cards: Annotated[Path | None, typer.Option(metavar="MODELS", help="Also put the metrics into the cards of the models in this folder.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace metrics that the cards have.")] = False,
) -> None:
    """Degrade scans, upscale them again, and tabulate how close the methods come to the truth."""
    with reporting("none"):
        needs("train", "matplotlib", "scipy", "skimage")
        from ..evaluation.cards import check_cards, update_cards
        from ..evaluation.protocol import Protocol
        from ..evaluation.run import evaluate_folder
        from ..evaluation.segmentation import DEGRADATIONS, SEGMENTATION, evaluate_segmentation
        from ..evaluation.tasks import PUBLISHED_TASKS

        segmented = SEGMENTATION in (task or ())
        tasks = tuple(name for name in task or () if name != SEGMENTATION) or (DEGRADATIONS if segmented else PUBLISHED_TASKS)
        protocol = Protocol(
            methods=tuple(method or _installed_for(tasks)), scales=tuple(scale or ()), tasks=tasks,
            slices=slices, preset=preset.value, ensemble=ensemble.value, device=device,
        )  # fmt: skip
        if segmented:
            _refuse_with_segmentation(cards)
            print(evaluate_segmentation(data, split, subset, out, protocol, segmenter, subjects=tuple(subject or ())))
            return
        if cards:
            check_cards(cards, protocol.methods, overwrite)
        print(evaluate_folder(data, split, subset, out, protocol, subjects=tuple(subject or ())))
        if cards:
            update_cards(out / "results.json", cards)


def _refuse_with_segmentation(cards: Path | None) -> None:
    if cards:
        raise InputError("The task segmentation puts nothing into cards; leave --cards out.")


def _installed_for(tasks: tuple[str, ...]) -> list[str]:
    """The methods that can be evaluated without asking."""
    return [method.name for method in METHODS.values() if _can_do_any(method, tasks)]


def _can_do_any(method: Method, tasks: tuple[str, ...]) -> bool:
    from ..evaluation.tasks import TASKS

    known = [TASKS[task] for task in tasks if task in TASKS]
    return any(is_installed(method, m) and task.fits(method, m, s) for task in known for m in task.modalities for s in task.scales)
