"""From a finished training to a model folder with its card."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError
from ..methods import INVENTS
from ..networks.families import FORMS
from ..networks.module import BlueprintNet
from ..networks.weights import CARD, Model, save_model
from ..scan.intensity import CT_RANGE_HU, MR_PERCENTILES
from .recipe import AnyRecipe, MultiTaskRecipe, Recipe, VolumeRecipe

CATALOGUE = "catalogue.csv"
_NOT_SCHEDULE = ("volumes", "validation", "all_axes", "through_plane", "body_parts")
_SIZES = {"options", *(name for family in FORMS.values() for name in family.options)}  # of a network for slices; the card has them under network
_OF_THICK_SLICES = ("slice_factors", "slice_sigma", "sigma_grows", "least_sigma", "slice_noise", "coarsest_slices_mm")
_OF_ADVERSARIAL = (
    "adversarial", "start", "voxel_weight", "adversarial_weight", "first_critic_steps", "critic_steps", "extra_critic_steps", "discriminator_filters", "condition",
)  # fmt: skip


def export_model(net: BlueprintNet, recipe: AnyRecipe, data: Path, folder: Path) -> Model:
    """Write ``folder/<model name>`` with weights and card.

    Args:
        net: trained.
        recipe: as it was run.
        data: folder of the scans; licences are taken from a ``catalogue.csv`` in it or above it.
        folder: of models.

    Returns:
        The model as it is on the disk.
    """
    attribution = read_attribution(data)
    known = {"id": "", "licence": "unknown", "source": "unknown"}
    card = {
        "method": recipe.method,
        "modality": recipe.modality,
        **({"stage": recipe.stage, "scale": recipe.scale} if isinstance(recipe, Recipe) else {"stage": "volume"}),
        "network": recipe.network,
        "intensity": _intensity(recipe.modality),
        "training_subjects": [{**known, **attribution.get(name, {}), "id": name} for name in recipe.volumes],
        "validation_subjects": list(recipe.validation),
        "degradation": _degradation(recipe),
        "schedule": _schedule(recipe),
        "software": f"SuperResolution3D {__version__}",
        "intended_use": "Research; not for diagnosis.",
    }
    if isinstance(recipe, VolumeRecipe) and recipe.adversarial:
        card["caution"] = INVENTS
    return save_model(net, recipe.model_name, folder, card)


def check_export(recipe: AnyRecipe, folder: Path, overwrite: bool) -> None:
    """Refuse before a training to replace a model by it, unless that was asked for (InputError)."""
    if (folder / recipe.model_name / CARD).exists() and not overwrite:
        raise InputError(f"There is a model {recipe.model_name} in {folder}; export to another folder, or replace it with --overwrite.")


def read_attribution(data: Path) -> dict[str, dict[str, str]]:
    """id -> licence and source, from ``catalogue.csv`` beside the scans or one folder up; empty if there is none."""
    for folder in (data, data.parent):
        if (folder / CATALOGUE).is_file():
            with open(folder / CATALOGUE, newline="", encoding="utf-8") as file:
                return {row["id"]: {"licence": row.get("licence", ""), "source": row.get("source_repo", "")} for row in csv.DictReader(file)}
    return {}


def _schedule(recipe: AnyRecipe) -> dict[str, Any]:
    """The recipe's fields that had a part in this training."""
    idle = {*_NOT_SCHEDULE, *recipe.network, *_SIZES, *_without_effect(recipe)}
    schedule = {name: value for name, value in recipe.as_dict().items() if name not in idle}
    if schedule.get("start"):
        schedule["start"] = _start(Path(schedule["start"]))
    return schedule


def _without_effect(recipe: AnyRecipe) -> Iterator[str]:
    """Fields of what the recipe has switched off."""
    if isinstance(recipe, Recipe):
        yield from () if recipe.architecture.survey.intermediates else ("intermediate_weight",)
        yield from () if recipe.shares else ("shares",)
        yield from () if recipe.profile_share else ("profile_share",)
        yield from () if recipe.spectral_share else ("spectral_share", "spectral_extent")
    elif isinstance(recipe, VolumeRecipe):
        yield from () if recipe.degradation == "thick-slice" else _OF_THICK_SLICES
        yield from () if recipe.adversarial else _OF_ADVERSARIAL


def _start(folder: Path) -> str:
    """The model that a training began from, without the place where it lay."""
    card = folder / CARD
    sha256 = json.loads(card.read_text(encoding="utf-8"))["sha256"] if card.is_file() else "unknown"
    return f"{folder.name}, SHA-256 {sha256}"


def _intensity(modality: str) -> str:
    if modality == "CT":
        return f"{CT_RANGE_HU[0]:g} to {CT_RANGE_HU[1]:g} HU become 0 to 1; what lies outside is interpolated and added"
    return f"the scan's {MR_PERCENTILES[0]} and {MR_PERCENTILES[1]} percentiles become 0 and 1"


def _degradation(recipe: AnyRecipe) -> str:
    if not isinstance(recipe, VolumeRecipe):
        return f"antialiased bicubic (Keys, a = -0.5, stretched by the factor), edges mirrored{_others(recipe)}"
    if recipe.degradation == "k-space":
        return "k-space truncated to the central half along rows and columns (2 x 2 x 1), linear interpolation back to the full matrix"
    return _thick_slices(recipe)


def _others(recipe: Recipe | MultiTaskRecipe) -> str:
    """The share of samples that lose their detail in another way."""
    if isinstance(recipe, MultiTaskRecipe):
        return f"; {recipe.profile_share:.0%} of the samples with Gaussian slice profiles instead" if recipe.profile_share else ""
    thick = f"; {recipe.profile_share:.0%} of the patches with slice profiles (Gaussian, box and pulse, with gaps and overlaps) instead" if recipe.profile_share else ""
    if not recipe.spectral_share:
        return thick
    cut = "k-space truncated" if recipe.modality == "MR" else "spectrum cut, as by a sharp kernel"
    filled = f", half of them measured less far (at least {recipe.spectral_extent:.0%} in each direction) and zero-filled" if recipe.spectral_extent < 1.0 else ""
    return f"{thick}; {recipe.spectral_share:.0%} of the patches {cut} to the coarse matrix instead{filled}"


def _thick_slices(recipe: VolumeRecipe) -> str:
    factors: Any = sorted(recipe.slice_factors)
    least = f" and at least {recipe.least_sigma:.0%} of that" if recipe.least_sigma else ""
    grows = f", in proportion less for smaller factors than {max(factors)}" if recipe.sigma_grows else ""
    noise = f", Gaussian noise up to {recipe.slice_noise:g} of the intensity range" if recipe.slice_noise else ""
    return (
        f"Gaussian slice profile with sigma up to {recipe.slice_sigma:g} thin slices{least}{grows}; every {', '.join(map(str, factors))}th slice kept{noise}; "
        f"cubic spline back; scans with slices wider than {recipe.coarsest_slices_mm:g} mm reduced by two in-plane and taken as smaller bodies"
    )
