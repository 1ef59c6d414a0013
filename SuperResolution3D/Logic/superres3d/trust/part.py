"""Careful on a part of a scan: what the whole result would hold there, with doubtful detail taken back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..engine.progress import Progress
from ..engine.tiling import cut, within
from ..errors import InputError
from ..scan.intensity import floor_of
from ..scan.region import in_report
from ..scan.volume import Volume, accepted, triple
from ..upscaling import Result, refined_part, upscale
from .careful import careful, strength_of
from .error_map import check_doubt
from .expected import expected_error, weights_of

#: voxels of the scan around a part: the window of the expected error, Lanczos and the roughness of the scan look no farther
_RIM = 12


def upscale_part_with_care(
    volume: Volume, scale: int | tuple[int, int] | None = None, *, progress: Progress | None = None, cancelled: Callable[[], bool] | None = None, **choices: Any
) -> Result:
    """Upscale a region of a scan, and take back what the networks add over Lanczos where the expected error exceeds it.

    Args:
        volume: voxels (k, j, i), not changed.
        scale, choices: as :func:`superres3d.upscaling.upscale` takes them; ``region`` among them.
        progress: called with (stage, share of the whole that is done).
        cancelled: asked often; a true answer stops the work.

    Raises:
        InputError: an interpolation, or a result whose voxels are no whole part of the scan's.
        ModelError, DeviceError, ResourceError, Cancelled: see :mod:`superres3d.errors`.
    """
    volume = accepted(volume, "The scan")
    plan = check_doubt(volume, scale, False, True, **choices)
    if not plan.region or any(factor != int(factor) for factor in plan.factors):
        raise InputError("Careful on a region needs a whole factor; give --scale 2 or 4, or leave --careful or --region out.")
    rim = tuple((max(0, start - _RIM), min(n, stop + _RIM)) for (start, stop), n in zip(plan.region, plan.shape))
    result = upscale(volume, scale, spread=True, progress=progress, cancelled=cancelled, **choices | {"region": rim})
    scan, drawn = refined_part(volume, result.report), result.volume.voxels
    expected = expected_error(scan.voxels, drawn, result.spread, weights_of(plan.modality, plan.preset.ensemble != "none"))
    kept = careful(scan.voxels, drawn, expected, strength_of(plan.modality, max(plan.network_factors)), floor_of(volume.voxels, plan.modality))
    inner = within(plan.window, tuple((start, stop) for start, stop in result.report["region"]["result_ijk"][::-1]))
    made = replace(result.volume, voxels=cut(kept, inner).copy(), origin=triple(result.volume.position([start for start, _ in inner[::-1]])))
    output = {**result.report["output"], "shape_ijk": list(plan.made_shape[::-1])}
    return Result(made, {**result.report, "careful": True, "region": in_report(volume, plan.region, plan.window), "output": output})
