"""Upscale every scan of a folder with 3D Slicer's own Python: no window, no scene, no MRML.

    PythonSlicer batch_upscale.py IN OUT [OPTION ...]

It is ``superres3d batch``, with the package that the extension brings along: IN is a folder with scans, a tree of DICOM or a BIDS data set, and every option of
``superres3d batch`` may follow, such as ``--slice-spacing 1``, ``--method cubic`` or ``--dry-run``.  The same command goes on where it stopped.

A scan that cannot be read or upscaled is told and left out, and the next one is taken.  The exit code is 0 if every scan has its result, 1 if some have not, 2
if the arguments cannot be used.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_BESIDE = Path(__file__).resolve().parents[1] / "SuperResolution3D" / "Logic"  # in a clone of the project


def main(arguments: list[str]) -> None:
    """Ends with the exit code (SystemExit)."""
    if importlib.util.find_spec("superres3d") is None:
        if not _BESIDE.is_dir():
            sys.exit("The package superres3d is not found; run this script from a clone of the project, or set PYTHONPATH to the folder Logic of the installed extension.")
        sys.path.append(str(_BESIDE))
    missing = [name for name in ("typer", "rich", "psutil") if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"The packages {', '.join(missing)} are not installed in this Python; click Apply once in the panel, or see docs/installation.md.")
    from superres3d.cli import main as superres3d

    sys.argv = ["superres3d", "batch", *arguments]
    superres3d()


if __name__ == "__main__":
    main(sys.argv[1:])
