"""``superres3d train``: a network from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .common import needs, reporting


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe (TOML), see models/recipes.")],
    data: Annotated[Path, typer.Option(help="Folder of the scans that the recipe names.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; an interrupted run in it goes on.")],
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Overrides a field of the recipe; may be repeated.")] = None,
    export: Annotated[Path | None, typer.Option(help="Folder of models in which to put the trained one.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model of that name in the folder of --export.")] = False,
    accelerator: Annotated[str, typer.Option(help="As Lightning names it: auto, cpu, gpu, mps.")] = "auto",
    devices: Annotated[int, typer.Option(help="How many of them.", min=1)] = 1,
) -> None:
    """Train one network from a recipe; resumes what was interrupted."""
    with reporting("none"):
        needs("train", "lightning", "matplotlib")
        from ..training.export import check_export, export_model
        from ..training.fit import fit
        from ..training.recipe import load_recipe

        pairs = dict(_pair(text) for text in settings or [])
        chosen = load_recipe(recipe, pairs)
        if export:  # in the folder of the run a model is the run's own
            check_export(chosen, export, overwrite)
        net = fit(chosen, data, out, accelerator=accelerator, devices=devices)
        model = export_model(net, chosen, data, export or out)
        print(f"{model.folder}: {model.card['parameters']} parameters, SHA-256 {model.sha256}")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text} has no '='; write --set field=value.")
    return name, value
