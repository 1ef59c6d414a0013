"""Calls of ``upscale`` on small crops and what the processor's engine makes of them: what a graphics card is compared with."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from lines import texture
from superres3d import Volume
from superres3d.upscaling import Result, upscale

FILE = "references.npz"
MOST_BYTES = 9 << 20
CROPS = {"CT": ("ct_chest_ctmd_cap001", (20, 170, 200)), "MR": ("mr_t1_ds002748_sub22", (80, 120, 140))}
TWO_STAGE = ("two-stage-residual", "georgescu2020")
TOLD = "two-stage-told"
VOLUMETRIC = {"MR": ("mdcsrn", "fsrcnn-3d", "srdensenet-3d"), "CT": ("virtual-thin-slice", "srcnn-3d")}


@dataclass(frozen=True)
class Case:
    """One call of ``upscale`` on a crop (k, j, i)."""

    method: str
    modality: str
    scale: int | None = 2
    axes: str | None = "all"
    preset: str = "best"
    dtype: str = "float32"
    shape: tuple[int, int, int] = (8, 24, 28)
    slice_axis: str = "k"

    @property
    def name(self) -> str:
        """What makes it differ from the others, in words."""
        return " ".join(str(part) for part in (self.method, self.modality, self.scale, self.axes, self.preset, self.dtype, self.slice_axis))

    def run(self, crop: np.ndarray, device: str, half: bool) -> Result:
        """Slices 5 mm apart."""
        spacing = (1.0, 1.0, 5.0) if self.slice_axis == "k" else (5.0, 1.0, 1.0)
        return upscale(
            Volume(crop, spacing, modality=self.modality), self.scale, axes=self.axes, method=self.method, modality=self.modality, preset=self.preset,
            precision="auto" if half else "single", device=device, slice_axis=self.slice_axis,
        )  # fmt: skip


def cases(tiny: bool = False) -> Iterator[Case]:
    """The default method first."""
    if tiny:
        yield Case(TWO_STAGE[0], "CT")
        return
    for method, modality in product(TWO_STAGE, ("CT", "MR")):
        yield Case(method, modality)
        yield Case(method, modality, preset="balanced")
        yield Case(method, modality, preset="fast")
        yield Case(method, modality, 4, shape=(6, 14, 17))
        yield Case(method, modality, 4, preset="fast", shape=(6, 14, 17))
        yield Case(method, modality, 2, "in-plane", "balanced")
        yield Case(method, modality, 4, "in-plane", "best", shape=(4, 24, 28))
        yield Case(method, modality, 2, "through-plane", "best")
        yield Case(method, modality, 4, "through-plane", "balanced")
        yield Case(method, modality, dtype="int16", shape=(8, 32, 40))
    yield Case(TWO_STAGE[0], "CT", dtype="int16", preset="fast", shape=(24, 24, 9), slice_axis="i")
    for modality in ("CT", "MR"):  # large enough that their detail is measured
        yield Case(TOLD, modality, 2, "in-plane", "best", "int16", (3, 72, 80))
        yield Case(TOLD, modality, 2, "in-plane", "fast", "int16", (3, 72, 80))
        yield Case(TOLD, modality, 4, "in-plane", "balanced", "int16", (3, 56, 64))
        yield Case(TOLD, modality, 2, "through-plane", "best", "int16", (24, 48, 56))
    for method in VOLUMETRIC["MR"]:
        yield Case(method, "MR", 2, "in-plane", shape=(8, 32, 36))
    for method in VOLUMETRIC["CT"]:
        yield Case(method, "CT", None, None, shape=(6, 32, 36))


def crop_for(case: Case, volumes: dict[str, np.ndarray]) -> np.ndarray:
    """Of the scan of its modality; with voxels beyond what a network takes."""
    start = CROPS[case.modality][1]
    crop = volumes[case.modality][tuple(slice(a, a + n) for a, n in zip(start, case.shape))].astype(np.float32)
    assert crop.shape == case.shape, crop.shape
    if case.modality == "CT":
        crop[1, 2:5, 3:7] = -2000
        crop[2, 3, 4] = 8000
    return np.rint(crop).astype(case.dtype)


def _scans(folder: Path) -> dict[str, np.ndarray]:
    """Modality -> voxels."""
    from superres3d import read_volume
    from superres3d.scan.images import find_volume

    return {modality: read_volume(find_volume(name, folder)).voxels for modality, (name, _) in CROPS.items()}


def _textures() -> dict[str, np.ndarray]:
    """In the place of scans, where there are none."""
    volumes = {modality: texture((48, 240, 240), modality, "float32") for modality in CROPS}
    return {modality: np.pad(volume, [(s, 0) for s in CROPS[modality][1]], mode="wrap") for modality, volume in volumes.items()}


def write_references(scans: Path | None, data: Path, tiny: bool) -> None:
    """Inputs and the processor's results, single precision, as one file."""
    volumes = _scans(scans) if scans else _textures()
    arrays: dict[str, np.ndarray] = {}
    for number, case in enumerate(cases(tiny)):
        arrays[f"{number} input"] = crop = crop_for(case, volumes)
        arrays[f"{number} name"] = np.array(case.name)
        result = case.run(crop, "cpu", half=False)
        arrays[f"{number} output"] = result.volume.voxels
        print(case.name, result.volume.voxels.shape, (result.report.get("detail") or {}).get("told", ""), *result.report["warnings"], flush=True)
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    assert len(packed.getvalue()) <= MOST_BYTES, len(packed.getvalue())
    data.mkdir(parents=True, exist_ok=True)
    (data / FILE).write_bytes(packed.getvalue())
    print(f"{data / FILE}: {len(packed.getvalue()) / 2**20:.1f} MiB, {len(arrays) // 3} cases")
