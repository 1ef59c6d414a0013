"""A training recipe: the small TOML file that says which network is trained on what, and how.

Every field has its paper's value as default: :class:`Recipe` for the plane and depth networks (Georgescu 2020,
sections III and IV-C), :class:`VolumeRecipe` for the volumetric ones (Chen 2020, section 4.1; Kudo 2019, section 4.1).
:class:`MultiTaskRecipe` is this project's own.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..networks.families import FORMS, VOLUME_FAMILIES, Architecture
from ..networks.weights import is_plain_name

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - Python 3.10
    import tomli as tomllib


_SIZES = ("filters", "blocks", "second_block", "short_skips", "long_skip")  # fields of a recipe that are options of a network


@dataclass(frozen=True)
class CommonRecipe:
    """What every training has."""

    method: str = ""
    modality: str = "MR"
    # subjects by file name without suffix
    volumes: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    all_axes: tuple[str, ...] = ()  # volumes that are equally sharp along all axes: each may be taken as the slice axis
    # the samples
    augment_exact: bool = True  # random flips and quarter turns
    gain: float = 1.0  # intensities are multiplied by exp(U(-log gain, log gain))
    # the optimisation
    steps: int = 100_000
    learning_rate: float = 1e-3
    schedule: str = "step"  # step: a tenth after half of the steps | cosine: to zero | constant
    warm_up: int = 0  # cosine: steps over which the learning rate rises first
    precision: str = "32-true"  # as Lightning names it
    seed: int = 2020

    def _check_common(self, *whole_numbers: str) -> None:
        if self.method and not is_plain_name(self.method):
            raise InputError(f"The recipe's method is {self.method!r}; give a name of letters, digits, dots, hyphens and underscores: the model's folder is called after it.")
        _one_of("modality", self.modality, ("CT", "MR"))
        _one_of("schedule", self.schedule, ("step", "cosine", "constant"))
        for name in ("steps", *whole_numbers):
            if getattr(self, name) < 1:
                raise InputError(f"The recipe's {name} is {getattr(self, name)}; give a whole number above 0.")

    def as_dict(self) -> dict[str, Any]:
        """Every field with its value, as a card holds them."""
        return asdict(self)


@dataclass(frozen=True)
class Recipe(CommonRecipe):
    """A plane or depth network.  Lengths of patches are in low-resolution pixels."""

    method: str = "georgescu2020"
    # the network
    stage: str = "plane"  # plane | depth
    scale: int = 2
    form: str = "intermediate-loss"  # intermediate-loss (Georgescu 2020) | edsr
    filters: int | None = None  # not given, as the blocks: the network's own
    second_block: bool = True  # the three switches are of the paper's form
    short_skips: bool = True
    long_skip: bool = True
    blocks: int | None = None  # edsr: residual blocks
    options: dict[str, Any] = field(default_factory=dict)  # of another form: those without a field here
    # the samples
    shares: dict[str, float] = field(default_factory=dict)  # volume -> how often it is drawn, against 1 for one that is not named
    patch: int = 7
    patch_across: int = 7  # depth stage only: the axis that is not refined
    coarse_across: float = 0.0  # depth stage only: share of patches from scans made coarser by the factor in-plane (depth-first order)
    batch: int = 128
    blur_probability: float = 0.5
    blur_sigma: float = 0.5  # upper end of the uniform distribution
    blur_variable: bool = True  # False: always blur_sigma (the ablation of Table II)
    # share of the patches that lose their detail by a cut of the spectrum instead of antialiased bicubic: truncated k-space, for CT a sharp kernel
    spectral_share: float = 0.0
    spectral_extent: float = 1.0  # on half of those less than all of the coarse matrix was measured, at least this share in each direction
    profile_share: float = 0.0  # depth stage only: share of the patches whose slices have a profile instead: Gaussian, box or pulse, with gaps and overlaps
    noise: float = 0.0  # upper end of the standard deviation of Gaussian noise on the low-resolution patches, in network units
    noise_share: float = 0.5  # of the patches that have noise
    # the optimisation
    start: str = ""  # begins from the weights of this model folder
    loss: str = "l1"  # l1 | rms: the root mean square of each patch's error
    intermediate_weight: float = 1.0  # of the loss of the intermediate output, where there is one

    def __post_init__(self) -> None:
        _one_of("stage", self.stage, ("plane", "depth"))
        _one_of("scale", self.scale, (2, 4))
        _one_of("form", self.form, FORMS)
        _one_of("loss", self.loss, ("l1", "rms"))
        for name, least in (("coarse_across", 0.0), ("profile_share", 0.0), ("spectral_share", 0.0), ("spectral_extent", 0.1)):
            if not least <= getattr(self, name) <= 1.0:
                raise InputError(f"The recipe's {name} is {getattr(self, name)}; give a number from {least:g} to 1.")
        for name, share in self.shares.items():
            if name not in self.volumes or not isinstance(share, (int, float)) or not 0.0 < share < math.inf:
                raise InputError(f"The recipe's shares give {name} {share}; name one of its volumes and give a number above 0, or set shares={{}}.")
        if {"form", "factors"} & set(self.options):
            raise InputError("The recipe's options hold the form or the factors; give the form beside them, and the factors by stage and scale.")
        self._check_common("patch", "patch_across", "batch", *(name for name in ("filters", "blocks") if getattr(self, name) is not None))
        self._check_form()

    def _check_form(self) -> None:
        """A switch without effect is a mistake (InputError)."""
        others = {name for family in FORMS.values() for name in family.options} - set(FORMS[self.form].options)
        if not self.architecture.survey.intermediates:
            others.add("intermediate_weight")
        for switch in fields(self):
            if switch.name in others and getattr(self, switch.name) != switch.default:
                raise InputError(f"The recipe's {switch.name} has no effect on this network of the form {self.form}; leave it out.")
        if self.profile_share and self.stage != "depth":
            raise InputError("The recipe's profile_share is of slices, and the plane network refines none; leave it out, or set stage=depth.")
        if not self.spectral_share and self.spectral_extent != 1.0:
            raise InputError("The recipe's spectral_extent has no effect without spectral_share; give that a number above 0, or leave it out.")

    @property
    def factors(self) -> tuple[int, int]:
        """Refinement of (rows, columns) of a training slice."""
        return (self.scale, self.scale if self.stage == "plane" else 1)

    @property
    def patch_shape(self) -> tuple[int, int]:
        """(rows, columns) of a low-resolution patch."""
        return (self.patch, self.patch if self.stage == "plane" else self.patch_across)

    @property
    def architecture(self) -> Architecture:
        """The network (InputError for an option that it does not have)."""
        return _checked(self.form, lambda: Architecture.from_card(self.network))

    @property
    def network(self) -> dict[str, Any]:
        """As the card holds it."""
        settings = dict(FORMS[self.form].options)  # all of them: a card must not depend on what a function's defaults become
        defaults = {size.name: size.default for size in fields(self)}
        settings |= {name: getattr(self, name) for name in _SIZES if name in settings and getattr(self, name) != defaults[name]}
        return {"form": self.form, "factors": list(self.factors), **settings, **self.options}

    @property
    def model_name(self) -> str:
        """Folder of the trained model, e.g. ``georgescu2020-mr-plane-x2``."""
        return f"{self.method}-{self.modality.lower()}-{self.stage}-x{self.scale}"


@dataclass(frozen=True)
class VolumeRecipe(CommonRecipe):
    """A volumetric network.  Lengths are in voxels of the high-resolution grid."""

    method: str = "mdcsrn"
    # the network
    family: str = "mdcsrn"
    options: dict[str, Any] = field(default_factory=dict)
    residual: bool = False  # what the network gives is added to its input
    # the samples
    degradation: str = "k-space"  # k-space: 2x2x1 truncation (Chen 2020) | thick-slice: the Degrader (Kudo 2019)
    patch: int = 40
    patch_depth: int = 40
    batch: int = 6
    slice_factors: tuple[int, ...] = (4, 8)  # thick-slice: thin slices an interval
    slice_sigma: float = 3.2  # thick-slice: upper end of the profile's sigma, in thin slices
    sigma_grows: bool = False  # thick-slice: slice_sigma is that of the largest factor, in proportion for smaller ones
    least_sigma: float = 0.0  # thick-slice: lower end of the profile's sigma, as a share of the upper one
    slice_noise: float = 0.0  # thick-slice: upper end of the noise's standard deviation, in network units
    coarsest_slices_mm: float = 1.2  # thick-slice: scans with wider slices are reduced in-plane as well, and taken as smaller bodies
    # the optimisation
    learning_rate: float = 1e-4
    last_rate: float = 1.0  # learning rate of the last convolution, as a share of the others'
    schedule: str = "constant"
    freeze_norm: float = 1.0  # after this share of the steps normalisations keep their statistics, as they do at inference
    adversarial: str = ""  # "" | wgan-gp (Chen 2020) | conditional (Kudo 2019) | patch (Pix2Pix)
    start: str = ""  # an adversarial training begins from the weights of this model folder
    voxel_weight: float = 1.0  # of the mean absolute error: 1 (Chen 2020), 100 (Pix2Pix; Kudo 2019 does not say)
    adversarial_weight: float = 0.1
    first_critic_steps: int = 10_000  # wgan-gp: before the generator's first
    critic_steps: int = 5  # wgan-gp: for each of the generator's
    extra_critic_steps: int = 200  # wgan-gp: after every 500 of the generator's
    discriminator_filters: int = 64
    condition: bool = True  # conditional: tell the discriminator body part, interval and thickness
    body_parts: dict[str, str] = field(default_factory=dict)  # conditional: subject -> head, chest, abdomen or legs

    def __post_init__(self) -> None:
        _one_of("family", self.family, VOLUME_FAMILIES)
        _one_of("degradation", self.degradation, ("k-space", "thick-slice"))
        _one_of("adversarial", self.adversarial, ("", "wgan-gp", "conditional", "patch"))
        for part in self.body_parts.values():
            _one_of("body_parts", part, BODY_PARTS)
        self._check_common("patch", "patch_depth", "batch", "discriminator_filters")
        for name in ("first_critic_steps", "critic_steps", "extra_critic_steps"):
            if getattr(self, name) < 0:
                raise InputError(f"The recipe's {name} is {getattr(self, name)}; give a whole number, 0 or above.")
        step = self.architecture.survey.step
        for name in ("patch", "patch_depth"):
            if getattr(self, name) % step:
                raise InputError(f"The recipe's {name} is {getattr(self, name)}; give a multiple of {step}, as the network needs.")

    @property
    def architecture(self) -> Architecture:
        """The network (InputError for an option that it does not have)."""
        return _checked(self.family, lambda: Architecture.make(self.family, self.options, self.residual))

    @property
    def network(self) -> dict[str, Any]:
        """As the card holds it."""
        return {"family": self.family, "options": self.options, "residual": self.residual}

    @property
    def model_name(self) -> str:
        """Folder of the trained model, e.g. ``mdcsrn-mr``."""
        return f"{self.method}-{self.modality.lower()}"


@dataclass(frozen=True)
class MultiTaskRecipe(CommonRecipe):
    """A network that refines in several ways (MDSR, Lim 2017).  Lengths of crops are in low-resolution voxels."""

    method: str = "mdsr-3d"
    # the network
    family: str = "mdsr"
    options: dict[str, Any] = field(default_factory=dict)
    tasks: tuple[tuple[int, int, int], ...] = ((2, 2, 2),)  # factors along (slices, rows, columns); each step takes one
    # the samples
    through_plane: tuple[str, ...] = ()  # volumes whose slice axis is sharp: the others only teach tasks that leave it alone
    patch: int = 24
    patch_depth: int = 16
    batch: int = 2
    reductions: tuple[float, ...] = ()  # each scan is also taken reduced by these factors: other spacings, other sizes of a body
    blur_probability: float = 0.5
    blur_sigma: float = 0.5  # upper end of the uniform distribution, in voxels of the truth
    profile_share: float = 0.0  # share of samples whose slices are Gaussian means instead of antialiased cubic ones
    gamma: float = 1.0  # intensities are raised to the power of exp(U(-log gamma, log gamma))
    # the optimisation
    start: str = ""  # begins from the weights of this model folder, as far as they are of its tasks
    schedule: str = "cosine"
    second_moment: float = 0.999  # Adam's beta 2
    gradient_norm: float = 0.0  # gradients are scaled down to this norm (0: not): crops differ widely

    def __post_init__(self) -> None:
        _one_of("family", self.family, VOLUME_FAMILIES)
        if not self.tasks or not all(isinstance(task, (list, tuple)) for task in self.tasks):
            raise InputError(f"The recipe's tasks are {list(self.tasks)}; give a list of tasks, each of three factors such as [2, 2, 2].")
        # TOML has lists; in a frozen class they are replaced once, here.
        object.__setattr__(self, "tasks", tuple(tuple(task) for task in self.tasks))
        self._check_common("patch", "patch_depth", "batch")
        _ = self.architectures

    @property
    def architectures(self) -> tuple[Architecture, ...]:
        """Of the network's tasks (InputError for an option that it does not have, or factors that cannot be)."""
        for task in self.tasks:
            if len(task) != 3 or any(factor not in (1, 2, 4) for factor in task) or max(task) == 1:
                raise InputError(f"The recipe's task {list(task)} cannot be; give three factors out of 1, 2 and 4, not all 1.")
        return tuple(_checked(self.family, partial(Architecture.make, self.family, self.options, True, task)) for task in self.tasks)

    @property
    def network(self) -> dict[str, Any]:
        """As the card holds it."""
        return {"family": self.family, "options": self.options, "residual": True, "tasks": [list(task) for task in self.tasks]}

    @property
    def model_name(self) -> str:
        """Folder of the trained model, e.g. ``mdsr-3d-mr``."""
        return f"{self.method}-{self.modality.lower()}"


