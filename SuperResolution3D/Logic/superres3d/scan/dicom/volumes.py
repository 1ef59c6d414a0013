"""The volumes of one series: what must not be mixed is kept apart, and what lies at one place is told apart or refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from ...errors import InputError
from . import values
from .frame import Frame
from .labels import ALTERNATING_NEVER, UNITS

#: slices lie at one place if they are closer than this share of a pixel
SAME_PLACE = 0.02
#: of a pixel, at the farthest corner of a slice: what directions and sizes of pixels may differ by within a volume
TOLERANCE = 0.1


@dataclass(frozen=True)
class Group:
    """The slices of one volume, and what tells it apart from others of its series (a user's words -> value)."""

    frames: tuple[Frame, ...]
    told: dict[str, str]

    def __str__(self) -> str:
        rows, columns = self.frames[0].shape
        words = [f"{words} {value or 'not told'}{UNITS.get(words, '') if value else ''}" for words, value in self.told.items()]
        return ", ".join([f"{len(self.frames)} slice{'s' * (len(self.frames) > 1)} of {columns} x {rows}", *words])


def volumes_of(frames: Sequence[Frame], same_pixels: Callable[[Frame, Frame], bool], name: object) -> tuple[list[Group], list[str]]:
    """All volumes among the frames of a series, in the order in which they begin.

    Args:
        frames: of one series.
        same_pixels: whether two frames hold the same values.
        name: what messages call the file or folder.

    Returns:
        (volumes, notes on slices that were left out).

    Raises:
        InputError: several slices at one place, which nothing in their headers tells apart.
    """
    ordered = sorted(frames, key=lambda frame: (frame.number or 0, str(frame.path), frame.index))
    groups, notes = _without_localizers(_apart(ordered))
    found: list[Group] = []
    for group in groups:
        single, copies = _without_copies(group, same_pixels)
        notes += [f"{copies} exact cop{'y' if copies == 1 else 'ies'} of a slice counted once."] if copies else []
        found += _in_turn(single, name)
    return found, notes


def places(frames: Sequence[Frame]) -> np.ndarray:
    """(n,), millimetres along the normal of the first frame, from the first frame on."""
    return np.array([(frame.position - frames[0].position) @ frames[0].normal for frame in frames])


def _apart(frames: Sequence[Frame]) -> list[Group]:
    """By what is never mixed: the labels, the file of a multi-frame file, and the grid of a slice."""
    groups: dict[Hashable, list[Frame]] = defaultdict(list)
    grids: list[Frame] = []
    for frame in frames:
        grid = next((number for number, other in enumerate(grids) if _same_grid(frame, other)), len(grids))
        if grid == len(grids):
            grids.append(frame)
        groups[grid, _multi_frame(frame), tuple(frame.apart.items())].append(frame)
    told = _told_apart([members[0] for members in groups.values()])
    return [Group(tuple(members), words) for members, words in zip(groups.values(), told)]


def _multi_frame(frame: Frame) -> str:
    frames = values.text(frame.file.header, "NumberOfFrames") or "1"
    whole = values.text(frame.file.header, "ConcatenationUID") or str(frame.path)
    return whole if frames != "1" else ""


def _same_grid(one: Frame, other: Frame) -> bool:
    if one.shape != other.shape:
        return False
    pixels = max(one.shape)
    turned = float(np.linalg.norm(one.axes - other.axes, axis=1).max()) * pixels
    scaled = max(abs(a / b - 1) for a, b in zip(one.spacing, other.spacing)) * pixels
    return turned <= TOLERANCE and scaled <= TOLERANCE


def _told_apart(frames: Sequence[Frame]) -> list[dict[str, str]]:
    """Of each the labels that are not the same in all; the grid and the file where the labels are."""
    rows = [{**frame.apart, "pixels of": _size(frame), "direction": _direction(frame), "file": frame.path.name} for frame in frames]
    keys = [key for key in dict.fromkeys(key for row in rows for key in row) if len({row.get(key, "") for row in rows}) > 1]
    shown = [key for key in keys if key != "file" or len(keys) == 1]
    return [{key: row.get(key, "") for key in shown} for row in rows]


def _size(frame: Frame) -> str:
    return f"{frame.spacing[1]:.4g} x {frame.spacing[0]:.4g} mm"


def _direction(frame: Frame) -> str:
    """By the patient's axis that is nearest to the normal."""
    return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(frame.normal)))]


