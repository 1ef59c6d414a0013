#!/usr/bin/env python
"""The networks of Kudo 2019, table 1, under one schedule on a graphics card within a number of seconds.

    python Testing/Benchmarks/gpu/kudo.py pack SCANS kudo.pack         (here)
    python Testing/Benchmarks/gpu/kudo.py train kudo.pack OUT --seconds 180
    python Testing/Benchmarks/gpu/kudo.py export OUT/kudo.safetensors SCANS architectures         (here again; then architectures.py measures)

All networks learn at the same time, each on a stream of its own, from the same batches: the same number of steps on the same samples for all of them.
The recipes travel in the pack.  What the card does otherwise than the recipe: batches are larger, the rate follows the clock, discriminators have the
paper's rate, profiles have one of 64 widths, and the weights come back in half precision.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import pack as packs
from card_layers import CardConv, CardRunner
from loop import Optimizer, Steps, Tell, cosine, telling, within
from superres3d.networks.module import BlueprintNet
from superres3d.resampling.degradation import antialiased_bicubic
from superres3d.training.discriminators import PairDiscriminator
from superres3d.training.recipe import BODY_PARTS, VolumeRecipe
from thick_slices import Crops, ThickSlices
from train import set_up

_TABLE = "kudo2019"
_RECIPES, _WEIGHTS = "recipes.json", "kudo.safetensors"
_DISCRIMINATOR_RATE = 0.2  # of the generators': the paper's 2e-4
_CONDITIONS = len(BODY_PARTS) + 4
app = typer.Typer()


class Learner:
    """A network of the table with its discriminator and optimisers, on a stream of its own."""

    def __init__(self, name: str, recipe: VolumeRecipe, crops: Crops, device: str, tell: Tell):
        self.name, self.recipe, self.done = name, recipe, 0
        self._kind, self._tell = torch.device(device).type, tell
        torch.manual_seed(recipe.seed)
        self.net = BlueprintNet(recipe.architecture).to(device, memory_format=torch.channels_last_3d)
        self._judge = self._discriminator(device)
        betas = (0.5, 0.999) if self._judge else (0.9, 0.999)
        last = self.net.layers[self.net.last]
        others = nn.ModuleList([layer for layer in self.net.layers.values() if layer is not last])
        self._optimizers = [Optimizer(others, betas), Optimizer(last, betas)]
        self._judges = [Optimizer(self._judge, betas)] if self._judge else []
        self.batch = Crops(*(torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in crops))
        on_card = self._kind == "cuda"
        self._stream = torch.cuda.Stream() if on_card else None
        self._steps = Steps(self.step, on_card, tell, self._stream)
        self._sums, self._every = torch.zeros(4, device=device), 250 if on_card else 5

    def _discriminator(self, device: str) -> PairDiscriminator | None:
        recipe = self.recipe
        if not recipe.adversarial:
            return None
        patches = recipe.adversarial == "patch"
        made = PairDiscriminator(recipe.discriminator_filters, conditions=0 if patches or not recipe.condition else _CONDITIONS, patches=patches)
        for layer in made.modules():
            if type(layer) is nn.Conv3d:
                layer.__class__ = CardConv
        return made.to(device, memory_format=torch.channels_last_3d)

    def advance(self, crops: Crops, drawn: torch.cuda.Stream | None, share: float) -> None:
        """One step with the batch that is on the stream ``drawn``; does not wait for it."""
        if self._stream and drawn:
            self._stream.wait_stream(drawn)
        with torch.cuda.stream(self._stream) if self._stream else contextlib.nullcontext():
            for kept, new in zip(self.batch, crops):
                kept.copy_(new)
            if self._stream and drawn:
                drawn.wait_stream(self._stream)  # the next batch may be drawn now
            rate = self.recipe.learning_rate * cosine(share, self.done, 200)
            for optimizer, of_it in zip((*self._optimizers, *self._judges), (1.0, self.recipe.last_rate, _DISCRIMINATOR_RATE)):
                optimizer.set_rate(rate * of_it)
            self._sums += self._steps(share >= self.recipe.freeze_norm)
            self.done += 1
            if self.done % self._every == 0:
                loss, given, judge, doubt = (self._sums / self._every).tolist()
                self._tell(network=self.name, step=self.done, loss=round(loss, 6), given=round(given, 6), discriminator=round(judge, 4), doubt=round(doubt, 4))
                self._sums.zero_()

    def step(self, frozen: bool) -> Tensor:
        """An update of the discriminator, if there is one, and one of the network; mean absolute errors of what is made and given, and the adversarial losses."""
        if frozen:
            self.net.freeze_norm()
        given, truth, _ = self.batch
        made = self.made(given)
        judged = doubt = torch.zeros((), device=given.device)
        error = functional.l1_loss(made, truth)
        goal = error
        if self._judge:
            judged = functional.softplus(-self._verdict(truth)).mean() + functional.softplus(self._verdict(made.detach())).mean()
            self._descend(judged, self._judges)
            self._judge.requires_grad_(False)
            doubt = functional.softplus(-self._verdict(made)).mean()
            self._judge.requires_grad_(True)
            goal = self.recipe.voxel_weight * error + self.recipe.adversarial_weight * doubt
        self._descend(goal, self._optimizers)
        return torch.stack([error, functional.l1_loss(given, truth), judged, doubt]).detach()

    def made(self, given: Tensor) -> Tensor:
        """As the network's own ``forward``, (N, 1, D, H, W) float32."""
        with self._half():
            image = given.bfloat16() if self._kind == "cuda" else given
            output = self.net.architecture.blueprint(CardRunner(self.net.layers), image).float()
        return given + output if self.recipe.residual else output

    def _verdict(self, thin: Tensor) -> Tensor:
        assert self._judge
        with self._half():
            return self._judge(self.batch.given, thin, self.batch.condition)

    def _half(self) -> torch.autocast:
        return torch.autocast(self._kind, torch.bfloat16, enabled=self._kind == "cuda", cache_enabled=False)

    @staticmethod
    def _descend(loss: Tensor, optimizers: list[Optimizer]) -> None:
        for optimizer in optimizers:
            optimizer.adam.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in optimizers:
            optimizer.adam.step()


