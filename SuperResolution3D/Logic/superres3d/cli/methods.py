"""``superres3d methods``: the catalogue."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..methods import DEFAULT_METHOD, DEFAULT_PRESET, METHODS, PRESETS
from .common import reporting
from .options import AsJson

if TYPE_CHECKING:
    from rich.console import Console


def methods(as_json: AsJson = False) -> None:
    """List the methods: what they are for, what they assume and cost, and when not to use them."""
    from ..catalogue import describe_method
    from ..networks.weights import check_folder

    with reporting("none"):
        check_folder()
        described = [describe_method(method) for method in METHODS.values()]
        if as_json:
            print(json.dumps({"methods": described, "presets": [asdict(preset) for preset in PRESETS.values()]}, indent=2))
        else:
            _print(described)


def _print(described: list[dict[str, Any]]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for content in described:
        _print_method(console, content)
    console.print("\nPresets of the networks (--preset):")
    for preset in PRESETS.values():
        console.print(f"[bold]{preset.name}[/bold]{_mark(preset.name, DEFAULT_PRESET)}: {preset.summary}")


def _print_method(console: Console, content: dict[str, Any]) -> None:
    name = f"[bold]{content['name']}[/bold]{_mark(content['name'], DEFAULT_METHOD)}"
    console.print(f"{name}: {content['title']}. {', '.join(content['modalities'])}; {', '.join(content['axes'])}; {content['refines']}.")
    assumes = f"Assumes: {content['assumes']}" if content["kind"] != "interpolation" else ""
    paper = content["paper"] and f"{content['paper']}."
    for line in filter(None, (content["summary"], assumes, f"When not: {content['when_not']}", content["caution"], content["cost"], paper)):
        console.print(f"    {line}")


def _mark(name: str, default: str) -> str:
    return " (default)" if name == default else ""
