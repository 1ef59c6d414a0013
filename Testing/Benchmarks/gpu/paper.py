#!/usr/bin/env python
"""The eight networks of Georgescu 2020 with the paper's 100,000 steps, all at once on a graphics card within a number of seconds.

    python Testing/Benchmarks/gpu/paper.py train OUT mr.pack ct.pack --seconds 330
    python Testing/Benchmarks/gpu/paper.py export OUT mr.pack ct.pack --scans SCANS --models MODELS         (here again)

Samples, losses and optimiser are the recipe's (models/recipes/georgescu2020.toml).  One step is too short for a card: a graph holds the drawing of the
samples of several steps and these steps, and each network has a stream of its own.  The rate is a cosine over the steps; where the seconds do not suffice for
them, over the seconds.  Packs of one modality belong together.  ``state.pt`` in OUT is written every half minute; the same command goes on from it.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))

import pack
from loop import Optimizer, Steps, Tell, cosine, telling, within
from paper_layers import Coarsening, FlatNet
from samples import DeviceScans
from superres3d.networks.module import BlueprintNet
from superres3d.networks.stored import read_tensors
from superres3d.resampling.interpolation import sampling_matrix
from superres3d.training.degrader import MARGIN
from superres3d.training.recipe import Recipe, load_recipe
from train import saved, set_up

NETWORKS = (("plane", 2), ("plane", 4), ("depth", 2), ("depth", 4))
STEPS = 100_000
_ROOT = Path(__file__).resolve().parents[3]
_STATE = "state.pt"
_WARM_UP = 200
_LAST = 0.2  # share of the steps, the last ones, that are in single precision (TF32)
_CROPS = 32  # of each validation scan
_LEAST, _SEEDS = 0.05, 20  # share of the pixels above zero of a network that lives; tried first weights
_LOOK_EVERY = 30.0
app = typer.Typer()


def recipe_of(modality: str, stage: str, scale: int, entries: list[tuple[pack.Scan, Any]], steps: int = STEPS) -> Recipe:
    """The paper's recipe with the scans that there are."""
    chosen = {"modality": modality, "stage": stage, "scale": str(scale), "steps": str(steps)}
    recipe = cast(Recipe, load_recipe(_ROOT / "models" / "recipes" / "georgescu2020.toml", chosen))
    trained, held = ({scan.name for scan, _ in entries if scan.subset == subset} for subset in ("train", "val"))
    volumes = tuple(name for name in recipe.volumes if name in trained)
    shares = {name: share for name, share in recipe.shares.items() if name in volumes}
    return replace(recipe, volumes=volumes, validation=tuple(name for name in recipe.validation if name in held), shares=shares)