def write(learners: list[Learner], path: Path) -> None:
    """Weights of all, kernels in half precision, the rest in single; and the schedule so far."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    tensors = {}
    for learner in learners:
        for name, tensor in learner.net.stored_tensors().items():
            tensors[f"{learner.name}|{name}"] = (tensor.half() if tensor.ndim > 1 else tensor.float()).cpu().contiguous()
    first = learners[0]
    save_file(tensors, path, {"settings": json.dumps({"steps": first.done, "batch": len(first.batch.given), "seed": first.recipe.seed})})


@app.command()
def pack(scans: Path, out: Path) -> None:
    """The training scans with thin slices, and the recipes."""
    from architectures import TABLES, recipe_of
    from superres3d.training.volume_samples import load_scans

    recipes: dict[str, Any] = {network.name: recipe_of(TABLES[_TABLE], network, []) for network in TABLES[_TABLE].networks}
    recipe = next(iter(recipes.values()))
    packed = []
    for name, scan in load_scans(recipe.volumes, scans, recipe.modality).items():
        voxels = scan.voxels
        if scan.slices_mm > recipe.coarsest_slices_mm:
            voxels = antialiased_bicubic(voxels[:, : voxels.shape[1] // 2 * 2, : voxels.shape[2] // 2 * 2], (1, 2, 2))
        values = packs.quantised(np.clip(voxels, 0.0, 1.0), recipe.modality)
        packed.append((packs.Scan(name, "train", (len(values), *values.shape[1:]), True, False), values))
    packs.write_pack(out, recipe.modality, packed)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(_RECIPES, json.dumps({name: recipe.as_dict() for name, recipe in recipes.items()}))
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB")


@app.command()
def train(
    data: Path,
    out: Path,
    seconds: Annotated[float, typer.Option(help="For everything, the start included.")] = 180.0,
    batch: int = 16,
    filters: Annotated[int, typer.Option(help="Of all networks, for a rehearsal; 0: as the recipes say.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the first weights and the samples; 0: as the recipes say.")] = 0,
    device: str = "cuda",
) -> None:
    """All networks of the pack."""
    began = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    set_up()
    with telling(out / "kudo.jsonl", began) as tell:
        scans = {scan.name: values for scan, values in packs.read_pack(data)[1]}
        with zipfile.ZipFile(data) as archive:
            recipes = {name: VolumeRecipe(**fields) for name, fields in json.loads(archive.read(_RECIPES)).items()}
        if seed:
            recipes = {name: replace(recipe, seed=seed) for name, recipe in recipes.items()}
        if filters:
            recipes = {name: replace(recipe, options={**recipe.options, "filters": filters}, discriminator_filters=filters) for name, recipe in recipes.items()}
        sampler = ThickSlices(scans, next(iter(recipes.values())), batch, device)
        learners = [Learner(name, recipe, sampler(), device, tell) for name, recipe in recipes.items()]
        on_card = torch.device(device).type == "cuda"
        tell(networks=len(learners), batch=batch, device=torch.cuda.get_device_name() if on_card else device)
        _learn(sampler, learners, seconds - (5.0 if on_card else 2.0) - (time.perf_counter() - began), out, tell, on_card)
        write(learners, out / _WEIGHTS)
        tell(steps=learners[0].done, gib=round(torch.cuda.max_memory_allocated() / 2**30, 1) if on_card else 0.0)


def _learn(sampler: ThickSlices, learners: list[Learner], seconds: float, out: Path, tell: Tell, on_card: bool) -> None:
    """Steps of all, in turn, until the seconds have passed; half way the weights are written in case the rest fails."""
    stream = torch.cuda.Stream() if on_card else None
    torch.manual_seed(learners[0].recipe.seed)
    draw: Any = Steps(lambda _: sampler(), on_card, tell, stream)  # type: ignore[arg-type, return-value]
    half = False
    for share in within(seconds, torch.cuda.synchronize if on_card else lambda: None):
        with torch.cuda.stream(stream) if stream else contextlib.nullcontext():
            crops = draw(0)
        for learner in learners:
            learner.advance(crops, stream, share)
        if share > 0.5 and not half:
            half = True
            write(learners, out / _WEIGHTS)


@app.command()
def export(weights: Path, scans: Path, out: Path) -> None:
    """Model folders, as architectures.py leaves them after a training."""
    from architectures import TABLES, folder_of, recipe_of
    from superres3d.training.export import export_model

    with safe_open(weights, "pt") as file:
        settings = json.loads(file.metadata()["settings"])
        names = list(file.keys())  # not a dictionary: it cannot be iterated
        tensors = {name: file.get_tensor(name).float() for name in names}
    for network in TABLES[_TABLE].networks:
        recipe: Any = recipe_of(TABLES[_TABLE], network, [f"{name}={settings[name]}" for name in ("steps", "batch", "seed")])
        net = BlueprintNet(recipe.architecture)
        net.load_tensors({name.partition("|")[2]: tensor for name, tensor in tensors.items() if name.startswith(f"{network.name}|")})
        folder = folder_of(out, _TABLE, network, settings["seed"])
        export_model(net.eval(), recipe, scans, folder / "models")
        (folder / "seconds.txt").write_text("\n")


if __name__ == "__main__":
    app()
