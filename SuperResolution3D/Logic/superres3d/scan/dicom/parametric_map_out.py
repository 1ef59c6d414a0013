"""A map of a result, such as that of its errors, as a DICOM parametric map, by highdicom: beside a derived series, in real units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
_WINDOW_SHARE = 99.0  # percentile that is shown brightest


@dataclass(frozen=True)
class Meaning:
    """What a map holds.

    Attributes:
        label: Content Label (0070,0080), and LUT Label (0040,9210).
        explanation: LUT Explanation (0028,3003).
        description: of series and content.
        after: Series Number (0020,0011): that of the derived series and this.
    """

    label: str
    explanation: str
    description: str
    after: int


ERROR = Meaning("ERROR", "Expected local error, root mean square", "expected error of super-resolution, not for diagnosis", 60)
RESIDUAL = Meaning("RESIDUAL", "Result averaged over the voxels of the scan, minus the scan", "residual of super-resolution, not for diagnosis", 61)


def check_parametric_map() -> None:
    """Refuse, before the work, what cannot be written (InputError: highdicom is missing)."""
    highdicom_for(_WHAT)


def stage_parametric_map(volume: Volume, meaning: Meaning, images: Sequence[Path], path: Path, staging: Staging) -> None:
    """Write a map that refers to the slices of a series, among outputs that appear together.

    Patient, study and frame of reference are those of the series (C.7.1.1, C.7.2.1, C.7.4.1); values are Float Pixel Data (7FE0,0008), one to one with a Real World
    Value Mapping (C.7.6.16.2.11) in Hounsfield units for CT, without a unit for MR.

    Args:
        volume: (k, j, i), real, on any grid in the frame of reference of the series.
        meaning: of its values.
        images: the files of the series, in any order.
        path: where it shall be.
        staging: brings all outputs to their places together.

    Raises:
        InputError: highdicom is missing, or cannot describe the map.
        ResourceError: the disk refuses.
    """
    hd = highdicom_for(_WHAT)
    refusal = f"The series cannot be described in {path.name} as DICOM wants it; give the map a name such as {path.stem}.nii.gz."
    stage_dataset(lambda series: _dataset(hd, volume, meaning, series), images, volume, path, staging, refusal)


def _dataset(hd: ModuleType, volume: Volume, meaning: Meaning, series: list[Any]) -> Any:
    voxels = np.ascontiguousarray(volume.voxels, np.float32)
    digest = digest_of([meaning.description, *(str(header.SOPInstanceUID) for header in series), voxels.tobytes()])
    dataset = hd.pm.ParametricMap(
        source_images=series,
        pixel_array=voxels,
        series_instance_uid=uid_of("series", digest),
        series_number=int(series[0].SeriesNumber) + meaning.after,
        sop_instance_uid=uid_of("instance", digest),
        contains_recognizable_visual_features=True,  # errors are largest where skin meets air: a map of a head shows a face
        real_world_value_mappings=[_mapping(hd, voxels, meaning, str(series[0].Modality) == "CT")],
        voi_lut_transformations=[_window(hd, voxels)],
        content_description=meaning.description,
        content_label=meaning.label,
        **_place(hd, volume),
        **EQUIPMENT,
    )
    dataset.SeriesDescription = meaning.description
    if "Laterality" not in dataset:
        dataset.Laterality = ""  # (0020,0060), type 2C: not told
    return dataset


def _mapping(hd: ModuleType, voxels: np.ndarray, meaning: Meaning, ct: bool) -> Any:
    from pydicom.sr.codedict import codes

    unit = codes.UCUM.HounsfieldUnit if ct else codes.UCUM.NoUnits
    values = (min(0.0, float(voxels.min())), float(voxels.max()))
    return hd.pm.RealWorldValueMapping(lut_label=meaning.label, lut_explanation=meaning.explanation, unit=unit, value_range=values, slope=1.0, intercept=0.0)


def _window(hd: ModuleType, voxels: np.ndarray) -> Any:
    """From 0, or as far below it as above, to what few voxels exceed."""
    brightest = max(float(np.percentile(np.abs(voxels[:: max(1, len(voxels) // 64)]), _WINDOW_SHARE)), float(np.finfo(np.float32).tiny))
    signed = bool((voxels < 0).any())
    return hd.VOILUTTransformation(window_center=0.0 if signed else brightest / 2, window_width=brightest * (2 if signed else 1))


def _place(hd: ModuleType, volume: Volume) -> dict[str, Any]:
    """Where the voxels are (C.7.6.16.2.1, C.7.6.16.2.3, C.7.6.16.2.4)."""
    columns, rows, slices = volume.spacing
    first, second = volume.direction[:, 0], volume.direction[:, 1]
    return {
        "pixel_measures": hd.PixelMeasuresSequence(pixel_spacing=(rows, columns), slice_thickness=slices, spacing_between_slices=slices),
        "plane_orientation": hd.PlaneOrientationSequence("PATIENT", [float(x) for x in (*first, *second)]),
        "plane_positions": [hd.PlanePositionSequence("PATIENT", [float(x) for x in volume.position((0, 0, k))]) for k in range(len(volume.voxels))],
    }
