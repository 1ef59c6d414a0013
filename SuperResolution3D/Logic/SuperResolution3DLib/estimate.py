"""What a run would take: size of the result, memory, disk, time; and whether it fits."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from slicer.i18n import tr as _
from superres3d.errors import ResourceError
from superres3d.scan.uneven import WHOLLY

from . import wording
from .checks import VolumeFacts
from .devices import automatic_device
from .package_words import in_language
from .request import Request

if TYPE_CHECKING:
    from superres3d.plan import Plan


#: what the self-check may take of a run, by the larger factor, and the error map
_CHECKING = {2: 0.25, 4: 0.05}
_LEAST_CHECKING = 1.5  # seconds: of a short run it takes more than its share
_MAPPING = 0.125
_INTERPOLATED, _FILES = 60e6, 150e6  # bytes a second


@dataclass(frozen=True)
class MachineNow:
    """Of an estimate.

    Attributes:
        busy: how many times as long everything takes as it would alone.
        racing: whether its speed is being measured.
    """

    busy: float = 1.0
    racing: bool = False


@dataclass(frozen=True)
class Estimate:
    """Shapes and spacing are (i, j, k).

    Attributes:
        shape: voxels of the result.
        spacing: millimetres.
        result_bytes: one result volume.
        memory_bytes: the most that the worker, or Slicer while it loads, needs on top of now.
        disk_bytes: temporary files.
        seconds: a guess, learned from earlier runs.
        notes: what was assumed.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    result_bytes: int
    memory_bytes: int
    disk_bytes: int
    seconds: float
    notes: tuple[str, ...]

    def text(self) -> str:
        """A few sentences for the panel."""
        told = _("Result: {shape} voxels of {spacing} mm, {size}. Needs {memory} of memory and about {time} on this machine.").format(
            shape=wording.dimensions(self.shape), spacing=wording.dimensions(self.spacing), size=wording.memory(self.result_bytes),
            memory=wording.memory(self.memory_bytes), time=wording.duration(self.seconds),
        )  # fmt: skip
        return " ".join((told, *self.notes))


def estimate(facts: VolumeFacts, request: Request, temporary_folder: str | None = None, machine: MachineNow = MachineNow()) -> Estimate:
    """What ``request`` takes on this machine now.

    Raises:
        InputError, ModelError: the choices do not fit the volume, or their model is missing.
        ResourceError: the result does not fit into memory or onto the disk.
        ImportError: psutil is not installed yet (it comes with the first Apply).
    """
    dtype = np.dtype("float32") if facts.dtype == np.float64 else facts.dtype  # as the package converts it
    plan = _plan(facts, request, dtype)
    volumes = 2 if request.makes_comparison else 1
    # While Slicer loads the volumes it holds each once, and the last one twice more as a file is read.
    loading = plan.result_bytes * (volumes + 2)
    given = int(np.prod(facts.shape, dtype=np.int64)) * dtype.itemsize
    if request.makes_error_map:  # float32, one value for each voxel of the result
        added = int(np.prod(plan.made_shape, dtype=np.int64)) * 4
        loading += added
    else:
        added = 0
    disk = plan.result_bytes * volumes + given + added
    _check_memory(loading)
    _check_disk(disk, temporary_folder or tempfile.gettempdir())
    slices, rows, columns = plan.made_shape
    i, j, k = (distance / factor for distance, factor in zip(facts.spacing, plan.factors[::-1]))
    seconds = machine.busy * (plan.seconds + _extra_seconds(plan, request)) + _around_seconds(plan, request, given)  # files wait for the disk, not for the processor
    return Estimate(
        (columns, rows, slices), (i, j, k), plan.result_bytes,
        max(plan.memory_bytes, loading), disk, seconds, (*map(in_language, plan.notes), *_time_notes(plan, request, machine), *_device_notes(plan, request)),
    )  # fmt: skip


def _extra_seconds(plan: Plan, request: Request) -> float:
    """What self-check and error map take beside the run."""
    finest = 2 if max(plan.network_factors) <= 2 else 4
    checking = max(_CHECKING[finest] * plan.seconds, _LEAST_CHECKING) if request.is_checked else 0.0
    return checking + (_MAPPING * plan.seconds if request.makes_error_map else 0.0)


def _around_seconds(plan: Plan, request: Request, given: int) -> float:
    """The comparison, the files of the worker, and bringing the results into the scene."""
    volumes = 2 if request.makes_comparison else 1
    interpolating = plan.result_bytes / _INTERPOLATED if request.makes_comparison else 0.0
    return interpolating + (given + 2 * volumes * plan.result_bytes) / _FILES


def _time_notes(plan: Plan, request: Request, machine: MachineNow) -> tuple[str, ...]:
    """How far the time is to be believed, and why it is so long."""
    from superres3d.speed import BUSY, is_known

    notes = []
    if plan.models and not is_known(plan.preset.precision, request.device, plan.method):
        notes.append(_("The time is a first guess; the speed of this machine is being measured.") if machine.racing else _("The time is a first guess; runs teach this module."))
    if machine.busy >= BUSY:
        notes.append(_("Something else computes on this machine now: the time is {times} times that which it would take alone.").format(times=f"{machine.busy:.1f}"))
    return tuple(notes)


def _device_notes(plan: Plan, request: Request) -> tuple[str, ...]:
    return (_("auto will use {device}.").format(device=automatic_device()),) if plan.models and request.device == "auto" else ()


def _plan(facts: VolumeFacts, request: Request, dtype: np.dtype) -> Plan:
    from superres3d.plan import plan_upscaling

    limit = int(request.memory_limit_gib * 2**30) if request.memory_limit_gib else None
    return plan_upscaling(
        facts.shape[::-1], facts.spacing, dtype, request.scale, axes=request.axes, slice_spacing=request.slice_spacing, result_spacing=request.spacing,
        method=request.method,
        modality=request.modality, preset=request.preset, ensemble=request.ensemble, precision=request.precision, device=request.device, consistency=request.consistency, memory_limit=limit, region=request.region, uneven=WHOLLY if request.region else facts.uneven,
    )  # fmt: skip


def estimate_text(facts: VolumeFacts, request: Request, temporary_folder: str | None = None, machine: MachineNow = MachineNow()) -> str:
    """:func:`estimate` in words, or that it must wait for a package (the same errors but ImportError)."""
    try:
        return estimate(facts, request, temporary_folder, machine).text()
    except ImportError as error:
        return _("The estimate needs the Python package {name}, which is installed with the first Apply.").format(name=error.name)


def _check_memory(needed: int) -> None:
    import psutil

    free = psutil.virtual_memory().available
    if needed > free:
        raise ResourceError(
            _("The result needs {needed} of memory in Slicer and {free} are free; use a smaller factor, fewer axes, no Lanczos comparison, or crop the volume.")
            .format(needed=wording.memory(needed), free=wording.memory(free))
        )  # fmt: skip


def _check_disk(needed: int, folder: str) -> None:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise ResourceError(
            _("The temporary folder {folder} cannot be used ({reason}); choose another one in the application settings.").format(folder=folder, reason=error.strerror)
        ) from None
    if needed > free:
        raise ResourceError(
            _("The run needs {needed} of disk in {folder} and {free} are free; free some space, or choose another temporary folder in the application settings.")
            .format(needed=wording.memory(needed), folder=folder, free=wording.memory(free))
        )  # fmt: skip
