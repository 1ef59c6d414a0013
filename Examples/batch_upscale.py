"""Upscale every scan of a folder in 3D Slicer, without its window.

    Slicer --no-splash --no-main-window --python-script batch_upscale.py IN OUT [FACTOR [AXES [METHOD [PRESET]]]]

IN is a folder with NIfTI, NRRD or MetaImage files; OUT gets one file a scan, named like
``chest-SR-x2.nii.gz``.  FACTOR is 2 (default), 4, or 1mm: slices of 1 mm, whatever their distance
in the scan (``chest-SR-1mm.nii.gz``).  AXES is all (default), in-plane or through-plane, and with
1mm always through-plane; METHOD and PRESET (best, balanced or fast) are names from ``superres3d methods``.

A scan that cannot be read or upscaled is told and left out, and the next one is taken; a result
that is already there is kept, so that a batch that was interrupted goes on.  The exit code is 0
if every scan has its result, 1 if some have not, 2 if the arguments cannot be used.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import slicer
import slicer.util

SLICES_1_MM = "1mm"
FILE_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")


def find_scans(folder: Path) -> list[Path]:
    """The scans in a folder, by name; sub-folders are left alone."""
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name.lower().endswith(FILE_ENDINGS))


def result_path(scan: Path, folder: Path, factor: str) -> Path:
    """Where the result of a scan goes; never with a header that lies apart from its voxels."""
    ending = next(ending for ending in FILE_ENDINGS if scan.name.lower().endswith(ending))
    kept = {".nhdr": ".nrrd", ".mhd": ".mha"}.get(ending, ending)
    return folder / f"{scan.name[: -len(ending)]}-SR-{factor if factor == SLICES_1_MM else f'x{factor}'}{kept}"


def upscale_file(scan: Path, target: Path, **choices: Any) -> str:
    """Load, upscale, save; the scene is empty again afterwards.  Returns the caution of a method that may invent, or an empty string."""
    from SuperResolution3D import SuperResolution3DLogic

    try:
        volume = slicer.util.loadVolume(str(scan))
        finished = SuperResolution3DLogic().upscale(volume, **choices)
        with tempfile.TemporaryDirectory(prefix=".superres3d-", dir=target.parent) as hidden:  # an interrupted file is never taken for a result
            beside = Path(hidden) / target.name
            if not slicer.util.saveNode(finished.result, str(beside)):
                raise RuntimeError(f"{target} could not be written; check the free disk space and the permissions")
            beside.replace(target)
        return finished.report["invents"] or ""
    finally:
        slicer.mrmlScene.Clear(False)


def upscale_folder(source: Path, target: Path, factor: str = "2", axes: str = "all", method: str = "", preset: str = "best") -> int:
    """All scans of a folder; returns how many have no result.  ``factor`` is "2", "4" or "1mm"."""
    refinement = {"sliceSpacing": 1.0} if factor == SLICES_1_MM else {"scale": int(factor), "axes": axes}
    scans, failures = find_scans(source), []
    target.mkdir(parents=True, exist_ok=True)
    for number, scan in enumerate(scans, start=1):
        wanted, started = result_path(scan, target, factor), time.perf_counter()
        if wanted.exists():
            _tell(f"[{number}/{len(scans)}] {scan.name}: {wanted.name} is already there")
            continue
        try:
            caution = upscale_file(scan, wanted, method=method, preset=preset, **refinement)
        except Exception as error:  # a batch goes on whatever happens to one scan
            failures.append(scan.name)
            _tell(f"[{number}/{len(scans)}] {scan.name}: failed: {error}")
        else:
            _tell(f"[{number}/{len(scans)}] {scan.name}: {wanted.name}, {time.perf_counter() - started:.0f} s{f'; caution: {caution}' if caution else ''}")
    _tell(f"{len(scans) - len(failures)} of {len(scans)} scans have their result in {target}.")
    if failures:
        _tell(f"Without result: {', '.join(failures)}")
    return len(failures)


def main(arguments: list[str]) -> int:
    """The exit code."""
    try:
        choices = _parse(arguments)
    except ValueError as error:
        _tell(f"{error}\nUsage: Slicer --no-splash --no-main-window --python-script batch_upscale.py IN OUT [FACTOR [AXES [METHOD [PRESET]]]]")
        return 2
    return 1 if upscale_folder(*choices) else 0


def _parse(arguments: list[str]) -> tuple[Path, Path, str, str, str, str]:
    if not 2 <= len(arguments) <= 6:
        raise ValueError(f"Two to six arguments are needed, {len(arguments)} were given.")
    source, target = Path(arguments[0]).resolve(), Path(arguments[1]).resolve()  # Slicer saves relative paths elsewhere
    factor, axes, method, preset = [*arguments[2:], *("2", "", "", "best")[len(arguments) - 2 :]]
    axes = axes or ("through-plane" if factor == SLICES_1_MM else "all")
    if not source.is_dir():
        raise ValueError(f"The input folder {source} does not exist.")
    if source == target:
        raise ValueError("The input and the output folder are the same; give each its own.")
    if factor not in ("2", "4", SLICES_1_MM):
        raise ValueError(f"The factor {factor} cannot be used; use 2, 4 or {SLICES_1_MM}.")
    if axes not in ("all", "in-plane", "through-plane"):
        raise ValueError(f"The axes {axes} do not exist; use all, in-plane or through-plane.")
    if factor == SLICES_1_MM and axes != "through-plane":
        raise ValueError(f"Slices of 1 mm refine through-plane, and the axes {axes} were given; use through-plane.")
    if not find_scans(source):
        raise ValueError(f"The folder {source} holds no scan ({', '.join(FILE_ENDINGS)}).")
    return source, target, factor, axes, method, preset


def _tell(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    slicer.util.exit(main(sys.argv[1:]))
