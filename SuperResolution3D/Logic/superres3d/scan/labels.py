"""A segmentation of a scan: read, checked against the scan, and brought to the grid of the result.

>>> import numpy as np
>>> from superres3d import Volume, upscale, upscale_labels
>>> scan = Volume(np.arange(64, dtype=np.int16).reshape(4, 4, 4), spacing=(1.0, 1.0, 5.0))
>>> segmentation = Volume((scan.voxels > 31).astype(np.uint8), scan.spacing)
>>> result = upscale(scan, 2, axes="through-plane", method="linear", modality="MR")
>>> upscale_labels(segmentation, result.volume).voxels[:, 0, 0].tolist()
[0, 0, 0, 0, 1, 1, 1, 1]
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import Cancelled, InputError
from ..resampling.labels import coarser_labels, refine_labels
from .geometry import farthest, matrix_of
from .images import read_volume
from .volume import Volume, placed, triple

if TYPE_CHECKING:
    from .dicom.folder import DicomFile

_SAME = 0.1  # of the smallest side of a voxel: corners that are closer than that are the same
_TURNED = 0.999  # cosine between axes that are the same, perhaps the other way round
_KEPT_DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32")


def read_labels(path: str | os.PathLike, scan: Volume | None = None) -> Volume:
    """Read a label map from any file that :func:`superres3d.read_volume` reads, or from a DICOM segmentation, whose segments become labels by their numbers.

    Args:
        path: the file; or a folder with nothing but a DICOM segmentation.
        scan: for DICOM segmentations, which may leave out slices without a segment: the scan to whose distance of slices they belong.

    Returns:
        Volume with integers; other whole numbers were converted, which is in its notes.

    Raises:
        InputError: as for a scan, but for label maps and constants, which are fine here; and values that are no whole numbers.
    """
    path = Path(path)
    file = _segmentation_file(path) if path.exists() else None
    if file is None:
        return _read_one(path)
    from .dicom.segmentation import read_segmentation

    return accepted_labels(read_segmentation(file, _step(file, scan)), str(path))


def _read_one(path: Path) -> Volume:
    try:
        return read_volume(path, accept=accepted_labels)
    except InputError as error:
        if "; choose one with --" not in str(error):
            raise
        raise InputError(f"{path} holds several volumes or series; save one label map as a file of its own.") from None  # those options are for the scan


def accepted_labels(volume: Volume, name: str) -> Volume:
    """The label map with integers that files can hold, or a refusal; ``name`` is what the message calls it.

    Raises:
        InputError: not 3-D, no valid grid, values that are no whole numbers or need more than 32 bits.
    """
    if volume.voxels.ndim != 3:
        raise InputError(f"{name} has {volume.voxels.ndim} axes; give a 3-D label map.")
    return placed(_with_integers(volume, name), name)


def on_grid_of(labels: Volume, scan: Volume, name: str) -> Volume:
    """The label map with the axes in the order and the directions of the scan's, if it lies on the scan's grid.

    Raises:
        InputError: another size, another DICOM frame of reference, or corners that are a tenth of a voxel or more away; or it is the scan itself.
    """
    _check_frame(labels, scan, name)
    turned = _completed(_turned(labels, scan), scan)
    if turned.voxels.shape != scan.voxels.shape:
        raise InputError(f"{name} has {_size(labels)} voxels and the scan {_size(scan)}; give a segmentation on the grid of the scan.")
    apart = farthest(matrix_of(turned), matrix_of(scan), turned.voxels.shape[::-1])
    if apart > _SAME * min(scan.spacing):
        raise InputError(f"{name} lies up to {apart:.3g} mm away from the scan; give a segmentation on the grid of the scan.")
    if np.array_equal(turned.voxels, scan.voxels):
        raise InputError(f"{name} holds the same voxels as the scan; give its segmentation.")
    return turned


def upscale_labels(
    labels: Volume, result: Volume, *, progress: Callable[[str, float], None] | None = None, cancelled: Callable[[], bool] | None = None,
    window: Sequence[tuple[int, int]] | None = None,
) -> Volume:  # fmt: skip
    """A segmentation of a scan on the grid of the scan's result: smooth borders, no new labels, pieces and holes as they were.

    Along an axis that has become coarser a voxel takes the label that fills most of it; what is smaller may vanish there.

    Args:
        labels: of the scan, voxels (k, j, i) of integers, on its grid (axes may be in another order or direction); not changed.
        result: the upscaled scan, for its grid; see :func:`superres3d.upscale`.
        progress: called with ("labels", share that is done).
        cancelled: asked between blocks; a true answer stops the work.
        window: (start, stop) along (k, j, i) of the part of that grid that is wanted; None: all of it.

    Returns:
        The labels with their dtype on exactly the grid of ``result``, or on the wanted part of it.

    Raises:
        InputError: the labels do not fill the same field of view.
        Cancelled: ``cancelled`` answered true.
    """
    turned = _turned(accepted_labels(labels, "The label map"), result)
    fine = result.voxels.shape
    shrunk = result.refined(result.voxels, [n / m for n, m in zip(turned.voxels.shape, fine)])  # its field of view in as many voxels as the labels have
    apart = farthest(matrix_of(turned), matrix_of(shrunk), turned.voxels.shape[::-1])
    if apart > _SAME * min(turned.spacing):
        raise InputError(f"The label map ({_size(labels)} voxels) does not fill the field of view of the result ({_size(result)}); give one on the grid of the scan.")

    def tick(share: float) -> None:
        if cancelled and cancelled():
            raise Cancelled
        if progress:
            progress("labels", share)

    coarse = coarser_labels(turned.voxels, fine)
    sizes = [size * n / m for size, n, m in zip(turned.spacing[::-1], turned.voxels.shape, coarse.shape)]
    voxels = refine_labels(coarse, fine, sizes, tick, window)
    first = [start for start, _ in window[::-1]] if window else [0, 0, 0]
    return replace(turned, voxels=voxels, spacing=result.spacing, origin=triple(result.position(first)), direction=result.direction)


def _turned(labels: Volume, scan: Volume) -> Volume:
    """Axes in the order and the directions of the scan's, where they are the same lines; else as they are."""
    cosines = np.asarray(labels.direction).T @ np.asarray(scan.direction)  # (axis of the labels, axis of the scan), both i, j, k
    axes = np.abs(cosines).argmax(axis=0)
    signs = np.sign(cosines[axes, range(3)])
    if set(axes) != {0, 1, 2} or np.abs(cosines[axes, range(3)]).min() < _TURNED:
        return labels
    voxels = labels.voxels.T.transpose(axes)[tuple(slice(None, None, int(sign)) for sign in signs)].T
    first = np.zeros(3)  # the voxel of the labels that comes first now
    first[axes[signs < 0]] = np.array(voxels.shape[::-1])[signs < 0] - 1
    return replace(
        labels, voxels=voxels, spacing=triple(np.asarray(labels.spacing)[axes]), origin=triple(labels.position(first)), direction=np.asarray(labels.direction)[:, axes] * signs
    )


