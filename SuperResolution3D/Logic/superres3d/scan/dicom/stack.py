"""Slices in the order of their places, and whether they lie above each other, evenly, and without one missing.

All tolerances are shares of the spacing, because there are scans of every size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import InputError
from .frame import Frame
from .volumes import TOLERANCE, places

#: of the distance of the slices: how far a slice may be from where an even grid has it
EVEN = 0.05
#: the largest step that is resampled, in smallest steps
LARGEST_STEP = 2.0
_MISSING = 1.9  # a step of so many others may be a missing slice
_WAVERING = 1.5  # steps that differ by less come from rounded places, not from thick and thin slices
_STEEPEST = 45.0  # degrees


@dataclass(frozen=True)
class Stack:
    """The slices of a volume.

    Attributes:
        frames: in the order of increasing place along the normal.
        places: (n,), millimetres along the normal from the first slice.
        shifts: (n, 2), millimetres along a row and along a column from the first slice; zero where they are within tolerance.
        step: millimetres between slices of the even grid from the first to the last slice.
        even: whether the slices lie on that grid.
        tilt: degrees between the direction from slice to slice and the normal; 0 within tolerance.
    """

    frames: tuple[Frame, ...]
    places: np.ndarray
    shifts: np.ndarray
    step: float
    even: bool
    tilt: float


def stack_of(frames: Sequence[Frame], name: object) -> Stack:
    """Put the frames of one volume in order and check their places.

    Raises:
        InputError: a single slice, missing slices, steps that differ by more than :data:`LARGEST_STEP`, slices that are shifted sideways against each
            other, or a tilt of more than 45 degrees.
    """
    if len(frames) < 2:
        raise InputError(f"{name} has a single slice of {_size(frames[0])} pixels; give the folder with all its slices, or another volume.")
    order = np.argsort(places(frames), kind="stable")
    ordered = tuple(frames[index] for index in order)
    along = places(ordered)
    even = _is_even(along)
    if not even:
        _check_steps(ordered, along, name)
    shifts, tilt = _sideways(ordered, along, name)
    return Stack(ordered, along, shifts, float(along[-1] / (_count(along, even) - 1)), even, tilt)


def _count(along: np.ndarray, even: bool) -> int:
    """Slices of the even grid: as many as there are where the steps waver, enough for the smallest step where there are thick and thin ones."""
    steps = np.diff(along)
    return len(along) if even or steps.max() < _WAVERING * steps.min() else round(along[-1] / steps.min()) + 1


def _is_even(along: np.ndarray) -> bool:
    grid = np.linspace(along[0], along[-1], len(along))
    return bool(np.abs(along - grid).max() <= EVEN * (grid[1] - grid[0]))


def _check_steps(frames: Sequence[Frame], along: np.ndarray, name: object) -> None:
    """Refuse missing slices, and what is too uneven to be resampled."""
    steps = np.diff(along)
    smallest, largest = float(steps.min()), float(steps.max())
    told = f"{_mm(smallest)} to {_mm(largest)} mm"
    missing = _missing(frames, steps)
    if missing:
        usual = float(np.median(steps[steps < 1.5 * smallest]))
        raise InputError(f"{name} lacks {missing} slice{'s' * (missing > 1)}: the steps reach {_mm(largest)} mm where {_mm(usual)} mm is usual; export it again.")
    if largest > LARGEST_STEP * smallest * (1 + EVEN) or not _thick_enough(frames, steps):
        raise InputError(f"{name} has uneven slice steps ({told}); resample it first.")


def _missing(frames: Sequence[Frame], steps: np.ndarray) -> int:
    """How many slices are missing, 0 where it is not that: gaps in their numbers, or single steps of two or more usual ones."""
    usual = float(np.median(steps[steps < 1.5 * steps.min()]))
    multiples = np.rint(steps / usual)
    if np.abs(steps / usual - multiples).max() > 4 * EVEN or multiples.max() < 2:
        return 0
    numbers = [frame.number for frame in frames]
    told = None not in numbers and len(set(numbers)) == len(numbers)
    gaps = np.abs(np.diff([number or 0 for number in numbers])) if told else np.ones(len(steps))
    large = multiples >= 2
    runs = bool((large[1:] & large[:-1]).any())  # two in a row: thick slices, unless their numbers say otherwise
    lacking = np.array_equal(gaps, multiples) or not (runs or large.mean() > 0.5)
    return int((multiples - 1).sum()) if lacking else 0


def _thick_enough(frames: Sequence[Frame], steps: np.ndarray) -> bool:
    """Large steps are those of thick slices by the header, or too small for a slice to be missing."""
    for index in np.flatnonzero(steps >= _MISSING * steps.min()).tolist():
        thickness = max(frames[index].thickness or 0.0, frames[index + 1].thickness or 0.0)
        if thickness < 0.9 * steps[index]:
            return False
    return True


def _sideways(frames: Sequence[Frame], along: np.ndarray, name: object) -> tuple[np.ndarray, float]:
    """In-plane shifts of a tilted stack, or zeros; those that are no tilt are refused."""
    first = frames[0]
    shifts = np.array([first.axes @ (frame.position - first.position) for frame in frames])
    pixels = np.array(first.spacing[::-1])  # along a row the columns follow each other
    slope, start = np.polyfit(along, shifts, 1) if len(frames) > 2 else (shifts[1] / along[1], shifts[0])
    beside = np.abs(shifts - (start + along[:, None] * slope))
    if not (beside / pixels).max() <= TOLERANCE:
        raise InputError(f"{name} has slices that do not lie above each other (up to {_mm(float(np.ptp(shifts, axis=0).max()))} mm sideways); export it again.")
    if (np.abs(slope * along[-1]) / pixels).max() <= TOLERANCE:
        return np.zeros_like(shifts), 0.0
    tilt = float(np.degrees(np.arctan(np.linalg.norm(slope))))
    if tilt > _STEEPEST:
        raise InputError(f"{name} has slices that are shifted sideways by more than their distance (a tilt of {tilt:.1f} degrees); export it again.")
    return shifts, tilt


def _size(frame: Frame) -> str:
    return f"{frame.shape[1]} x {frame.shape[0]}"


def _mm(length: float) -> str:
    return f"{length:.2f}" if length >= 0.1 else f"{length:.3g}"
