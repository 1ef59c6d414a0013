"""``superres3d race``: what the panel's estimate must know of this machine.  Hidden: its words may change with any version."""

from __future__ import annotations

from typing import Annotated

import typer

from ..methods import PRESETS
from .worker import stop_at_end_of_input, take_usual_priority


def race(modality: str, device: Annotated[str, typer.Option()] = "auto") -> None:
    """Measure each precision that presets ask for, a second each, unless it is known; then tell how many times as long as alone all takes now."""
    from ..speed import busy, calibrate

    take_usual_priority()
    stop_at_end_of_input()
    for preset in PRESETS:
        calibrate(modality, preset, device)
    print(f"{busy():.2f}")
