#!/usr/bin/env python
"""mDCSRN b4u4, b8u4 and mDCSRN-GAN (Chen 2020) one after the other on a graphics card within a number of seconds.

    python Testing/Benchmarks/gpu/chen.py train OUT mr.pack --seconds 380
    python Testing/Benchmarks/gpu/chen.py export OUT mr.pack --scans SCANS --models MODELS         (here again)

Samples and losses are the recipes' (models/recipes/mdcsrn.toml, mdcsrn-gan.toml).  What the card does otherwise: bfloat16, the rate follows the clock, the
batch is the paper's, and the critic's first updates are fewer.  The GAN goes on from the b4u4 of OUT.  Each network's state lies in OUT; the same command goes on from it
(the critic begins anew: it is too large to travel).  One that fails leaves its seconds to the next.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))

import pack
from card_layers import CardRunner
from loop import Optimizer, Steps, Tell, cosine, telling, within
from paper import scans_of
from samples import DeviceScans
from superres3d.networks.module import BlueprintNet
from superres3d.networks.stored import read_tensors
from superres3d.resampling.degradation import kspace_truncation
from superres3d.resampling.interpolation import sampling_matrix
from superres3d.training.discriminators import Critic
from superres3d.training.recipe import VolumeRecipe, load_recipe
from train import saved, set_up

_ROOT = Path(__file__).resolve().parents[3]
#: recipe, options and share of the seconds
NETWORKS: dict[str, tuple[str, dict[str, Any], float]] = {
    "mdcsrn": ("mdcsrn.toml", {}, 0.40),
    "mdcsrn-b8u4": ("mdcsrn.toml", {"blocks": 8}, 0.35),
    "mdcsrn-gan": ("mdcsrn-gan.toml", {}, 0.25),
}
_FINER = 128  # steps of a stored value between two of the pack's: what is interpolated is no whole number
_PENALTY = 10.0  # weight of the gradient penalty (Gulrajani 2017)
_EXTRA_EVERY = 500  # updates of the network between two spells of extra critic updates (Chen 2020, section 4.1)
_LOOK_EVERY = 30.0
_HELD = (32, 96, 96)  # voxels of a validation scan that are looked at
_PAPER_BATCH = 6
app = typer.Typer()


def recipe_of(name: str, entries: list[tuple[pack.Scan, Any]], **changes: Any) -> VolumeRecipe:
    """The recipe of a network with the scans that there are."""
    file, options, _ = NETWORKS[name]
    recipe = cast(VolumeRecipe, load_recipe(_ROOT / "models" / "recipes" / file, {"modality": "MR"}))
    there = {scan.name for scan, _ in entries}
    volumes, held = (tuple(name for name in names if name in there) for names in (recipe.volumes, recipe.validation))
    return replace(recipe, method=name, volumes=volumes, validation=held, options={**recipe.options, **options}, **changes)


def interpolated_pair(values: np.ndarray, device: str) -> Tensor:
    """(D, H, W, 2) int16: a scan of whole numbers (slices, rows, columns), even rows and columns, and what is left of it by 2 x 2 x 1 truncation and linear interpolation."""
    rows, columns = values.shape[1:]
    truth = torch.from_numpy(np.ascontiguousarray(values[:, : rows // 2 * 2, : columns // 2 * 2])).to(device).float()
    lines = [torch.from_numpy(np.array(sampling_matrix(n // 2, n, "linear") @ kspace_truncation(np.eye(n), (2, 1)), np.float32)).to(device) for n in truth.shape[1:]]
    given = lines[0] @ truth @ lines[1].T
    return (torch.stack([truth, given], -1) * _FINER).round().clamp(-32768, 32767).to(torch.int16)


class PairScans(DeviceScans):
    """Scans and what was interpolated of them, both along each axis that may be the slice axis.

    Args:
        volumes: whole numbers (slices, rows, columns), and whether each axis may be the slice axis.
        device: of all.
    """

    def __init__(self, volumes: list[tuple[np.ndarray, bool]], device: str):
        turned = [(np.moveaxis(values, axis, 0), 1.0 / (3 if any_axis else 1)) for values, any_axis in volumes for axis in ((0, 1, 2) if any_axis else (0,))]
        even = [(np.ascontiguousarray(values[:, : values.shape[1] // 2 * 2, : values.shape[2] // 2 * 2]), share) for values, share in turned]
        super().__init__([(values, True, False, share) for values, share in even], pack.MR_STEPS * _FINER, device)
        self._flat = torch.cat([interpolated_pair(values, device).flatten(0, 2) for values, _ in even])

    def batch(self, count: int, recipe: VolumeRecipe) -> tuple[Tensor, Tensor]:
        """(given, truth), (N, 1, D, H, W) float32 in network units."""
        crops = self.crops(count, (recipe.patch_depth, recipe.patch, recipe.patch), (0, 0, 0), False)
        gain = torch.exp(math.log(recipe.gain) * (2 * torch.rand(count, device=self.device) - 1))
        crops = crops * gain[:, None, None, None, None]
        return crops[..., 1][:, None], crops[..., 0][:, None]


class _FilledFirst(nn.Conv3d):
    """A convolution of one channel, filled up by zeros: matrix units want eight."""

    def forward(self, features: Tensor) -> Tensor:
        return functional.conv3d(functional.pad(features, (0,) * 7 + (7,)), functional.pad(self.weight, (0,) * 7 + (7,)), self.bias, padding=1)


class Learner:
    """A network, its optimiser and, for the GAN, its critic.

    Args:
        recipe: of the network.
        scans: that it learns from.
        held: (given, truth) of validation scans.
        device: of all.
        tell: see :func:`loop.telling`.
    """

    def __init__(self, recipe: VolumeRecipe, scans: PairScans, held: list[tuple[Tensor, Tensor]], device: str, tell: Tell):
        self.recipe, self.scans, self.held, self.device, self.done = recipe, scans, held, device, 0
        self._kind, self._tell = torch.device(device).type, tell
        torch.manual_seed(recipe.seed)
        self.net = BlueprintNet(recipe.architecture).to(device, memory_format=torch.channels_last_3d)
        self.optimizer = Optimizer(self.net, (0.9, 0.999))
        self.critic: Critic | None = None
        if recipe.adversarial:
            critic = Critic((recipe.patch_depth, recipe.patch, recipe.patch), recipe.discriminator_filters)
            critic.features[0].__class__ = _FilledFirst
            self.critic = critic.to(device, memory_format=torch.channels_last_3d)
            self._judge = Optimizer(self.critic, (0.9, 0.999))
            self.critic_due = recipe.first_critic_steps + recipe.critic_steps
        self.steps = Steps(self.step, self._kind == "cuda", tell)

    def step(self, kind: str) -> Tensor:
        """One update, and what it was of: mean absolute error and, of the GAN, minus the verdict; for "critic" distance and penalty."""
        if kind in ("frozen", "critic", "generator"):
            self.net.freeze_norm()
        with torch.no_grad():
            given, truth = self.scans.batch(self.recipe.batch, self.recipe)
        if kind == "critic":
            return self._critic_step(given, truth)
        made = self.made(given)
        error = functional.l1_loss(made, truth)
        goal, doubt = error, torch.zeros_like(error)
        if kind == "generator" and self.critic:
            self.critic.requires_grad_(False)
            with self._half():
                doubt = -self.critic(made).mean()
            self.critic.requires_grad_(True)
            goal = self.recipe.voxel_weight * error + self.recipe.adversarial_weight * doubt
        _descend(goal, self.optimizer)
        return torch.stack([error, doubt]).detach()

    def _critic_step(self, given: Tensor, truth: Tensor) -> Tensor:
        from superres3d.training.adversarial import gradient_penalty

        assert self.critic
        with torch.no_grad():
            made = self.made(given)
        with self._half():
            distance = self.critic(truth).mean() - self.critic(made).mean()
        penalty = gradient_penalty(self.critic, truth, made, torch.rand(len(truth), device=self.device))
        _descend(_PENALTY * penalty - distance, self._judge)
        return torch.stack([distance, penalty]).detach()

    def made(self, given: Tensor) -> Tensor:
        """As the network's own ``forward``, (N, 1, D, H, W) float32."""
        with self._half():
            image = given.bfloat16() if self._kind == "cuda" else given
            output = self.net.architecture.blueprint(CardRunner(self.net.layers), image).float()
        return given + output if self.recipe.residual else output

    def advance(self, share: float) -> tuple[str, Tensor]:
        """One update of what is due; does not wait for it."""
        recipe = self.recipe
        rate = recipe.learning_rate * (cosine(share, self.done, 100) if recipe.schedule == "cosine" else 1.0)
        self.optimizer.set_rate(rate)
        if not self.critic:
            self.done += 1
            kind = "frozen" if share >= recipe.freeze_norm else "learning"
        elif self.critic_due > 0:
            self._judge.set_rate(rate)
            self.critic_due -= 1
            kind = "critic"
        else:
            self.done += 1
            kind = "generator"
            self.critic_due = recipe.critic_steps + (recipe.extra_critic_steps if self.done % _EXTRA_EVERY == 0 else 0)
        return kind, self.steps(kind)

    @torch.no_grad()
    def gains(self) -> list[float]:
        """Over the linear interpolation in dB, of the mean square error within each validation scan, as the network is when it is used."""
        training = self.net.training
        self.net.eval()
        found = []
        for given, truth in self.held:
            made = self.made(given)
            errors = [float((image - truth).square().mean()) for image in (made, given)]
            found.append(round(10 * math.log10(max(errors[1], 1e-20) / max(errors[0], 1e-20)), 3))
        self.net.train(training)
        return found

    def begin(self, tensors: dict[str, Tensor]) -> None:
        """With such weights."""
        self.net.load_tensors({name: tensor.to(self.device) for name, tensor in tensors.items()})

    def state(self) -> dict[str, Any]:
        """What a later run goes on from."""
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state(), "done": self.done}

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.net.load_state_dict(state["net"])
        self.optimizer.load(state["optimizer"])
        self.done = state["done"]

    def _half(self) -> torch.autocast:
        return torch.autocast(self._kind, torch.bfloat16, enabled=self._kind == "cuda", cache_enabled=False)


