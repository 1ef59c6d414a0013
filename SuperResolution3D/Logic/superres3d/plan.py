"""What an upscaling will be, before any of it is done: sizes, models, memory; refusals.

Needs no torch, so the panel can show it while the user still chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import psutil

from .errors import InputError, ResourceError
from .memory import usable_cores
from .methods import DEFAULT_METHOD, DEFAULT_PRESET, ENSEMBLES, MODALITIES, SCALES, Method, Preset, find_method, find_preset
from .speed import expected_seconds
from .volume import Volume, find_slice_axis
from .weights import Model, find_model

MINIMUM_SLICES = 4
DEFAULT_WORKING_BYTES = 1 << 30
_ENGINE_BYTES = 150 << 20  # the libraries
_WORKER_BYTES = 120 << 20  # the activations of a tile, for each core
_AXIS_NAMES = ("k", "j", "i")


@dataclass(frozen=True)
class Plan:
    """An upscaling that can be done.  Axis orders are (k, j, i) unless a name says otherwise.

    Attributes:
        method: from the catalogue.
        modality: "CT" or "MR".
        in_plane, through_plane: factors, 1, 2 or 4.
        slice_axis: array axis (0 = k, 1 = j, 2 = i) that is the depth.
        preset: ensemble and precision.
        shape, output_shape: voxels.
        result_bytes: size of the result.
        memory_bytes: input, result and working set together.
        working_bytes: the part of it that may be spent on blocks in work.
        accumulates: multiply-accumulates of the networks.
        seconds: a guess for this machine; see :mod:`superres3d.speed`.
        models: by stage, "plane" and "depth", in the order in which they run.
        notes: what was assumed, one sentence each.
    """

    method: Method
    modality: str
    in_plane: int
    through_plane: int
    slice_axis: int
    preset: Preset
    shape: tuple[int, int, int]
    output_shape: tuple[int, int, int]
    result_bytes: int
    memory_bytes: int
    working_bytes: int
    accumulates: float
    seconds: float
    models: dict[str, Model]
    notes: tuple[str, ...] = ()

    @property
    def factors(self) -> tuple[int, int, int]:
        """Refinement along (k, j, i) of the scan's own array."""
        factors = [self.in_plane] * 3
        factors[self.slice_axis] = self.through_plane
        return tuple(factors)


def plan_upscaling(
    shape: Sequence[int],
    spacing: Sequence[float],
    dtype: np.dtype | str,
    scale: int | tuple[int, int] = 2,
    *,
    axes: str = "all",
    method: str = DEFAULT_METHOD,
    modality: str = "MR",
    preset: str = DEFAULT_PRESET,
    ensemble: str = "auto",
    precision: str = "auto",
    device: str = "auto",
    slice_axis: str = "auto",
    memory_limit: int | None = None,
    inputs_in_memory: int = 1,
) -> Plan:
    """Check the choices against the scan and the machine.

    Args:
        shape: voxels along (k, j, i).
        spacing: millimetres along (i, j, k).
        dtype: of the scan, and so of the result.
        scale: 2 or 4, used on ``axes``; or a pair (in-plane, through-plane) of 1, 2 or 4.
        axes: "all", "in-plane" or "through-plane"; not used with a pair.
        method: a name from the catalogue.
        modality: "CT" or "MR".
        preset: "best", "balanced" or "fast".
        ensemble: "auto" (the preset's), "none", "4" or "8".
        precision: "auto" (half where the machine has units for it) or "single".
        device: for the estimate of the time only.
        slice_axis: "auto" (the clearly coarsest axis, else k), "i", "j" or "k".
        memory_limit: bytes that the process may use; None: what the machine has free.
        inputs_in_memory: 1 if the scan is still to be read into memory, 0 if it is there already.

    Raises:
        InputError: a choice that does not exist or does not fit the scan.
        ModelError: a model that is not installed.
        ResourceError: the result does not fit into memory.
    """
    chosen = find_preset(preset, ensemble, precision)
    if modality not in MODALITIES:
        raise InputError(f"The modality {modality!r} does not exist; use one of {', '.join(MODALITIES)}.")
    in_plane, through_plane, axes = _factors(scale, axes)
    found = find_method(method, modality, axes, max(in_plane, through_plane))
    axis, notes = _slice_axis(spacing, slice_axis)
    if found.networks and through_plane > 1 and shape[axis] < MINIMUM_SLICES:
        raise InputError(
            f"The scan has {shape[axis]} slices, and the depth network needs at least {MINIMUM_SLICES}; use the axes in-plane."
        )
    models = {}
    if found.networks:
        factors_of = {"plane": in_plane, "depth": through_plane}
        models = {stage: find_model(found.model_name(modality, stage, factors_of[stage])) for stage in found.order if factors_of[stage] > 1}
    factors = [in_plane] * 3
    factors[axis] = through_plane
    output_shape = tuple(int(n) * f for n, f in zip(shape, factors))
    itemsize = np.dtype(dtype).itemsize
    result = int(np.prod(output_shape, dtype=np.int64)) * itemsize
    given = int(np.prod(shape, dtype=np.int64)) * itemsize
    fixed = result + given * inputs_in_memory + (_ENGINE_BYTES + usable_cores() * _WORKER_BYTES if models else 0)
    available = memory_limit or psutil.virtual_memory().available
    working = min(DEFAULT_WORKING_BYTES, available - fixed)
    if working < DEFAULT_WORKING_BYTES // 8:
        size = " x ".join(str(n) for n in output_shape[::-1])
        raise ResourceError(
            f"The result ({size} voxels) needs {_in_words(fixed + DEFAULT_WORKING_BYTES // 8)} of memory and "
            f"{f'the limit is {_in_words(available)}' if memory_limit else f'{_in_words(available)} are free'}; "
            "use a smaller factor, fewer axes, or a part of the scan."
        )
    accumulates = _accumulates(models, chosen.ensemble, shape, in_plane, through_plane)
    return Plan(
        found, modality, in_plane, through_plane, axis, chosen, tuple(int(n) for n in shape), output_shape,
        result, fixed + min(working, _largest_working_set(output_shape)), working, accumulates,
        expected_seconds(accumulates, chosen.half, device, max(in_plane, through_plane)) + result / 200e6, models, notes,
    )  # fmt: skip


