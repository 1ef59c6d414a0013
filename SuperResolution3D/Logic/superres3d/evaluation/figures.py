"""The picture of a cell, after Figure 6 of Georgescu 2020: input, Lanczos, network and truth side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, SubplotSpec
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from scipy.ndimage import binary_fill_holes, distance_transform_edt, gaussian_gradient_magnitude

from ..methods import METHODS
from ..scan.volume import Volume
from ..staging import Staging, unwritable
from ..upscaling import NOT_FOR_DIAGNOSIS
from .metrics import Reference, psnr

_WINDOW_PERCENTILES = (1.0, 99.0)  # of the foreground of the slice
_ERROR_PERCENTILE = 99.0  # of the input's error within the magnified part: the end of the error scale
_INSET = 0.22  # side of the magnified square, as a share of the displayed slice's width
_EDGE_COLOUR = "#ffb000"
_PANEL = 2.3  # inches
_DPI = 220


@dataclass(frozen=True)
class View:
    """How a slice is turned so that up and right on the page are as radiologists expect.

    Attributes:
        transpose: swap rows and columns first.
        flip_rows, flip_columns: then turn these around.
        aspect: height of a displayed pixel over its width.
        letters: patient directions at the left, right, top and bottom of the page.
    """

    transpose: bool
    flip_rows: bool
    flip_columns: bool
    aspect: float
    letters: tuple[str, str, str, str]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The image (rows, columns) as it is displayed."""
        image = image.T if self.transpose else image
        return image[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]


def view_of(volume: Volume, slice_axis: int) -> View:
    """Head or front up; the patient's left, or in a sagittal slice the back, on the right of the page.

    Args:
        volume: for its direction and spacing.
        slice_axis: array axis of the slices.
    """
    row_axis, column_axis = (2 - axis for axis in range(3) if axis != slice_axis)  # in the order (i, j, k)
    patient = [int(np.argmax(np.abs(volume.direction[:, axis]))) for axis in (row_axis, column_axis)]
    transpose = patient[0] < patient[1]  # the page's vertical is the later of left, posterior, superior
    if transpose:
        row_axis, column_axis = column_axis, row_axis
    down, right = (volume.direction[:, axis] for axis in (row_axis, column_axis))
    vertical, horizontal = int(np.argmax(np.abs(down))), int(np.argmax(np.abs(right)))
    wanted_down = -1.0 if vertical == 2 else 1.0  # inferior, or posterior, is down
    letters = (("R", "L"), ("A", "P"), ("I", "S"))
    top, bottom = letters[vertical][::-1] if vertical == 2 else letters[vertical]
    return View(
        transpose,
        bool(down[vertical] * wanted_down < 0),
        bool(right[horizontal] < 0),
        volume.spacing[row_axis] / volume.spacing[column_axis],
        (*letters[horizontal], top, bottom),
    )


