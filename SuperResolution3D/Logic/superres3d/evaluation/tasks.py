"""The tasks of an evaluation: how a truth is made coarser, and which methods are asked to refine it again.

- in-plane, through-plane, 3-D: Georgescu 2020, section IV-B.
- k-space: Chen 2020, section 3.4.
- thick-slice: Kudo 2019, section 3.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from ..methods import FARTHEST_SLICES_BY_FACTOR, METHODS, MODALITIES, SCALES, Method
from ..resampling.degradation import antialiased_bicubic, kspace_truncation, slice_profile_matrix
from ..scan.volume import Volume

_T = TypeVar("_T")
# The interpolation that the networks for thick slices begin with, and the step that they end with; not methods of the catalogue.
SPLINE = "spline"
SPLINE_MEANS = "spline, means kept"
_WIDE_MM = 1.05  # slices farther apart than this are no thin slices
_PROFILE = 0.4  # sigma of the slice profile over the distance of the thick slices: contiguous slices
_BICUBIC = (
    "{name}: the truth reduced on {axes} by antialiased bicubic (Keys' kernel, a = -0.5, stretched by the factor, edges mirrored; MATLAB's imresize), as in Georgescu 2020.",
)


@dataclass(frozen=True)
class Task:
    """One way to lose resolution.

    Attributes:
        name: as the command line takes it.
        axes: the axes that are degraded and refined again, as :func:`superres3d.upscaling.upscale` calls them.
        scales: the factors that it knows.
        featured: the method that it is meant for; "" for the default method.
        modalities: of the scans that it is for.
        detailed: also measured are NRMSE and blur, and told are parameters and seconds.
        description: for the protocol.
    """

    name: str
    axes: str
    scales: tuple[int, ...]
    description: str
    featured: str = ""
    modalities: tuple[str, ...] = MODALITIES
    detailed: bool = False

    @property
    def references(self) -> tuple[str, ...]:
        """Interpolations that are measured beside those of the catalogue."""
        return (SPLINE, SPLINE_MEANS) if self.by_distance else ()

    @property
    def refines_slices(self) -> bool:
        """True if there are more slices afterwards."""
        return self.axes != "in-plane"

    @property
    def by_distance(self) -> bool:
        """True if the methods are asked for a distance of slices instead of a factor."""
        return self.name == "thick-slice"

    def factors(self, scale: int, slice_axis: int) -> tuple[int, int, int]:
        """Along (k, j, i)."""
        factors = [1 if self.axes == "through-plane" else scale] * 3
        factors[slice_axis] = 1 if self.axes == "in-plane" else scale
        return three(factors)

    def fits(self, method: Method, modality: str, scale: int) -> bool:
        """Whether a method can be asked."""
        factor = scale in method.scales or not method.networks or (self.by_distance and (not method.scales or method.by_factor and scale <= FARTHEST_SLICES_BY_FACTOR))
        return modality in self.modalities and modality in method.modalities and self.axes in method.axes and factor

    def choices(self, method: str, scale: int) -> dict[str, Any]:
        """The arguments of :func:`superres3d.upscaling.upscale` that ask a method for this task."""
        if not self.by_distance:
            return {"scale": scale, "axes": self.axes}
        return {"scale": (1, scale)} if METHODS[method].by_factor and scale in SCALES else {"slice_spacing": 1.0}

    def thin(self, volume: Volume, slice_axis: int) -> Volume:
        """The scan as the truth is cut from it."""
        return _thin_slices(volume, slice_axis) if self.by_distance else volume

    def low_resolution(self, truth: Volume, factors: tuple[int, int, int], slice_axis: int) -> Volume:
        """The truth made coarser by ``factors`` (k, j, i) on the same field of view; float32, not rounded.

        The new first voxel is larger, so its centre moves by (r - 1)/2 old voxels on every reduced axis.
        """
        factors_ijk = np.asarray(factors[::-1], dtype=float)
        return replace(
            truth,
            voxels=self._degraded(truth.voxels, factors, slice_axis),
            spacing=three(map(float, np.asarray(truth.spacing) * factors_ijk)),
            origin=three(map(float, truth.position(three((factors_ijk - 1.0) / 2.0)))),
        )

    def _degraded(self, voxels: np.ndarray, factors: tuple[int, int, int], slice_axis: int) -> np.ndarray:
        if self.name == "k-space":
            return kspace_truncation(voxels, factors)
        if not self.by_distance:
            return antialiased_bicubic(voxels, factors)
        factor = factors[slice_axis]
        matrix = slice_profile_matrix(voxels.shape[slice_axis], factor, _PROFILE * factor).astype(np.float32)
        return np.ascontiguousarray(np.moveaxis(np.tensordot(matrix, voxels.astype(np.float32), axes=(1, slice_axis)), 0, slice_axis))


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("in-plane", "in-plane", SCALES, _BICUBIC[0].format(name="In-plane", axes="rows and columns")),
        Task("3-D", "all", SCALES, _BICUBIC[0].format(name="3-D", axes="rows, columns and slices")),
        Task("through-plane", "through-plane", SCALES, _BICUBIC[0].format(name="Through-plane", axes="slices")),
        Task(
            "k-space", "in-plane", (2,),
            "K-space: the central half of k-space along rows and columns, without a filter, on voxels twice as large (2 x 2 x 1), as in Chen 2020; MR only.",
            "mdcsrn", ("MR",), True,
        ),
        Task(
            "thick-slice", "through-plane", (4, 5, 8),
            f"Thick-slice: slices four, five and eight times as far apart, each a Gaussian mean over its thickness (sigma {_PROFILE:g} of their distance), as in Kudo 2019, without noise. "
            f"A scan whose slices lie more than {_WIDE_MM:g} mm apart is first reduced twofold in-plane and then taken as a smaller body with slices of 1 mm: no test subject has finer ones "
            "and enough of them. "
            f"'{SPLINE_MEANS}' is the spline with the step that the networks for thick slices end with, one back-projection of the means. The methods are asked for slices of 1 mm, networks that refine by a factor for their factor 4 where it is that.",
            "virtual-thin-slice", detailed=True,
        ),
    )
}  # fmt: skip
PUBLISHED_TASKS = ("in-plane", "3-D")  # of the default method's paper


def three(values: Iterable[_T]) -> tuple[_T, _T, _T]:
    """One value an axis (ValueError for another number of them)."""
    first, second, third = values
    return first, second, third


def _thin_slices(volume: Volume, slice_axis: int) -> Volume:
    """The scan with slices declared 1 mm apart, its pixels in proportion; reduced twofold in-plane before if they are wide."""
    distance = volume.spacing[2 - slice_axis]
    if distance > _WIDE_MM:
        halves = three(1 if axis == slice_axis else 2 for axis in range(3))
        even = volume.voxels[tuple(slice(0, n - n % f) for n, f in zip(volume.voxels.shape, halves))]
        volume = replace(volume, voxels=antialiased_bicubic(even, halves), spacing=three(s * f for s, f in zip(volume.spacing, halves[::-1])))
    spacing = [s / distance for s in volume.spacing]
    spacing[2 - slice_axis] = 1.0
    return replace(volume, spacing=three(spacing))
