"""The catalogue of methods: what each is called, what it is for, and which models it needs.

Needs neither torch nor the trained models, so the panel and ``superres3d methods`` open at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .errors import InputError
from .interpolation import KERNELS

MODALITIES = ("CT", "MR")
AXES = ("all", "in-plane", "through-plane")
SCALES = (2, 4)
#: self-ensembles: name -> how often each stage's network sees a voxel (the depth network in two slicings)
ENSEMBLES = {"none": {"plane": 1, "depth": 2}, "4": {"plane": 4, "depth": 4}, "8": {"plane": 8, "depth": 8}}


@dataclass(frozen=True)
class Preset:
    """How much work a network method may spend.

    Attributes:
        name: as the command line takes it.
        title: as the panel shows it.
        summary: what it costs and loses, measured (see models/EXPERIMENTS.md).
        ensemble: a key of :data:`ENSEMBLES`.
        half: half precision where the processor or graphics card has units for it; four times as fast, and
            less than 0.04 of 255 or 0.2 Hounsfield units (RMSE) from single precision.
    """

    name: str
    title: str
    summary: str
    ensemble: str
    half: bool


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("best", "Best", "The median of eight turned copies: what the tables show.", "8", half=True),
        Preset("balanced", "Balanced", "The median of four turned copies: half the time for 0.02 dB.", "4", half=True),
        Preset("fast", "Fast", "No turned copies: a seventh of the time for about 0.1 dB.", "none", half=True),
    )
}
DEFAULT_PRESET = "best"
#: "auto": half precision where the machine has units for it; "single": never
PRECISIONS = ("auto", "single")


@dataclass(frozen=True)
class Method:
    """One way to upscale.

    Attributes:
        name: as the command line takes it.
        title: as the panel shows it.
        summary: one sentence on what it does.
        when_not: one sentence on where it should not be used.
        networks: True if it runs the plane and depth networks.
        modalities, axes, scales: what it is offered for.
        paper: the source.
        order: its stages as they run; depth first does a quarter less work than the paper's order.
    """

    name: str
    title: str
    summary: str
    when_not: str
    networks: bool = False
    modalities: tuple[str, ...] = MODALITIES
    axes: tuple[str, ...] = AXES
    scales: tuple[int, ...] = SCALES
    paper: str = ""
    order: tuple[str, ...] = ("plane", "depth")

    def model_name(self, modality: str, stage: str, scale: int) -> str:
        """Folder of the model for a stage ("plane" or "depth")."""
        return f"{self.name}-{modality.lower()}-{stage}-x{scale}"


_GEORGESCU = "Georgescu, Ionescu, Verga. IEEE Access 8:49112-49124, 2020"

_NETWORKS = (
    Method(
        "two-stage-residual",
        "Two-stage CNN, residual",
        "Depth CNN, then plane CNN, with the paper's layers over a cubic interpolation; sharper than the paper's form at less cost.",
        "On scans that are already interpolated or strongly filtered there is no lost detail to bring back.",
        networks=True,
        paper=f"{_GEORGESCU}; linear outputs, global residual and the order of the stages are this project's",
        order=("depth", "plane"),
    ),
    Method(
        "georgescu2020",
        "Two-stage CNN, as published",
        "Plane CNN, then depth CNN, as published: ReLU outputs, no global residual.",
        "Where the residual form is available it is closer to the truth at the same cost.",
        networks=True,
        paper=_GEORGESCU,
    ),
)

_INTERPOLATIONS = tuple(
    Method(name, f"{title} interpolation", summary, "It adds no detail that the scan does not show.")
    for name, title, summary in (
        ("lanczos", "Lanczos", "Windowed sinc of radius 3: the sharpest interpolation, with slight ringing at edges."),
        ("cubic", "Cubic", "Keys' cubic convolution: a little softer than Lanczos, with less ringing."),
        ("linear", "Linear", "No overshoot; soft."),
        ("nearest", "Nearest-neighbour", "Repeats voxels: values stay exactly as they were."),
    )
)

METHODS: dict[str, Method] = {method.name: method for method in _NETWORKS + _INTERPOLATIONS}
DEFAULT_METHOD = "two-stage-residual"
assert {method.name for method in _INTERPOLATIONS} == set(KERNELS)


def find_method(name: str, modality: str = "", axes: str = "", scale: int = 0) -> Method:
    """The method called ``name``, if it fits.

    Args:
        name: a key of :data:`METHODS`.
        modality, axes, scale: what it must be for; an empty value asks nothing.

    Raises:
        InputError: unknown, or not for this modality, axes or scale; the message lists those that are.
    """
    if axes and axes not in AXES:
        raise InputError(f"The axes {axes!r} do not exist; use one of {', '.join(AXES)}.")
    if modality and modality not in MODALITIES:
        raise InputError(f"The modality {modality!r} does not exist; use one of {', '.join(MODALITIES)}.")
    if scale and scale not in SCALES:
        raise InputError(f"The factor {scale} cannot be used; use 2 or 4 (beyond 4 no method can tell detail from invention).")
    fitting = [m for m in METHODS.values() if _fits(m, modality, axes, scale)]
    names = ", ".join(method.name for method in fitting)
    method = METHODS.get(name)
    if method is None:
        raise InputError(f"The method {name!r} does not exist; use one of {names}.")
    if method not in fitting:
        wanted = " ".join(filter(None, (modality, axes, f"x{scale}" if scale else "")))
        raise InputError(f"The method {name} is not for {wanted}; use one of {names}.")
    return method


def find_preset(name: str, ensemble: str = "auto", precision: str = "auto") -> Preset:
    """The preset called ``name``, with another ensemble or precision unless that is "auto" (InputError if there is no such one)."""
    if name not in PRESETS:
        raise InputError(f"The preset {name!r} does not exist; use one of {', '.join(PRESETS)}.")
    if precision not in PRECISIONS:
        raise InputError(f"The precision {precision!r} does not exist; use one of {', '.join(PRECISIONS)}.")
    preset = replace(PRESETS[name], half=PRESETS[name].half and precision == "auto")
    return preset if ensemble == "auto" else replace(preset, ensemble=check_ensemble(ensemble))


def check_ensemble(name: str) -> str:
    """Returns ``name`` (InputError if there is no such ensemble)."""
    if name not in ENSEMBLES:
        raise InputError(f"The ensemble {name!r} does not exist; use auto or one of {', '.join(ENSEMBLES)}.")
    return name


def _fits(method: Method, modality: str, axes: str, scale: int) -> bool:
    return (
        (not modality or modality in method.modalities)
        and (not axes or axes in method.axes)
        and (not scale or scale in method.scales)
    )
