"""Options that several commands have, each with its help once; and those that say what is made of a scan, which they all take together."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import wraps
from typing import Annotated, Any

import typer

from ..methods import DEFAULT_METHOD, DEFAULT_NOISE, DEFAULT_PRESET
from .common import AxesChoice, EnsembleChoice, ModalityChoice, NoiseChoice, PrecisionChoice, PresetChoice, SliceAxisChoice, StyleChoice, factors_of, spacing_of

Device = Annotated[str, typer.Option(help="auto, cuda, cuda:<n>, mps or cpu.")]
Series = Annotated[str | None, typer.Option("--series", metavar="N", help="Of a DICOM folder with several series: the number or UID of one.", show_default="the only one")]
VolumeNumber = Annotated[int | None, typer.Option("--volume", metavar="N", help="Of a file or DICOM series with several volumes: the number of one.", show_default="the only one")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
MemoryLimit = Annotated[float | None, typer.Option(help="GiB that may be used; default: what is free.", min=0.1)]
AsStored = Annotated[bool, typer.Option("--as-stored", help="Do not bring a scan that is stored finer than it was measured back to its measured grid before the networks; for two-stage-told.")]
Adapt = Annotated[float | None, typer.Option(metavar="SECONDS", help="Let the network between the slices go on learning on the scan for so long, such as 60; needs PyTorch.")]
Anonymize = Annotated[bool, typer.Option("--anonymize", help="Leave the patient out of a DICOM series; see docs/dicom.md for what this does not cover.")]
Careful = Annotated[bool, typer.Option("--careful", help="Make what the networks add over Lanczos smaller, most where large errors are expected: less is invented, and detail is lost; see docs/trust.md.")]
Check = Annotated[bool, typer.Option("--check", help="Also check on the scan, made coarser once more, whether the method is ahead of Lanczos; see 'superres3d check'.")]
Progress = Annotated[StyleChoice, typer.Option(help="bar, JSON lines on standard output, or none.")]
Modality = Annotated[ModalityChoice, typer.Option(help="auto: what the file says, else a guess from the intensities.")]


def _made(
    scale: Annotated[str | None, typer.Option(help="2 or 4; or two factors, in-plane,through-plane, such as 2,4.", show_default="2, or what the method is made for")] = None,
    axes: Annotated[AxesChoice | None, typer.Option(help="Axes to refine (with a single factor).", show_default="all, or what the method is made for")] = None,
    slice_spacing: Annotated[float | None, typer.Option(metavar="MM", help="Millimetres between the slices of the result, in place of a factor; for interpolations and virtual-thin-slice.")] = None,
    spacing: Annotated[str | None, typer.Option(metavar="MM", help="Millimetres of the result's voxels, in place of a factor: 1; or along i,j,k, such as 0.5,0.5,1; or isotropic, the scan's smallest.")] = None,
    method: Annotated[str, typer.Option(help="See 'superres3d methods'.")] = DEFAULT_METHOD,
    modality: Modality = ModalityChoice("auto"),
    preset: Annotated[PresetChoice, typer.Option(help="How much work to spend; see 'superres3d methods'.")] = PresetChoice(DEFAULT_PRESET),
    ensemble: Annotated[EnsembleChoice, typer.Option(help="Turned copies whose median is the result; auto: as the preset says.")] = EnsembleChoice("auto"),
    precision: Annotated[PrecisionChoice, typer.Option(help="auto: half or 8 bits where the machine is faster in them; half; single.")] = PrecisionChoice("auto"),
    device: Device = "auto",
    slice_axis: Annotated[SliceAxisChoice, typer.Option(help="auto: the clearly coarsest axis, else k.")] = SliceAxisChoice("auto"),
    consistency: Annotated[int, typer.Option(help="Back-projections that bring the downsampled result to the scan, 0 to 10: for scans with little noise.")] = 0,
    noise: Annotated[NoiseChoice, typer.Option(help="What becomes of the scan's noise: keep leaves it as an interpolation does, reduce takes away what the networks can; for two-stage-told.")] = NoiseChoice(DEFAULT_NOISE),
) -> None:
    """The options of :func:`with_options`."""


@dataclass(frozen=True)
class Made:
    """What is to be made of a scan, as it was typed.

    Attributes:
        typed: by the names of :func:`superres3d.upscaling.upscale`.
    """

    typed: dict[str, Any]

    def arguments(self) -> dict[str, Any]:
        """For :func:`superres3d.upscaling.upscale` (InputError: a factor that is no number)."""
        plain = {name: value.value if isinstance(value, Enum) else value for name, value in self.typed.items()}
        return {**plain, "scale": factors_of(plain["scale"]), "spacing": spacing_of(plain["spacing"])}


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """In place of its parameter ``made`` a command has the options from ``--scale`` to ``--noise``; they come to it together, as a :class:`Made`."""
    shared = inspect.signature(_made, eval_str=True).parameters
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        parameters += shared.values() if name == "made" else [parameter]

    @wraps(command)
    def run(**typed: Any) -> None:
        made = Made({name: typed.pop(name) for name in shared})
        command(**typed, made=made)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
