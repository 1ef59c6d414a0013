"""Adversarial training: the discriminators against formulas, the order of updates, and a resumed run."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from superres3d.errors import InputError
from superres3d.networks.module import BlueprintNet
from superres3d.training import adversarial
from superres3d.training import fit as fitting
from superres3d.training.discriminators import Critic, PairDiscriminator, SelfAttention
from superres3d.training.recipe import VolumeRecipe, load_recipe
from superres3d.training.volume_samples import Crops, load_scans, make_dataset
from torch import nn

KINDS = ("wgan-gp", "conditional", "patch")
SMALL_MDCSRN = {"family": "mdcsrn", "options": {"blocks": 1, "units": 2, "growth": 4}, "degradation": "k-space"}


def small(kind: str, start: str = "", **changes) -> VolumeRecipe:
    values = {
        "method": "trial", "volumes": ("a",), "patch": 16, "patch_depth": 16, "batch": 2, "steps": 4, "adversarial": kind, "start": start,
        "discriminator_filters": 4, "residual": True, "first_critic_steps": 3, "critic_steps": 2, "extra_critic_steps": 4,
    }  # fmt: skip
    if kind == "wgan-gp":
        values |= {**SMALL_MDCSRN, "learning_rate": 1e-3}
    else:
        values |= {"family": "virtual-thin-slice", "options": {"filters": 4}, "degradation": "thick-slice", "slice_factors": (2, 4), "learning_rate": 2e-3}
        values |= {"voxel_weight": 100.0, "adversarial_weight": 1.0}
    return VolumeRecipe(**{**values, **changes})


@pytest.fixture
def start(tmp_path) -> str:
    """A model folder with a network that fits ``small("wgan-gp")``."""
    torch.manual_seed(3)
    return save_start(tmp_path / "start", BlueprintNet(small("wgan-gp").architecture))


def save_start(folder: Path, net: BlueprintNet, residual: bool = True) -> str:
    folder.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in net.stored_tensors().items()}, folder / "weights.safetensors")
    (folder / "card.json").write_text(json.dumps({"network": {"family": "mdcsrn", "residual": residual}}))
    return str(folder)


def crops(recipe: VolumeRecipe, folder: Path, number: int = 4) -> Crops:
    dataset = make_dataset(recipe, load_scans(recipe.volumes, folder, "MR"), number)
    return Crops(*(torch.stack(parts) for parts in zip(*(dataset[n] for n in range(number)))))


# Two verdicts differ by no bias; and in crops of 16 voxels the fourth layer has one position, which can look at itself alone.
UNCHANGED = {"wgan-gp": {"judge.2.bias"}, "conditional": {"layers.4.query.weight", "layers.4.key.weight"}, "patch": set()}


# The discriminators


def test_critic_is_srgans_with_layer_norm():
    critic = Critic((40, 40, 40), 64)
    convolutions = [layer for layer in critic.modules() if isinstance(layer, nn.Conv3d)]
    assert [(layer.out_channels, layer.stride[0]) for layer in convolutions] == [
        (64, 1), (64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 2)
    ]  # fmt: skip
    assert [(layer.in_features, layer.out_features) for layer in critic.judge if isinstance(layer, nn.Linear)] == [(512 * 27, 1024), (1024, 1)]
    assert sum(isinstance(layer, nn.GroupNorm) for layer in critic.modules()) == 7


@pytest.mark.parametrize("shape", [(16, 16, 16), (12, 20, 33)])
def test_critic_judges_each_sample_by_itself(shape):
    torch.manual_seed(0)
    critic, volumes = Critic(shape, 4), torch.randn(3, 1, *shape)
    verdicts = critic(volumes)
    assert verdicts.shape == (3,)
    changed = torch.cat([volumes[:1], 5 + 9 * volumes[1:]])
    near = {"rtol": 1e-4, "atol": 1e-5}  # sums are cut otherwise where fewer threads are free
    torch.testing.assert_close(critic(changed)[0], verdicts[0], **near)
    torch.testing.assert_close(critic(volumes[:1])[0], verdicts[0], **near)
    assert abs(critic(changed)[1] - verdicts[1]) > 1e-4


@pytest.mark.parametrize("conditions", [0, 8])
def test_pair_discriminator_gives_one_logit_and_sees_the_condition(conditions):
    torch.manual_seed(0)
    judge = PairDiscriminator(8, conditions=conditions).eval()
    assert [(layer.kernel_size[0], layer.stride[0]) for layer in judge.modules() if isinstance(layer, nn.Conv3d)][:4] == [(4, 2)] * 4
    assert judge.layers[0][0].in_channels == 2 + conditions and isinstance(judge.layers[4], SelfAttention)
    thick, thin, told = torch.randn(2, 1, 32, 48, 48), torch.randn(2, 1, 32, 48, 48), torch.eye(8)[:2]
    logits = judge(thick, thin, told)
    assert logits.shape == (2,)
    assert torch.equal(judge(thick, thin, told.flip(0)), logits) == (conditions == 0)
    assert not torch.equal(judge(thin, thick, told), logits)


def test_patch_discriminator_gives_a_logit_for_each_70_voxels():
    judge = PairDiscriminator(4, patches=True).eval()
    thin = torch.randn(1, 1, 8, 8, 160, requires_grad=True)
    logits = judge(torch.zeros_like(thin), thin, torch.zeros(1, 8))
    assert logits.shape == (1, 1, 1, 1, 20)
    logits[..., 10].sum().backward()
    seen = thin.grad.abs().amax(dim=(0, 1, 2, 3)).nonzero()
    assert seen.max() - seen.min() + 1 == 70


def test_self_attention_is_the_papers_formula():
    torch.manual_seed(0)
    attention = SelfAttention(16)
    features = torch.randn(1, 16, 1, 2, 2)
    assert torch.equal(attention(features), features)  # gamma begins at zero
    attention.gamma.data.fill_(0.7)
    columns = features[0].reshape(16, 4).T  # one row a position
    query, key, value = (columns @ layer.weight.reshape(-1, 16).T for layer in (attention.query, attention.key, attention.value))
    assert query.shape == (4, 2)
    expected = columns.clone()
    for position in range(4):
        scores = torch.exp(torch.stack([query[position] @ key[other] for other in range(4)]))
        expected[position] += 0.7 * sum(scores[other] / scores.sum() * value[other] for other in range(4))
    torch.testing.assert_close(attention(features)[0].reshape(16, 4).T, expected)


def test_gradient_penalty_of_a_linear_critic():
    weights = torch.randn(1, 2, 3, 4, requires_grad=True)

    def critic(volume):
        assert volume.dtype == torch.float32
        return (volume * weights).sum(dim=(1, 2, 3, 4))

    real, made = torch.randn(2, 1, 2, 3, 4), torch.randn(2, 1, 2, 3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        penalty = adversarial.gradient_penalty(critic, real, made.bfloat16(), torch.tensor([0.2, 0.9]))
    length = weights.norm()
    torch.testing.assert_close(penalty, (length - 1) ** 2)
    (slope,) = torch.autograd.grad(penalty, weights)
    torch.testing.assert_close(slope, 2 * (length - 1).detach() * weights.detach() / length.detach())


def test_gradient_penalty_is_taken_between_the_volumes():
    real, made = torch.full((2, 1, 1, 1, 1), 3.0), torch.full((2, 1, 1, 1, 1), -1.0)
    penalty = adversarial.gradient_penalty(lambda volume: volume.flatten() ** 2 / 2, real, made, torch.tensor([1.0, 0.25]))
    assert penalty.item() == ((3 - 1) ** 2 + (0 - 1) ** 2) / 2  # the slope at x is x; x is 3 and 0


# The order of updates


@pytest.fixture
def updates(monkeypatch) -> list[str]:
    """Every update of a run, in order: C of a critic, D of a discriminator, G of a generator."""
    done = []
    watched = (
        (adversarial.WassersteinModule, "update_critic", "C"),
        (adversarial.ConditionalModule, "update_discriminator", "D"),
        (adversarial.AdversarialModule, "update_generator", "G"),
    )
    for kind, name, letter in watched:

        def noted(self, *arguments, real=getattr(kind, name), letter=letter):
            real(self, *arguments)
            done.append(letter)

        monkeypatch.setattr(kind, name, noted)
    return done


def test_wasserstein_schedule(scans, start, tmp_path, monkeypatch, updates):
    monkeypatch.setattr(adversarial, "_EXTRA_EVERY", 2)
    monkeypatch.setattr(fitting, "EPOCH_STEPS", 7)
    recipe = small("wgan-gp", start, steps=5)
    fitting.fit(recipe, scans, tmp_path / "run", accelerator="cpu")
    assert "".join(updates) == "CCC" + "CCG" + "CCG" + "CCCC" + "CCG" + "CCG" + "CCCC" + "CCG"
    assert len(updates) == adversarial.optimizer_steps(recipe) == 3 + 5 * 3 + 2 * 4


def test_extra_critic_steps_after_the_last_generator_step_are_not_counted(monkeypatch):
    monkeypatch.setattr(adversarial, "_EXTRA_EVERY", 2)
    assert adversarial.optimizer_steps(small("wgan-gp", "x", steps=4)) == 3 + 4 * 3 + 4
    assert [adversarial.optimizer_steps(small(kind, steps=4)) for kind in ("", "conditional", "patch")] == [4, 8, 8]


@pytest.mark.parametrize("kind", ["conditional", "patch"])
def test_pairs_alternate(kind, scans, tmp_path, updates):
    fitting.fit(small(kind, steps=3), scans, tmp_path / "run", accelerator="cpu")
    assert "".join(updates) == "DGDGDG"


@pytest.mark.parametrize("kind, stops_at", [("wgan-gp", 13), ("conditional", 5)])
def test_a_resumed_run_goes_on_where_it_was(kind, stops_at, scans, start, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "EPOCH_STEPS", 6 if kind == "wgan-gp" else 2)
    monkeypatch.setattr(adversarial, "_EXTRA_EVERY", 2)
    recipe = small(kind, start if kind == "wgan-gp" else "", schedule="cosine", freeze_norm=0.5)
    module = adversarial.MODULES[kind]
    ended = []
    monkeypatch.setattr(module, "on_fit_end", lambda self: ended.append({name: value.clone() for name, value in self.state_dict().items()}))
    fitting.fit(recipe, scans, tmp_path / "whole", accelerator="cpu")

    class Interrupted(Exception):
        pass

    real = module.training_step

    def breaks(self, batch, index):
        if self.global_step >= stops_at:
            raise Interrupted
        real(self, batch, index)

    monkeypatch.setattr(module, "training_step", breaks)
    with pytest.raises(Interrupted):
        fitting.fit(recipe, scans, tmp_path / "parts", accelerator="cpu")
    monkeypatch.setattr(module, "training_step", real)
    fitting.fit(recipe, scans, tmp_path / "parts", accelerator="cpu")
    whole, parts = ended
    assert int(whole["generator_updates"]) == recipe.steps
    assert set(whole) == set(parts)
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], atol=1e-6, rtol=1e-5)


# Learning


def trained(recipe: VolumeRecipe, scans: Path, out: Path, monkeypatch) -> adversarial.AdversarialModule:
    """The module after its training, in which the discriminator has learnt wherever it can."""
    begun = []
    real = adversarial.AdversarialModule.configure_optimizers

    def remembers(self):
        begun.append((self, {name: parameter.detach().clone() for name, parameter in self.discriminator.named_parameters()}))
        return real(self)

    monkeypatch.setattr(adversarial.AdversarialModule, "configure_optimizers", remembers)
    net = fitting.fit(recipe, scans, out, accelerator="cpu")
    ((module, before),) = begun
    assert net is module.net and not net.training
    assert all(torch.isfinite(parameter).all() for parameter in module.parameters())
    unchanged = {name for name, parameter in module.discriminator.named_parameters() if torch.equal(before[name], parameter)}
    assert unchanged == UNCHANGED[recipe.adversarial]
    return module


@pytest.mark.parametrize("kind", KINDS)
def test_some_steps_reduce_the_error(kind, scans, start, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "EPOCH_STEPS", 60)
    weights = {"voxel_weight": 1.0, "adversarial_weight": 0.01}
    recipe = small(kind, start, steps=60, batch=4, validation=("a",), learning_rate=3e-3, critic_steps=1, **weights, **SMALL_MDCSRN)
    sample = crops(recipe, scans)
    module = trained(recipe, scans, tmp_path / "run", monkeypatch)
    module.net.train()  # after so few steps the running statistics of the normalisations are still far from true
    with torch.no_grad():
        error, error_before = ((image - sample.truth).abs().mean() for image in (module.net(sample.given), sample.given))
    assert error < 0.97 * error_before  # about 0.91 here; what is given is the interpolated scan
    names = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"val_psnr", "loss", "adversarial_loss", "critic_distance" if kind == "wgan-gp" else "discriminator_loss"} <= set(names)


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_updates_every_layer(kind, scans, start, tmp_path, monkeypatch):
    recipe = small(kind, start if kind == "wgan-gp" else "", precision="bf16-mixed", first_critic_steps=1)
    trained(recipe, scans, tmp_path / "run", monkeypatch)


def test_generator_steps_leave_the_discriminator_alone(scans, start):
    recipe = small("wgan-gp", start)
    module = adversarial.WassersteinModule(recipe)
    module.improve = lambda number, loss: loss.backward()
    module.log = lambda *_, **__: None
    module.lr_schedulers = list
    sample = crops(recipe, scans)
    module.update_generator(sample, module.net(sample.given))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in module.discriminator.parameters())
    assert all(parameter.grad is not None for parameter in module.net.parameters())


def test_frozen_statistics_stay(scans, start, tmp_path):
    recipe = small("wgan-gp", start, freeze_norm=0.0)
    before = BlueprintNet(recipe.architecture)
    adversarial.load_start(before, Path(start))
    after = fitting.fit(recipe, scans, tmp_path / "run", accelerator="cpu")
    for name, value in before.named_buffers():
        assert torch.equal(value, dict(after.named_buffers())[name]), name


def test_conditions_can_be_withheld():
    assert adversarial.ConditionalModule(small("conditional")).discriminator.conditions == 8
    assert adversarial.ConditionalModule(small("conditional", condition=False)).discriminator.conditions == 0
    assert adversarial.ConditionalModule(small("patch")).discriminator.patches


# Recipes and refusals


@pytest.mark.parametrize("name, kind, modality", [("mdcsrn-gan", "wgan-gp", "MR"), ("virtual-thin-slice-gan", "conditional", "CT"), ("pix2pix-3d", "patch", "CT")])
def test_shipped_recipes(name, kind, modality, pytestconfig):
    recipe = load_recipe(pytestconfig.rootpath / "models" / "recipes" / f"{name}.toml")
    assert (recipe.method, recipe.adversarial, recipe.modality) == (name, kind, modality)
    assert recipe.volumes and recipe.validation and not set(recipe.volumes) & set(recipe.validation)
    assert (recipe.voxel_weight, recipe.adversarial_weight) == ((1.0, 0.1) if kind == "wgan-gp" else (100.0, 1.0))


def test_the_wasserstein_training_needs_a_start(scans, tmp_path):
    for start, sentence in (("", "name its model folder under start"), (str(tmp_path / "nowhere"), "holds no weights.safetensors")):
        with pytest.raises(InputError, match=sentence):
            fitting.fit(small("wgan-gp", start), scans, tmp_path / "run", accelerator="cpu")


def test_a_start_that_does_not_fit(scans, tmp_path):
    recipe = small("wgan-gp", "start")
    wide = BlueprintNet(VolumeRecipe(options={"blocks": 1, "units": 2, "growth": 8}).architecture)
    deep = BlueprintNet(VolumeRecipe(options={"blocks": 2, "units": 2, "growth": 4}).architecture)
    folders = [save_start(tmp_path / "wide", wide), save_start(tmp_path / "deep", deep)]
    folders.append(save_start(tmp_path / "plain", BlueprintNet(recipe.architecture), residual=False))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "weights.safetensors").write_bytes(b"no weights")
    for folder in (*folders, tmp_path / "damaged"):
        with pytest.raises(InputError, match="do not fit the recipe's network") as refusal:
            adversarial.load_start(BlueprintNet(recipe.architecture), Path(folder))
        assert "\n" not in str(refusal.value)


def test_negative_counts_are_refused():
    with pytest.raises(InputError, match="critic_steps is -1; give a whole number, 0 or above"):
        small("wgan-gp", "x", critic_steps=-1)
