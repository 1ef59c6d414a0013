"""Optimiser and learning rate of a recipe."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import Parameter

from .recipe import CommonRecipe

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig


def make_optimizer(parameters: Iterable[Parameter] | list[dict[str, Any]], recipe: CommonRecipe, betas: tuple[float, float] = (0.9, 0.999)) -> torch.optim.Optimizer:
    """Adam, as in all three papers."""
    return torch.optim.Adam(parameters, lr=recipe.learning_rate, betas=betas)


def make_scheduler(optimizer: torch.optim.Optimizer, recipe: CommonRecipe) -> torch.optim.lr_scheduler.LRScheduler:
    """A tenth after half of the steps, a cosine to zero (after a linear rise, if the recipe has a warm-up), or constant."""
    if recipe.schedule == "cosine" and recipe.warm_up:
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _risen_cosine(step, recipe))
    if recipe.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    milestones = [recipe.steps // 2] if recipe.schedule == "step" else []
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones)


def stepped(optimizer: torch.optim.Optimizer, recipe: CommonRecipe) -> OptimizerLRSchedulerConfig:
    """An optimiser with the recipe's learning rate, as Lightning takes it: a new rate after every step."""
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": make_scheduler(optimizer, recipe), "interval": "step"}}


def _risen_cosine(step: int, recipe: CommonRecipe) -> float:
    return min(1.0, (step + 1) / recipe.warm_up) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / recipe.steps)))
