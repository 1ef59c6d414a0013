"""Parts of coarser scans, refined one after the other: networks stay loaded, and what is measured on a whole scan is measured once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..detail.measure import Detail
from ..detail.measured_grid import MeasuredGrid
from ..engine.memory import kept_heap
from ..engine.progress import Progress, Watch
from ..methods import DEFAULT_NOISE
from ..scan.volume import Volume
from ..upscaling import NOT_PLANNED, computed, engine_of, grid_of, plan_for, prepared_for, upscale

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from ..plan import Plan


class Refining:
    """Gives what :func:`superres3d.upscaling.upscale` gives; to be used in a with statement.

    Args:
        choices: its arguments, the same for all parts.
    """

    def __init__(self, choices: Mapping[str, Any]):
        self._choices = dict(choices)
        self._grids: list[tuple[np.ndarray, MeasuredGrid]] = []
        self._engine: Engine | None = None

    def __enter__(self) -> Refining:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._engine:
            self._engine.close()

    def part(
        self, part: Volume, whole: np.ndarray, detail: Detail | None = None, spread: bool = False, progress: Progress | None = None, cancelled: Callable[[], bool] | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """A part of a scan, refined, and how the networks' turned copies differ there, where that was asked for and there are such.

        Args:
            part: voxels (k, j, i).
            whole: the scan (k, j, i) that gives the scale of intensities, and on which everything is measured; an array stays what it was.
            detail: of the whole, where it was measured.
            spread, progress, cancelled: as ``upscale`` takes them.

        Raises:
            as ``upscale``.
        """
        plan, _ = plan_for(part, **{key: value for key, value in self._choices.items() if key not in NOT_PLANNED})
        if plan.adaptation:  # learns anew on each scan
            made = upscale(part, **self._choices, part_of=whole, spread=spread, progress=progress, cancelled=cancelled)
            return made.volume.voxels, made.spread
        as_stored, noise = self._choices.get("as_stored", False), self._choices.get("noise", DEFAULT_NOISE)
        grid = self._grid(plan, whole, as_stored, detail) if plan.method.blind else None
        prepared = prepared_for(plan, part, whole, noise, as_stored, self._choices.get("memory_limit"), grid)
        engine = self._engine_of(prepared.plan) if plan.method.networks else None
        differing = np.empty(plan.made_shape, np.float32) if spread and engine else None
        with kept_heap():
            return computed(prepared, part.voxels.dtype, engine, Watch(progress, cancelled), whole, differing)[0], differing

    def _grid(self, plan: Plan, whole: np.ndarray, as_stored: bool, detail: Detail | None) -> MeasuredGrid:
        for known, grid in self._grids:
            if known is whole:
                return grid
        self._grids.append((whole, grid_of(plan, whole, as_stored, detail)))
        return self._grids[-1][1]

    def _engine_of(self, plan: Plan) -> Engine:
        self._engine = self._engine or engine_of(plan, self._choices.get("device", "auto"))
        return self._engine
