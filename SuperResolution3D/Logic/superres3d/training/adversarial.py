"""Adversarial training of the volumetric networks (Chen 2020, sections 3.3 and 4.1; Kudo 2019, section 3.1).

A recipe's ``steps`` are updates of the generator.  Lightning counts the updates of all optimisers
(``global_step``, ``max_steps``); :func:`optimizer_steps` translates.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LRScheduler

from ..errors import InputError
from .discriminators import Critic, PairDiscriminator
from .layout import channels_last
from .recipe import AnyRecipe, VolumeRecipe
from .schedules import make_optimizer, make_scheduler
from .start import load_start
from .volume_module import VolumeModule
from .volume_samples import CONDITIONS, Crops

_PENALTY = 10.0  # weight of the gradient penalty (Gulrajani 2017)
_EXTRA_EVERY = 500  # updates of the generator between two spells of extra critic updates (Chen 2020, section 4.1)
_GENERATOR, _DISCRIMINATOR = 0, 1  # the optimisers' order


class AdversarialModule(VolumeModule):
    """What both kinds share; :attr:`net` is the generator.

    ``loss`` in the log is the mean absolute error, as in the training without discriminator.

    Raises:
        InputError: the recipe's ``start`` is missing or does not fit its network.
    """

    betas = (0.9, 0.999)
    generator_updates: Tensor

    def __init__(self, recipe: VolumeRecipe, discriminator: nn.Module):
        super().__init__(recipe)
        self.automatic_optimization = False
        self.discriminator = discriminator
        if recipe.start:
            load_start(self.net, Path(recipe.start))
        # Buffers are part of the checkpoint: a resumed run goes on where it was.
        self.register_buffer("generator_updates", torch.zeros((), dtype=torch.int64))

    def on_train_batch_start(self, *_: object) -> None:
        """As of :class:`VolumeModule`, counted in updates of the generator."""
        if int(self.generator_updates) >= self.recipe.freeze_norm * self.recipe.steps:
            self.net.freeze_norm()

    def adversarial_loss(self, batch: Crops, made: Tensor) -> Tensor:
        """How clearly the discriminator sees that the volume ``made`` is no scan: what the generator is to lower."""
        raise NotImplementedError

    def update_generator(self, batch: Crops, made: Tensor) -> None:
        """One step; ``made`` is the generator's output with its gradient, (N, 1, D, H, W) float32."""
        error = functional.l1_loss(made, batch.truth)
        self.discriminator.requires_grad_(False)
        adversarial = self.adversarial_loss(batch, made)
        self.discriminator.requires_grad_(True)
        self.log("loss", error, prog_bar=True)
        self.log("adversarial_loss", adversarial)
        self.improve(_GENERATOR, self.recipe.voxel_weight * error + self.recipe.adversarial_weight * adversarial)
        for scheduler in cast("list[LRScheduler]", self.lr_schedulers()):
            scheduler.step()
        self.generator_updates += 1

    def improve(self, number: int, loss: Tensor) -> None:
        """One step of an optimiser."""
        optimizer = cast("list[LightningOptimizer]", self.optimizers())[number]
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        # Autocast keeps its half-precision copies of weights for the whole training step: these are old now.
        torch.clear_autocast_cache()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam and a learning rate each: the generator's first, then the discriminator's."""
        generator = self.net.parameter_groups(self.recipe.learning_rate, self.recipe.last_rate)
        optimizers = [make_optimizer(parameters, self.recipe, self.betas) for parameters in (generator, self.discriminator.parameters())]
        return optimizers, [make_scheduler(optimizer, self.recipe) for optimizer in optimizers]


class WassersteinModule(AdversarialModule):
    """mDCSRN-GAN: L1 + weight * (-D), the critic D held to slope 1 (Chen 2020, section 3.3; Gulrajani 2017).

    Every training step is one update on a batch of its own: of the critic while any is due, else of the generator.
    The optimiser of both is the paper's Adam; it states no betas.
    """

    critic_updates: Tensor
    critic_due: Tensor

    def __init__(self, recipe: VolumeRecipe):
        if not recipe.start:
            raise InputError("An adversarial training of the kind wgan-gp goes on from a trained network; name its model folder under start.")
        super().__init__(recipe, Critic((recipe.patch_depth, recipe.patch, recipe.patch), recipe.discriminator_filters))
        self.register_buffer("critic_updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("critic_due", torch.tensor(recipe.first_critic_steps + recipe.critic_steps))

    def training_step(self, batch: Crops, _: int) -> None:
        """One update: of the critic while any is due, else of the generator."""
        if self.critic_due > 0:
            with torch.no_grad():
                made = self.net(channels_last(batch.given)).float()
            self.update_critic(batch.truth, made)
        else:
            self.update_generator(batch, self.net(channels_last(batch.given)).float())
            extra = self.recipe.extra_critic_steps if self.generator_updates % _EXTRA_EVERY == 0 else 0
            self.critic_due.fill_(self.recipe.critic_steps + extra)

    def update_critic(self, truth: Tensor, made: Tensor) -> None:
        """One step; both (N, 1, D, H, W) float32, without gradient."""
        random = np.random.default_rng([self.recipe.seed, 1 + self.global_rank, int(self.critic_updates)])
        share = torch.from_numpy(random.random(len(truth), np.float32)).to(truth.device)
        distance = self.discriminator(truth).mean() - self.discriminator(made).mean()
        penalty = gradient_penalty(self.discriminator, truth, made, share)
        self.log("critic_distance", distance, prog_bar=True)
        self.log("gradient_penalty", penalty)
        self.improve(_DISCRIMINATOR, _PENALTY * penalty - distance)
        self.critic_updates += 1
        self.critic_due -= 1

    def adversarial_loss(self, batch: Crops, made: Tensor) -> Tensor:
        """Minus the critic's mean verdict."""
        return -self.discriminator(made).mean()


