#!/usr/bin/env python
"""Training and validation scans in one small file, for a machine that can take little along.

    python Testing/Benchmarks/gpu/pack.py SCANS mr.pack --modality MR

MR is kept in 8 bits, 200 steps from the 0.1 to the 99.5 percentile (0.15 % of the range RMS), CT in the 12 bits of its Hounsfield units, without a
loss.  Air around the body is cut off; each slice is a lossless JPEG 2000 stream in an uncompressed ZIP archive, ``pack.json`` tells the rest.
Only scans of the sets ``train`` and ``val`` are taken: a test subject cannot get in.
"""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

MR_STEPS = 200  # of the range that is 0 to 1 in network units
CT_SPAN = 4095
_AIR = {"MR": 12, "CT": 300}  # stored values up to which a voxel may be air
_MARGIN = 6
_INDEX = "pack.json"


@dataclass(frozen=True)
class Scan:
    """What is known of a packed scan.

    Attributes:
        name: its id in the catalogue.
        subset: "train" or "val".
        shape: (slices, rows, columns).
        sharp_slices: it may teach what refines the slice axis.
        any_axis: each axis may be taken as the slice axis.
    """

    name: str
    subset: str
    shape: tuple[int, int, int]
    sharp_slices: bool
    any_axis: bool


def quantised(inside: np.ndarray, modality: str) -> np.ndarray:
    """Network units to whole numbers: uint8 (MR; what lies above 1.275 saturates) or uint16 (CT, HU + 1024)."""
    if modality == "CT":
        return np.rint(inside * CT_SPAN).astype(np.uint16)
    return np.clip(np.rint(inside * MR_STEPS), 0, 255).astype(np.uint8)


def span(modality: str) -> int:
    """The whole number that 1 in network units is stored as."""
    return CT_SPAN if modality == "CT" else MR_STEPS


def body(values: np.ndarray, air: int) -> tuple[slice, slice, slice]:
    """The box in which a hundredth of each plane is above ``air``, with a margin."""
    box = []
    for axis in range(3):
        filled = (values > air).mean(axis=tuple(other for other in range(3) if other != axis)) > 0.01
        inside = np.flatnonzero(filled)
        box.append(slice(max(0, int(inside[0]) - _MARGIN), int(inside[-1]) + 1 + _MARGIN) if len(inside) else slice(None))
    return box[0], box[1], box[2]


def write_pack(path: Path, modality: str, scans: list[tuple[Scan, np.ndarray]], step: int = 1) -> None:
    """Scans as whole numbers, (slices, rows, columns) each, to one file; rounded to multiples of ``step``."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_INDEX, json.dumps({"modality": modality, "step": step, "scans": [asdict(scan) for scan, _ in scans]}, indent=1))
        for scan, values in scans:
            for number, image in enumerate(values):
                archive.writestr(f"{scan.name}/{number}.j2k", _encoded((image + np.array(step // 2, image.dtype)) // np.array(step, image.dtype)))


def read_pack(path: Path) -> tuple[str, list[tuple[Scan, np.ndarray]]]:
    """The modality, and what :func:`write_pack` was given."""
    with zipfile.ZipFile(path) as archive:
        index = json.loads(archive.read(_INDEX))
        scans = [Scan(**{**entry, "shape": tuple(entry["shape"])}) for entry in index["scans"]]
        streams = {scan.name: [archive.read(f"{scan.name}/{number}.j2k") for number in range(scan.shape[0])] for scan in scans}
    with ProcessPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # a decoder holds Python's lock
        volumes = [np.stack(list(pool.map(_decoded, streams[scan.name], chunksize=16))) for scan in scans]
    volumes = [values * np.array(index.get("step", 1), values.dtype) for values in volumes]
    return index["modality"], list(zip(scans, volumes))


def _encoded(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG2000", irreversible=False, no_jp2=True)
    return stream.getvalue()


def _decoded(stream: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(stream)))


def _central(values: np.ndarray, most: int) -> np.ndarray:
    first = max(0, (len(values) - most) // 2)
    return values[first : first + most]


def _packed_values(name: str, scans: Path, modality: str) -> np.ndarray:
    """The body of a scan as whole numbers, slices first."""
    from superres3d import read_volume
    from superres3d.scan.images import find_volume
    from superres3d.scan.intensity import intensity_scale
    from superres3d.scan.volume import find_slice_axis

    volume = read_volume(find_volume(name, scans))
    scale = intensity_scale(volume.voxels, modality)
    inside = scale.split(scale.normalise(volume.voxels))[0]
    values = quantised(np.moveaxis(inside, find_slice_axis(volume.spacing), 0), modality)
    return values[body(values, _AIR[modality])]


def _further(table: Path, modality: str) -> list[tuple[Scan, Path]]:
    """Scans of a table (id, modality, split, sharp_slices; those of "train" and "val") in the folder "volumes" beside it; their shape is not known yet."""
    with open(table, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["modality"] == modality and row["split"] in ("train", "val")]
    return [(Scan(row["id"], row["split"], (0, 0, 0), row["sharp_slices"] == "yes", False), table.parent / "volumes") for row in rows]


def _spread(values: np.ndarray, most: int) -> np.ndarray:
    return values[np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int)]


def main(
    scans: Path, out: Path, modality: str = "MR", most_slices: int = 0, leave_out: list[str] | None = None, validation: bool = True, more: Path | None = None, within: bool = False, step: int = 1
) -> None:  # fmt: skip
    """Pack the subjects of models/recipes/subjects.toml.

    Args:
        scans: folder of the scans.
        out: the file to write.
        modality: MR or CT.
        most_slices: central slices that are kept of a scan that only teaches refinement within slices (0: all); of validation scans at most 32.
        leave_out: scans that are not taken.
        validation: whether validation scans are.
        more: a table of further scans, see :func:`_further`.
        within: for networks within slices alone: of each training scan ``most_slices`` from end to end.
        step: of whole numbers that are told apart; 3 HU take a third less room than 1.
    """
    from superres3d.training.recipe import load_recipe

    recipe = load_recipe(Path(__file__).parents[3] / "models" / "recipes" / "mdsr-3d.toml", {"modality": modality})
    wanted = [(Scan(name, "train", (0, 0, 0), name in recipe.all_axes or name in recipe.through_plane, name in recipe.all_axes), scans) for name in recipe.volumes]
    wanted += [(Scan(name, "val", (0, 0, 0), True, name in recipe.all_axes), scans) for name in recipe.validation]
    packed = []
    for scan, folder in wanted + (_further(more, modality) if more else []):
        if scan.name in (leave_out or ()) or scan.subset == "val" and not validation:
            continue
        values = _packed_values(scan.name, folder, modality)
        if within and scan.subset == "train":
            scan, values = replace(scan, sharp_slices=False, any_axis=False), _spread(values, most_slices)
        most = 32 if scan.subset == "val" else most_slices if not scan.sharp_slices else 0
        values = np.ascontiguousarray(_central(values, most) if most else values)
        packed.append((replace(scan, shape=(int(values.shape[0]), int(values.shape[1]), int(values.shape[2]))), values))
    write_pack(out, modality, packed, step)
    print(f"{out}: {len(packed)} scans, {out.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    import typer

    typer.run(main)
