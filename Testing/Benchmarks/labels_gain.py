#!/usr/bin/env python
"""How well a label map is brought to a finer grid: against nearest neighbour and other ways, by Dice, surface distances and pieces.

    python Testing/Benchmarks/labels_gain.py SCANS split.csv --subset val
    python Testing/Benchmarks/labels_gain.py SCANS split.csv --subset val --segmenter FOLDER     # MeshNet's classes as well

Truths are bone and lung, vessels in lung (CT, thresholds), three tissues (MR, k-means), and spheres and tubes of known form.  Coarse maps have in each voxel the label that most
of the truth's voxels there have.  Distances are in millimetres, means over labels of 100 voxels or more; pieces hang together over 26 neighbours.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy import ndimage
from superres3d import read_volume
from superres3d.evaluation.protocol import read_subjects
from superres3d.resampling.interpolation import resize
from superres3d.resampling.labels import refine_labels

Factors = tuple[int, int, int]
Grid = tuple[float, float, float]
_LEAST, _CROP, _HOUSE = 100, 160, "superres3d"
_TASKS: dict[str, Factors] = {f"{name} {scale}x": tuple(scale if on else 1 for on in axes) for scale in (2, 4) for name, axes in (("in-plane", (0, 1, 1)), ("through-plane", (1, 0, 0)), ("all", (1, 1, 1)))}  # type: ignore[misc]


def by_scores(labels: np.ndarray, factors: Factors, field: Callable[[np.ndarray], np.ndarray], kernel: str) -> np.ndarray:
    """The label whose interpolated field is largest."""
    best, result = None, None
    for label in np.unique(labels):
        score = resize(field(labels == label).astype(np.float32), factors, kernel)
        if best is None:
            best, result = score, np.full(score.shape, label)
        result[score > best] = label
        np.maximum(best, score, out=best)
    return result


def signed_distance(spacing: Grid) -> Callable[[np.ndarray], np.ndarray]:
    """Positive inside, millimetres."""
    half = min(spacing) / 2

    def field(mask: np.ndarray) -> np.ndarray:
        if mask.all():
            return np.full(mask.shape, 99.0)
        inner, outer = (ndimage.distance_transform_edt(part, sampling=spacing) for part in (mask, ~mask))
        return np.where(mask, inner - half, half - outer)

    return field


def blurred(mask: np.ndarray) -> np.ndarray:
    """By a Gaussian of half a voxel."""
    return ndimage.gaussian_filter(mask.astype(np.float32), 0.5, truncate=3)


WAYS: dict[str, Callable[[np.ndarray, Factors, Grid], np.ndarray]] = {
    "nearest": lambda labels, factors, _: resize(labels.astype(np.float64), factors, "nearest").astype(labels.dtype),
    "share, linear": lambda labels, factors, _: by_scores(labels, factors, np.asarray, "linear"),
    "share, Lanczos": lambda labels, factors, _: by_scores(labels, factors, np.asarray, "lanczos"),
    "blurred share, cubic": lambda labels, factors, _: by_scores(labels, factors, blurred, "cubic"),
    "distance, linear": lambda labels, factors, spacing: by_scores(labels, factors, signed_distance(spacing), "linear"),
    "distance, Lanczos": lambda labels, factors, spacing: by_scores(labels, factors, signed_distance(spacing), "lanczos"),
    _HOUSE: lambda labels, factors, spacing: refine_labels(labels, [n * f for n, f in zip(labels.shape, factors)], spacing),
}


def majority(truth: np.ndarray, factors: Factors) -> np.ndarray:
    """In each voxel the label that most of its parts have; of equals the smallest."""
    k, j, i = (n // f for n, f in zip(truth.shape, factors))
    best, labels = np.zeros((k, j, i), int), np.zeros((k, j, i), truth.dtype)
    for label in np.unique(truth):
        count = (truth == label).reshape(k, factors[0], j, factors[1], i, factors[2]).sum(axis=(1, 3, 5))
        labels[count > best] = label
        np.maximum(best, count, out=best)
    return labels


def agreement(truth: np.ndarray, labels: np.ndarray, spacing: Grid) -> tuple[float, float, float]:
    """Mean over labels of (Dice, average surface distance, 95th percentile of it); distances leave out labels that vanished."""
    found = []
    for label in np.unique(truth)[1:] if truth.min() == 0 else np.unique(truth):
        one, other = truth == label, labels == label
        if one.sum() >= _LEAST:
            box = tuple(slice(max(0, part.start - 2), part.stop + 2) for part in ndimage.find_objects((one | other).astype(np.uint8))[0])
            found.append((2 * (one & other).sum() / (one.sum() + other.sum()), *_distances(one[box], other[box], spacing)))
    return tuple(np.nanmean(found, axis=0))  # type: ignore[return-value]


def _distances(one: np.ndarray, other: np.ndarray, spacing: Grid) -> tuple[float, float]:
    surfaces = [mask & ~ndimage.binary_erosion(mask, border_value=1) for mask in (one, other)]
    if not all(surface.any() for surface in surfaces):
        return np.nan, np.nan
    ways = [ndimage.distance_transform_edt(~goal, sampling=spacing)[start] for start, goal in (surfaces, surfaces[::-1])]
    return float(np.concatenate(ways).mean()), float(max(np.percentile(way, 95) for way in ways))


def pieces(labels: np.ndarray) -> int:
    """Of all labels but 0."""
    return sum(ndimage.label(labels == label, np.ones((3, 3, 3)))[1] for label in np.unique(labels) if label)


def spheres_and_tubes() -> Iterator[tuple[str, np.ndarray, Grid]]:
    """Of known form, a label a sphere."""
    rng, places = np.random.default_rng(2), np.stack(np.mgrid[:96, :96, :96], -1).astype(float)
    spheres, tubes = np.zeros((96, 96, 96), np.uint8), np.zeros((96, 96, 96), np.uint8)
    for number in range(30):
        spheres[np.linalg.norm(places - rng.uniform(10, 86, 3), axis=-1) < rng.uniform(2, 12)] = number + 1
    for _ in range(12):
        along, offset = rng.normal(size=3), places - rng.uniform(20, 76, 3)
        along /= np.linalg.norm(along)
        tubes[np.linalg.norm(offset - (offset @ along)[..., None] * along, axis=-1) < rng.uniform(2, 4)] = 1
    yield "spheres", spheres, (1, 1, 1)
    yield "tubes", tubes, (1, 1, 1)


def truths_of(name: str, modality: str, path: Path, segmenter: Path | None) -> Iterator[tuple[str, np.ndarray, Grid]]:
    """(name, labels, spacing (k, j, i)) of a scan's middle."""
    volume = read_volume(path)
    voxels, spacing = _middle(volume.voxels).astype(np.float32), volume.spacing[::-1]
    if modality == "CT":
        smooth = ndimage.gaussian_filter(voxels, 0.7)
        yield f"bone, lung: {name}", ((smooth > 200) + 2 * (smooth < -500)).astype(np.uint8), spacing
        smooth = ndimage.gaussian_filter(voxels, (0.4, 0.8, 0.8))
        yield f"vessels: {name}", (ndimage.binary_closing(smooth < -500, iterations=6) & (smooth > -350)).astype(np.uint8), spacing
        return
    yield f"tissues: {name}", _tissues(ndimage.gaussian_filter(voxels, 0.5)), spacing
    if segmenter and "t1" in name:
        yield f"brain: {name}", _middle(_segmented(path, segmenter)), (1, 1, 1)


