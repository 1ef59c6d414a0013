"""``superres3d study``: a reader study from its plan to its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..methods import DEFAULT_METHOD, DEFAULT_PRESET
from .common import DesignChoice, PresetChoice, needs, reporting
from .options import Device

study = typer.Typer(name="study", help="A reader study: which method do people who read scans prefer?", no_args_is_help=True)

_EXTRA = ("study", "choix", "matplotlib", "scipy", "statsmodels")

Preference = Annotated[float, typer.Option(help="Share of the answers for the first method, 0 to 1.")]
ReaderSpread = Annotated[float, typer.Option(help="How much readers differ: standard deviation in log odds.", min=0)]
CaseSpread = Annotated[float, typer.Option(help="How much cases differ: standard deviation in log odds.", min=0)]
Readers = Annotated[int, typer.Option(help="How many readers.", min=1, max=200)]
StudyFolder = Annotated[Path, typer.Argument(metavar="STUDY", help="A folder that 'superres3d study make' wrote.")]


@study.command()
def plan(
    preference: Preference = 0.65,
    readers: Readers = 6,
    cases: Annotated[int | None, typer.Option(help="Tell the power with so many cases; default: the fewest cases for --power.", min=2)] = None,
    power: Annotated[float, typer.Option(help="The power that is wanted, 0 to 1.")] = 0.9,
    alpha: Annotated[float, typer.Option(help="Level of the two-sided test.", min=0.0001, max=0.5)] = 0.05,
    reader_spread: ReaderSpread = 0.5,
    case_spread: CaseSpread = 0.5,
    simulate: Annotated[int, typer.Option(help="Simulate so many studies, and analyse each; 0: the formula alone.", min=0)] = 300,
) -> None:
    """How many cases and readers a study needs."""
    with reporting("none"):
        needs("study", "scipy")
        from ..study.planning import advice
        from ..study.simulating import Taste

        print(advice(Taste(preference, reader_spread, case_spread), readers, cases, power, alpha, simulate))


@study.command()
def make(
    data: Annotated[Path, typer.Argument(help="Folder of the scans.")],
    split: Annotated[Path, typer.Argument(help="CSV with the columns id, split, modality, and those of --stratum; a scan is DATA/<id>.nii.gz or another format.")],
    out: Annotated[Path, typer.Option(help="A new folder: 'reader' in it is for the readers, 'key.json' is not.")],
    subset: Annotated[str, typer.Option(help="Which rows of the split.")] = "test",
    method: Annotated[list[str] | None, typer.Option("--method", help=f"Twice or more; the first is the one that is asked about. Default: {DEFAULT_METHOD} and lanczos.")] = None,
    design: Annotated[DesignChoice, typer.Option(help="What readers are asked.")] = DesignChoice("choice-with-original"),
    scale: Annotated[list[int] | None, typer.Option("--scale", help="May be repeated; default: 2.")] = None,
    cases: Annotated[int, typer.Option(help="Cases for each factor.", min=1)] = 100,
    task: Annotated[str, typer.Option(help="How scans are made coarser: in-plane, 3-D, k-space (MR) or thick-slice (CT).")] = "in-plane",
    stratum: Annotated[list[str] | None, typer.Option("--stratum", help="A column of the split; may be repeated; default: modality.")] = None,
    slices: Annotated[int, typer.Option(help="Slices of a case; more than one can be leafed through.", min=1, max=32)] = 1,
    apart: Annotated[float, typer.Option(help="Millimetres between two cases of one scan, at least.", min=0)] = 5.0,
    repeats: Annotated[int | None, typer.Option(help="Questions that come twice.", min=0, show_default="a tenth of them")] = None,
    catches: Annotated[int | None, typer.Option(help="Questions with a known answer.", min=0, show_default="a twentieth of them")] = None,
    readers: Readers = 24,
    same: Annotated[bool, typer.Option("--same", help="Allow the answer 'no difference'.")] = False,
    seed: Annotated[int, typer.Option(help="Decides cases and sides.", min=0)] = 0,
    title: Annotated[str, typer.Option(help="What readers see above.")] = "Reader study",
    preset: Annotated[PresetChoice, typer.Option(help="How much work the networks may spend.")] = PresetChoice(DEFAULT_PRESET),
    device: Device = "auto",
    progress: Annotated[str, typer.Option(help="bar or none.")] = "bar",
) -> None:
    """Make a study from scans: cases, sides, repeats, and a folder for readers that tells no method."""
    with reporting(progress if progress in ("bar", "none") else "none") as reporter:
        from ..study.making import Wishes, make_study

        wishes = Wishes(
            tuple(method or (DEFAULT_METHOD, "lanczos")), design.value, tuple(scale or (2,)), cases, task, preset.value, device, tuple(stratum or ("modality",)),
            slices, apart, repeats, catches, readers, same, seed, title,
        )  # fmt: skip
        sheet = make_study(data, split, subset, out, wishes, reporter.progress)
    print(f"{out}: {len(sheet.trials)} questions for up to {readers} readers. Give readers {out / 'reader'} and nothing else; keep {out / 'key.json'}.")


@study.command()
def simulate(
    folder: StudyFolder,
    answers: Annotated[Path, typer.Argument(metavar="ANSWERS", help="Folder for the answers; made if missing.")],
    readers: Readers = 6,
    preference: Preference = 0.8,
    reader_spread: ReaderSpread = 0.5,
    case_spread: CaseSpread = 0.5,
    left: Annotated[float, typer.Option(help="What the left side adds to an answer, in log odds.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Decides every answer.", min=0)] = 0,
) -> None:
    """Rehearse a study with readers who do not exist; their answers say so."""
    with reporting("none"):
        needs("study", "scipy")
        from ..files import claim_folder
        from ..study.key import read_study
        from ..study.simulating import Taste, simulate

        taste = Taste(preference, reader_spread, case_spread, left)
        sheet, key = read_study(folder)
        simulate(sheet, key, claim_folder(answers, (), ours=True), readers, taste, seed)
    print(f"{answers}: answers of {readers} simulated readers.")


@study.command()
def analyse(
    folder: StudyFolder,
    answers: Annotated[list[Path], typer.Argument(metavar="ANSWERS", help="Files of answers, or a folder that holds them.")],
    out: Annotated[Path, typer.Option(help="Folder for the tables and figures.")],
) -> None:
    """Open the key, and tell what the readers preferred."""
    with reporting("none"):
        needs(*_EXTRA)
        from ..study.analysing import analyse

        print(analyse(folder, answers, out)[1])