def _without_localizers(groups: list[Group]) -> tuple[list[Group], list[str]]:
    kept = [group for group in groups if "LOCALIZER" not in group.frames[0].apart.get("image type", "").upper()]
    if not kept or len(kept) == len(groups):
        return groups, []
    left = sum(len(group.frames) for group in groups) - sum(len(group.frames) for group in kept)
    told = _told_apart([group.frames[0] for group in kept])
    return [replace(group, told=words) for group, words in zip(kept, told)], [f"{left} localizer image{'s' * (left > 1)} of the series left out."]


def _without_copies(group: Group, same_pixels: Callable[[Frame, Frame], bool]) -> tuple[Group, int]:
    """Frames that agree in place, labels, scale and pixels are one."""
    kept: dict[Hashable, list[Frame]] = defaultdict(list)
    copies = set()
    for frame, place in zip(group.frames, _numbered(group.frames)):
        alike = kept[int(place), tuple(frame.in_turn.values()), frame.scale]
        if any(np.allclose(frame.position, other.position, rtol=0, atol=SAME_PLACE * min(frame.spacing)) and same_pixels(frame, other) for other in alike):
            copies.add(id(frame))
        else:
            alike.append(frame)
    return replace(group, frames=tuple(frame for frame in group.frames if id(frame) not in copies)), len(copies)


def _numbered(frames: Sequence[Frame]) -> np.ndarray:
    """(n,), which place each frame lies at, counted along the normal."""
    along = places(frames)
    order = np.argsort(along, kind="stable")
    new = np.diff(along[order]) > SAME_PLACE * min(frames[0].spacing)
    numbered = np.empty(len(frames), dtype=int)
    numbered[order] = np.concatenate([[0], np.cumsum(new)])
    return numbered


def _in_turn(group: Group, name: object) -> list[Group]:
    """A group whose frames all lie at places of their own, or its parts for which this holds."""
    numbered = _numbered(group.frames)
    if _all_apart(numbered):
        return _interleaved(group)
    best = min(_splits(group, numbered), key=len, default=None)
    if best is None:
        count = int(np.bincount(numbered).max())
        raise InputError(
            f"{name} has several slices at one position (up to {count}), and nothing in their headers tells them apart as echoes, times or the like; keep one of each."
        )
    return best


def _interleaved(group: Group) -> list[Group]:
    """A group whose frames lie at places of their own, or its parts where these are volumes by a label that does not alternate within one."""
    keys = [*ALTERNATING_NEVER, *(["acquisition"] if group.frames[0].apart["modality"] == "CT" else [])]  # of MR packages may have numbers of their own
    for key in keys:
        parts: dict[str, list[Frame]] = defaultdict(list)
        for frame in group.frames:
            parts[frame.in_turn[key]].append(frame)
        if len(parts) > 1 and min(map(len, parts.values())) >= 2 * len(parts) and _overlap(group.frames[0], [*parts.values()]):
            return [Group(tuple(part), {**group.told, key: value}) for value, part in parts.items()]
    return [group]


def _overlap(first: Frame, parts: Sequence[Sequence[Frame]]) -> bool:
    """Whether some two parts share more than half of the length of the shorter."""
    along = [[(frame.position - first.position) @ first.normal for frame in part] for part in parts]
    ends = [(min(part), max(part)) for part in along]
    return any(min(a[1], b[1]) - max(a[0], b[0]) > 0.5 * min(a[1] - a[0], b[1] - b[0]) for a, b in combinations(ends, 2))


def _splits(group: Group, numbered: np.ndarray) -> Iterator[list[Group]]:
    """Ways to divide a group by one or two labels so that no part has two frames at one place."""
    varying = [key for key in group.frames[0].in_turn if len({frame.in_turn.get(key, "") for frame in group.frames}) > 1]
    for keys in (*((key,) for key in varying), *combinations(varying, 2)):
        parts: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for index, frame in enumerate(group.frames):
            parts[tuple(frame.in_turn.get(key, "") for key in keys)].append(index)
        if all(len(part) > 1 and _all_apart(numbered[part]) for part in parts.values()):
            told = ({**group.told, **dict(zip(keys, value))} for value in parts)
            yield [Group(tuple(group.frames[index] for index in part), words) for part, words in zip(parts.values(), told)]


def _all_apart(numbered: np.ndarray) -> bool:
    return len(set(numbered.tolist())) == len(numbered)
