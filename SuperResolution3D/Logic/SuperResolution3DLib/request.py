"""What is to be done: the choices of one run."""

from __future__ import annotations

from dataclasses import dataclass

from superres3d.methods import AXES, DEFAULT_METHOD, DEFAULT_PRESET, METHODS, Method, find_method, find_preset


@dataclass(frozen=True)
class Request:
    """The choices of one run; checked on construction.

    Attributes:
        scale: 2 or 4.
        axes: "all", "in-plane" or "through-plane".
        method: a name from the catalogue.
        modality: "CT" or "MR".
        preset: "best", "balanced" or "fast".
        ensemble: "auto" (the preset's), "none", "4" or "8".
        precision: "auto" (half where the machine has units for it) or "single".
        device: "auto", "cpu", "cuda", "cuda:<n>" or "mps".
        memory_limit_gib: for the worker; None: what is free.
        compare: also make a Lanczos interpolation on the same grid.

    Raises:
        InputError: a choice that does not exist or does not fit the others.
    """

    scale: int = 2
    axes: str = "all"
    method: str = DEFAULT_METHOD
    modality: str = "MR"
    preset: str = DEFAULT_PRESET
    ensemble: str = "auto"
    precision: str = "auto"
    device: str = "auto"
    memory_limit_gib: float | None = None
    compare: bool = True

    def __post_init__(self) -> None:
        find_method(self.method, self.modality, self.axes, self.scale)
        find_preset(self.preset, self.ensemble, self.precision)

    @property
    def catalogued(self) -> Method:
        return METHODS[self.method]

    @property
    def makes_comparison(self) -> bool:
        """Lanczos beside Lanczos would show nothing."""
        return self.compare and self.method != "lanczos"

    @property
    def needs_torch(self) -> bool:
        """A graphics card was asked for by name; on the processor the networks need no torch."""
        return self.catalogued.networks and self.device.split(":")[0] in ("cuda", "mps")

    def arguments(self) -> list[str]:
        """Options of ``superres3d upscale``."""
        options = [
            "--scale", str(self.scale), "--axes", self.axes, "--method", self.method, "--modality", self.modality,
            "--preset", self.preset, "--ensemble", self.ensemble, "--precision", self.precision, "--device", self.device,
        ]  # fmt: skip
        return options + (["--memory-limit", str(self.memory_limit_gib)] if self.memory_limit_gib else [])


def fitting_methods(modality: str, axes: str, scale: int) -> list[Method]:
    """The methods that the catalogue has for these choices, the default first."""
    assert axes in AXES
    found = [m for m in METHODS.values() if modality in m.modalities and axes in m.axes and scale in m.scales]
    return sorted(found, key=lambda method: method.name != DEFAULT_METHOD)
