"""Training of a network with several tasks (MDSR, Lim 2017, section 3.3)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from ..errors import InputError
from ..networks.mdsr import task_name
from ..networks.module import BlueprintNet, interpolated
from .layout import channels_last, laid_out
from .recipe import MultiTaskRecipe
from .samples import data_workers, epoch_of
from .schedules import make_optimizer, stepped
from .start import load_start
from .task_samples import Batch, Source, TaskBatches, load_sources

_VALIDATION_CROPS = 6  # a task


class MultiTaskModule(lightning.LightningModule):
    """L1 between output and truth, one task a step."""

    def __init__(self, recipe: MultiTaskRecipe):
        super().__init__()
        self.recipe = recipe
        self.net = laid_out(BlueprintNet(*recipe.architectures), torch.channels_last_3d)
        if recipe.start:
            load_start(self.net, Path(recipe.start))
        self._errors: dict[tuple[int, int, int], list[tuple[float, float]]] = {}

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The loss of a batch."""
        loss = functional.l1_loss(self.net(channels_last(batch.low), batch.factors), batch.high)
        self.log("loss", loss, prog_bar=True, batch_size=len(batch.low))
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        """Keep the mean square errors of a batch: of the network, and of the interpolation that it adds to."""
        refined = self.net(channels_last(batch.low), batch.factors)
        errors = [float(functional.mse_loss(image, batch.high)) for image in (refined, interpolated(batch.low, batch.factors))]
        self._errors.setdefault(batch.factors, []).append((errors[0], errors[1]))

    def on_validation_epoch_end(self) -> None:
        """Log the gain over the interpolation in dB, of each task and of all."""
        gains = []
        for factors, errors in self._errors.items():
            refined, plain = np.mean(errors, axis=0)
            gains.append(10.0 * np.log10(max(plain, 1e-20) / max(refined, 1e-20)))
            self.log(f"val_gain_{task_name(factors)}", gains[-1], sync_dist=True)
        self._errors.clear()
        self.log("val_gain", float(np.mean(gains)), prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam and the recipe's learning rate."""
        optimizer = make_optimizer(self.net.parameters(), self.recipe, (0.9, self.recipe.second_moment))
        return stepped(optimizer, self.recipe)


class TaskData(lightning.LightningDataModule):
    """Batches of each epoch, continuing the numbering of the last; fixed validation batches."""

    def __init__(self, recipe: MultiTaskRecipe, folder: Path, epoch_steps: int):
        super().__init__()
        self._recipe = recipe
        self._epoch_steps = epoch_steps
        self._sources = load_sources(recipe.volumes, recipe, folder)
        if recipe.volumes and any(task[0] > 1 for task in recipe.tasks) and not any(source.sharp_slices for source in self._sources):
            raise InputError("The recipe has tasks that refine the slices and no volume whose slices are sharp; name some under through_plane.")
        plain = replace(
            recipe, augment_exact=False, gain=1.0, gamma=1.0, blur_probability=0.0, profile_share=0.0, reductions=(), all_axes=(), through_plane=recipe.validation
        )  # fmt: skip
        self._validation = validation_batches(plain, load_sources(recipe.validation, plain, folder)) if recipe.validation else []

    def train_dataloader(self) -> DataLoader:
        """The next epoch's batches."""
        first = epoch_of(self) * self._epoch_steps
        return DataLoader(TaskBatches(self._recipe, self._sources, self._epoch_steps, first), batch_size=None, collate_fn=_as_it_is, num_workers=data_workers())

    def val_dataloader(self) -> DataLoader:
        """The validation batches; none if the recipe names no scans for it."""
        batches = cast("Dataset[Batch]", self._validation)  # a list has all that a loader asks for
        return DataLoader(batches, batch_size=None, collate_fn=_as_it_is)


def _as_it_is(batch: object) -> object:
    return batch


def validation_batches(recipe: MultiTaskRecipe, sources: list[Source]) -> list[Batch]:
    """The same few crops for each task."""
    crops = TaskBatches(recipe, sources, 0)
    batches = []
    for task in recipe.tasks:
        random = np.random.default_rng(0)
        for _ in range(_VALIDATION_CROPS):
            low, high = (torch.from_numpy(image[None, None]) for image in crops.pair(task, random))
            batches.append(Batch(low, high, task))
    return batches