def output_bytes(volume: Volume, scale: int | tuple[int, int], axes: str = "all") -> int:
    """Bytes of the voxels that upscaling ``volume`` gives (InputError for factors that cannot be used)."""
    in_plane, through_plane, _ = _factors(scale, axes)
    return volume.voxels.nbytes * in_plane**2 * through_plane


def guess_modality(voxels: np.ndarray) -> str:
    """ "CT" if the scan reaches air in Hounsfield units (below -500), else "MR"."""
    return "CT" if float(voxels.min()) < -500 else "MR"


def _factors(scale: int | tuple[int, int], axes: str) -> tuple[int, int, str]:
    """(in-plane, through-plane, axes) from either way of asking."""
    if isinstance(scale, (tuple, list)):
        if len(scale) != 2 or any(f not in (1, *SCALES) for f in scale) or max(scale) == 1:
            raise InputError(f"The factors {scale} cannot be used; give (in-plane, through-plane) out of 1, 2 and 4, not both 1.")
        in_plane, through_plane = (int(f) for f in scale)
        return in_plane, through_plane, "all" if min(scale) > 1 else "in-plane" if through_plane == 1 else "through-plane"
    if isinstance(scale, bool) or scale not in SCALES:
        raise InputError(f"The factor {scale} cannot be used; use 2 or 4 (beyond 4 no method can tell detail from invention).")
    scale = int(scale)
    return (1 if axes == "through-plane" else scale), (1 if axes == "in-plane" else scale), axes


def _slice_axis(spacing: Sequence[float], wanted: str) -> tuple[int, tuple[str, ...]]:
    if wanted in _AXIS_NAMES:
        return _AXIS_NAMES.index(wanted), ()
    if wanted != "auto":
        raise InputError(f"The slice axis {wanted!r} does not exist; use auto, i, j or k.")
    axis = find_slice_axis(spacing)
    return axis, (f"The axis {_AXIS_NAMES[axis]} has by far the coarsest spacing and was taken as the slice axis.",) if axis else ()


def _accumulates(models: dict[str, Model], ensemble: str, shape: Sequence[int], in_plane: int, through_plane: int) -> float:
    """The later stage works on what the earlier one refined."""
    pixels, total = float(np.prod(shape, dtype=np.int64)), 0.0
    for stage, model in models.items():
        total += pixels * model.multiply_accumulates * ENSEMBLES[ensemble][stage]
        pixels *= in_plane**2 if stage == "plane" else through_plane
    return total


def _largest_working_set(output_shape: Sequence[int]) -> int:
    """A block never needs more than about this for a small scan."""
    return 16 * int(np.prod(output_shape, dtype=np.int64))


def _in_words(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 1 << 30 else f"{max(count, 0) / 2**20:.0f} MiB"
