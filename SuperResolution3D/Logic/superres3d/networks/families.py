"""Every volumetric network by name, and what a card says of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from .blueprint import Blueprint, Parts, Survey
from .fsrcnn import fsrcnn
from .mdcsrn import mdcsrn
from .mdsr import mdsr
from .srcnn import srcnn
from .srdensenet import srdensenet
from .srresnet import srresnet
from .thin_slice import pix2pix, thin_slice_parts, virtual_thin_slice

FAMILIES: dict[str, Callable] = {
    "mdcsrn": mdcsrn,
    "fsrcnn": fsrcnn,
    "srresnet": srresnet,
    "srdensenet": srdensenet,
    "virtual-thin-slice": virtual_thin_slice,
    "srcnn": srcnn,
    "pix2pix": pix2pix,
    "mdsr": mdsr,
}
#: families whose reach is too wide for tiles of the whole network
_PARTS: dict[str, Callable[..., Parts]] = {"virtual-thin-slice": thin_slice_parts}


@dataclass(frozen=True)
class VolumeArchitecture:
    """A volumetric network: it refines an interpolated volume without changing its size, or gives the finer voxels of each voxel of a scan.

    Attributes:
        family: a key of :data:`FAMILIES`.
        options: keyword arguments of the family's function.
        residual: the network gives what is to be added to its input (to an interpolation of it, if it refines).
        factors: what it refines by along (slices, rows, columns); ones for a network on an interpolated volume.
    """

    family: str
    options: tuple[tuple[str, Any], ...] = ()
    residual: bool = False
    factors: tuple[int, int, int] = (1, 1, 1)

    @classmethod
    def make(cls, family: str, options: Mapping[str, Any], residual: bool, factors: tuple[int, int, int] = (1, 1, 1)) -> VolumeArchitecture:
        """Checked: KeyError for an unknown family, TypeError for an option that it does not have."""
        architecture = cls(family, tuple(sorted(options.items())), residual, factors)
        FAMILIES[family]
        _ = architecture.survey
        return architecture

    @classmethod
    def from_card(cls, network: Mapping[str, Any], factors: tuple[int, int, int] = (1, 1, 1)) -> VolumeArchitecture:
        """From the card's ``network``; ``factors`` choose the task of a network that has several (KeyError if it has not this one)."""
        tasks = network.get("tasks")
        if list(factors) not in ([[1, 1, 1]] if tasks is None else tasks):
            raise KeyError(f"no task {factors}")
        return cls.make(network["family"], network.get("options", {}), bool(network["residual"]), factors if tasks else (1, 1, 1))

    @property
    def refines(self) -> bool:
        """True if the output is finer than the input."""
        return self.factors != (1, 1, 1)

    @cached_property
    def blueprint(self) -> Blueprint:
        options = dict(self.options)
        if self.refines:
            options["factors"] = self.factors
        return partial(FAMILIES[self.family], **options)

    @cached_property
    def parts(self) -> Parts | None:
        """None for a network that is computed in one piece."""
        return _PARTS[self.family](**dict(self.options)) if self.family in _PARTS else None

    @cached_property
    def part_surveys(self) -> tuple[Survey, Survey, Survey]:
        """Of :attr:`parts`."""
        assert self.parts
        return Survey.of_parts(self.parts)

    @cached_property
    def survey(self) -> Survey:
        return Survey.of(self.blueprint)

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of the stored tensors."""
        return self.survey.shapes

    @property
    def multiply_accumulates(self) -> int:
        """Per voxel."""
        return self.survey.multiply_accumulates
