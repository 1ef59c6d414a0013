"""What is refined and to which grid, from any of the ways of asking: a factor, a distance of slices, a spacing.

A result fills exactly the extent of its scan.  So along an axis of ``n`` voxels of ``s`` millimetres a wanted spacing ``w`` gives
``round(n * s / w)`` voxels, and is met to half a voxel in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TypeAlias

import numpy as np

from .errors import InputError
from .methods import DEFAULT_METHOD, FARTHEST_SLICES, FARTHEST_SLICES_BY_FACTOR, SCALES, Method, fits_slices

ISOTROPIC = "isotropic"
Triple: TypeAlias = tuple[float, float, float]
_ROUNDING = 1e-3  # headers hold 0.5 mm as 0.4999
_AXIS_NAMES = "kji"
_FEWEST = 2  # voxels along an axis of a volume


@dataclass(frozen=True)
class Asked:
    """What a user asks for, at most one of the three ways; arguments as :func:`superres3d.upscaling.upscale` takes them."""

    scale: int | tuple[int, int] | None = None
    axes: str | None = None
    slice_spacing: float | None = None
    spacing: float | Sequence[float] | str | None = None


@dataclass(frozen=True)
class Refinement:
    """What is refined.

    Attributes:
        shape: of the result, (k, j, i).
        in_plane, through_plane: factors; ``in_plane`` is what networks make of it, where a spacing was asked for.
        axes: "all", "in-plane" or "through-plane".
        scale: the larger factor; 0 where no factor was asked for.
        slice_spacing: the distance of slices in millimetres that was asked for, or 0.
        spacing: millimetres along (i, j, k) that were asked for, or None.
        network_slices: what networks make of one slice where an interpolation to the wanted grid follows them; 0: none does.
        notes: what the user should know of the grid, one sentence each.
    """

    shape: tuple[int, ...]
    in_plane: int
    through_plane: int | float
    axes: str
    scale: int = 0
    slice_spacing: float = 0.0
    spacing: Triple | None = None
    network_slices: int = 0
    notes: tuple[str, ...] = ()

    @property
    def smaller(self) -> str:
        """What to ask for instead where the result does not fit, as the beginning of a list."""
        if self.spacing:
            return "a larger spacing or "
        return "" if self.slice_spacing else "a smaller factor, fewer axes, or "

    @classmethod
    def of(cls, method: Method, asked: Asked, shape: Sequence[int], spacing: Sequence[float], axis: int) -> Refinement:
        """Checked (InputError).

        Args:
            method: from the catalogue.
            asked: by the user.
            shape: of the scan, (k, j, i).
            spacing: of the scan, millimetres along (i, j, k).
            axis: of the slices, 0 = k, 1 = j, 2 = i.
        """
        shape = tuple(int(n) for n in shape)
        if asked.spacing is not None:
            _check_alone(asked)
            return _by_spacing(method, _in_millimetres(asked.spacing, spacing), shape, spacing, axis)
        if asked.slice_spacing is None and (method.scales or asked.scale is not None):
            return _by_factor(method, asked, shape, axis)
        if asked.scale is not None:
            raise InputError("A factor and a distance of the slices were both given; give one of them.")
        if asked.axes not in (None, "through-plane"):
            raise InputError(f"The method {method.name} refines through-plane here, and the axes {asked.axes} were given; leave the axes out.")
        wanted = method.slice_spacing if asked.slice_spacing is None else asked.slice_spacing
        return _by_slice_spacing(method, wanted, shape, float(spacing[2 - axis]), axis)


def factors_between(shape: Sequence[int], finer: Sequence[int]) -> tuple[int | float, ...]:
    """Refinement from one shape to another over the same extent, along each axis; whole numbers where they are."""
    return tuple(count // length if count % length == 0 else count / length for length, count in zip(shape, finer))


def _by_factor(method: Method, asked: Asked, shape: tuple[int, ...], axis: int) -> Refinement:
    if not method.scales:
        raise InputError(
            f"The method {method.name} gives slices of {method.slice_spacing:g} mm whatever their distance in the scan, and takes no factor; leave the factor out."
        )
    scale, axes = method.scales[0] if asked.scale is None else asked.scale, asked.axes or method.axes[0]
    if isinstance(scale, (tuple, list)):
        in_plane, through_plane = _pair(scale)
        axes = _axes_of(in_plane, through_plane)
    elif isinstance(scale, bool) or scale not in SCALES:
        raise InputError(f"The factor {scale} cannot be used; use 2 or 4 (beyond 4 no method can tell detail from invention).")
    else:
        in_plane, through_plane = (1 if axes == other else int(scale) for other in ("through-plane", "in-plane"))
    finer = tuple(n * (through_plane if number == axis else in_plane) for number, n in enumerate(shape))
    return Refinement(finer, in_plane, through_plane, axes, max(in_plane, through_plane))


def _pair(factors: Sequence[int]) -> tuple[int, int]:
    if len(factors) != 2 or any(f not in (1, *SCALES) for f in factors) or max(factors) == 1:
        raise InputError(f"The factors {factors} cannot be used; give (in-plane, through-plane) out of 1, 2 and 4, not both 1.")
    in_plane, through_plane = (int(f) for f in factors)
    return in_plane, through_plane


def _axes_of(in_plane: int | float, through_plane: int | float) -> str:
    return "all" if min(in_plane, through_plane) > 1 else "in-plane" if through_plane <= 1 else "through-plane"


def _by_slice_spacing(method: Method, wanted: float, shape: tuple[int, ...], distance: float, axis: int) -> Refinement:
    if not np.isfinite(wanted) or wanted <= 0:
        raise InputError(f"Slices cannot be {wanted:g} mm apart; give a distance above 0.")
    refusal = fits_slices(method, wanted, distance)
    if refusal:
        raise InputError(refusal)
    slices = shape[axis]
    count = round(slices * distance / wanted)
    if count <= slices:
        raise InputError(f"The {slices} slices are {distance:.4g} mm apart, too close to {wanted:g} mm for one more between them; leave them as they are.")
    finer = tuple(count if number == axis else n for number, n in enumerate(shape))
    through_plane = factors_between(shape, finer)[axis]
    made = 0 if not method.by_factor or through_plane in SCALES else network_factor(through_plane)
    notes = (f"The network makes {made} slices of one; they are interpolated to the distance that was asked for.",) if made else ()
    return Refinement(finer, 1, through_plane, "through-plane", slice_spacing=wanted, network_slices=made, notes=notes)


def network_factor(ratio: int | float) -> int:
    """The smallest of 1, 2 and 4 that reaches a refinement, or 4."""
    return next((factor for factor in (1, *SCALES) if factor * (1 + _ROUNDING) >= ratio), max(SCALES))


def _check_alone(asked: Asked) -> None:
    others = {"a factor": asked.scale, "axes": asked.axes, "a distance of the slices": asked.slice_spacing}
    given = next((name for name, value in others.items() if value is not None), None)
    if given:
        raise InputError(f"A spacing of the result and {given} were both given; give one of them.")


def _in_millimetres(asked: float | Sequence[float] | str, spacing: Sequence[float]) -> Triple:
    """The wanted spacing along (i, j, k)."""
    if asked == ISOTROPIC:
        asked = min(float(value) for value in spacing)
    try:
        given = np.asarray(asked, dtype=float)
    except (TypeError, ValueError):
        given = np.zeros(())
    if given.shape not in ((), (3,)) or not np.isfinite(given).all() or (given <= 0).any():
        raise InputError(f"The spacing {asked!r} cannot be used; give millimetres above 0, one number or three along i, j and k, or {ISOTROPIC}.")
    first, second, third = np.broadcast_to(given, 3).tolist()
    return first, second, third


def _by_spacing(method: Method, wanted: Triple, shape: tuple[int, ...], spacing: Sequence[float], axis: int) -> Refinement:
    if method.kind == "volume":
        raise InputError(f"The method {method.name} is made for one factor or one distance of slices, not for any spacing; use {DEFAULT_METHOD} or an interpolation.")
    finer = tuple(round(n * float(size) / aim) for n, size, aim in zip(shape, spacing[::-1], wanted[::-1]))
    told = " x ".join(f"{value:.4g}" for value in wanted)
    if finer == shape:
        raise InputError(f"The scan's voxels are {told} mm already, to half a voxel in all; leave it as it is, or ask for another spacing.")
    if min(finer) < _FEWEST:
        raise InputError(f"At {told} mm the scan would be a single voxel along {_AXIS_NAMES[finer.index(min(finer))]}; ask for a smaller spacing.")
    ratios = factors_between(shape, finer)
    _check_ratios(method, ratios, spacing, axis)
    in_plane, between = network_factor(max(ratio for number, ratio in enumerate(ratios) if number != axis)), network_factor(ratios[axis])
    if method.networks and in_plane == between == 1:
        raise InputError(f"The scan's voxels are as fine as {told} mm along every axis, so there is nothing for {method.name} to bring back; use an interpolation, such as lanczos.")
    made = tuple(n * (between if number == axis else in_plane) for number, n in enumerate(shape))
    follows = method.networks and made != finer
    notes = _notes_of(shape, finer, (in_plane, between) if follows else None)
    return Refinement(finer, in_plane, ratios[axis], _axes_of(in_plane, between), spacing=wanted, network_slices=between if follows else 0, notes=notes)


def _check_ratios(method: Method, ratios: Sequence[int | float], spacing: Sequence[float], axis: int) -> None:
    """InputError if an axis would be refined farther than a method goes: between the slices as far as to a distance of slices."""
    for number, ratio in enumerate(ratios):
        most = FARTHEST_SLICES if not method.networks else FARTHEST_SLICES_BY_FACTOR if number == axis else float(max(SCALES))
        if ratio > most * (1 + _ROUNDING):
            size = float(spacing[2 - number])
            raise InputError(
                f"Along {_AXIS_NAMES[number]} the scan's voxels are {size:.4g} mm, and {method.name} makes them at most {most:g} times finer; "
                f"ask for {ceil(1000 * size / most) / 1000:g} mm or more there{', or use an interpolation' if method.networks else ''}."
            )


def _notes_of(shape: Sequence[int], finer: Sequence[int], networks: tuple[int, int] | None) -> tuple[str, ...]:
    """What becomes of a spacing; ``networks`` are their factors within and between the slices where an interpolation follows."""
    notes = []
    if networks:
        done = " and ".join(f"{factor}x {where} the slices" for factor, where in zip(networks, ("within", "between")) if factor > 1)
        notes.append(f"The networks refine {done}; then the result is brought to the spacing that was asked for.")
    coarser = [name for name, before, after in zip(_AXIS_NAMES, shape, finer) if after < before][::-1]
    if coarser:
        notes.append(f"Along {' and '.join(coarser)} the scan is finer than what was asked for: its voxels were averaged there, and that detail is lost.")
    return tuple(notes)