class ConditionalModule(AdversarialModule):
    """Equations (1) and (2) of Kudo 2019, and Pix2Pix: a training step updates the discriminator, then the generator, on one batch.

    The generator maximises log D instead of minimising log(1 - D) (non-saturating, as Goodfellow 2014 and Isola 2017 advise).
    """

    betas = (0.5, 0.999)  # Kudo 2019, section 4.2

    def __init__(self, recipe: VolumeRecipe):
        patches = recipe.adversarial == "patch"
        conditions = 0 if patches or not recipe.condition else CONDITIONS
        super().__init__(recipe, PairDiscriminator(recipe.discriminator_filters, conditions=conditions, patches=patches))

    def training_step(self, batch: Crops, _: int) -> None:
        """One update of the discriminator, then one of the generator, on the same batch."""
        made = self.net(channels_last(batch.given)).float()
        self.update_discriminator(batch, made.detach())
        self.update_generator(batch, made)

    def update_discriminator(self, batch: Crops, made: Tensor) -> None:
        """One step; ``made`` (N, 1, D, H, W) float32 without gradient."""
        real = self.discriminator(batch.given, batch.truth, batch.condition)
        fake = self.discriminator(batch.given, made, batch.condition)
        loss = functional.softplus(-real).mean() + functional.softplus(fake).mean()  # -log D and -log(1 - D) of the logits
        self.log("discriminator_loss", loss, prog_bar=True)
        self.improve(_DISCRIMINATOR, loss)

    def adversarial_loss(self, batch: Crops, made: Tensor) -> Tensor:
        """Mean of -log D over the batch."""
        return functional.softplus(-self.discriminator(batch.given, made, batch.condition)).mean()


MODULES = {"": VolumeModule, "wgan-gp": WassersteinModule, "conditional": ConditionalModule, "patch": ConditionalModule}


def optimizer_steps(recipe: AnyRecipe) -> int:
    """Updates of all networks until ``recipe.steps`` of the generator are done: what Lightning calls ``max_steps``."""
    if not isinstance(recipe, VolumeRecipe) or not recipe.adversarial:
        return recipe.steps
    if recipe.adversarial != "wgan-gp":
        return 2 * recipe.steps
    extra = (recipe.steps - 1) // _EXTRA_EVERY * recipe.extra_critic_steps  # none after the last one
    return recipe.first_critic_steps + recipe.steps * (recipe.critic_steps + 1) + extra


def gradient_penalty(critic: nn.Module, real: Tensor, made: Tensor, share: Tensor) -> Tensor:
    """Mean of (|slope of the critic| - 1)^2 between real and made volumes (Gulrajani 2017, equation 3), in float32.

    Args:
        critic: (N, 1, D, H, W) -> (N,), each verdict from its own sample alone.
        real, made: (N, 1, D, H, W).
        share: (N,), of the real volume, 0 to 1.
    """
    share = share.view(-1, 1, 1, 1, 1)
    between = (share * real.float() + (1 - share) * made.float()).requires_grad_()
    with torch.autocast(between.device.type, enabled=False):
        (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        return (slope.flatten(1).norm(dim=1) - 1).square().mean()
