"""What a reader's machine sees: the questions and the pictures, no method.

A study's folder for readers holds ``study.json``, ``pictures/<name>.png`` and ``page.html``.  A picture holds all panels of a trial,
one below the other, and its slices side by side, so that no panel has a file, a size or a date of its own.  Red and green are the
high and the low byte of a whole number; a value of the scan is ``offset + step * number``.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .design import DESIGNS, Design

SHEET, PICTURES, PAGE = "study.json", "pictures", "page.html"
LEVELS = 4096  # of a picture: one a Hounsfield unit from -1024 to 3071


@dataclass(frozen=True)
class Shown:
    """A trial as a reader's machine knows it.

    Attributes:
        name: random letters; also of its picture.
        rows, columns: of one panel's slice.
        slices: of the slab.
        panels: results, and the original before them where the design shows it.
        pixel_mm: height and width of a pixel.
        offset, step: see the module.
        window: least and largest value that the picture is shown with at first.
    """

    name: str
    rows: int
    columns: int
    slices: int
    panels: int
    pixel_mm: tuple[float, float]
    offset: float
    step: float
    window: tuple[float, float]


@dataclass(frozen=True)
class Sheet:
    """The questions.

    Attributes:
        study: random letters that name the study.
        title: for the readers.
        design: see :mod:`.design`.
        same: "no difference" may be answered.
        instructions: shown first.
        trials: in no order that tells anything.
        orders: for each reader, indices of the trials.
        turned: for each reader, whether the first panel stands on the right.
        key_sha256: of the file that tells what is what, so that it cannot be changed afterwards.
        sha256: of the file that this was read from; the first link of each chain of answers.
    """

    study: str
    title: str
    design: str
    same: bool
    instructions: tuple[str, ...]
    trials: tuple[Shown, ...]
    orders: tuple[tuple[int, ...], ...]
    turned: tuple[bool, ...]
    key_sha256: str
    sha256: str = ""

    @property
    def asks(self) -> Design:
        """The design that :attr:`design` names."""
        return DESIGNS[self.design]

    def text(self) -> str:
        """The file ``study.json``."""
        content = asdict(self)
        del content["sha256"]
        return json.dumps(content | {"question": self.asks.question, "items": [asdict(item) for item in self.asks.items]}, indent=1) + "\n"


def sha256_of(content: bytes) -> str:
    """In hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def read_sheet(folder: Path) -> Sheet:
    """The questions of a study's folder for readers (InputError: there are none, or they cannot be read)."""
    path = folder / SHEET
    try:
        raw = path.read_bytes()
        return parse_sheet(raw)
    except OSError:
        raise InputError(f"{folder} holds no {SHEET}; give the folder 'reader' of a study.") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is not a reader study of this program, or was changed; take the study's folder as it was made.") from None


def parse_sheet(raw: bytes) -> Sheet:
    """The same from the file's bytes (ValueError, KeyError, TypeError: not such a file)."""
    content: dict[str, Any] = json.loads(raw)
    del content["question"], content["items"]
    DESIGNS[content["design"]]
    trials = tuple(Shown(**trial | {"pixel_mm": tuple(trial["pixel_mm"]), "window": tuple(trial["window"])}) for trial in content.pop("trials"))
    content |= {name: tuple(content[name]) for name in ("instructions", "turned")}
    content["orders"] = tuple(map(tuple, content["orders"]))
    return Sheet(**content, trials=trials, sha256=sha256_of(raw))


def levels_of(values: np.ndarray, offset: float, step: float) -> np.ndarray:
    """Values as whole numbers 0 to :data:`LEVELS` - 1, uint16; what lies outside is clipped."""
    return np.clip(np.rint((values.astype(np.float64) - offset) / step), 0, LEVELS - 1).astype(np.uint16)


def png_of(levels: np.ndarray) -> bytes:
    """A trial's pictures as a PNG file, without a word besides.

    Args:
        levels: (panels, slices, rows, columns), uint16.
    """
    from PIL import Image

    panels, slices, rows, columns = levels.shape
    sheet = levels.transpose(0, 2, 1, 3).reshape(panels * rows, slices * columns)
    colours = np.stack([sheet >> 8, sheet & 255, np.zeros_like(sheet)], axis=-1).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(colours).save(stream, "PNG", compress_level=9)
    return stream.getvalue()


def read_picture(folder: Path, trial: Shown) -> np.ndarray:
    """A trial's pictures in the scan's values: float32 (panels, slices, rows, columns).

    Raises:
        InputError: the file is missing or is no picture of this trial.
    """
    from PIL import Image

    path = folder / PICTURES / f"{trial.name}.png"
    try:
        with Image.open(path) as image:
            colours = np.asarray(image.convert("RGB"))
        levels = (colours[..., 0].astype(np.uint16) << 8) | colours[..., 1]
        pictures = levels.reshape(trial.panels, trial.rows, trial.slices, trial.columns).transpose(0, 2, 1, 3)
    except (OSError, ValueError):
        raise InputError(f"{path} is missing or damaged; copy the study's folder once more.") from None
    return (trial.offset + trial.step * pictures).astype(np.float32)
