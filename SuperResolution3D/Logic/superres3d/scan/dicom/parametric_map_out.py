"""An error map as a DICOM parametric map, by highdicom: on the slices of a derived series, in real units."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...staging import Staging
from ..volume import Volume
from .highdicom_out import EQUIPMENT, highdicom_for, stage_dataset
from .uids import digest_of, uid_of

if TYPE_CHECKING:
    from types import ModuleType

_WHAT = "A DICOM parametric map"
_SERIES_AFTER = 60  # Series Number (0020,0011): that of the derived series and this
_DESCRIPTION = "expected error of super-resolution, not for diagnosis"
_WINDOW_SHARE = 99.0  # percentile that is shown brightest


def check_parametric_map() -> None:
    """Refuse, before the work, what cannot be written (InputError: highdicom is missing)."""
    highdicom_for(_WHAT)


def stage_parametric_map(errors: Volume, images: Sequence[Path], path: Path, staging: Staging) -> None:
    """Write a map that refers to the slices of a series, among outputs that appear together.

    Patient, study and frame of reference are those of the series (C.7.1.1, C.7.2.1, C.7.4.1); values are Float Pixel Data (7FE0,0008), one to one with a Real World
    Value Mapping (C.7.6.16.2.11) in Hounsfield units for CT, without a unit for MR.

    Args:
        errors: (k, j, i), real, on the grid of the series.
        images: the files of the series, in any order.
        path: where it shall be.
        staging: brings all outputs to their places together.

    Raises:
        InputError: highdicom is missing, or cannot describe the map.
        ResourceError: the disk refuses.
    """
    hd = highdicom_for(_WHAT)
    refusal = f"The series cannot be described in {path.name} as DICOM wants it; give the error map a name such as errors.nii.gz."
    stage_dataset(lambda series: _dataset(hd, errors, series), images, errors, path, staging, refusal)


def _dataset(hd: ModuleType, errors: Volume, series: list[Any]) -> Any:
    from pydicom.sr.codedict import codes

    voxels = np.ascontiguousarray(errors.voxels, np.float32)
    digest = digest_of(["error map", *(str(header.SOPInstanceUID) for header in series), voxels.tobytes()])
    brightest = max(float(np.percentile(voxels[:: max(1, len(voxels) // 64)], _WINDOW_SHARE)), float(np.finfo(np.float32).tiny))
    ct = str(series[0].Modality) == "CT"
    mapping = hd.pm.RealWorldValueMapping(
        lut_label="ERROR", lut_explanation="Expected local error, root mean square", unit=codes.UCUM.HounsfieldUnit if ct else codes.UCUM.NoUnits,
        value_range=(0.0, float(voxels.max())), slope=1.0, intercept=0.0,
    )  # fmt: skip
    dataset = hd.pm.ParametricMap(
        source_images=series,
        pixel_array=voxels,
        series_instance_uid=uid_of("series", digest),
        series_number=int(series[0].SeriesNumber) + _SERIES_AFTER,
        sop_instance_uid=uid_of("instance", digest),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=brightest / 2, window_width=brightest)],
        content_description=_DESCRIPTION,
        content_label="ERROR",
        **EQUIPMENT,
    )
    dataset.SeriesDescription = _DESCRIPTION
    if "Laterality" not in dataset:
        dataset.Laterality = ""  # (0020,0060), type 2C: not told
    return dataset
