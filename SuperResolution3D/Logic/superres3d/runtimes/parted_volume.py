"""A volumetric network that is computed part by part.

A U-Net's output depends on voxels far away, so tiles of the whole network would be nearly all margin.  Nearly all
of that reach lies beyond its first halving, where a map has an eighth of the voxels.  So the first part is computed for
the whole volume in tiles with small margins, then the inner part, mostly in one piece, then the last; the result is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..ensemble import Turn, apply_turn, exact_median, undo_turn
from ..networks.blueprint import Survey
from ..networks.families import VolumeArchitecture
from ..tiling import Region, cut, within
from . import Alive, Stopped, VolumeNetwork
from .tiled_volume import TiledVolumeNetwork, computed_voxels, least_bytes, most_bytes, padded_to, voxel_bytes, windows

#: (what draws it, its inputs (channels, D, H, W) float32, asked whether to stop) -> (channels, D, H, W) float32
Infer = Callable[[Callable[..., Any], Sequence[np.ndarray], Stopped], np.ndarray]


def volume_network(architecture: VolumeArchitecture, infer: Infer, budget: Callable[[], int], float_bytes: int) -> VolumeNetwork:
    """The network in the form that it is best computed in; arguments as :class:`TiledVolumeNetwork` takes them."""
    if architecture.parts:
        return PartedVolumeNetwork(architecture, infer, budget, float_bytes)
    blueprint = architecture.blueprint

    def whole(volume: np.ndarray, stopped: Stopped) -> np.ndarray:
        return _sub_pixel(infer(blueprint, [volume[None]], stopped), architecture.factors)

    return TiledVolumeNetwork(architecture, whole, budget, float_bytes)


def _sub_pixel(phases: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    """Rearrange (prod(factors), D, H, W) to (D * f0, H * f1, W * f2); see :func:`superres3d.networks.volumetric.sub_pixel_volume`."""
    shape = phases.shape[1:]
    return phases.reshape(*factors, *shape).transpose(3, 0, 4, 1, 5, 2).reshape([n * f for n, f in zip(shape, factors)])


class PartedVolumeNetwork:
    """As :class:`TiledVolumeNetwork`, for an architecture with parts."""

    def __init__(self, architecture: VolumeArchitecture, infer: Infer, budget: Callable[[], int], float_bytes: int = 4):
        self.architecture = architecture
        self._infer = infer
        self._budget = budget
        self._float_bytes = float_bytes

    def pieces(self, shape: Sequence[int], turns: Sequence[Turn], keep: Region | None = None) -> int:
        """How often :meth:`ensemble` will call ``alive`` for a volume of this shape."""
        sizes = _part_shapes(self.architecture, shape)
        return len(turns) * sum(len(list(windows(size, survey, self._most(survey)))) for size, survey in zip(sizes, self.architecture.part_surveys))

    def ensemble(self, volume: np.ndarray, turns: Sequence[Turn], alive: Alive, stopped: Stopped, keep: Region | None = None) -> np.ndarray:
        """As :meth:`TiledVolumeNetwork.ensemble`; no network in parts refines, so there is nothing to keep but all."""
        assert keep is None
        padded = padded_to(volume, self.architecture.survey.step)
        members = []
        for turn in turns:
            turned = np.ascontiguousarray(apply_turn(padded, turn))
            members.append(undo_turn(self._correction(turned, alive, stopped), turn))
        result = exact_median(members)[tuple(slice(0, n) for n in volume.shape)]
        return volume + result if self.architecture.residual else result

    def _correction(self, image: np.ndarray, alive: Alive, stopped: Stopped) -> np.ndarray:
        parts, (head, inner, tail) = self.architecture.parts, self.architecture.part_surveys
        assert parts
        halves = tuple(n // 2 for n in image.shape)
        halved = np.empty((parts.channels, *halves), np.float32)
        for tile, window in windows(image.shape, head, self._most(head)):
            alive()
            made = self._infer(parts.head, [_cut(image[None], window)], stopped)
            _place(halved, _half(tile))[...] = _place(made, _half(within(tile, window)))
        refined = np.empty_like(halved)
        for tile, window in windows(halves, inner, self._most(inner)):
            alive()
            made = self._infer(parts.inner, [_cut(halved, window)], stopped)
            _place(refined, tile)[...] = _place(made, within(tile, window))
        del halved
        output = np.empty(image.shape, np.float32)
        for tile, window in windows(image.shape, tail, self._most(tail)):
            alive()
            made = self._infer(parts.tail, [_cut(image[None], window), _cut(refined, _half(window))], stopped)
            cut(output, tile)[...] = cut(made[0], within(tile, window))
        return output

    def _most(self, survey: Survey) -> int:
        """Voxels of a window, in the part's own samples."""
        return int(self._budget() / voxel_bytes(survey, self._float_bytes))


def computed_accumulates(architecture: VolumeArchitecture, shape: Sequence[int], budget: int) -> float:
    """Multiply-accumulates of one pass over a volume (D, H, W), the margins of its tiles included."""
    surveys = architecture.part_surveys if architecture.parts else (architecture.survey,)
    sizes = _part_shapes(architecture, shape) if architecture.parts else (shape,)
    return float(sum(computed_voxels(survey, size, budget) * survey.multiply_accumulates for survey, size in zip(surveys, sizes)))


def working_bytes(architecture: VolumeArchitecture, shape: Sequence[int]) -> tuple[int, int]:
    """The least and the most bytes that feature maps of windows of a volume can sensibly take."""
    surveys = architecture.part_surveys if architecture.parts else (architecture.survey,)
    sizes = _part_shapes(architecture, shape) if architecture.parts else (shape,)
    return tuple(max(count(survey, size) for survey, size in zip(surveys, sizes)) for count in (least_bytes, most_bytes))


def kept_bytes(architecture: VolumeArchitecture, members: int) -> float:
    """Per voxel of the result, beside the windows: the maps between parts and the members of the ensemble."""
    return 4 * (members + 2 * architecture.parts.channels / 8) if architecture.parts else 0.0


def _part_shapes(architecture: VolumeArchitecture, shape: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    step = architecture.survey.step
    full = tuple(-(-n // step) * step for n in shape)
    return full, tuple(n // 2 for n in full), full


def _half(region):
    return tuple((a // 2, b // 2) for a, b in region)


def _place(maps: np.ndarray, region) -> np.ndarray:
    """A view of all channels."""
    return maps[(slice(None), *(slice(a, b) for a, b in region))]


def _cut(maps: np.ndarray, region) -> np.ndarray:
    return np.ascontiguousarray(_place(maps, region))
