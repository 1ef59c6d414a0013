"""The pictures of a report: three planes of the scan, Lanczos and the result, whole and magnified, as PNG inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..scan.volume import Volume
from ..trust.body import body_mask
from .planes import ENDS, PLANES, Plane, centre_of, lanczos_plane, plane_of

_WIDTH = 260  # pixels of a picture
_INSET = 0.2  # of the plane's shorter side
_RIM = 0.04  # of the plane, where no inset is looked for
_WINDOW = (1.0, 99.7)  # percentiles
_FRAME = np.array([255, 200, 0], np.uint8)
#: black, purple, orange, yellow: from no error to the largest
_COLOURS = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], float)


@dataclass(frozen=True)
class Picture:
    """One picture of the page.

    Attributes:
        title: what it shows.
        whole, inset: data URIs of PNGs.
    """

    title: str
    whole: str
    inset: str


@dataclass(frozen=True)
class View:
    """A plane in all volumes.

    Attributes:
        plane: a key of :data:`superres3d.page.planes.PLANES`.
        caption: where it is, and how it is shown.
        pictures: scan, Lanczos, result, and the expected error where it is known.
    """

    plane: str
    caption: str
    pictures: list[Picture] = field(default_factory=list)


def views_of(scan: Volume, result: Volume, modality: str, title: str, error: Volume | None = None, place: Sequence[float] | None = None) -> list[View]:
    """The three planes.

    Args:
        scan, result: of one field of view.
        modality: "CT" or "MR".
        title: of the result's pictures.
        error: the expected error on the result's grid.
        place: LPS millimetres through which the planes go; None: the middle of the body.
    """
    where = np.asarray(place, float) if place is not None else centre_of(scan, body_mask(scan.voxels, modality))
    window = _window(np.concatenate([plane_of(scan, plane, where).pixels.ravel() for plane in PLANES]))
    return [_view(plane, scan, result, title, error, where, window) for plane in PLANES]


def _view(plane: str, scan: Volume, result: Volume, title: str, error: Volume | None, place: np.ndarray, window: tuple[float, float]) -> View:
    shown = plane_of(result, plane, place)
    planes = {"Scan": plane_of(scan, plane, place), "Lanczos": lanczos_plane(scan, result, plane, place), title: shown}
    inset = _busiest(shown.pixels.astype(np.float32) - planes["Lanczos"].pixels, shown.size)
    pictures = [_picture(name, _grey(found, window), found, inset) for name, found in planes.items()]
    if error is not None:
        found = plane_of(error, plane, place)
        largest = float(np.percentile(found.pixels, _WINDOW[1])) or 1.0
        pictures.append(_picture(f"Expected error, 0 to {largest:.3g}", _coloured(found, largest), found, inset))
    left, right, top, bottom = tuple(ENDS[plane])
    caption = (
        f"{plane.capitalize()}, {'slice' if shown.axis == 'k' else shown.axis} {shown.number + 1} of the result. "
        f"{left} at the left, {right} at the right, {top} on top, {bottom} below. Shown from {window[0]:.4g} to {window[1]:.4g}, voxels as they are."
    )
    return View(plane, caption, pictures)


def _window(pixels: np.ndarray) -> tuple[float, float]:
    low, high = (float(value) for value in np.percentile(pixels, _WINDOW))
    return low, high if high > low else low + 1.0


def _busiest(added: np.ndarray, size: tuple[float, float]) -> tuple[float, float, float, float]:
    """Where the result differs most from Lanczos: top, left, height, width as shares of the plane, a square in millimetres."""
    side = _INSET * min(size)
    shares = (side / size[0], side / size[1])
    height, width = (max(1, round(share * n)) for share, n in zip(shares, added.shape))
    added = added * np.outer(*(_inner(n) for n in added.shape))
    sums = np.pad(np.square(added, dtype=np.float64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    boxes = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(np.argmax(boxes)), boxes.shape)
    return int(top) / added.shape[0], int(left) / added.shape[1], height / added.shape[0], width / added.shape[1]


def _inner(count: int) -> np.ndarray:
    """1 in the middle, 0 at the rim: what lies there is cut off in the inset."""
    rim = round(_RIM * count)
    return np.pad(np.ones(count - 2 * rim), rim)


def _grey(plane: Plane, window: tuple[float, float]) -> np.ndarray:
    low, high = window
    grey = (np.clip((plane.pixels.astype(np.float32) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _coloured(plane: Plane, largest: float) -> np.ndarray:
    places = np.clip(plane.pixels.astype(np.float32) / largest, 0, 1) * (len(_COLOURS) - 1)
    return np.stack([np.interp(places, np.arange(len(_COLOURS)), _COLOURS[:, channel]) for channel in range(3)], axis=-1).astype(np.uint8)


def _picture(title: str, colours: np.ndarray, plane: Plane, inset: tuple[float, float, float, float]) -> Picture:
    top, left, height, width = inset
    rows, columns = colours.shape[:2]
    part = colours[_part(top, height, rows), _part(left, width, columns)]
    tall = max(2, round(_WIDTH * plane.size[0] / plane.size[1]))
    whole = _resized(colours, tall, _WIDTH)
    first, last = (round(top * tall), round(left * _WIDTH)), (min(round((top + height) * tall), tall - 1), min(round((left + width) * _WIDTH), _WIDTH - 1))
    whole[[first[0], last[0]], first[1] : last[1] + 1] = _FRAME
    whole[first[0] : last[0] + 1, [first[1], last[1]]] = _FRAME
    return Picture(title, _uri(whole), _uri(_resized(part, _WIDTH, _WIDTH)))


def _part(start: float, length: float, count: int) -> slice:
    """Shares of an axis as at least one of its pixels; a thick-slice scan has few."""
    first = min(round(start * count), count - 1)
    return slice(first, max(round((start + length) * count), first + 1))


def _resized(colours: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Nearest neighbours: voxels stay what they are."""
    places = [((np.arange(wanted) + 0.5) * n / wanted).astype(int) for wanted, n in zip((rows, columns), colours.shape)]
    return colours[np.ix_(*places)]


def _uri(colours: np.ndarray) -> str:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(colours).save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