def busiest_part(image: np.ndarray, inside: np.ndarray, size: tuple[int, int]) -> tuple[slice, slice]:
    """The rectangle with the most gradient, away from the outline of the body.

    Args:
        image: (rows, columns), held within the grey window.
        inside: bool, the foreground.
        size: rows and columns of the rectangle; at most the image's.

    Returns:
        Its rows and columns.
    """
    depth = distance_transform_edt(np.pad(binary_fill_holes(inside), 1))[1:-1, 1:-1]
    weight = np.clip((depth - 2.0) / max(1.0, min(size) / 4), 0.0, 1.0)
    gradient = gaussian_gradient_magnitude(image.astype(np.float64), 1.0) * weight
    height, width = size
    sums = np.pad(gradient.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inner = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    row, column = (int(n) for n in np.unravel_index(int(np.argmax(inner)), inner.shape))
    return slice(row, row + height), slice(column, column + width)


def draw_comparison(
    path: Path, title: str, truth: Volume, reference: Reference, index: int, low_slice: np.ndarray, results: Mapping[str, np.ndarray]
) -> None:
    """Write the picture of one slice.

    Args:
        path: a PNG file.
        title: of the cell.
        truth: for its place in the patient.
        reference: the truth made ready.
        index: of the slice.
        low_slice: (rows, columns) of the low-resolution scan at this place, in the scan's units.
        results: method -> prepared slice (rows, columns), on the scale of ``reference``.

    Raises:
        ResourceError: the file cannot be written.
    """
    original = reference.slices[index]
    repeats = [large // small for large, small in zip(original.shape, low_slice.shape)]
    shown = np.repeat(np.repeat(low_slice - np.float32(reference.offset), repeats[0], axis=0), repeats[1], axis=1)
    panels = {"Low-resolution input": shown, **{METHODS[name].title: image for name, image in results.items()}, "Truth": original}
    foreground = reference.foreground[index]
    grey = np.percentile(original[foreground] if foreground.any() else original, _WINDOW_PERCENTILES)
    view = view_of(truth, reference.slice_axis)
    square = busiest_part(view(np.clip(original, *grey)), view(foreground), _inset_size(view(original).shape, view.aspect))
    notes = [_note(reference, original, image) for image in panels.values()]
    unit = "HU" if reference.clipped else ""
    _save(_draw(title, view, {name: view(image) for name, image in panels.items()}, notes, grey, square, unit), path)


def _inset_size(shape: tuple[int, int], aspect: float) -> tuple[int, int]:
    """Rows and columns of a part that is square on the page."""
    side = max(8.0, _INSET * shape[1])
    return min(shape[0], round(side / aspect)), min(shape[1], round(side))


def _note(reference: Reference, original: np.ndarray, image: np.ndarray) -> str:
    if image is original:
        return ""
    held = np.clip(image, 0.0, reference.data_range) if reference.clipped else image
    return f"PSNR {psnr(float(np.mean((held - original).astype(np.float64) ** 2)), reference.data_range):.2f} dB"


def _draw(title: str, view: View, panels: dict[str, np.ndarray], notes: list[str], grey: np.ndarray, square: tuple[slice, slice], unit: str) -> Figure:
    """Three rows: the slice, its magnified part, the error there; a column a panel, the truth last."""
    images = list(panels.values())
    original = images[-1][square]
    heights = [_PANEL * view.aspect * image.shape[0] / image.shape[1] for image in (images[0], original, original)]
    figure, grid = _lay_out(len(images), heights)
    ceiling = _two_digits(float(np.percentile(np.abs(images[0][square] - original), _ERROR_PERCENTILE))) or 1.0
    for number, (name, image) in enumerate(panels.items()):
        whole, part, error = (figure.add_subplot(grid[line, number]) for line in (0, 2, 4))
        for axes, shown in ((whole, image), (part, image[square])):
            axes.imshow(shown, cmap="gray", vmin=grey[0], vmax=grey[1], interpolation="nearest", aspect=view.aspect)
        whole.add_patch(Rectangle((square[1].start - 0.5, square[0].start - 0.5), original.shape[1], original.shape[0], fill=False, ec=_EDGE_COLOUR, lw=1.2))
        whole.set_title(name, fontsize=9, pad=4)
        whole.set_xlabel(notes[number], fontsize=9, labelpad=4)
        if number < len(images) - 1:
            drawn = error.imshow(np.abs(image[square] - original), cmap="inferno", vmin=0.0, vmax=ceiling, interpolation="nearest", aspect=view.aspect)
        else:
            error.remove()
            _add_scale(figure, grid[4, number], drawn, ceiling, unit)
        _frame({whole: "none", part: _EDGE_COLOUR, error: "none"})
    _add_letters(figure.axes[0], view)
    figure.text(0.006, 0.012, title, fontsize=7, va="bottom")
    figure.text(0.994, 0.012, NOT_FOR_DIAGNOSIS, fontsize=7, va="bottom", ha="right")
    return figure


def _frame(colours: dict[Axes, str]) -> None:
    """Panels without ticks, each with a frame of its colour."""
    for axes, colour in colours.items():
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color=colour, linewidth=1.2)


def _lay_out(columns: int, heights: list[float]) -> tuple[Figure, GridSpec]:
    """An empty page; lines 0, 2 and 4 of the grid are the panels, 1 and 3 the gaps between them (inches)."""
    top, bottom = 0.3, 0.26
    lines = [heights[0], 0.28, heights[1], 0.05, heights[2]]
    width, height = _PANEL * columns, sum(lines) + top + bottom
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
    grid = figure.add_gridspec(
        len(lines), columns, height_ratios=lines, left=0.005, right=0.995, top=1 - top / height, bottom=bottom / height, wspace=0.02, hspace=0.0
    )
    return figure, grid


def _two_digits(value: float) -> float:
    """Rounded to two significant digits, for a scale that reads well."""
    return float(f"{value:.1e}")


def _add_scale(figure: Figure, place: SubplotSpec, drawn: AxesImage, ceiling: float, unit: str) -> None:
    """The colours of the error row, where the truth's own error would be."""
    box = place.get_position(figure)
    axes = figure.add_axes((box.x0 + 0.1 * box.width, box.y0 + 0.5 * box.height, 0.8 * box.width, 0.06 * box.height))
    ticks = (0.0, ceiling / 2, ceiling)
    bar = Colorbar(axes, drawn, orientation="horizontal", ticks=ticks)
    bar.ax.set_xticklabels([f"{tick:.10g}" for tick in ticks], fontsize=8)
    bar.ax.set_title(f"absolute error, {unit}" if unit else "absolute error", fontsize=8)


def _add_letters(axes: Axes, view: View) -> None:
    places = ((0.02, 0.5, "left", "center"), (0.98, 0.5, "right", "center"), (0.5, 0.98, "center", "top"), (0.5, 0.02, "center", "bottom"))
    for letter, (x, y, horizontal, vertical) in zip(view.letters, places):
        axes.text(x, y, letter, transform=axes.transAxes, ha=horizontal, va=vertical, fontsize=7, color="white")


def _save(figure: Figure, path: Path) -> None:
    with Staging() as staging:
        try:
            figure.savefig(staging.path(path), format="png")
        except OSError as error:
            raise unwritable(path, error) from None
        staging.commit()
