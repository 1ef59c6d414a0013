"""The catalogue of methods: what each is called, what it is for, and which models it needs.

Needs no torch and reads no trained model, so the panel and ``superres3d methods`` open at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .errors import InputError
from .resampling.interpolation import KERNELS

MODALITIES = ("CT", "MR")
AXES = ("all", "in-plane", "through-plane")
SCALES = (2, 4)
_ROUNDING = 1e-3  # headers hold 1.5 mm as 1.4999
FARTHEST_SLICES_BY_FACTOR = 5.0  # a network that refines by 4 at most, and an interpolation after it
FARTHEST_SLICES = 10.0  # an interpolation to a distance of slices refines at most so many times
#: self-ensembles: name -> how often each stage's network sees a voxel (the depth network in two slicings)
ENSEMBLES = {
    "none": {"plane": 1, "depth": 2, "volume": 1},
    "4": {"plane": 4, "depth": 4, "volume": 2},
    "8": {"plane": 8, "depth": 8, "volume": 4},
}
INVENTS = "It is trained against a discriminator: it may show texture that is not in the scan."


@dataclass(frozen=True)
class Preset:
    """How much work a network method may spend.

    Attributes:
        name: as the command line takes it.
        title: as the panel shows it.
        summary: what it costs and loses, measured (see models/EXPERIMENTS.md).
        ensemble: a key of :data:`ENSEMBLES`.
        precision: the coarsest of :data:`superres3d.networks.eight_bits.PRECISIONS` that the networks may compute in, where the processor or
            graphics card is faster in it.  Half is float16, less than 0.04 of 255 or 0.2 Hounsfield units (RMSE) from single precision, else bfloat16 (0.2 and 1.5).
    """

    name: str
    title: str
    summary: str
    ensemble: str
    precision: str


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("best", "Best", "The median of eight turned copies (volumetric networks: four): what the tables of the two-stage networks show.", "8", "half"),
        Preset("balanced", "Balanced", "The median of four turned copies (volumetric networks: the mean of two): half the time for 0.02 dB.", "4", "eight"),
        Preset("fast", "Fast", "No turned copies: a seventh of the time for about 0.1 dB.", "none", "eight"),
    )
}
DEFAULT_PRESET = "best"
#: "auto": what the preset allows and the machine is fastest in; "half": no 8 bits; "single": neither
PRECISIONS = ("auto", "half", "single")
#: what becomes of the scan's noise: it stays as strong as an interpolation leaves it, or is taken away as far as the networks can
NOISES = ("keep", "reduce")
DEFAULT_NOISE = "keep"


@dataclass(frozen=True)
class Method:
    """One way to upscale.

    Attributes:
        name: as the command line takes it.
        title: as the panel shows it.
        summary: one sentence on what it does.
        when_not: one sentence on where it should not be used.
        kind: "interpolation", "two-stage" (plane and depth networks), "volume" (one network on an interpolated volume) or "sub-pixel" (one
            network for all factors, on the scan's own grid).
        modalities, axes, scales: what it is offered for; no scales: it gives slices of ``slice_spacing``.
        slice_spacing: millimetres between the slices of the result, whatever they are in the scan; 0: it refines by a factor.
        slice_range: millimetres between a scan's slices that it is made for, with ``slice_spacing``.
        assumes: how it takes the scan to have lost its detail, one sentence.
        base: a volumetric network's interpolation: "linear" or "spline".
        keeps_means: the slices that it makes in a thick one's place are brought towards averaging to it; see :func:`superres3d.resampling.consistency.with_means_of`.
        adversarial: trained against a discriminator; see :data:`INVENTS`.
        paper: the source.
        order: its stages as they run; depth first does a quarter less work than the paper's order.
        own: (modality, stage, factor) of the networks that it has, where those of ``otherwise`` do the rest; empty: all.
        otherwise: the method whose networks do what it has none of its own for, and all where those are not ahead; see :mod:`superres3d.ahead`.
        blind: the method whose networks step in where what its own are told could not be measured; empty: they are told nothing.
    """

    name: str
    title: str
    summary: str
    when_not: str
    kind: str = "interpolation"
    modalities: tuple[str, ...] = MODALITIES
    axes: tuple[str, ...] = AXES
    scales: tuple[int, ...] = SCALES
    slice_spacing: float = 0.0
    slice_range: tuple[float, float] = (0.0, 0.0)
    assumes: str = "Nothing is assumed."
    base: str = ""
    keeps_means: bool = False
    adversarial: bool = False
    paper: str = ""
    order: tuple[str, ...] = ("plane", "depth")
    blind: str = ""
    own: tuple[tuple[str, str, int], ...] = ()
    otherwise: str = ""

    @property
    def compared(self) -> bool:
        """True if it is here only so that others can be compared with it."""
        return self.when_not.startswith(_COMPARED)

    @property
    def by_factor(self) -> bool:
        """True if its networks refine by factors; to a distance of slices an interpolation follows them."""
        return self.kind in ("two-stage", "sub-pixel")

    @property
    def networks(self) -> bool:
        """True if trained networks do it."""
        return self.kind != "interpolation"

    @property
    def volumetric(self) -> bool:
        """True if one three-dimensional network does it."""
        return self.kind in ("volume", "sub-pixel")

    def has(self, modality: str, stage: str, factor: int | float) -> bool:
        """True if the networks for it are its own, False if it leaves this to another method."""
        return not self.own or (modality, stage, factor) in self.own

    def adds(self, modality: str, axes: str, scale: int) -> bool:
        """True if some of the networks that such a request needs are its own."""
        stages = [stage for stage in ("plane", "depth") if axes != {"plane": "through-plane", "depth": "in-plane"}[stage]]
        return any(self.has(modality, stage, scale) for stage in stages)

    def model_name(self, modality: str, stage: str, scale: int) -> str:
        """Folder of the model for a stage ("plane", "depth" or "volume")."""
        if self.volumetric:
            return f"{self.name}-{modality.lower()}"
        return f"{self.name}-{modality.lower()}-{stage}-x{scale}"


_GEORGESCU = "Georgescu, Ionescu, Verga. IEEE Access 8:49112-49124, 2020"
_CHEN = "Chen, Christodoulou, Zhou, Shi, Xie, Li. arXiv:2003.01217, 2020"
_KUDO = "Kudo, Kitamura, Li, Iizuka, Simo-Serra. arXiv:1908.11506, 2019"
_BICUBIC = "Each voxel of the scan is a smooth mean of the finer ones along the refined axes (antialiased bicubic)."

_TWO_STAGE = (
    Method(
        "two-stage-told",
        "Two-stage CNN, told of the scan",
        "A network between the slices, then one within them; told how this scan lost its detail, and of its noise, where both can be measured on it.",
        "Where all scans must go through the same networks: what is measured on each of them decides.",
        kind="two-stage",
        assumes="A clear loss of detail is as it was measured on the scan; where none is clear, what two-stage-residual assumes.",
        paper=f"{_GEORGESCU}; the layers are those of two-stage-residual, modulated (FiLM: Perez, Strub, de Vries, Dumoulin, Courville. AAAI 2018)",
        order=("depth", "plane"),
        blind="two-stage-residual",
    ),
    Method(
        "two-stage-large",
        "Two-stage CNN, large",
        "As two-stage-told with networks of ten times the arithmetic, for MR at 2x, and between slices at 4x: with a graphics card, or with time.",
        "For a first look: two-stage-told does most of it in a tenth of the time.",
        kind="two-stage",
        modalities=("MR",),
        assumes="A clear loss of detail is as it was measured on the scan; where none is clear, what two-stage-residual assumes.",
        paper=f"{_GEORGESCU}; layers and telling as those of two-stage-told",
        order=("depth", "plane"),
        blind="two-stage-residual",
        own=(("MR", "plane", 2), ("MR", "depth", 2), ("MR", "depth", 4)),
        otherwise="two-stage-told",
    ),
    Method(
        "two-stage-residual",
        "Two-stage CNN, residual",
        "A network between the slices, then one within them; trained with noise and with several ways of losing detail.",
        "On scans that were strongly filtered, or interpolated after the measurement: it finds little to bring back.",
        kind="two-stage",
        assumes="Each voxel is a smooth mean of finer ones along the refined axes, or the scan's spectrum ends where its matrix does (MR with few phase encodings; within CT slices a sharp kernel).",
        paper=f"{_GEORGESCU}; the layers are those of EDSR (Lim, Son, Kim, Nah, Lee. CVPR workshops 2017), the order of the stages is this project's",
        order=("depth", "plane"),
    ),
    Method(
        "georgescu2020",
        "Two-stage CNN, as published",
        "Plane CNN, then depth CNN, as published: ReLU outputs, no global residual.",
        "On noisy scans, and on MR with few phase encodings: it was not trained for them.",
        kind="two-stage",
        assumes=_BICUBIC,
        paper=_GEORGESCU,
    ),
)


_SUB_PIXEL = (
    Method(
        "mdsr-3d",
        "Volumetric CNN, all axes at once",
        "One network of three-dimensional residual blocks refines all axes at once; it sees the neighbouring slices.",
        "On scans that are already interpolated or strongly filtered there is no lost detail to bring back.",
        kind="sub-pixel",
        assumes=_BICUBIC,
        base="cubic",
        paper="Lim, Son, Kim, Nah, Lee. CVPR workshops 2017 (MDSR); three-dimensional kernels, and a task for each pair of factors, are this project's",
    ),
)


def _mr_network(name: str, title: str, summary: str, when_not: str, paper: str = _CHEN, adversarial: bool = False) -> Method:
    """A network of Chen 2020 or one that it compares with."""
    return Method(
        name, title, summary, when_not, kind="volume", modalities=("MR",), axes=("in-plane",), scales=(2,), base="linear",
        assumes="The scanner measured half of k-space along both axes of the slices (2 x 2 x 1), without a filter.",
        adversarial=adversarial, paper=paper,
    )  # fmt: skip


def _ct_network(name: str, title: str, summary: str, when_not: str, paper: str = _KUDO, adversarial: bool = False) -> Method:
    """A network of Kudo 2019 or one that it compares with."""
    return Method(
        name, title, summary, when_not, kind="volume", modalities=("CT",), axes=("through-plane",), scales=(), base="spline", keeps_means=True,
        slice_spacing=1.0, slice_range=(1.5, 10.0),
        assumes="Each slice is a mean over its thickness, about as thick as the slices are apart or thinner (Gaussian profile).",
        adversarial=adversarial, paper=paper,
    )  # fmt: skip


_COMPARED = "It is here to be compared with;"

_VOLUMETRIC = (
    _mr_network(
        "mdcsrn",
        "mDCSRN (b4u4)",
        "Densely connected network on the whole volume, for MR scans with few phase encodings.",
        "On scans that were filtered or interpolated after the measurement, and where only slices are thick.",
        f"{_CHEN}; the global residual is this project's",
    ),
    _mr_network(
        "mdcsrn-gan",
        "mDCSRN-GAN",
        "mDCSRN trained further against a critic: crisper edges and texture.",
        f"Where a finding depends on fine texture. {INVENTS}",
        adversarial=True,
    ),
    _mr_network("srdensenet-3d", "SRDenseNet, 3-D", "Dense blocks without links between them.", f"{_COMPARED} mdcsrn is closer to the truth at less cost."),
    _mr_network("srresnet-3d", "SRResNet, 3-D", "Residual blocks; seventeen times the arithmetic of mdcsrn.", f"{_COMPARED} mdcsrn is much faster."),
    _mr_network("fsrcnn-3d", "FSRCNN, 3-D", "A small network of eight layers.", f"{_COMPARED} mdcsrn is closer to the truth."),
    _ct_network(
        "virtual-thin-slice",
        "Virtual Thin Slice, light",
        "Makes 1 mm slices of thick ones by a three-dimensional U-Net, trained for the mean error alone.",
        "On slices with gaps between them; where they lie up to 5 mm apart, two-stage-residual is closer to the truth.",
        f"{_KUDO}; 16 channels in place of 64, layers on the full grid, no discriminator, and a step back towards the thick slices' means are this project's",
    ),
    _ct_network(
        "virtual-thin-slice-gan",
        "Virtual Thin Slice with GAN",
        "Makes 1 mm slices of thick ones by the paper's network, trained against a conditional discriminator.",
        f"Where a finding depends on fine texture. {INVENTS}",
        adversarial=True,
    ),
    _ct_network("srcnn-3d", "SRCNN, 3-D", "Three layers (9-1-5).", f"{_COMPARED} virtual-thin-slice is closer to the truth."),
    _ct_network("pix2pix-3d", "Pix2Pix, 3-D", "Encoder and decoder down to one voxel.", f"{_COMPARED} virtual-thin-slice does not invent. {INVENTS}", adversarial=True),
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

METHODS: dict[str, Method] = {method.name: method for method in _TWO_STAGE + _SUB_PIXEL + _VOLUMETRIC + _INTERPOLATIONS}
DEFAULT_METHOD = "two-stage-told"
assert {method.name for method in _INTERPOLATIONS} == set(KERNELS)


def find_method(name: str, modality: str = "", axes: str = "", scale: int = 0) -> Method:
    """The method called ``name``, if it fits.

    Args:
        name: a key of :data:`METHODS`.
        modality, axes, scale: what it must be for; an empty value asks nothing.

    Raises:
        InputError: unknown, or not for this modality, axes or scale; the message lists those that are.
    """
    _check_wanted(modality, axes, scale)
    fitting = [m for m in METHODS.values() if _fits(m, modality, axes, scale)]
    method = METHODS.get(name)
    if method in fitting:
        return METHODS[name]
    names = ", ".join(method.name for method in fitting if is_installed(method, modality))  # looks at many files
    if method is None:
        raise InputError(f"The method {name!r} does not exist; use one of {names}.")
    wanted = " ".join(filter(None, (modality, axes, f"x{scale}" if scale else "")))
    raise InputError(f"The method {name} is not for {wanted}; use one of {names}.")


def needs_modality(name: str) -> bool:
    """Whether a method is another for CT than for MR; an interpolation is the same for any scan."""
    return name not in METHODS or METHODS[name].networks


def _check_wanted(modality: str, axes: str, scale: int) -> None:
    """InputError for what no method is for."""
    if axes and axes not in AXES:
        raise InputError(f"The axes {axes!r} do not exist; use one of {', '.join(AXES)}.")
    if modality and modality not in MODALITIES:
        raise InputError(f"The modality {modality!r} does not exist; use one of {', '.join(MODALITIES)}.")
    if scale and scale not in SCALES:
        raise InputError(f"The factor {scale} cannot be used; use 2 or 4 (beyond 4 no method can tell detail from invention).")


def is_installed(method: Method, modality: str = "") -> bool:
    """Whether the models of a method are here, for one modality or for any; those of some methods only come by training."""
    from .networks.weights import has_model

    if not method.networks:
        return True
    kinds = [modality] if modality else method.modalities
    stages = ("volume",) if method.volumetric else method.order
    return any(has_model(method.model_name(kind, stage, scale)) for kind in kinds for stage in stages for scale in method.scales or (0,))


def farthest_slices(method: Method, slice_spacing: float) -> float:
    """Millimetres between a scan's slices up to which a method makes slices ``slice_spacing`` millimetres apart."""
    if method.slice_spacing:
        return method.slice_range[1]
    return (FARTHEST_SLICES_BY_FACTOR if method.networks else FARTHEST_SLICES) * slice_spacing


def fits_slices(method: Method, slice_spacing: float, distance: float) -> str:
    """Why a method cannot bring a scan's slices to a distance, as one sentence; empty if it can.

    Args:
        method: from the catalogue.
        slice_spacing: millimetres between the slices of the result.
        distance: millimetres between the scan's slices.
    """
    if method.slice_spacing and slice_spacing != method.slice_spacing:
        return f"The method {method.name} gives slices of {method.slice_spacing:g} mm, not of {slice_spacing:g} mm; leave the distance out, or use an interpolation."
    if method.kind == "volume" and not method.slice_spacing:
        return f"The method {method.name} refines in-plane and cannot give slices of {slice_spacing:g} mm; use virtual-thin-slice (CT) or an interpolation."
    if distance < slice_spacing * (1 - _ROUNDING):
        instead = "leave them as they are" if method.slice_spacing else "ask for a smaller distance"
        return f"The slices are {distance:.4g} mm apart, closer than the {slice_spacing:g} mm of the result; {instead}."
    return _out_of_range(method, slice_spacing, distance)


def _out_of_range(method: Method, slice_spacing: float, distance: float) -> str:
    """As :func:`fits_slices`, of slices that are nearer or farther than a method is made for."""
    low, high = method.slice_range[0] if method.slice_spacing else slice_spacing, farthest_slices(method, slice_spacing)
    if distance < low * (1 - _ROUNDING) or distance <= slice_spacing * (1 + _ROUNDING):
        return f"The slices are {distance:.3g} mm apart, too close for {method.name} to make slices of {slice_spacing:g} mm (from {max(low, slice_spacing):g} mm on); leave them as they are, or use {DEFAULT_METHOD}."
    if distance > high * (1 + _ROUNDING) and method.by_factor:
        return f"The slices are {distance:.3g} mm apart, and {method.name} makes slices of {slice_spacing:g} mm from at most {high:g} mm; ask for a larger distance, or use virtual-thin-slice (CT, to 1 mm)."
    if distance > high * (1 + _ROUNDING):
        return f"The slices are {distance:.3g} mm apart, and {method.name} makes slices of {slice_spacing:g} mm from at most {high:g} mm; what lies between can only be guessed."
    return ""


def find_preset(name: str, ensemble: str = "auto", precision: str = "auto") -> Preset:
    """The preset called ``name``, with another ensemble or precision unless that is "auto" (InputError if there is no such one)."""
    if name not in PRESETS:
        raise InputError(f"The preset {name!r} does not exist; use one of {', '.join(PRESETS)}.")
    if precision not in PRECISIONS:
        raise InputError(f"The precision {precision!r} does not exist; use one of {', '.join(PRECISIONS)}.")
    preset = PRESETS[name] if precision == "auto" else replace(PRESETS[name], precision=precision)
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
