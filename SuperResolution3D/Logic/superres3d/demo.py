"""The demonstration: a real brain, made coarser, brought back, and compared with what it was.

The scan is the MNI152 2009a template at 1 mm (Fonov 2011; mean of 152 people), which ships
inside the package nilearn.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .files import claim_folder, stage_text
from .reporter import Reporter
from .resampling.degradation import antialiased_bicubic
from .scan.images import read_volume
from .scan.volume import Volume, triple
from .scan.writing import stage_volume, try_writing
from .staging import Staging
from .upscaling import NOT_FOR_DIAGNOSIS, upscale

_FACTOR = 2
_VOLUMES, _REPORT, _PICTURE = ("input", "truth", "upscaled", "lanczos"), "report.json", "comparison.png"
_QUALITY = "psnr_db_on_the_head"  # a report with it is of an earlier demonstration


def run_demo(out: Path, preset: str, device: str, reporter: Reporter) -> None:
    """Write input, truth, result, Lanczos comparison, report and ``comparison.png`` into ``out``.

    Raises:
        InputError: nilearn does not hold the template, or ``out`` cannot be written to.
    """
    claim_folder(out, (*(f"{name}.nii*" for name in _VOLUMES), _REPORT, _PICTURE), ours=_is_demo(out / _REPORT))
    for name in _VOLUMES:
        try_writing(out / f"{name}.nii.gz")
    truth = _even(_template())
    coarse = _coarser(truth, antialiased_bicubic(truth.voxels, (_FACTOR,) * 3))
    result = upscale(coarse, _FACTOR, modality="MR", preset=preset, device=device, progress=reporter.progress)
    lanczos = upscale(coarse, _FACTOR, modality="MR", method="lanczos")
    quality = {name: _psnr(volume.voxels, truth.voxels) for name, volume in (("lanczos", lanczos.volume), ("upscaled", result.volume))}
    report = {**result.report, _QUALITY: quality}
    with Staging() as staging:
        for name, volume in zip(_VOLUMES, (coarse, truth, result.volume, lanczos.volume)):
            stage_volume(volume, out / f"{name}.nii.gz", staging)
        stage_text(staging, out / _REPORT, json.dumps(report, indent=2) + "\n")
        _draw(coarse, lanczos.volume, result.volume, truth, quality, staging.path(out / _PICTURE))
        staging.commit()
    reporter.done(str(out / _PICTURE), report)


def _is_demo(report: Path) -> bool:
    try:
        return _QUALITY in json.loads(report.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _template() -> Volume:
    folder = resources.files("nilearn") / "datasets" / "data"
    names = sorted(entry.name for entry in folder.iterdir() if "mni_icbm152_t1" in entry.name and entry.name.endswith(".nii.gz"))
    if not names:
        raise InputError("The installed nilearn holds no MNI152 template; install nilearn 0.10 or newer.")
    with resources.as_file(folder / names[0]) as path:
        return read_volume(path)


def _even(volume: Volume) -> Volume:
    """Cut odd lengths, and keep 16-bit integers as a scanner would give them."""
    even = tuple(slice(0, n // _FACTOR * _FACTOR) for n in volume.voxels.shape)
    voxels = volume.voxels[even].astype(np.float32)
    span = float(voxels.max()) or 1.0
    return Volume(np.rint(voxels / span * 4095).astype(np.int16), volume.spacing, volume.origin, volume.direction)


def _coarser(truth: Volume, voxels: np.ndarray) -> Volume:
    """The coarse grid with the truth's field of view: the first voxel is larger."""
    origin = truth.position(((_FACTOR - 1) / 2,) * 3)
    return Volume(np.rint(voxels).astype(np.int16), triple(s * _FACTOR for s in truth.spacing), triple(origin), truth.direction)


def _psnr(voxels: np.ndarray, truth: np.ndarray) -> float:
    """PSNR in dB over the head (above a tenth of the brightest), peak = the brightest."""
    from skimage.metrics import peak_signal_noise_ratio

    head = truth > 0.1 * truth.max()
    return round(float(peak_signal_noise_ratio(truth[head].astype(float), voxels[head].astype(float), data_range=float(truth.max()))), 2)


def _draw(coarse: Volume, lanczos: Volume, result: Volume, truth: Volume, quality: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    axial = truth.voxels.shape[0] * 2 // 5 // _FACTOR
    panels = (
        ("Input, 2 mm", coarse.voxels[axial], ""),
        ("Lanczos, 1 mm", lanczos.voxels[axial * _FACTOR], f"PSNR {quality['lanczos']:.2f} dB"),
        ("SuperResolution3D, 1 mm", result.voxels[axial * _FACTOR], f"PSNR {quality['upscaled']:.2f} dB"),
        ("Truth, 1 mm", truth.voxels[axial * _FACTOR], ""),
    )
    figure, axes = pyplot.subplots(2, 4, figsize=(14, 8.4), layout="constrained", facecolor="black")
    for column, (title, image, note) in enumerate(panels):
        unit = truth.voxels.shape[1] // image.shape[0]
        zoom = image[100 // unit : 160 // unit, 90 // unit : 150 // unit]
        for axis, shown in ((axes[0, column], image), (axes[1, column], zoom)):
            axis.imshow(shown, cmap="gray", origin="lower", vmin=0.2 * truth.voxels.max(), vmax=truth.voxels.max(), interpolation="nearest")
            axis.set_axis_off()
        axes[0, column].set_title(title, color="white")
        axes[1, column].set_title(note, color="white", fontsize=11)
    figure.text(0.5, 0.005, f"MNI152 T1 template, made coarser twofold and upscaled again. {NOT_FOR_DIAGNOSIS}", color="white", ha="center", va="bottom", fontsize=9)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