def _segmentation_file(path: Path) -> DicomFile | None:
    """None: the file is no DICOM segmentation, or pydicom is missing, which the reader of DICOM will say."""
    try:
        from .dicom.segmentation import segmentation_file
    except ModuleNotFoundError:
        return None
    return segmentation_file(path)


def _check_frame(labels: Volume, scan: Volume, name: str) -> None:
    """Positions in different frames of reference (0020,0052) say nothing of each other (PS3.3 C.7.4.1)."""
    headers = (*getattr(scan.source, "headers", ())[:1], getattr(labels.source, "header", None))
    if len(headers) < 2 or None in headers:
        return
    from .dicom.values import text

    if len({text(header, "FrameOfReferenceUID") or "" for header in headers} - {""}) > 1:
        raise InputError(f"{name} belongs to another frame of reference than the scan, so its places cannot be compared; give the segmentation of this scan.")


def _step(file: DicomFile, scan: Volume | None) -> float | None:
    """The scan's distance of voxels along the axis that is the normal of the segmentation's frames."""
    if scan is None:
        return None
    from .dicom.frame import frames_of
    from .dicom.values import quiet

    with quiet():
        normal = frames_of(file)[0].normal
    along = np.abs(normal @ np.asarray(scan.direction))
    return float(scan.spacing[int(along.argmax())])


def _completed(labels: Volume, scan: Volume) -> Volume:
    """A DICOM segmentation with the slices of the scan that it leaves out, as these hold no segment; any other as it is."""
    if labels.modality != "SEG" or not np.allclose(labels.spacing, scan.spacing, rtol=0.01):
        return labels
    offset = np.rint(np.linalg.solve(matrix_of(scan), [*labels.origin, 1.0])[:3]).astype(int)[::-1]
    stop = offset + labels.voxels.shape
    if (offset < 0).any() or (stop > scan.voxels.shape).any():
        return labels
    voxels = np.zeros(scan.voxels.shape, labels.voxels.dtype)
    voxels[tuple(slice(first, last) for first, last in zip(offset, stop))] = labels.voxels
    return replace(labels, voxels=voxels, origin=triple(labels.position(-offset[::-1])))


def _with_integers(volume: Volume, name: str) -> Volume:
    """Whole numbers as integers of at most 32 bits."""
    voxels = volume.voxels
    if str(voxels.dtype) in _KEPT_DTYPES:
        return volume
    if voxels.dtype.kind not in "biuf" or not np.isfinite(voxels).all() or (voxels.dtype.kind == "f" and (np.rint(voxels) != voxels).any()):
        raise InputError(f"{name} has values that are no whole numbers; give a label map, not a map of probabilities or a scan.")
    low, high = (int(voxels.min()), int(voxels.max())) if voxels.size else (0, 0)
    target = next((name for name in ("uint8", "int16", "int32") if np.iinfo(name).min <= low and high <= np.iinfo(name).max), None)
    if target is None:
        raise InputError(f"{name} has labels up to {high if high > -low else low}; give labels that fit into 32 bits.")
    note = f"Labels were converted from {voxels.dtype} to {target}."
    return replace(volume, voxels=voxels.astype(target), notes=(*volume.notes, note))


def _size(volume: Volume) -> str:
    return " x ".join(str(n) for n in volume.voxels.shape[::-1])
