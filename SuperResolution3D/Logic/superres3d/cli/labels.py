"""``--labels`` and ``--labels-out`` of ``superres3d upscale``: a segmentation goes along with its scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, ResourceError, bytes_in_words
from ..reporter import Reporter

if TYPE_CHECKING:
    from ..plan import Plan
    from ..scan.volume import Volume
    from ..staging import Staging

_WORKING_BYTES = 512 << 20  # beside the map itself


@dataclass(frozen=True)
class Segmentation:
    """The label map of a run.

    Attributes:
        source: the file to read.
        target: the file to write.
    """

    source: Path
    target: Path

    @classmethod
    def named(cls, source: Path | None, target: Path | None) -> Segmentation | None:
        """From what was typed; None: there is none (InputError: only one of the two)."""
        if source is None and target is None:
            return None
        if source is None or target is None:
            raise InputError("--labels names the segmentation to read and --labels-out the file to write it to; give both.")
        return cls(source, target)

    def read(self, scan: Volume, plan: Plan, limit: int | None) -> Volume:
        """The label map on the scan's grid, or a refusal before the scan is computed with.

        Args:
            scan: the scan that it belongs to.
            plan: of the scan.
            limit: bytes of memory; None: what is free.

        Raises:
            InputError: no label map, or one that lies elsewhere.
            ResourceError: it would not fit into memory on the grid of the result.
        """
        import psutil

        from ..scan.dicom.highdicom_out import is_dicom_name
        from ..scan.dicom.segmentation_out import check_segmentation
        from ..scan.labels import on_grid_of, read_labels

        labels = on_grid_of(read_labels(self.source, scan), scan, str(self.source))
        if is_dicom_name(self.target):
            check_segmentation(labels, str(self.source))
        needed, free = prod(plan.made_shape) * labels.voxels.itemsize + _WORKING_BYTES, limit or psutil.virtual_memory().available
        if needed > free:
            raise ResourceError(
                f"The label map on the grid of the result needs {bytes_in_words(needed)} of memory and {bytes_in_words(free)} are free or allowed; use a smaller factor, labels of fewer bits or a region."
            )
        return labels

    def stage(self, labels: Volume, grid: Volume, plan: Plan, slices: Sequence[Path], staging: Staging, reporter: Reporter) -> dict[str, Any]:
        """Bring it to the grid of the result and write it beside its place; returns what the report tells of it.

        Args:
            labels: from :meth:`read`.
            grid: from :func:`grid_of`.
            plan: of the scan.
            slices: the result's, where it is a DICOM series.
            staging: brings all outputs to their places together.
            reporter: of the run.
        """
        from ..scan.dicom.highdicom_out import is_dicom_name
        from ..scan.dicom.segmentation_out import stage_segmentation
        from ..scan.labels import upscale_labels
        from ..scan.writing import stage_volume

        fine = upscale_labels(labels, grid, progress=lambda *_: reporter.progress("labels", 1.0), window=plan.kept)  # a small part of the whole
        if is_dicom_name(self.target):
            stage_segmentation(fine, slices, self.target, staging)
        else:
            stage_volume(fine, self.target, staging, {"ITK_FileNotes": "Label map, upscaled by SuperResolution3D; not for diagnosis"})
        return {"source": str(self.source), "output": str(self.target), "dtype": str(fine.voxels.dtype), "notes": list(labels.notes)}


def grid_of(scan: Volume, plan: Plan) -> Volume:
    """The whole result without the memory of its voxels."""
    return scan.refined(np.broadcast_to(np.zeros((), scan.voxels.dtype), plan.output_shape), plan.factors)
