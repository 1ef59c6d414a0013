"""The training run: Lightning does the loop, the checkpoints and several devices."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from ..errors import InputError
from ..files import claim_folder
from ..networks.module import BlueprintNet
from .adversarial import MODULES, optimizer_steps
from .degrader import Degrader
from .layout import laid_out
from .recipe import AnyRecipe, MultiTaskRecipe, Recipe
from .samples import PatchDataset, data_workers, epoch_of, load_volumes
from .schedules import make_optimizer, stepped
from .start import load_start
from .task_module import MultiTaskModule, TaskData
from .volume_module import CropModule, VolumeModule

EPOCH_STEPS = 500
_VALIDATION_PATCHES = 48
_VALIDATION_PATCH = 48  # the same for every recipe, so that their curves can be compared
_SETTINGS = "hparams.yaml"  # Lightning's logger leaves it beside metrics.csv
_LEAST_SQUARE = 1e-6  # of the intensity scale; see root_mean_square


def root_mean_square(given: Tensor, truth: Tensor) -> Tensor:
    """The root mean square error of each patch, averaged over the patches: PSNR, which is taken of each slice, depends on it.

    Below 0.001 of the intensity scale it levels off, so that the gradient stays finite where a patch is met exactly.

    Args:
        given, truth: patches x 1 x rows x columns.
    """
    return ((given - truth).square().mean(dim=(1, 2, 3)) + _LEAST_SQUARE).sqrt().mean()


_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": functional.l1_loss, "rms": root_mean_square}


class SliceModule(lightning.LightningModule):
    """The recipe's loss of the final output plus, where the network has one, that of the intermediate output (equation (5) of Georgescu 2020, with L1)."""

    def __init__(self, recipe: Recipe):
        super().__init__()
        self.recipe = recipe
        self._loss = _LOSSES[recipe.loss]
        self.net = laid_out(BlueprintNet(recipe.architecture), torch.channels_last)
        if recipe.start:
            load_start(self.net, Path(recipe.start))
        self._degrader = Degrader(recipe)
        self._plain_degrader = Degrader(validation_recipe(recipe))
        self._sums: list[tuple[float, int]] = []

    def training_step(self, patches: Tensor, _: int) -> Tensor:
        """The loss of a batch of patches with margin, (N, 1, H, W)."""
        random = np.random.default_rng([self.recipe.seed, 1 + self.global_rank, self.global_step])
        low, high = self._degrader(patches, random)
        final, *intermediate = self.net.outputs(low)
        loss = self._loss(final.float(), high)
        self.log("loss", loss, prog_bar=True)
        if intermediate and self.recipe.intermediate_weight:
            between = self._loss(intermediate[0].float(), high)
            self.log("intermediate_loss", between)
            loss = loss + self.recipe.intermediate_weight * between
        return loss

    def validation_step(self, patches: Tensor, _: int) -> None:
        """Keep the mean square error of a batch, plainly degraded."""
        low, high = self._plain_degrader(patches, np.random.default_rng(0))
        final = self.net(low).float()
        error = float(functional.mse_loss(final, high))
        self._sums.append((error * len(patches), len(patches)))

    def on_validation_epoch_end(self) -> None:
        """Log the PSNR over all validation patches, in dB for a peak of 1."""
        total = sum(error for error, _ in self._sums) / sum(count for _, count in self._sums)
        self._sums.clear()
        self.log("val_psnr", -10.0 * np.log10(max(total, 1e-20)), prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam and the recipe's learning rate."""
        optimizer = make_optimizer(self.parameters(), self.recipe)
        return stepped(optimizer, self.recipe)


class PatchModule(lightning.LightningDataModule):
    """Training patches of each epoch, continuing the numbering of the last; fixed validation patches."""

    def __init__(self, recipe: Recipe, folder: Path):
        super().__init__()
        self._recipe = recipe
        self._volumes = load_volumes(recipe.volumes, folder, recipe.modality)
        self._validation = load_volumes(recipe.validation, folder, recipe.modality)

    def train_dataloader(self) -> DataLoader:
        """Batches of patches with margin of the next epoch."""
        length = EPOCH_STEPS * self._recipe.batch
        dataset = PatchDataset(self._recipe, self._volumes, length, first=epoch_of(self) * length)
        return DataLoader(dataset, batch_size=self._recipe.batch, num_workers=data_workers())

    def val_dataloader(self) -> DataLoader | list:
        """The validation patches; empty if the recipe names no scans for it."""
        if not self._validation:
            return []
        dataset = PatchDataset(validation_recipe(self._recipe), self._validation, _VALIDATION_PATCHES)
        return DataLoader(dataset, batch_size=4)


def validation_recipe(recipe: Recipe) -> Recipe:
    """Plain degradation of large patches: what a scan meets at test time."""
    shares: dict[str, Any] = dict.fromkeys(("blur_probability", "coarse_across", "profile_share", "spectral_share", "noise"), 0.0)
    return replace(recipe, patch=_VALIDATION_PATCH, patch_across=_VALIDATION_PATCH, augment_exact=False, gain=1.0, spectral_extent=1.0, **shares)


def fit(recipe: AnyRecipe, data: Path, out: Path, *, accelerator: str = "auto", devices: int = 1) -> BlueprintNet:
    """Train, or go on with a training that was interrupted, in the folder ``out``.

    Writes ``checkpoints/last.ckpt`` after every epoch of :data:`EPOCH_STEPS` batches,
    ``metrics.csv`` and ``curves.png``.

    Args:
        recipe: what to train.
        data: folder of the scans that the recipe names.
        out: made if missing; a checkpoint in it is resumed.
        accelerator, devices: as Lightning's ``Trainer`` takes them.

    Returns:
        The trained network, on the CPU.

    Raises:
        InputError: the recipe names no volumes, or one that is not there, or a start that cannot be used; ``out`` holds another training.
    """
    if not recipe.volumes:
        raise InputError("The recipe names no training volumes; list them under volumes.")
    for noisy in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    lightning.seed_everything(recipe.seed, verbose=False)
    last = out / "checkpoints" / "last.ckpt"
    claim_folder(out, ("metrics.csv", "curves.png"), ours=last.exists() or (out / _SETTINGS).exists())
    module, crops = _modules(recipe, data)
    trainer = _trainer(recipe, out, accelerator, devices)
    if last.exists():
        _check_checkpoint(last, module)
    # Lightning's own checkpoint holds optimizer state; it is read with torch's weights-only loader.
    trainer.fit(module, crops, ckpt_path=str(last) if last.exists() else None)
    draw_curves(out / "metrics.csv", out / "curves.png", recipe.model_name)
    return module.net.cpu().eval()


def _trainer(recipe: AnyRecipe, out: Path, accelerator: str, devices: int) -> lightning.Trainer:
    """Lightning's loop, with a checkpoint and a line in the log under ``out``."""
    checkpoint = ModelCheckpoint(out / "checkpoints", save_last=True, save_top_k=1, save_on_train_epoch_end=True)
    # An adversarial training updates one network at a time: the other's parameters get no gradient.
    one_at_a_time = devices > 1 and bool(getattr(recipe, "adversarial", ""))
    precision: Any = recipe.precision  # Lightning refuses a word that it does not know
    return lightning.Trainer(
        accelerator=accelerator,
        devices=devices,
        strategy="ddp_find_unused_parameters_true" if one_at_a_time else "auto",
        precision=precision,
        gradient_clip_val=getattr(recipe, "gradient_norm", 0.0) or None,
        max_steps=optimizer_steps(recipe),
        max_epochs=-1,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        log_every_n_steps=50,
        logger=CSVLogger(out, name="", version=""),
        callbacks=[checkpoint, RichProgressBar(refresh_rate=20)],
        enable_model_summary=False,
        use_distributed_sampler=True,
    )


def _check_checkpoint(path: Path, module: nn.Module) -> None:
    """InputError if it is of another network."""
    kept = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    if {name: tensor.shape for name, tensor in kept.items()} != {name: tensor.shape for name, tensor in module.state_dict().items()}:
        raise InputError(f"The folder {path.parents[1]} holds the training of another network; name another folder, or delete it.")


def _modules(recipe: AnyRecipe, data: Path) -> tuple[SliceModule | MultiTaskModule | VolumeModule, lightning.LightningDataModule]:
    """What is trained, and on what."""
    if isinstance(recipe, Recipe):
        return SliceModule(recipe), PatchModule(recipe, data)
    if isinstance(recipe, MultiTaskRecipe):
        return MultiTaskModule(recipe), TaskData(recipe, data, EPOCH_STEPS)
    return MODULES[recipe.adversarial](recipe), CropModule(recipe, data, EPOCH_STEPS)


def draw_curves(metrics: Path, picture: Path, title: str) -> None:
    """Loss and validation PSNR over the steps, from Lightning's ``metrics.csv``."""
    import matplotlib

    if not metrics.exists():  # a run too short for a line in the log
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = _logged(metrics)
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name, axis in (("loss", axes[0]), ("intermediate_loss", axes[0]), ("val_psnr", axes[1]), ("val_gain", axes[1])):
        points = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
        if points:
            axis.plot(*zip(*points), label=name, linewidth=1)
    axes[0].set(xlabel="step", ylabel="loss", yscale="log", title=title)
    axes[1].set(xlabel="step", ylabel="validation, PSNR in dB (peak 1.0) or gain over cubic")
    for axis in axes:
        if axis.lines:
            axis.legend()
    figure.savefig(picture, dpi=120)
    pyplot.close(figure)


def _logged(metrics: Path) -> list[dict[str, str]]:
    """A row a line of the log; a metric is empty where it was not logged."""
    with open(metrics, newline="") as file:
        return list(csv.DictReader(file))
