"""How far a part of a result may be off, and the part with doubtful detail taken back: what the whole result would hold there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..engine.progress import Progress
from ..engine.tiling import cut, within
from ..errors import InputError
from ..plan import Plan
from ..scan.intensity import floor_of
from ..scan.region import in_report
from ..scan.volume import Volume, accepted, triple
from ..upscaling import Result, refined_part, upscale
from .body import body_mask
from .calibration import root_mean_square
from .careful import Restraint
from .careful import careful as taken_back
from .error_map import CHECKING, ErrorMap, asked_of, check_doubt, members_differ, told_errors
from .expected import expected_error, rough
from .head import head_of

#: voxels of the scan around a part: the windows of the expected error, Lanczos and the roughness of the scan look no farther; even, as cells of two voxels begin there
_RIM = 12
_MIDDLE = 128  # voxels along each axis, for the roughness of the whole


def upscale_part_with_doubt(
    volume: Volume, scale: int | tuple[int, int] | None = None, *, errors: bool = True, careful: bool = False,
    progress: Progress | None = None, cancelled: Callable[[], bool] | None = None, **choices: Any,
) -> tuple[Result, ErrorMap | None]:  # fmt: skip
    """Upscale a region of a scan, and tell how far the result may be off there.

    Args:
        volume: voxels (k, j, i), not changed.
        scale, choices: as :func:`superres3d.upscaling.upscale` takes them; ``region`` among them.
        errors: make the error map; the scan, not the region alone, is made coarser once more and upscaled again for it.
        careful: take back what the networks add over Lanczos where the expected error exceeds it.
        progress: called with (stage, share of the whole that is done).
        cancelled: asked often; a true answer stops the work.

    Raises:
        InputError: an interpolation, or a result whose voxels are no whole part of the scan's.
        ModelError, DeviceError, ResourceError, Cancelled: see :mod:`superres3d.errors`.
    """
    volume = accepted(volume, "The scan")
    plan = check_doubt(volume, scale, errors, careful, **choices)
    if not plan.region or any(factor != int(factor) for factor in plan.factors):
        what = "Careful" if careful else "An error map"
        raise InputError(f"{what} on a region needs a whole factor; give --scale 2 or 4, or leave {'--careful' if careful else '--error-map'} or --region out.")
    restraint = Restraint.of(volume.voxels, plan.modality, plan.network_factors) if careful else None
    before = 1.0 - CHECKING if errors else 1.0
    checking = (lambda share: progress("checking", before + CHECKING * share)) if progress else None
    rim = tuple((max(0, start - start % 2 - _RIM), min(n, stop + _RIM)) for (start, stop), n in zip(plan.region, plan.shape))
    told = (lambda stage, share: progress(stage, before * share)) if progress else None
    result = upscale(volume, scale, spread=members_differ(plan), progress=told, cancelled=cancelled, **choices | {"region": rim})
    used = choices | {"method": result.report["method"]}  # perhaps not what was asked for: see superres3d.ahead
    found, why = asked_of(volume, plan, used, restraint, checking, cancelled) if errors else (None, "")
    scan, drawn = refined_part(volume, result.report), result.volume.voxels
    expected = expected_error(scan.voxels, drawn, result.spread, head_of(plan.modality, plan.preset.ensemble != "none"))
    kept = taken_back(scan.voxels, drawn, expected, restraint, floor_of(volume.voxels, plan.modality)) if restraint else drawn
    inner = within(plan.window, tuple((start, stop) for start, stop in result.report["region"]["result_ijk"][::-1]))
    made = replace(result.volume, voxels=cut(kept, inner).copy(), origin=triple(result.volume.position([start for start, _ in inner[::-1]])))
    output = {**result.report["output"], "shape_ijk": list(plan.made_shape[::-1])}
    done = Result(made, {**result.report, "careful": careful, "region": in_report(volume, plan.region, plan.window), "output": output})
    return done, told_errors(done, plan, found, why, cut(expected, inner).copy(), _rougher(volume, plan)) if errors else None


def _rougher(volume: Volume, plan: Plan) -> float:
    """How rough the scan is as a whole, over the part: what the map adds everywhere goes by the whole."""
    axes = [axis for axis, factor in enumerate(plan.factors) if factor > 1]
    middle = tuple((max(0, (n - _MIDDLE) // 2), min(n, (n + _MIDDLE) // 2)) for n in plan.shape)
    whole, part = (_roughness(cut(volume.voxels, where), axes, plan.modality) for where in (middle, plan.region or middle))
    return whole / part if whole and part else 1.0


def _roughness(voxels: np.ndarray, axes: list[int], modality: str) -> float:
    return root_mean_square(rough(voxels, axes)[body_mask(voxels, modality)])