def _tissues(voxels: np.ndarray) -> np.ndarray:
    """0 and three classes by k-means."""
    foreground = voxels > 0.1 * np.percentile(voxels[voxels > 0], 99)
    values = voxels[foreground]
    centres = np.percentile(values, [15, 50, 85])
    for _ in range(20):
        nearest = np.abs(values[:, None] - centres).argmin(axis=1)
        centres = np.array([values[nearest == number].mean() for number in range(3)])
    labels = np.zeros(voxels.shape, np.uint8)
    labels[foreground] = nearest + 1
    return labels


def _segmented(path: Path, segmenter: Path) -> np.ndarray:
    """MeshNet's classes on its own grid of 1 mm; see the folder's meshnet_oracle.py."""
    sys.path.insert(0, str(segmenter.parent))
    import meshnet_oracle
    import SimpleITK as sitk

    net = meshnet_oracle.MeshNet(segmenter)
    labels = meshnet_oracle.run(net, meshnet_oracle.conform(sitk.ReadImage(str(path)))[0], net.config["input"]["key"])
    return labels[ndimage.find_objects((labels > 0).astype(np.uint8))[0]]


def _middle(voxels: np.ndarray) -> np.ndarray:
    """At most _CROP voxels along an axis, multiples of 4."""
    sizes = [min(n, _CROP) // 4 * 4 for n in voxels.shape]
    return np.ascontiguousarray(voxels[tuple(slice((n - size) // 2, (n - size) // 2 + size) for n, size in zip(voxels.shape, sizes))])


def rows(truths: Iterator[tuple[str, np.ndarray, Grid]]) -> Iterator[tuple[str, str, str, list[float]]]:
    """(truth, task, way, [Dice, average, 95 %, pieces of the result less those of the coarse map])."""
    for name, truth, spacing in truths:
        for task, factors in _TASKS.items():
            coarse = majority(truth, factors)
            for way, refined in WAYS.items():
                result = refined(coarse, factors, tuple(s * f for s, f in zip(spacing, factors)))  # type: ignore[arg-type]
                assert np.isin(result, coarse).all(), f"{way} invented a label"
                yield name, task, way, [*agreement(truth, result, spacing), pieces(result) - pieces(coarse)]


def main(
    data: Path, split: Path, subset: Annotated[str, typer.Option()] = "val", segmenter: Annotated[Path | None, typer.Option(help="Folder of a MeshNet.")] = None,
    only: Annotated[str, typer.Option(help="Names that begin like this.")] = "", forms: Annotated[bool, typer.Option(help="Spheres and tubes as well.")] = True,
) -> None:  # fmt: skip
    """Print every measurement, then means over the truths."""

    def truths() -> Iterator[tuple[str, np.ndarray, Grid]]:
        if forms:
            yield from spheres_and_tubes()
        for subject in read_subjects(data, split, subset):
            if subject.name.startswith(only):
                yield from truths_of(subject.name, subject.modality, subject.path, segmenter)

    head = "| --- | --- | ---: | ---: | ---: | ---: |"
    print(f"| truth | task | way | Dice | average, mm | 95 %, mm | pieces |\n{head.replace('| ---: |', '| --- | ---: |', 1)}")
    means: dict[tuple[str, str], list[list[float]]] = {}
    for name, task, way, found in rows(truths()):
        means.setdefault((task, way), []).append([*found[:3], abs(found[3])])
        print(f"| {name} | {task} | {way} | {found[0]:.4f} | {found[1]:.3f} | {found[2]:.2f} | {found[3]:+.0f} |", flush=True)
    print(f"\n| task | way | Dice | average, mm | 95 %, mm | pieces too many or too few |\n{head}")
    for (task, way), found in means.items():
        dice, average, most, changed = np.mean(found, axis=0)
        print(f"| {task} | {way} | {dice:.4f} | {average:.3f} | {most:.2f} | {changed:.1f} |")


if __name__ == "__main__":
    typer.run(main)