class Training:
    """A network, its optimiser and its samples.

    Args:
        entries: what the packs of its modality hold.
        recipe: of the network.
        repeat: steps of one launch.
        device: of all.
    """

    def __init__(self, entries: list[tuple[pack.Scan, Any]], recipe: Recipe, repeat: int, device: str):
        self.recipe, self.repeat, self.device, self.name = recipe, repeat, device, recipe.model_name
        span = pack.span(recipe.modality)
        volumes = [(values, True, scan.name in recipe.all_axes, recipe.shares.get(scan.name, 1.0)) for scan, values in entries if scan.name in recipe.volumes]
        self.scans = DeviceScans(volumes, span, device)
        held = [DeviceScans([(values, True, False, 1.0)], span, device) for scan, values in entries if scan.name in recipe.validation]
        self.coarsening = Coarsening(recipe, device)
        self._plain = Coarsening(replace(recipe, blur_probability=0.0), device)
        torch.manual_seed(0)  # drawn before anything is captured
        self._crops = [self.pairs(scans, self._plain, _CROPS, turn=False) for scans in held]
        self._bases = [torch.from_numpy(sampling_matrix(n, n * f, "cubic")).float().to(device) for n, f in zip(recipe.patch_shape, recipe.factors)]
        self.net = FlatNet(BlueprintNet(recipe.architecture)).to(device)
        self.optimizer = Optimizer(self.net, (0.9, 0.999))
        self.seed = recipe.seed - 1
        self.begin_anew()

    def step(self, half: bool) -> Tensor:
        """``repeat`` steps, each on a batch of its own; the mean loss, still on the device."""
        batch, losses = self.recipe.batch, []
        with torch.no_grad():
            low, high = self.pairs(self.scans, self.coarsening, batch * self.repeat)
        for given, truth in zip(low.split(batch), high.split(batch)):
            final, between = self.net.outputs(given, half)
            loss = functional.l1_loss(final, truth) + self.recipe.intermediate_weight * functional.l1_loss(between, truth)
            self.optimizer.adam.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.adam.step()
            losses.append(loss.detach())
        return torch.stack(losses).mean()

    def pairs(self, scans: DeviceScans, coarsening: Coarsening, count: int, turn: bool = True) -> tuple[Tensor, Tensor]:
        """(low, high), (N, 1, rows, columns)."""
        (rows, columns), (along, across) = self.recipe.patch_shape, self.recipe.factors
        if self.recipe.stage == "plane":
            crops = scans.crops(count, (1, rows * along, columns * across), (0, MARGIN * along, MARGIN * across), False, turn)[:, 0]
        else:
            crops = scans.crops(count, (rows * along, 1, columns), (MARGIN * along, 0, MARGIN), True, turn)[:, :, 0]
        return coarsening(crops)

    @torch.no_grad()
    def gain(self) -> float | None:
        """Over cubic interpolation in dB, of the mean square error of the same crops of the validation scans, antialiased bicubic alone; None without such scans."""
        gains = []
        for low, high in self._crops:
            rows, columns = self._bases
            errors = [float((image - high).square().mean()) for image in (self.net.outputs(low)[0], rows @ low @ columns.T)]
            gains.append(10 * math.log10(max(errors[1], 1e-20) / max(errors[0], 1e-20)))
        return round(sum(gains) / len(gains), 3) if gains else None

    def begin_anew(self) -> None:
        """With the first weights of the next seed that give more than zeros, in place."""
        for _ in range(_SEEDS):
            self.seed += 1
            torch.manual_seed(self.seed)
            self.net.load_tensors(BlueprintNet(self.recipe.architecture).stored_tensors())
            if self.alive():
                break
        self.optimizer.forget()

    @torch.no_grad()
    def alive(self) -> bool:
        """Whether both outputs are above zero somewhere: a ReLU at the end may give nothing but zeros for ever."""
        low, _ = self.pairs(self.scans, self._plain, 8)
        return all(float((output > 0).float().mean()) > _LEAST for output in self.net.outputs(low))

    @property
    def accumulates(self) -> float:
        """Multiply-accumulates of a step, forwards and twice that backwards."""
        return 3.0 * self.recipe.architecture.multiply_accumulates * math.prod(self.recipe.patch_shape) * self.recipe.batch


class Learner:
    """A training on a stream of its own; what goes wrong in it ends it alone."""

    def __init__(self, training: Training, tell: Tell):
        self.training, self.name, self.done, self.failed, self._tell = training, training.name, 0, False, tell
        on_card = training.device != "cpu"
        self._stream = torch.cuda.Stream() if on_card else None
        self._steps = Steps(training.step, on_card, tell, self._stream)
        self._sum, self._count = torch.zeros((), device=training.device), 0

    def advance(self, clock: float, half: bool) -> None:
        """One launch; does not wait for it.  ``clock`` is the share of the seconds that has passed."""
        share = max(clock, self.done / self.training.recipe.steps)
        if self.failed or share >= 1.0:
            return
        with self._alone(), torch.cuda.stream(self._stream) if self._stream else contextlib.nullcontext():
            self.training.optimizer.set_rate(self.training.recipe.learning_rate * cosine(share, self.done, _WARM_UP))
            self._sum += self._steps(half and share < 1.0 - _LAST)
            self.done += self.training.repeat
            self._count += 1

    def look(self) -> None:
        """Tells the mean loss since the last time and the gain; begins anew where the network is dead.  Waits for the device."""
        if self.failed:
            return
        with self._alone():
            gain = self.training.gain()
            self._tell(network=self.name, step=self.done, loss=round(float(self._sum) / max(1, self._count), 6), gain=gain)
            self._sum.zero_()
            self._count = 0
            if not self.training.alive():
                self.training.begin_anew()
                self._tell(network=self.name, dead_and_begun_anew=self.done, seed=self.training.seed)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.failed = True
            self._tell(network=self.name, failed=f"{type(error).__name__}: {error}"[:500], step=self.done)

    def state(self) -> dict[str, Any]:
        """What a later run goes on from."""
        return {"flat": self.training.net.flat.detach().cpu(), "optimizer": self.training.optimizer.state(), "done": self.done, "seed": self.training.seed}

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        with torch.no_grad():
            self.training.net.flat.copy_(state["flat"])
        self.training.optimizer.load(state["optimizer"])
        self.done, self.training.seed = state["done"], state["seed"]


