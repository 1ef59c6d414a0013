"""What is to be done: the choices of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from superres3d.errors import InputError
from superres3d.methods import AXES, DEFAULT_METHOD, DEFAULT_NOISE, DEFAULT_PRESET, METHODS, NOISES, Method, find_method, find_preset, fits_slices, is_installed
from superres3d.refinement import ISOTROPIC, Asked, Refinement
from superres3d.scan.region import Spans, in_words
from superres3d.scan.volume import find_slice_axis

CONSISTENCY = 3  # back-projections of the panel's check box: more change nothing that can be seen


@dataclass(frozen=True)
class Request:
    """The choices of one run; checked on construction.

    Attributes:
        scale: 2 or 4; None: 2, or what the method is made for.
        axes: "all", "in-plane" or "through-plane"; None: the first that the method has.
        slice_spacing: millimetres between the slices of the result, in place of factor and axes.
        spacing: "isotropic" in their place: the scan's smallest spacing along every axis.
        method: a name from the catalogue.
        modality: "CT" or "MR".
        preset: "best", "balanced" or "fast".
        ensemble: "auto" (the preset's), "none", "4" or "8".
        precision: "auto" (half, or 8 bits where the preset allows them, where the machine is faster in it), "half" or "single".
        device: "auto", "cpu", "cuda", "cuda:<n>" or "mps".
        memory_limit_gib: for the worker; None: what is free.
        compare: also make a Lanczos interpolation on the same grid.
        consistency: back-projections.
        noise: "keep" or "reduce"; for methods that are told of the scan.
        check: also see on this scan, made coarser once more, whether the method is ahead of Lanczos.
        careful: make what networks add smaller, most where large errors are expected.
        error_map: also tell how large the error around each voxel is to be expected; for networks.
        region: (start, stop) along (k, j, i) in voxels of the scan; None: all of it.

    Raises:
        InputError: a choice that does not exist or does not fit the others.
    """

    scale: int | None = None
    axes: str | None = None
    slice_spacing: float | None = None
    spacing: str | None = None
    method: str = DEFAULT_METHOD
    modality: str = "MR"
    preset: str = DEFAULT_PRESET
    ensemble: str = "auto"
    precision: str = "auto"
    device: str = "auto"
    memory_limit_gib: float | None = None
    compare: bool = True
    consistency: int = 0
    noise: str = DEFAULT_NOISE
    check: bool = False
    careful: bool = False
    error_map: bool = False
    region: Spans | None = None

    def __post_init__(self) -> None:
        find_method(self.method, self.modality, self.axes or "", self.scale or 0)
        find_preset(self.preset, self.ensemble, self.precision)
        if self.spacing not in (None, ISOTROPIC):
            raise InputError(f"The spacing {self.spacing!r} cannot be used here; use {ISOTROPIC!r}.")
        if self.region and (self.is_careful or self.makes_error_map) and not self.refined[0]:
            what = "Careful" if self.is_careful else "An error map"
            raise InputError(f"{what} on a part needs a factor; choose 2x or 4x, or leave it out, or choose the whole volume.")
        if self.noise not in NOISES:
            raise InputError(f"The noise cannot be {self.noise!r}; use {' or '.join(NOISES)}.")

    @property
    def catalogued(self) -> Method:
        """The method's entry in the catalogue."""
        return METHODS[self.method]

    @property
    def refined(self) -> tuple[int, str, float]:
        """(factor, axes, distance of the slices), with what the method is made for in place of None; factor or distance is 0, both are with a spacing."""
        method = self.catalogued
        if self.spacing:
            return 0, self.spacing, 0.0
        if self.slice_spacing is not None or (self.scale is None and not method.scales):
            return 0, "through-plane", self.slice_spacing or method.slice_spacing
        return self.scale or method.scales[0], self.axes or method.axes[0], 0.0

    @property
    def makes_comparison(self) -> bool:
        """Lanczos beside Lanczos would show nothing."""
        return self.compare and self.method != "lanczos"

    @property
    def is_checked(self) -> bool:
        """Lanczos is what others are compared with."""
        return self.check and self.method != "lanczos"

    @property
    def is_careful(self) -> bool:
        """Interpolations add nothing that could be taken back."""
        return self.careful and self.catalogued.networks

    @property
    def makes_error_map(self) -> bool:
        """Only networks can be off in a way that is told."""
        return self.error_map and self.catalogued.networks

    @property
    def makes_page(self) -> bool:
        """The report's page needs packages that come with the networks."""
        return self.catalogued.networks

    @property
    def needs_torch(self) -> bool:
        """A graphics card was asked for by name; on the processor the networks need no torch."""
        return self.catalogued.networks and self.device.split(":")[0] in ("cuda", "mps")

    def arguments(self) -> list[str]:
        """Options of ``superres3d upscale``."""
        asked = {"--scale": self.scale, "--axes": self.axes, "--slice-spacing": self.slice_spacing, "--spacing": self.spacing}
        options = [text for option, value in asked.items() if value is not None for text in (option, str(value))]
        options += [
            "--method", self.method, "--modality", self.modality,
            "--preset", self.preset, "--ensemble", self.ensemble, "--precision", self.precision, "--device", self.device,
        ]  # fmt: skip
        options += ["--consistency", str(self.consistency)] if self.consistency else []
        options += ["--noise", self.noise] if self.catalogued.blind else []
        options += ["--region", in_words(self.region)] if self.region else []
        options += [option for option, asked in (("--check", self.is_checked), ("--careful", self.is_careful)) if asked]
        return options + (["--memory-limit", str(self.memory_limit_gib)] if self.memory_limit_gib else [])


def fitting_methods(modality: str, axes: str, scale: int) -> list[Method]:
    """The installed methods for these choices, the default first."""
    assert axes in AXES
    found = [m for m in METHODS.values() if modality in m.modalities and axes in m.axes and scale in m.scales and m.adds(modality, axes, scale) and is_installed(m, modality)]
    return sorted(found, key=lambda method: method.name != DEFAULT_METHOD)


def fitting_slice_methods(modality: str, slice_spacing: float, distance: float | None = None) -> list[Method]:
    """The installed methods that make slices of ``slice_spacing`` mm, networks first.

    Args:
        modality: "CT" or "MR".
        slice_spacing: millimetres between the slices of the result.
        distance: millimetres between the scan's slices; None: whatever it is.
    """
    found = [m for m in METHODS.values() if modality in m.modalities and (not m.networks or m.slice_spacing == slice_spacing or m.by_factor) and is_installed(m, modality)]
    return [method for method in found if distance is None or not fits_slices(method, slice_spacing, distance)]


def fitting_isotropic_methods(modality: str, shape: Sequence[int] | None = None, spacing: Sequence[float] | None = None) -> list[Method]:
    """The installed methods that make voxels of one size, the default first.

    Args:
        modality: "CT" or "MR".
        shape, spacing: voxels and millimetres of the scan along (i, j, k); None: whatever they are.
    """
    found = [m for m in METHODS.values() if modality in m.modalities and (not m.networks or m.by_factor) and is_installed(m, modality)]
    return [method for method in found if shape is None or spacing is None or not fits_isotropic(method, shape, spacing)]


def fits_isotropic(method: Method, shape: Sequence[int], spacing: Sequence[float]) -> str:
    """Why a method cannot give voxels of one size, as one sentence; empty if it can.

    Args:
        method: from the catalogue.
        shape, spacing: voxels and millimetres of the scan along (i, j, k).
    """
    try:
        Refinement.of(method, Asked(spacing=ISOTROPIC), shape[::-1], spacing, find_slice_axis(spacing))
    except InputError as error:
        return str(error)
    return ""


def default_method(modality: str, slice_spacing: float | None, distance: float) -> str:
    """The name of what is taken where no method is named: with a distance of the slices, the first network that makes it.

    Args:
        modality: "CT" or "MR".
        slice_spacing: millimetres between the slices of the result; None: a factor is used.
        distance: millimetres between the scan's slices.
    """
    if slice_spacing is None:
        return DEFAULT_METHOD
    for found in (fitting_slice_methods(modality, slice_spacing, distance), fitting_slice_methods(modality, slice_spacing)):
        networks = [method for method in found if method.networks]
        if networks:  # of those that do not fit, the first tells why
            return proposed_method(networks).name
    return DEFAULT_METHOD


def proposed_method(methods: list[Method]) -> Method:
    """The first of some methods that was not trained against a discriminator; those are only taken when they are asked for."""
    return next((method for method in methods if not method.adversarial), methods[0])
