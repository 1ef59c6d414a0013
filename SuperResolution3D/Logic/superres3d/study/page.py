"""The study as one HTML file: for readers without Slicer, and without a network."""

from __future__ import annotations

import base64
import json
from importlib import resources
from pathlib import Path

from .sheet import PICTURES, SHEET, read_sheet


def page_of(folder: Path) -> str:
    """The page of a study's folder for readers, its pictures inside.

    Args:
        folder: with the sheet and the pictures (InputError: it has none).
    """
    sheet = read_sheet(folder)
    text = (folder / SHEET).read_text(encoding="utf-8")
    pictures = {trial.name: base64.b64encode((folder / PICTURES / f"{trial.name}.png").read_bytes()).decode("ascii") for trial in sheet.trials}
    page = (resources.files(__package__) / "page.html").read_text(encoding="utf-8")
    content = {"raw": text, "sha256": sheet.sha256, "pictures": pictures}
    return page.replace("/*STUDY*/null", json.dumps(content).replace("<", "\\u003c"))  # no title ends or opens a script
