"""nnU-Net style: a scan to voxels of 1 mm, a segmentation there, and its label map back on the scan's own grid.  Needs nothing but this package.

    python segment_at_1mm.py SCAN LABELS_OUT [CT or MR [METHOD]]

``segment`` is where your network goes: it gets voxels of 1 mm and gives labels on the same grid.  Here it is a threshold.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
from superres3d import Volume, read_volume, upscale, upscale_labels, write_volume

MILLIMETRES = 1.0


def segment(voxels: np.ndarray) -> np.ndarray:
    """A stand-in: everything brighter than the mean is 1.  Put your predictor here; the axes are (k, j, i)."""
    return (voxels > voxels.mean()).astype(np.uint8)


def main(scan: str, labels_out: str, modality: str = "auto", method: str = "two-stage-residual") -> None:
    """One scan."""
    own = read_volume(scan)
    fine = upscale(own, spacing=MILLIMETRES, modality=modality, method=method).volume
    labels = Volume(segment(fine.voxels), fine.spacing, fine.origin, fine.direction)
    write_volume(replace(upscale_labels(labels, own), modality=""), labels_out)  # a voxel takes the label that fills most of it


if __name__ == "__main__":
    main(*sys.argv[1:])
