"""Every network by name, and what a card says of one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from ..resampling.interpolation import KERNELS
from .blueprint import Blueprint, Parts, Survey
from .edsr import edsr
from .fsrcnn import fsrcnn
from .georgescu import georgescu
from .mdcsrn import mdcsrn
from .mdsr import mdsr
from .srcnn import srcnn
from .srdensenet import srdensenet
from .srresnet import srresnet
from .thin_slice import pix2pix, thin_slice_parts, virtual_thin_slice

#: the interpolation that a residual network which refines adds to
BASE = "cubic"


@dataclass(frozen=True)
class Family:
    """Networks of one blueprint.

    Attributes:
        draw: the blueprint; its keyword arguments are the options of a card, but for ``factors``, which only one that refines has.
        axes: 2 for slices, 3 for volumes.
        residual: it gives what is to be added to an interpolation; None: its card tells.
        tasks: one network holds layers for several ways of refining, which its card lists.
        xavier: its weights begin as Glorot and Bengio (AISTATS 2010) propose, instead of He et al. (ICCV 2015).
        parts: of a network whose reach is too wide for tiles of the whole.
    """

    draw: Callable[..., Any]
    axes: int = 3
    residual: bool | None = None
    tasks: bool = False
    xavier: bool = False
    parts: Callable[..., Parts] | None = None

    @cached_property
    def options(self) -> dict[str, Any]:
        """Name -> default."""
        parameters = inspect.signature(self.draw).parameters.values()
        return {parameter.name: parameter.default for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY and parameter.name != "factors"}

    @cached_property
    def refines(self) -> bool:
        """True if its output is finer than its input."""
        return "factors" in inspect.signature(self.draw).parameters


FAMILIES: dict[str, Family] = {
    "intermediate-loss": Family(georgescu, axes=2, residual=False, xavier=True),
    "edsr": Family(edsr, axes=2, residual=True),
    "mdcsrn": Family(mdcsrn),
    "fsrcnn": Family(fsrcnn),
    "srresnet": Family(srresnet),
    "srdensenet": Family(srdensenet),
    "virtual-thin-slice": Family(virtual_thin_slice, parts=thin_slice_parts),
    "srcnn": Family(srcnn),
    "pix2pix": Family(pix2pix),
    "mdsr": Family(mdsr, tasks=True),
}
#: the families for slices (a card's ``form``) and for volumes (its ``family``)
FORMS, VOLUME_FAMILIES = ({name: family for name, family in FAMILIES.items() if family.axes == axes} for axes in (2, 3))


@dataclass(frozen=True)
class Architecture:
    """A network: it refines a slice or a volume by whole factors, or computes on an interpolated volume and keeps its size.

    Attributes:
        name: a key of :data:`FAMILIES`.
        options: keyword arguments of the family's blueprint.
        residual: the network gives what is to be added to its input (to an interpolation of it, if it refines).
        factors: what it refines by along its axes, such as (slices, rows, columns).
    """

    name: str
    options: tuple[tuple[str, Any], ...]
    residual: bool
    factors: tuple[int, ...]

    @classmethod
    def make(cls, name: str, options: Mapping[str, Any], residual: bool, factors: tuple[int, ...] = ()) -> Architecture:
        """Checked: KeyError for an unknown family, TypeError or ValueError for an option or a size that it cannot have."""
        family = FAMILIES[name]
        for option, value in options.items():
            default = family.options.get(option, "nothing")
            if type(value) is not type(default):
                raise TypeError(f"{option}={value!r}")
            if type(value) is int and value < min(default, 1):
                raise ValueError(f"{option}={value!r}")
        factors = tuple(factors) or (1,) * family.axes
        if len(factors) != family.axes or not all(type(factor) is int and factor > 0 for factor in factors) or (max(factors) > 1) != family.refines:
            raise ValueError(f"factors {factors}")
        return cls(name, tuple(sorted(options.items())), residual, factors)

    @classmethod
    def from_card(cls, network: Mapping[str, Any], factors: tuple[int, ...] | None = None) -> Architecture:
        """From the card's ``network``.

        Args:
            network: of slices (``form``, ``factors`` and options beside each other) or of volumes (``family``, ``options``, ``residual``, and ``tasks`` if it refines).
            factors: the task of a network that has several.

        Raises:
            KeyError: an unknown family, or none, or a task that it has not.
            TypeError, ValueError: as :meth:`make`.
        """
        if "family" not in network:
            options = {name: value for name, value in network.items() if name not in ("form", "factors")}
            return cls.make(network["form"], options, bool(FORMS[network["form"]].residual), tuple(network["factors"]))
        VOLUME_FAMILIES[network["family"]]
        if list(factors or (1, 1, 1)) not in network.get("tasks", [[1, 1, 1]]):
            raise KeyError(f"no task {factors}")
        return cls.make(network["family"], network.get("options", {}), bool(network["residual"]), tuple(factors or ()))

    @property
    def family(self) -> Family:
        """What it shares with the other networks of its blueprint."""
        return FAMILIES[self.name]

    @property
    def axes(self) -> int:
        """2 for slices, 3 for volumes."""
        return self.family.axes

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All options, the defaults included."""
        return {**self.family.options, **dict(self.options)}

    @cached_property
    def blueprint(self) -> Blueprint:
        """(drawing, image) -> the network's output."""
        return partial(self.family.draw, **dict(self.options), **({"factors": self.factors} if self.family.refines else {}))

    @cached_property
    def parts(self) -> Parts | None:
        """None for a network that is computed in one piece."""
        return self.family.parts(**dict(self.options)) if self.family.parts else None

    @cached_property
    def part_surveys(self) -> tuple[Survey, ...]:
        """Of :attr:`parts`; of a network in one piece its own."""
        return Survey.of_parts(self.parts) if self.parts else (self.survey,)

    @cached_property
    def survey(self) -> Survey:
        """Tensors, arithmetic and receptive field of the whole."""
        return Survey.of(self.blueprint, self.axes, self.factors)

    @property
    def multiply_accumulates(self) -> int:
        """Per voxel (of a slice: pixel) of the input."""
        return self.survey.multiply_accumulates

    @property
    def halo(self) -> tuple[int, ...]:
        """Voxels of the input along each axis, either side, that an output voxel depends on, the interpolation under a residual network included."""
        reach = KERNELS[BASE][1] if self.residual else 0
        return tuple(max(radius, reach if factor > 1 else 0) for radius, factor in zip(self.survey.radius, self.factors))
