"""Parts of one scan, one after the other, while a user still chooses: what does not depend on the part is done once and kept.

>>> import numpy as np
>>> from superres3d import Volume
>>> scan = LiveScan(Volume(np.arange(4096, dtype=np.int16).reshape(16, 16, 16)))
>>> scan.part(((4, 8), (2, 6), (0, 4)), scale=2, method="linear", modality="MR").volume.voxels.shape
(8, 8, 8)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .engine.part_cost import can_be_cut
from .engine.progress import Watch
from .errors import InputError
from .methods import DEFAULT_NOISE
from .plan import Plan, named_by_networks
from .run_report import report_of
from .scan.intensity import IntensityScale, intensity_scale
from .scan.volume import Volume, accepted
from .upscaling import Prepared, Result, computed, engine_of, placed_result, plan_for, prepared_for, settled

if TYPE_CHECKING:
    from .engine.engine import Engine

_MOST_KEPT = 6  # ways of asking whose networks and measurements are kept


class LiveScan:
    """A scan and the networks that are ready for it.

    Args:
        volume: voxels (k, j, i), not changed.

    Raises:
        InputError: it cannot be upscaled; see :func:`superres3d.scan.volume.accepted`.
    """

    def __init__(self, volume: Volume):
        self.volume = accepted(volume, "The scan")
        self._prepared: dict[tuple, Prepared] = {}
        self._intensities: dict[str, IntensityScale] = {}
        self._engines: dict[tuple[str, str], Engine] = {}

    def part(
        self, region: str | Sequence[Sequence[int]], *, device: str = "auto", noise: str = DEFAULT_NOISE, as_stored: bool = False,
        cancelled: Callable[[], bool] | None = None, **choices: Any,
    ) -> Result:  # fmt: skip
        """What :func:`superres3d.upscaling.upscale` gives for a region.

        Args:
            region, device, noise, as_stored, choices: as it takes them; a network does not go on learning here.
            cancelled: asked often; a true answer stops the work.

        Raises:
            InputError: also for a network that pools, which computes all of the scan for any part.
            ModelError, DeviceError, ResourceError, Cancelled: see :mod:`superres3d.errors`.
        """
        started = time.perf_counter()
        plan, notes = plan_for(self.volume, region=region, **choices)
        if "volume" in plan.models and not can_be_cut(plan.models["volume"]):
            raise InputError(f"The network of {plan.method.name} computes the whole scan, however small the part, so there is no preview of it; choose another method, or upscale the scan.")
        prepared = self._ready(plan, noise, as_stored, choices, device, cancelled)
        engine = self._engine(prepared.plan, device) if plan.method.networks else None
        watch = Watch(None, cancelled)
        voxels, count = computed(prepared, self.volume.voxels.dtype, engine, watch, self.volume.voxels, intensities=self._scale(plan))
        notes += [*prepared.notes, *plan.notes]
        report = report_of(named_by_networks(replace(plan, method=prepared.plan.method, models=prepared.plan.models)), self.volume, watch, count, engine, notes, time.perf_counter() - started)
        return Result(placed_result(self.volume, voxels, plan), report | {"detail": prepared.detail})

    def close(self) -> None:
        """Give memory back."""
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()
        self._prepared.clear()

    def _ready(self, plan: Plan, noise: str, as_stored: bool, choices: dict[str, Any], device: str, cancelled: Callable[[], bool] | None) -> Prepared:
        """What was measured for these choices, with the networks that were told, for the plan's region."""
        key = (noise, as_stored, *(f"{name}={value}" for name, value in sorted(choices.items())))
        if key not in self._prepared:
            if len(self._prepared) >= _MOST_KEPT:
                self.close()
            whole, judged = settled(plan, self.volume.voxels, device, cancelled=cancelled)
            prepared = prepared_for(whole, self.volume, self.volume.voxels, noise, as_stored, None)
            self._prepared[key] = replace(prepared, notes=(*judged, *prepared.notes))
        return self._prepared[key].moved(plan)

    def _scale(self, plan: Plan) -> IntensityScale | None:
        if not plan.method.networks:
            return None
        if plan.modality not in self._intensities:
            self._intensities[plan.modality] = intensity_scale(self.volume.voxels, plan.modality)
        return self._intensities[plan.modality]

    def _engine(self, plan: Plan, device: str) -> Engine:
        key = device, plan.preset.precision
        if key not in self._engines:
            self._engines[key] = engine_of(plan, device)
        return self._engines[key]
