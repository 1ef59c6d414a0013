"""A training recipe: the small TOML file that says which network is trained on what, and how.

Every field has the paper's value as its default (Georgescu 2020, sections III and IV-C).
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - Python 3.10
    import tomli as tomllib


@dataclass(frozen=True)
class Recipe:
    """What is trained.  Lengths of patches are in low-resolution pixels."""

    # the network
    method: str = "georgescu2020"
    modality: str = "MR"
    stage: str = "plane"  # plane | depth
    scale: int = 2
    filters: int = 32
    second_block: bool = True
    short_skips: bool = True
    long_skip: bool = True
    residual: bool = False
    # the data: subjects by file name without suffix
    volumes: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    all_axes: tuple[str, ...] = ()  # isotropic volumes whose slices may be cut along any axis
    # the samples
    patch: int = 7
    patch_across: int = 7  # depth stage only: the axis that is not refined
    coarse_across: float = 0.0  # depth stage only: share of patches from scans made coarser by the factor in-plane (depth-first order)
    batch: int = 128
    augment_exact: bool = True  # random flips and quarter turns
    blur_probability: float = 0.5
    blur_sigma: float = 0.5  # upper end of the uniform distribution
    blur_variable: bool = True  # False: always blur_sigma (the ablation of Table II)
    gain: float = 1.0  # intensities are multiplied by exp(U(-log gain, log gain))
    # the optimisation
    intermediate_weight: float = 1.0
    steps: int = 100_000
    learning_rate: float = 1e-3
    schedule: str = "step"  # step: a tenth after half of the steps | cosine: to zero
    precision: str = "32-true"  # as Lightning names it
    seed: int = 2020

    def __post_init__(self) -> None:
        _one_of("stage", self.stage, ("plane", "depth"))
        _one_of("scale", self.scale, (2, 4))
        _one_of("modality", self.modality, ("CT", "MR"))
        _one_of("schedule", self.schedule, ("step", "cosine"))
        if not 0.0 <= self.coarse_across <= 1.0:
            raise InputError(f"The recipe's coarse_across is {self.coarse_across}; give a share from 0 to 1.")
        for name in ("patch", "patch_across", "batch", "steps", "filters"):
            if getattr(self, name) < 1:
                raise InputError(f"The recipe's {name} is {getattr(self, name)}; give a whole number above 0.")

    @property
    def factors(self) -> tuple[int, int]:
        """Refinement of (rows, columns) of a training slice."""
        return (self.scale, self.scale if self.stage == "plane" else 1)

    @property
    def patch_shape(self) -> tuple[int, int]:
        """(rows, columns) of a low-resolution patch."""
        return (self.patch, self.patch if self.stage == "plane" else self.patch_across)

    @property
    def network(self) -> dict[str, Any]:
        """Keyword arguments of the network."""
        names = ("filters", "second_block", "short_skips", "long_skip", "residual")
        return {"factors": list(self.factors), **{name: getattr(self, name) for name in names}}

    @property
    def model_name(self) -> str:
        """Folder of the trained model, e.g. ``georgescu2020-mr-plane-x2``."""
        return f"{self.method}-{self.modality.lower()}-{self.stage}-x{self.scale}"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def load_recipe(path: Path, overrides: dict[str, str] | None = None) -> Recipe:
    """Read a recipe.

    The file may hold tables named ``<modality>``, ``<stage>``, ``<modality>-<stage>`` and ``<stage>-x<scale>``
    whose fields take the place of the general ones, so that one file serves all networks of a
    method; ``include`` names a file beside it that is read first.

    Args:
        path: a TOML file.
        overrides: ``name: text``; the text is parsed as a TOML value, else taken as a string.

    Raises:
        InputError: unreadable file, unknown field, or a value of the wrong kind.
    """
    content = _read(Path(path))
    if "include" in content:
        content = {**_read(Path(path).parent / content.pop("include")), **content}
    general = {name: value for name, value in content.items() if not isinstance(value, dict)}
    given = {name: _parse(value) for name, value in (overrides or {}).items()}
    chosen = {"modality": Recipe.modality, "stage": Recipe.stage, "scale": Recipe.scale, **general, **given}
    modality, stage, scale = chosen["modality"], chosen["stage"], chosen["scale"]
    for table in (modality, stage, f"{modality}-{stage}", f"{stage}-x{scale}"):
        general.update(content.get(table, {}))
    return _build({**general, **given}, path)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"The recipe {path} cannot be read: {error}.") from None


def _build(values: dict[str, Any], path: Path) -> Recipe:
    known = {field.name: type(getattr(Recipe, field.name)) for field in fields(Recipe)}
    for name, value in values.items():
        if name not in known:
            raise InputError(f"The recipe {path} has an unknown field {name}; known are {', '.join(known)}.")
        if known[name] is tuple and isinstance(value, list):
            values[name] = tuple(value)
        elif known[name] is float and type(value) is int:
            values[name] = float(value)
        elif type(value) is not known[name]:
            raise InputError(f"The recipe's {name} is {value!r}; give a {known[name].__name__}.")
    return replace(Recipe(), **values)


def _parse(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _one_of(name: str, value: Any, allowed: tuple) -> None:
    if value not in allowed:
        raise InputError(f"The recipe's {name} is {value!r}; give one of {', '.join(map(str, allowed))}.")
