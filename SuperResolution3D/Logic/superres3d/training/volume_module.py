"""Training of the volumetric networks for the mean absolute error, and the data of all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from ..networks.module import BlueprintNet
from .layout import channels_last, laid_out
from .recipe import VolumeRecipe
from .samples import data_workers, epoch_of
from .schedules import make_optimizer, stepped
from .volume_samples import Crops, load_scans, make_dataset

_VALIDATION_CROPS = 16


class VolumeModule(lightning.LightningModule):
    """L1 between output and truth (Chen 2020, section 3.3)."""

    def __init__(self, recipe: VolumeRecipe):
        super().__init__()
        self.recipe = recipe
        self.net = laid_out(BlueprintNet(recipe.architecture), torch.channels_last_3d)
        self._errors: list[float] = []

    def on_train_batch_start(self, *_: object) -> None:
        """Normalisations keep their statistics from here on, where the recipe says so."""
        if self.global_step >= self.recipe.freeze_norm * self.recipe.steps:
            self.net.freeze_norm()

    def training_step(self, batch: Crops, _: int) -> Tensor | None:
        """The loss of a batch; None where the step has already updated the networks."""
        loss = functional.l1_loss(self.net(channels_last(batch.given)).float(), batch.truth)
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Crops, _: int) -> None:
        """Keep the mean square error of a batch."""
        error = functional.mse_loss(self.net(channels_last(batch.given)).float(), batch.truth)
        self._errors.append(float(error))

    def on_validation_epoch_end(self) -> None:
        """Log the PSNR over all validation crops, in dB for a peak of 1."""
        error = float(np.mean(self._errors))
        self._errors.clear()
        self.log("val_psnr", -10.0 * np.log10(max(error, 1e-20)), prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam and the recipe's learning rate; the last layer has its own."""
        optimizer = make_optimizer(self.net.parameter_groups(self.recipe.learning_rate, self.recipe.last_rate), self.recipe)
        return stepped(optimizer, self.recipe)


class CropModule(lightning.LightningDataModule):
    """Training crops of each epoch, continuing the numbering of the last; fixed validation crops."""

    def __init__(self, recipe: VolumeRecipe, folder: Path, epoch_steps: int):
        super().__init__()
        self._recipe = recipe
        self._epoch_length = epoch_steps * recipe.batch
        self._validation_recipe = replace(recipe, augment_exact=False, gain=1.0, slice_noise=0.0, all_axes=())
        # Scans are degraded once; a dataset of an epoch only cuts from them.
        self._training = make_dataset(recipe, load_scans(recipe.volumes, folder, recipe.modality), self._epoch_length)
        scans = load_scans(recipe.validation, folder, recipe.modality)
        self._validation = make_dataset(self._validation_recipe, scans, _VALIDATION_CROPS) if scans else None

    def train_dataloader(self) -> DataLoader:
        """Batches of :class:`Crops` of the next epoch."""
        self._training.first = epoch_of(self) * self._epoch_length
        return DataLoader(self._training, batch_size=self._recipe.batch, num_workers=data_workers())

    def val_dataloader(self) -> DataLoader | list:
        """The validation crops, one a batch; empty if the recipe names no scans for it."""
        return DataLoader(self._validation, batch_size=1) if self._validation else []
