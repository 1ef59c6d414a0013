"""``superres3d demo``: a brain that everybody may have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..methods import DEFAULT_PRESET
from .common import PresetChoice, StyleChoice, needs, reporting
from .options import Device


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the volumes and the picture.")] = Path("demo"),
    preset: Annotated[PresetChoice, typer.Option(help="How much work to spend.")] = PresetChoice(DEFAULT_PRESET),
    device: Device = "auto",
    progress: Annotated[StyleChoice, typer.Option(help="bar, json or none.")] = StyleChoice("bar"),
) -> None:
    """Upscale the MNI152 T1 brain that ships with nilearn, and show it beside Lanczos and the truth."""
    with reporting(progress.value) as reporter:
        needs("demo", "matplotlib", "nilearn", "skimage")
        from ..demo import run_demo

        run_demo(out, preset.value, device, reporter)