def _descend(loss: Tensor, optimizer: Optimizer) -> None:
    optimizer.adam.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.adam.step()


def held_pairs(entries: list[tuple[pack.Scan, Any]], names: tuple[str, ...], device: str) -> list[tuple[Tensor, Tensor]]:
    """(given, truth), (1, 1, D, H, W) in network units: the middle of validation scans."""
    pairs = []
    for scan, values in entries:
        if scan.name in names:
            pair = interpolated_pair(values, device).float() / (pack.MR_STEPS * _FINER)
            middle = tuple(slice(max(0, (n - most) // 2), max(0, (n - most) // 2) + most) for n, most in zip(pair.shape, _HELD))
            pairs.append((pair[middle][None, None, ..., 1].contiguous(), pair[middle][None, None, ..., 0].contiguous()))
    return pairs


def learn(learner: Learner, seconds: float, out: Path, tell: Tell) -> None:
    """Updates until the seconds have passed; weights and state are written as it goes."""
    name, on_card = learner.recipe.method, learner.device != "cpu"
    operations = 6.0 * learner.recipe.architecture.multiply_accumulates * learner.recipe.batch * learner.recipe.patch_depth * learner.recipe.patch**2
    tell(network=name, tera_operations_a_step=round(operations / 1e12, 3), predicted_steps_a_second_at_20_tflops=round(2e13 / operations, 1), gains_at_first=learner.gains())
    began = looked = time.perf_counter()
    sums: dict[str, tuple[Tensor, int]] = {}
    told, first = False, learner.done
    for share in within(seconds, torch.cuda.synchronize if on_card else lambda: None, every=10):
        kind, losses = learner.advance(share)
        before, count = sums.get(kind, (torch.zeros_like(losses), 0))
        sums[kind] = before + losses, count + 1
        now = time.perf_counter()
        if now - looked > (_LOOK_EVERY if told else 0.5 * _LOOK_EVERY):
            means = {kind: [round(value, 5) for value in (total / count).tolist()] for kind, (total, count) in sums.items()}
            passed = time.perf_counter() - looked  # the lists waited for the device
            rates = {kind: round(count / passed, 2) for kind, (_, count) in sums.items()}
            tell(network=name, step=learner.done, means=means, updates_a_second=rates, gains=learner.gains())
            write(learner, out)
            sums, told, looked = {}, True, time.perf_counter()
    write(learner, out)
    made = learner.done - first
    tell(network=name, steps=learner.done, of_this_run=made, batch=learner.recipe.batch, first_critic_steps=learner.recipe.first_critic_steps, seconds=round(time.perf_counter() - began, 1), gains=learner.gains())


def write(learner: Learner, out: Path) -> None:
    """Weights and state."""
    name = learner.recipe.method
    save_file(saved(learner.net), out / f"{name}.safetensors")
    torch.save(learner.state(), out / f"{name}.new")
    (out / f"{name}.new").replace(out / f"{name}.pt")


def _started(learner: Learner, out: Path, tell: Tell) -> None:
    """From its own state, or the GAN from the trained b4u4."""
    own, shipped = out / f"{learner.recipe.method}.pt", _ROOT / "models" / "mdcsrn-mr" / "weights.safetensors"
    if own.is_file():
        learner.load(torch.load(own, map_location=learner.device, weights_only=True))
        tell(network=learner.recipe.method, goes_on_from=learner.done)
    elif learner.critic and (out / "mdcsrn.safetensors").is_file():
        learner.begin(load_file(out / "mdcsrn.safetensors"))
    elif learner.critic:
        learner.begin({name: torch.from_numpy(tensor) for name, tensor in read_tensors(shipped).items()})


def _shipped_gains(recipe: VolumeRecipe, scans: PairScans, held: list[tuple[Tensor, Tensor]], device: str, tell: Tell) -> None:
    """What the package's own network reaches."""
    learner = Learner(replace(recipe, options={}), scans, held, device, tell)
    learner.begin({name: torch.from_numpy(tensor) for name, tensor in read_tensors(_ROOT / "models" / "mdcsrn-mr" / "weights.safetensors").items()})
    tell(gains_of_shipped=learner.gains())


@app.command()
def train(
    out: Path,
    packs: list[Path],
    seconds: Annotated[float, typer.Option(help="For everything, the start included.")] = 380.0,
    batch: int = _PAPER_BATCH,
    patch: Annotated[int, typer.Option(help="For a rehearsal; 0: as the recipe says.")] = 0,
    growth: Annotated[int, typer.Option(help="For a rehearsal; 0: the paper's.")] = 0,
    first_critic_steps: Annotated[int, typer.Option(help="Before the network's first with the critic.")] = 300,
    only: Annotated[list[str] | None, typer.Option(help="mdcsrn, mdcsrn-b8u4 or mdcsrn-gan; else all.")] = None,
    device: str = "cuda",
) -> None:
    """The three networks."""
    began = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    set_up()
    torch.backends.cudnn.allow_tf32 = True  # the gradient penalty is in single precision
    on_card = torch.device(device).type == "cuda"
    with telling(out / "chen.jsonl", began) as tell:
        entries = scans_of(packs)["MR"]
        changes: dict[str, Any] = {"batch": batch, **({"patch": patch, "patch_depth": patch, "discriminator_filters": 4} if patch else {})}
        recipes = {name: recipe_of(name, entries, **changes) for name in only or NETWORKS}
        first = next(iter(recipes.values()))
        scans = PairScans([(values, scan.name in first.all_axes) for scan, values in entries if scan.name in first.volumes], device)
        held = held_pairs(entries, first.validation, device)
        tell(device=torch.cuda.get_device_name() if on_card else device, scans=len(first.volumes), validation=list(first.validation), batch=batch, seconds_to_begin=round(time.perf_counter() - began, 1))
        _shipped_gains(first, scans, held, device, tell)
        shares = {name: NETWORKS[name][2] for name in recipes}
        for name, recipe in recipes.items():
            left = seconds - (5.0 if on_card else 2.0) - (time.perf_counter() - began)
            own = left * shares[name] / sum(share for other, share in shares.items() if list(shares).index(other) >= list(shares).index(name))
            try:
                recipe = replace(recipe, options={**recipe.options, "growth": growth} if growth else recipe.options, first_critic_steps=first_critic_steps)
                learner = Learner(recipe, scans, held, device, tell)
                _started(learner, out, tell)
                learn(learner, max(0.5, own - 1.0), out, tell)
            except Exception as error:
                tell(network=name, failed=f"{type(error).__name__}: {error}"[:500])
            learner = None  # type: ignore[assignment]
            if on_card:
                torch.cuda.empty_cache()


@app.command()
def export(out: Path, packs: list[Path], scans: Annotated[Path, typer.Option()], models: Annotated[Path, typer.Option()]) -> None:
    """Model folders of the weights that came back; the packs tell the scans that were learnt from."""
    from superres3d.training.export import export_model

    lines = [line for line in map(json.loads, (out / "chen.jsonl").read_text(encoding="utf-8").splitlines()) if "of_this_run" in line]
    entries = scans_of(packs)["MR"]
    for name in NETWORKS:
        last = next((line for line in reversed(lines) if line["network"] == name), None)
        if not last or not last["steps"]:
            print(f"{name}: not trained")
            continue
        recipe = recipe_of(name, entries, batch=last["batch"], steps=last["steps"], first_critic_steps=last["first_critic_steps"])
        weights = load_file(out / f"{name}.safetensors")
        growth = len(weights["stem.bias"]) // 2
        if growth != recipe.architecture.settings["growth"]:
            recipe = replace(recipe, options={**recipe.options, "growth": growth})
        net = BlueprintNet(recipe.architecture)
        net.load_tensors(weights)
        print(export_model(net.eval(), replace(recipe, start=str(models / "mdcsrn-mr") if recipe.adversarial else ""), scans, models).folder)


if __name__ == "__main__":
    app()