def scans_of(packs: list[Path]) -> dict[str, list[tuple[pack.Scan, Any]]]:
    """Modality -> what its packs hold."""
    found: dict[str, list[tuple[pack.Scan, Any]]] = {}
    for path in packs:
        modality, entries = pack.read_pack(path)
        found.setdefault(modality, []).extend(entries)
    return found


def write(learners: list[Learner], out: Path) -> None:
    """Weights of all, and the state."""
    for learner in learners:
        save_file(saved(learner.training.net), out / f"{learner.name}.safetensors")
    torch.save({learner.name: learner.state() for learner in learners}, out / "state.new")
    (out / "state.new").replace(out / _STATE)


def _shipped(training: Training) -> float | None:
    """The gain of the network that the package has."""
    path, kept = _ROOT / "models" / training.name / "weights.safetensors", {name: tensor.clone() for name, tensor in training.net.stored_tensors().items()}
    if not path.is_file() or training.recipe.filters:
        return None
    training.net.load_tensors({name: torch.from_numpy(tensor) for name, tensor in read_tensors(path).items()})
    gain = training.gain()
    training.net.load_tensors(kept)
    return gain


def _faster_in_half(learners: list[Learner], sync: Callable[[], None], tell: Tell) -> bool:
    """Whether bfloat16 is; each has its turn, and the steps count."""
    seconds, rounds = {}, 8
    for half in (True, False):
        for learner in learners:
            learner.advance(0.0, half)  # captured
        sync()
        began = time.perf_counter()
        for _ in range(rounds):
            for learner in learners:
                learner.advance(0.0, half)
        sync()
        seconds[half] = (time.perf_counter() - began) / rounds / learners[0].training.repeat
    best = min(seconds.values())
    tell(steps_a_second_bf16=round(1 / seconds[True], 1), steps_a_second_tf32=round(1 / seconds[False], 1), seconds_for_all_steps=round(best * learners[0].training.recipe.steps))
    return seconds[True] < seconds[False]


