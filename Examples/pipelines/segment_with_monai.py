"""MONAI style: a scan to voxels of 1 mm, a segmentation there, and its label map back on the scan's own grid.

    python segment_with_monai.py SCAN LABELS_OUT [CT or MR]

``segment`` is where your network goes: it gets voxels of 1 mm and gives labels on the same grid.  Here it is a threshold.  MONAI brings the labels back;
any other resampling by nearest neighbour does the same.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage, ResampleToMatch, SaveImage
from superres3d import Volume, read_volume, upscale

MILLIMETRES = 1.0
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def segment(scan: MetaTensor) -> MetaTensor:
    """A stand-in: everything brighter than the mean is 1.  Put your predictor here, such as MONAI's ``sliding_window_inference``."""
    return (scan > scan.mean()).to(torch.uint8)


def as_tensor(volume: Volume) -> MetaTensor:
    """As MONAI has scans: channel first, then i, j, k, with an affine in RAS millimetres."""
    affine = np.eye(4)
    affine[:3, :3] = volume.direction * np.asarray(volume.spacing)
    affine[:3, 3] = volume.origin
    return MetaTensor(torch.as_tensor(volume.voxels.T.astype(np.float32))[None], affine=torch.as_tensor(_LPS_TO_RAS @ affine))


def main(scan: str, labels_out: str, modality: str = "auto") -> None:
    """One scan."""
    fine = as_tensor(upscale(read_volume(scan), spacing=MILLIMETRES, modality=modality).volume)
    labels = segment(fine)
    own = LoadImage(ensure_channel_first=True, image_only=True)(scan)
    back = ResampleToMatch(mode="nearest")(labels, img_dst=own)
    SaveImage(output_dtype=np.uint8, resample=False, print_log=False)(back, filename=labels_out.removesuffix(".nii.gz"))


if __name__ == "__main__":
    main(*sys.argv[1:])
