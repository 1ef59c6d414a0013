"""Ways to make a scan coarser once more, so that what a method assumes of it is tested and not only its arithmetic.

>>> import numpy as np
>>> WAYS["means"].matrix(4, 2).tolist()
[[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..detail.estimator import FREQUENCIES, AxisDetail
from ..resampling.degradation import antialiased_bicubic_matrix, cosine_matrices, interval_means
from ..resampling.regridding import apply_along
from ..scan.volume import Volume, triple

OWN = "own"  # name of the way in which the scan lost its detail


@dataclass(frozen=True)
class Way:
    """One way to lose detail.

    Attributes:
        name: for programs.
        words: for people, after "made coarser by".
        matrix: (length, factor) -> the matrix (length // factor, length) that shortens a line.
        spectral: the spectrum is cut: of a scan without negative values the magnitude is taken, as a scanner does.
    """

    name: str
    words: str
    matrix: Callable[[int, int], np.ndarray]
    spectral: bool = False


def _cut(length: int, factor: int) -> np.ndarray:
    synthesis, analysis = cosine_matrices(length, factor)
    return synthesis @ analysis


WAYS: dict[str, Way] = {
    way.name: way
    for way in (
        Way("bicubic", "a smooth mean (antialiased bicubic)", antialiased_bicubic_matrix),
        Way("means", "means over the larger voxels", lambda length, factor: interval_means(length, length // factor)),
        Way("cut", "a cut of its spectrum", _cut, spectral=True),
    )
}


def own_way(axis: AxisDetail) -> Way:
    """As the scan itself lost its detail along an axis, as far as that was measured: the same transfer function at the coarser grid.

    Args:
        axis: measured on the scan.
    """

    def matrix(length: int, factor: int) -> np.ndarray:
        synthesis, analysis = cosine_matrices(length, factor)
        return synthesis * weights_of(axis, len(synthesis)) @ analysis

    return Way(OWN, "the loss of detail that was measured on it", matrix, spectral=True)


def weights_of(axis: AxisDetail, count: int) -> np.ndarray:
    """What is left of ``count`` frequencies, from 0 to just below the Nyquist frequency, on a scan that lost its detail as was measured."""
    shares, transfer = (0.0, *FREQUENCIES), (1.0, *axis.transfer)
    places = np.arange(count) / count
    return np.where(places < max(axis.extent, shares[1]), np.interp(places, shares, np.minimum(transfer, 1.0)), 0.0)


@dataclass(frozen=True)
class Noise:
    """The noise of a scan.

    Attributes:
        sd: standard deviation before the scanner's filter, in the scan's units.
        axes: by axis of the array, what was measured along it; None where nothing was.
    """

    sd: float
    axes: tuple[AxisDetail | None, ...]

    @property
    def variance(self) -> float:
        """What the filter leaves."""
        return self.sd**2 * float(np.prod([np.mean(weights_of(axis, 64) ** 2) for axis in self.axes if axis is not None]))

    def lost(self, shape: Sequence[int], factors: Sequence[int]) -> np.ndarray:
        """What making a scan of some shape coarser takes of it away, as an image (slices, rows, columns) on the coarser grid, float32, always the same."""
        shape = tuple(n // factor for n, factor in zip(shape, factors))
        white = np.random.default_rng(0).standard_normal(shape, dtype=np.float32) * np.float32(self.sd * lost_share(factors) ** 0.5)
        for number, axis in enumerate(self.axes):
            if axis is not None:
                synthesis, analysis = cosine_matrices(shape[number], 1)
                white = apply_along(white, number, (synthesis * weights_of(axis, shape[number]) @ analysis).astype(np.float32))
        return white


def lost_share(factors: Sequence[int]) -> float:
    """Of the variance of white noise, what means over so many voxels take away."""
    return 1.0 - 1.0 / float(np.prod(factors))


def cropped_to(volume: Volume, factors: Sequence[int]) -> Volume:
    """The volume with each size a multiple of its factor; the last voxels go.

    Args:
        volume: voxels (k, j, i).
        factors: along (k, j, i).
    """
    return replace(volume, voxels=volume.voxels[tuple(slice(0, n - n % f) for n, f in zip(volume.voxels.shape, factors))])


def made_coarser(volume: Volume, factors: Sequence[int], ways: Way | Mapping[int, Way], noise: np.ndarray | None = None) -> Volume:
    """A scan made coarser on the same field of view; float32, not rounded.

    To make a scan coarser takes noise away.  A method meets the noise of the scan itself, so what was taken away is put back.

    Args:
        volume: voxels (k, j, i), each size a multiple of its factor.
        factors: along (k, j, i).
        ways: one for all axes, or one for each axis of the array that is made coarser.
        noise: by :meth:`Noise.lost`; None: there is none.
    """
    voxels = volume.voxels.astype(np.float32)
    for axis, factor in enumerate(factors):
        if factor > 1:
            way = ways if isinstance(ways, Way) else ways[axis]
            voxels = apply_along(voxels, axis, way.matrix(voxels.shape[axis], factor).astype(np.float32))
    if noise is not None:
        voxels = voxels + noise
    spectral = ways.spectral if isinstance(ways, Way) else any(way.spectral for way in ways.values())
    if (spectral or noise is not None) and volume.voxels.min() >= 0:
        voxels = np.abs(voxels)
    factors_ijk = np.asarray(factors[::-1], dtype=float)
    return replace(
        volume,
        voxels=np.ascontiguousarray(voxels),
        spacing=triple(np.asarray(volume.spacing) * factors_ijk),
        origin=triple(volume.position((factors_ijk - 1.0) / 2.0)),
    )