@app.command()
def train(
    out: Path,
    packs: list[Path],
    seconds: Annotated[float, typer.Option(help="For everything, the start included.")] = 330.0,
    steps: Annotated[int, typer.Option(help="Of each network, if the seconds suffice.")] = STEPS,
    repeat: Annotated[int, typer.Option(help="Steps of one launch.")] = 20,
    batch: Annotated[int, typer.Option(help="0: as the recipe says.")] = 0,
    side: Annotated[int, typer.Option(help="Coarse pixels of a patch, for a rehearsal; 0: as the recipe says.")] = 0,
    filters: Annotated[int, typer.Option(help="For a rehearsal; 0: the paper's.")] = 0,
    precision: Annotated[str, typer.Option(help="auto (the faster one), bf16 or tf32; the last fifth of the steps is always tf32.")] = "auto",
    device: str = "cuda",
) -> None:
    """All networks of the modalities of the packs."""
    began = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    set_up()
    torch.backends.cudnn.allow_tf32 = True
    on_card = torch.device(device).type == "cuda"
    with telling(out / "paper.jsonl", began) as tell:
        learners = []
        for modality, entries in scans_of(packs).items():
            for stage, scale in NETWORKS:
                recipe = recipe_of(modality, stage, scale, entries, steps)
                recipe = replace(recipe, batch=batch or recipe.batch, patch=side or recipe.patch, patch_across=side or recipe.patch_across, filters=filters or recipe.filters)
                learners.append(Learner(Training(entries, recipe, repeat, device), tell))
        operations = 2.0 * sum(learner.training.accumulates for learner in learners)
        tell(networks=len(learners), device=torch.cuda.get_device_name() if on_card else device, giga_operations_a_step_of_all=round(operations / 1e9, 2), predicted_steps_a_second_at_30_tflops=round(3e13 / operations, 1))
        tell(gains_of_shipped={learner.name: _shipped(learner.training) for learner in learners})
        if (out / _STATE).is_file():
            for name, state in torch.load(out / _STATE, map_location=device, weights_only=True).items():
                next(learner for learner in learners if learner.name == name).load(state)
            tell(goes_on_from={learner.name: learner.done for learner in learners})
        sync = torch.cuda.synchronize if on_card else lambda: None
        half = _faster_in_half(learners, sync, tell) if on_card and precision == "auto" else precision == "bf16"
        _learn(learners, max(0.5, seconds - (6.0 if on_card else 2.0) - (time.perf_counter() - began)), half, sync, out, tell)
        write(learners, out)
        for learner in learners:
            learner.look()
        steps_done = {learner.name: learner.done for learner in learners}
        tell(steps=steps_done, seeds={learner.name: learner.training.seed for learner in learners}, of=steps, batch=learners[0].training.recipe.batch, precision="bf16, then tf32" if half else "tf32", seconds=round(time.perf_counter() - began, 1), failed=[learner.name for learner in learners if learner.failed])


def _learn(learners: list[Learner], seconds: float, half: bool, sync: Callable[[], None], out: Path, tell: Tell) -> None:
    """Launches of all, in turn, until the steps are done or the seconds have passed."""
    began = looked = time.perf_counter()
    first = learners[0].done
    told = False
    for clock in within(seconds, sync, every=4):
        for learner in learners:
            learner.advance(clock, half)
        now = time.perf_counter()
        if not told and now - began > 10.0:
            told = True
            tell(measured_steps_a_second=round((learners[0].done - first) / (now - began), 1))
            sync()
            for learner in learners:
                learner.look()
            sync()
        if now - looked > _LOOK_EVERY:
            looked = now
            sync()
            tell(share=round(clock, 3), steps_a_second=round((learners[0].done - first) / (now - began), 1))
            for learner in learners:
                learner.look()
            write(learners, out)
            sync()  # what a look wrote comes before the next launch
        if all(learner.failed or learner.done >= learner.training.recipe.steps for learner in learners):
            break
    sync()


@app.command()
def export(out: Path, packs: list[Path], scans: Annotated[Path, typer.Option()], models: Annotated[Path, typer.Option()]) -> None:
    """Model folders of the weights that came back; the packs tell the scans that were learnt from."""
    from superres3d.training.export import export_model

    lines = [json.loads(line) for line in (out / "paper.jsonl").read_text(encoding="utf-8").splitlines()]
    last, device = [line for line in lines if "steps" in line][-1], next(line["device"] for line in lines if "device" in line)
    for modality, entries in scans_of(packs).items():
        for stage, scale in NETWORKS:
            recipe = recipe_of(modality, stage, scale, entries)
            name = recipe.model_name
            run = {"steps": last["steps"][name], "seed": last["seeds"][name], "batch": last["batch"], "warm_up": _WARM_UP}
            recipe = replace(recipe, **run, precision=f"{last['precision']} on {device}")
            weights = load_file(out / f"{name}.safetensors")
            if (filters := len(weights["low.0.bias"])) != recipe.architecture.settings["filters"]:  # a rehearsal's
                recipe = replace(recipe, filters=filters)
            net = BlueprintNet(recipe.architecture)
            net.load_tensors(weights)
            print(export_model(net.eval(), recipe, scans, models).folder)


if __name__ == "__main__":
    app()