BODY_PARTS = ("head", "chest", "abdomen", "legs")
AnyRecipe = Recipe | VolumeRecipe | MultiTaskRecipe


def load_recipe(path: Path, overrides: dict[str, str] | None = None) -> AnyRecipe:
    """Read a recipe: of a volumetric network if it names a ``family`` (with several ``tasks`` or without), else of a plane or depth network.

    The file may hold tables named ``<modality>``, ``<stage>``, ``<modality>-<stage>`` and ``<stage>-x<scale>``
    (for volumetric networks ``<modality>-volume``) whose fields take the place of the general ones, so that one
    file serves all networks of a method; ``include`` names a file beside it that is read first, and whose tables may be added to.

    Args:
        path: a TOML file.
        overrides: ``name: text``; the text is parsed as a TOML value, else taken as a string.

    Raises:
        InputError: unreadable file, unknown field, or a value of the wrong kind.
    """
    content = _read(Path(path))
    if "include" in content:
        content = _merged(_read(Path(path).parent / content.pop("include")), content)
    kind = _kind(content)
    own_tables = {field.name for field in fields(kind) if str(field.type).startswith("dict")}
    general = {name: value for name, value in content.items() if not isinstance(value, dict) or name in own_tables}
    given = {name: _parse(value) for name, value in (overrides or {}).items()}
    for table in _tables(kind, {**general, **given}):
        general.update(content.get(table, {}))
    return _build(kind, {**general, **given}, path)


