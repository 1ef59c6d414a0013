"""Two pictures of the same place as one: halves along a line, their difference, a magnifier.

Pictures are (row, column, 3) uint8 with row 0 at the bottom, as VTK has them; planes are
(row, column) of intensities.
"""

from __future__ import annotations

import numpy as np

_LINE = (255, 200, 0)
_FRAME = (255, 255, 255)
_GREY = 127.5


def swipe(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """The first picture on the left of a line, the second on its right; ``share`` of the width lies left of it."""
    column = round(share * first.shape[1])
    picture = first.copy()
    picture[:, column:] = second[:, column:]
    picture[:, max(column - 1, 0) : column + 1] = _LINE
    return picture


def difference(first: np.ndarray, second: np.ndarray, half_window: float) -> np.ndarray:
    """Second minus first as grey: black at ``-half_window`` and below, middle grey where they are equal, white at ``half_window`` and above."""
    change = second.astype(np.float32) - first
    grey = np.clip(_GREY + change * (_GREY / max(half_window, 1e-12)), 0, 255)
    return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2)


def magnifier(under: np.ndarray, first: np.ndarray, second: np.ndarray, column: int, row: int) -> np.ndarray:
    """Two equal squares beside each other above the place (column, row) of a picture, or below where there is no room above.

    Each square shows what lies around that place; what would stick out of the picture is moved in.
    """
    height, width = first.shape[:2]
    both = np.concatenate([_framed(first), _framed(second)], axis=1)
    rows, columns = min(both.shape[0], under.shape[0]), min(both.shape[1], under.shape[1])
    bottom = row + _GAP if row + _GAP + height <= under.shape[0] else row - _GAP - height
    bottom = min(max(bottom, 0), under.shape[0] - rows)
    left = min(max(column - width, 0), under.shape[1] - columns)
    picture = under.copy()
    picture[bottom : bottom + rows, left : left + columns] = both[:rows, :columns]
    return picture


#: pixels between the mouse and the magnifier
_GAP = 12


def _framed(square: np.ndarray) -> np.ndarray:
    """With a border, and a cross at the place that both squares have in common."""
    picture = square.copy()
    middle_row, middle_column = square.shape[0] // 2, square.shape[1] // 2
    picture[middle_row, middle_column - 4 : middle_column + 5] = _LINE
    picture[middle_row - 4 : middle_row + 5, middle_column] = _LINE
    for edge in (np.s_[:2], np.s_[-2:]):
        picture[edge] = _FRAME
        picture[:, edge] = _FRAME
    return picture
