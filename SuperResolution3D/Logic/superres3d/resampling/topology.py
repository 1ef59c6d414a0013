"""Changing a label map voxel by voxel without changing what hangs together.

A voxel may take another label if that neither splits, joins, removes nor adds a piece, a hole or a cavity of either label: if it is
*simple* (Bertrand and Malandain, Pattern Recognition Letters 15(2), 1994).  Pieces of a label hang together over
26 neighbours, what is not of the label over 6; label 0 is what lies around all others.  Voxels of one of eight subfields
(parity of the indices) are no neighbours of each other and change together.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np

OUTSIDE = -1  # around a volume: of no label

_OFFSETS = tuple(product((-1, 0, 1), repeat=3))  # bit n of a neighbourhood is voxel n of these, (k, j, i)


def _bits(keep: list[bool]) -> np.uint32:
    return np.uint32(sum(1 << bit for bit, kept in enumerate(keep) if kept))


_SIX = _bits([sum(map(abs, offset)) == 1 for offset in _OFFSETS])
_EIGHTEEN = _bits([0 < sum(map(abs, offset)) < 3 for offset in _OFFSETS])
_TWENTY_SIX = _bits([any(offset) for offset in _OFFSETS])
#: of an axis (k, j, i): bits to shift by, and the bits that may be reached from the voxel before and from the one after
_STEPS = [(9 // 3**axis, _bits([o[axis] > -1 for o in _OFFSETS]), _bits([o[axis] < 1 for o in _OFFSETS])) for axis in range(3)]


def flip_simple(labels: np.ndarray, wanted: np.ndarray, background: int, rounds: int) -> None:
    """Bring ``labels`` towards ``wanted``, in place, as far as all pieces, holes and cavities stay.

    Args:
        labels: (k, j, i), int32, with a border of one voxel that is looked at and not changed; :data:`OUTSIDE` beyond a volume.
        wanted: of the same shape; its border is not read.
        background: the label whose own pieces need not stay; OUTSIDE if there is none.
        rounds: how often all subfields are gone through; a change goes one voxel deep in a round.
    """
    flat, target = labels.reshape(-1), wanted.reshape(-1)
    inner = np.zeros(labels.shape, bool)
    inner[1:-1, 1:-1, 1:-1] = True
    places = np.flatnonzero(inner & (labels != wanted))
    steps = np.array(_OFFSETS) @ (np.array(labels.strides) // labels.itemsize)
    parity = np.array([1, 2, 4]) @ (np.array(np.unravel_index(places, labels.shape)) & 1)
    subfields = [places[parity == number] for number in range(8)]
    for _ in range(rounds):
        left = [_flip(flat, target, field, steps, background) for field in subfields]
        if sum(map(len, left)) == sum(map(len, subfields)):
            return
        subfields = left


def _flip(flat: np.ndarray, target: np.ndarray, places: np.ndarray, steps: np.ndarray, background: int) -> np.ndarray:
    """Flip those of the places that are simple; returns the others."""
    old, new = flat[places], target[places]
    around_old, around_new = np.zeros(len(places), np.uint32), np.zeros(len(places), np.uint32)
    for bit, step in enumerate(steps):
        neighbours = flat[places + step]
        around_old |= (neighbours == old).astype(np.uint32) << np.uint32(bit)
        around_new |= (neighbours == new).astype(np.uint32) << np.uint32(bit)
    allowed = ((old == background) | is_simple(around_old)) & ((new == background) | is_simple(around_new))
    flat[places[allowed]] = new[allowed]
    return places[~allowed]


def is_simple(around: np.ndarray) -> np.ndarray:
    """Whether a voxel may join or leave a set without a change of topology, (26, 6) neighbours.

    Args:
        around: uint32, a neighbourhood each: bit 9 (k + 1) + 3 (j + 1) + (i + 1) is whether voxel (k, j, i) of -1, 0, 1 belongs to the set;
            the voxel itself, bit 13, is not read.
    """
    inside = around & _TWENTY_SIX
    outside = ~around & _EIGHTEEN
    one_piece = (inside != 0) & (_reached(inside & (~inside + np.uint32(1)), inside, _grown_26) == inside)
    faces = outside & _SIX
    return one_piece & (faces != 0) & (faces & ~_reached(faces & (~faces + np.uint32(1)), outside, _grown_6) == 0)


def _reached(seeds: np.ndarray, within: np.ndarray, grown: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Bits that hang together with the seeds."""
    while True:
        more = grown(seeds) & within
        if (more == seeds).all():
            return seeds
        seeds = more


def _grown_6(bits: np.ndarray) -> np.ndarray:
    result = bits
    for shift, after, before in _STEPS:
        result = result | ((bits << np.uint32(shift)) & after) | ((bits >> np.uint32(shift)) & before)
    return result


def _grown_26(bits: np.ndarray) -> np.ndarray:
    for shift, after, before in _STEPS:
        bits = bits | ((bits << np.uint32(shift)) & after) | ((bits >> np.uint32(shift)) & before)
    return bits