def _kind(content: dict[str, Any]) -> type[Recipe] | type[VolumeRecipe] | type[MultiTaskRecipe]:
    if "family" not in content:
        return Recipe
    return MultiTaskRecipe if "tasks" in content else VolumeRecipe


def _tables(kind: type, chosen: dict[str, Any]) -> tuple[str, ...]:
    """The tables of a file that a network reads, the later over the earlier."""
    modality = chosen.get("modality", CommonRecipe.modality)
    if kind is not Recipe:
        return (modality, f"{modality}-tasks" if kind is MultiTaskRecipe else f"{modality}-volume")
    stage, scale = chosen.get("stage", Recipe.stage), chosen.get("scale", Recipe.scale)
    return (modality, stage, f"{modality}-{stage}", f"{stage}-x{scale}")


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """``second`` over ``first``, field by field in tables that both have."""
    return {**first, **{name: {**first.get(name, {}), **value} if isinstance(value, dict) else value for name, value in second.items()}}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = (error.strerror or "the system refused it") if isinstance(error, OSError) else "it is no text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise InputError(f"The recipe {path} cannot be read: {reason}.") from None


def _build(kind: type, values: dict[str, Any], path: Path) -> AnyRecipe:
    defaults = kind().as_dict()
    known = {name: int if default is None else type(default) for name, default in defaults.items()}  # sizes are the network's own where they are not given
    for name, value in values.items():
        if name not in known:
            raise InputError(f"The recipe {path} has an unknown field {name}; known are {', '.join(known)}.")
        if known[name] is tuple and isinstance(value, list):
            values[name] = tuple(value)
        elif known[name] is float and type(value) is int:
            values[name] = float(value)
        elif type(value) is not known[name]:
            raise InputError(f"The recipe's {name} is {value!r}; give a {known[name].__name__}.")
    return kind(**values)


def _parse(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _checked(name: str, make: Callable[[], Architecture]) -> Architecture:
    """The architecture (InputError for an option that the family ``name`` does not have, or a family that cannot be drawn as it is)."""
    try:
        architecture = make()
    except (TypeError, ValueError) as error:
        raise InputError(f"The recipe's options do not fit {name}: {error}.") from None
    try:
        _ = architecture.survey
    except (TypeError, ValueError) as error:
        if architecture.options and _can_be_drawn(replace(architecture, options=())):
            raise InputError(f"The recipe's options do not fit {name}: {error}.") from None
        raise InputError(f"The network {name} cannot be drawn, whatever the recipe says: {error}; correct its function.") from None
    return architecture


def _can_be_drawn(architecture: Architecture) -> bool:
    try:
        _ = architecture.survey
    except (TypeError, ValueError):
        return False
    return True


def _one_of(name: str, value: Any, allowed: Collection[object]) -> None:
    if value not in allowed:
        raise InputError(f"The recipe's {name} is {value!r}; give one of {', '.join(map(str, allowed))}.")
