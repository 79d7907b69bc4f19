"""Runs of the shape of StyleGAN2-ADA, R3GAN and LeCam, on toys: clock, resume, two processes."""

import copy
import functools
import os
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from limner.core import distributed
from limner.core.config import Config
from limner.core.errors import ConfigError
from limner.core.protocols import NetworkConfig
from limner.core.schedules import Cosine, Linear
from limner.engine import Adam, Players, RunConfig, Update
from limner.engine.augment import AdaPipe, Augment, Multipliers
from limner.engine.controllers import AdaptP, Beta2, Controller, Ema, LearningRate
from limner.engine.trainer import Trainer
from limner.objectives import (
    R1,
    R2,
    HingeD,
    HingeG,
    LeCam,
    NonSaturatingD,
    NonSaturatingG,
    PathLength,
    RelativisticD,
    RelativisticG,
    Term,
)
from processes import in_processes
from runs import digest
from toys import ToyDiscriminator, ToyReals, toy_config


class StyledGenerator(Config, NetworkConfig, frozen=True):
    """A mapping to three styles, each scaling one layer; the mean style is a running statistic."""

    z_dim: int = 4

    def build(self, image_shape, num_classes):
        return StyledNetwork(self.z_dim, image_shape)


class StyledNetwork(nn.Module):
    def __init__(self, z_dim, image_shape):
        super().__init__()
        self.z_dim, self.image_shape = z_dim, image_shape
        self.to_style = nn.Linear(z_dim, 5)
        self.layers = nn.ModuleList(nn.Linear(5, 5) for _ in range(3))
        self.constant = nn.Parameter(torch.randn(5))
        self.last = nn.Linear(5, 16)
        self.register_buffer("mean_style", torch.zeros(5))

    def mapping(self, z, y=None, update_statistics=True):
        style = torch.tanh(self.to_style(z))
        if self.training and update_statistics:
            mean = distributed.average(style.detach().mean(0))
            self.mean_style.lerp_(mean, 0.1)
        return style[:, None].repeat(1, 3, 1)

    def synthesis(self, styles, update_statistics=True, noise="random"):
        h = self.constant.expand(len(styles), -1)
        for place, layer in enumerate(self.layers):
            h = torch.tanh(layer(h * (1 + styles[:, place])))
        return torch.tanh(self.last(h)).view(-1, *self.image_shape)

    def forward(self, z, y=None):
        return self.synthesis(self.mapping(z, y))


# Geometry is left out: it differs between numbers of processes, see `AdaPipe`.
COLOR = Multipliers(brightness=1.0, contrast=1.0, lumaflip=1.0, noise=1.0, cutout=1.0)

STYLEGAN2_ADA = {
    "generator": StyledGenerator(),
    "discriminator": ToyDiscriminator(),
    "updates": (
        Update(player="g", terms=(NonSaturatingG(),), accumulate=2, style_mixing=0.9),
        Update(
            player="g",
            terms=(PathLength(),),
            accumulate=2,
            every=4,
            style_mixing=0.9,
            latent_share=0.5,
        ),
        Update(player="d", terms=(NonSaturatingD(),), accumulate=2, style_mixing=0.9),
        Update(player="d", terms=(R1(gamma=1.0),), accumulate=2, every=3, reals="same"),
    ),
    "augments": (AdaPipe(transforms=COLOR),),
    "controllers": (
        AdaptP(target=0.1, every=2, kimg=0.256),
        Ema(half_life_nimg=20.0, rampup=0.5, after="step", buffers="copy"),
    ),
    "optim": Players(g=Adam(lr=2e-3 * 4 / 5), d=Adam(lr=2e-3)),
}
GAMMA = Cosine(start=15.0, end=1.5, until_nimg=60)
R3GAN = {
    "generator": StyledGenerator(),
    "updates": (
        Update(
            player="d",
            terms=(RelativisticD(), R1(gamma=GAMMA), R2(gamma=GAMMA)),
            labels="real",
            forwards="real_then_fake",
        ),
        Update(player="g", terms=(RelativisticG(),), labels="real", counts=False),
    ),
    "controllers": (
        LearningRate(factor=Cosine(start=1.0, end=0.25, until_nimg=60)),
        Beta2(value=Cosine(start=0.9, end=0.99, until_nimg=60)),
        Ema(half_life_nimg=Cosine(0.0, 50.0, until_nimg=60), after="step", buffers="copy"),
    ),
}
LECAM = {
    "updates": (
        Update(player="d", terms=(HingeD(), LeCam(from_nimg=20)), repeats=2),
        Update(player="g", terms=(HingeG(),)),
    ),
}
SHAPES = {"StyleGAN2-ADA": STYLEGAN2_ADA, "R3GAN": R3GAN, "LeCam": LECAM}
IMAGES_A_STEP = {"StyleGAN2-ADA": 16, "R3GAN": 8, "LeCam": 16}
BATCHES_A_STEP = {"StyleGAN2-ADA": 2, "R3GAN": 2, "LeCam": 2}
NUM_STEPS = 10  # a count of the controller's own is then just taken


def config_of(name: str, **changes: Any) -> RunConfig:
    return toy_config(**{"batch_size": 8, "precision": "float64", **SHAPES[name], **changes})


def trainer_of(config: RunConfig, drawn: int = 0) -> Trainer:
    rank, world_size = distributed.rank(), distributed.world_size()
    reals = ToyReals(config.batch_size, 0, rank, world_size)
    reals.drawn = drawn
    return Trainer(config, (1, 4, 4), 0, reals)


@pytest.mark.parametrize("name", SHAPES)
def test_the_clock_is_exact(name):
    trainer = trainer_of(config_of(name))
    for step in range(1, 5):
        trainer.step()
        assert trainer.progress.nimg == step * IMAGES_A_STEP[name]
        assert trainer.progress.num_drawn == step * BATCHES_A_STEP[name] * 8
        assert trainer.progress.step_nimg == (step - 1) * IMAGES_A_STEP[name]
    assert trainer.config.images_per_step() == IMAGES_A_STEP[name]


@functools.cache
def end_of(name: str) -> str:
    """The state after all steps of one run that is never read before its end, as a hash."""
    whole = trainer_of(config_of(name))
    for _ in range(NUM_STEPS):
        whole.step()
    return digest(whole.state_dict())


@functools.cache
def saved_at(name: str) -> list[dict[str, Any]]:
    """What a second run of the same config would save before each of its steps."""
    trainer = trainer_of(config_of(name))
    saved = []
    for _ in range(NUM_STEPS):
        saved.append(copy.deepcopy(trainer.state_dict()))
        trainer.step()
    return saved


@pytest.mark.parametrize("step", range(1, NUM_STEPS))
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.usefixtures("unchecked")
def test_resume_is_exact_in_the_middle_of_every_interval(name, step):
    saved = saved_at(name)[step]
    second = trainer_of(config_of(name), drawn=saved["progress"]["num_drawn"] // 8)
    assert second.load_state_dict(saved) == []
    for _ in range(NUM_STEPS - step):
        second.step()
    assert digest(second.state_dict()) == end_of(name)


def test_the_memories_are_those_of_named_parts():
    found = {}
    for name in SHAPES:
        trainer = trainer_of(config_of(name))
        trainer.step()
        found[name] = {key: set(memory) for key, memory in trainer.memories.items() if memory}
    assert found == {
        "StyleGAN2-ADA": {
            "term.g.PathLength": {"mean"},
            "augment.AdaPipe": {"p"},
            "controller.AdaptP": {"signs", "nimg"},
            "controller.Ema": {"nimg"},
        },
        "R3GAN": {"controller.LearningRate": {"nimg"}, "controller.Ema": {"nimg"}},
        "LeCam": {"term.d.LeCam": {"means"}},
    }


def ends(name: str, path: Path | None = None) -> dict[str, Any]:
    """Weights, moments and memories after all steps, in this process's share."""
    trainer = trainer_of(config_of(name))
    for _ in range(NUM_STEPS):
        trainer.step()
    state = trainer.state_dict()
    state.pop("meters")
    if path is not None and distributed.rank() == 0:
        torch.save(state, path)
    return state


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its children")
@pytest.mark.parametrize("name", SHAPES)
def test_two_processes_compute_what_one_computes(name, tmp_path):
    def work(rank: int) -> int:
        distributed.start()
        ends(name, tmp_path / "two.pt")
        distributed.stop()
        return 0

    assert in_processes(2, work) == [0, 0]
    two = torch.load(tmp_path / "two.pt", weights_only=True)
    torch.testing.assert_close(two, ends(name), rtol=1e-9, atol=1e-12)


# --- what an update may ask for ----------------------------------------------


class Look(Config, Term, frozen=True):
    """Keeps what it sees."""

    seen: ClassVar[list[Any]] = []
    reads: ClassVar[tuple[str, ...]] = ("real", "fake")

    def __call__(self, batch, memory):
        self.seen.append(batch)
        return batch.fake_logits.mean() + batch.real_logits.mean()


def look(**changes: Any) -> list[Any]:
    Look.seen.clear()
    trainer = trainer_of(config_of("LeCam", **changes))
    trainer.step()
    return list(Look.seen)


D = Update(player="d", terms=(Look(),), accumulate=2)


def test_same_reals_are_those_of_the_newest_update_that_drew():
    first, _, third, fourth, *same = look(updates=(D, D, D.replace(reals="same")), controllers=())
    assert not torch.equal(first.real, third.real)
    assert torch.equal(same[0].real, third.real)
    assert torch.equal(same[1].real, fourth.real)
    assert not torch.equal(same[0].latents, third.latents)


def test_a_share_of_the_latents():
    (half,) = look(updates=(D.replace(accumulate=1, latent_share=0.5),), controllers=())
    assert len(half.fake) == 4
    assert len(half.real) == 8


def test_every_schedule_of_a_step_reads_the_clock_as_the_step_began():
    batches = look(updates=(D, D.replace(player="g", reals="same")), controllers=())
    assert {batch.nimg for batch in batches} == {0}


def test_statistics_move_or_keep():
    for statistics, moves in (("move", True), ("keep", False)):
        update = Update(player="d", terms=(NonSaturatingD(),), statistics=statistics)
        trainer = trainer_of(config_of("R3GAN", updates=(update,), controllers=()))
        trainer.step()
        assert bool(trainer.networks["g"].mean_style.abs().sum()) == moves


def test_mixed_styles_differ_from_one_layer_on_and_keep_the_mean_style():
    update = Update(player="d", terms=(Look(),), style_mixing=1.0)
    batch = look(generator=StyledGenerator(), updates=(update,), controllers=())[0]
    equal = (batch.styles == batch.styles[:, :1]).all(0).all(1).tolist()
    assert equal[0]
    assert not equal[-1]
    means = []
    for mixing in (0.0, 1.0):
        updates = (update.replace(style_mixing=mixing),)
        trainer = trainer_of(config_of("R3GAN", updates=updates, controllers=()))
        trainer.step()
        means.append(trainer.networks["g"].mean_style.clone())
    assert torch.equal(*means)


def test_half_of_a_run_mixes_where_half_is_asked_for():
    draws = [
        trainer_of(config_of("LeCam")).noise.draw(step, 0).mixing_cutoff(0.5, 4)
        for step in range(400)
    ]
    shares = [draws.count(cutoff) / 400 for cutoff in (1, 2, 3, 4)]
    assert shares == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2], abs=0.06)


def test_augments_see_both_sides_with_numbers_of_their_own():
    class Seen(Config, Augment, frozen=True):
        draws: ClassVar[list[Tensor]] = []

        def __call__(self, images, noise, nimg, memory):
            self.draws.append(noise.uniform("u", (len(images),)))
            return images * 0.0

    for forwards in ("joint", "fake_then_real"):
        Seen.draws.clear()
        terms = (Look(), LeCam())
        (batch,) = look(
            updates=(D.replace(terms=terms, accumulate=1, forwards=forwards),),
            augments=(Seen(),),
            controllers=(),
        )
        batch.critic(batch.real, None)
        assert len(Seen.draws) == 3
        assert len(torch.cat(Seen.draws).unique()) == 24
        assert torch.equal(batch.real_logits, batch.fake_logits)  # both were made black


@pytest.mark.parametrize(
    ("update", "message"),
    [
        (D.replace(style_mixing=0.5), r"updates\.0\.style_mixing: .* has no styles"),
        (D.replace(terms=(PathLength(), Look())), r"updates\.0\.terms: one reads styles"),
        (D.replace(statistics="keep"), r"updates\.0\.statistics: .* takes update_statistics"),
    ],
)
def test_what_a_generator_cannot_do_is_refused_before_the_first_step(update, message):
    with pytest.raises(ConfigError, match=message):
        trainer_of(config_of("LeCam", updates=(update,)))


def test_a_relativistic_loss_needs_pairs():
    update = Update(player="d", terms=(RelativisticD(),), latent_share=0.5)
    with pytest.raises(ConfigError, match="pairs rows"):
        trainer_of(config_of("LeCam", updates=(update,))).step()


# --- figures and rates ---------------------------------------------------------


def test_figures_tell_main_updates_from_lazy_ones_and_one_term_from_another():
    updates = (
        Update(player="d", terms=(HingeD(), R1(gamma=1.0))),
        Update(player="d", terms=(R1(gamma=50.0),), every=2, reals="same"),
        Update(player="g", terms=(HingeG(),)),
    )
    trainer = trainer_of(config_of("LeCam", updates=updates, controllers=()))
    trainer.step()
    trainer.step()
    figures = trainer.meters.drain()
    assert {name for name in figures if "loss" in name} == {"loss_d", "loss_d.2", "loss_g"}
    assert {"grad_norm_d", "grad_norm_d.2", "grad_norm_g"} <= set(figures)
    main = figures["term.d.HingeD"] + figures["term.d.R1"]
    assert figures["loss_d"] == pytest.approx(main, rel=1e-12)
    assert figures["loss_d.2"] == pytest.approx(2 * figures["term.d.R1.2"], rel=1e-12)
    assert figures["term.d.R1.2"] > 10 * figures["term.d.R1"]


def test_rates_are_a_product():
    line = Linear(start=1.0, end=0.0, until_nimg=32)
    controllers = (LearningRate(factor=line), LearningRate(player="d", factor=line, read_every=3))
    trainer = trainer_of(config_of("R3GAN", controllers=controllers))
    rates = []
    for _ in range(4):
        trainer.step()
        rates += [trainer.optimizers[p].param_groups[0]["lr"] for p in "gd"]
    expected = [0.01, 0.01, 0.0075, 0.0075, 0.005, 0.005, 0.0025, 0.000625]
    assert rates == pytest.approx(expected)


def test_a_rate_set_in_the_optimizer_is_refused():
    class Halve(Config, Controller, frozen=True):
        def after_step(self, trainer, memory):
            trainer.optimizers["g"].param_groups[0]["lr"] *= 0.5

    trainer = trainer_of(config_of("R3GAN", controllers=(Halve(),)))
    trainer.step()
    with pytest.raises(ConfigError, match="give it a method rate"):
        trainer.step()


def test_beta2_and_half_life_follow_their_schedules():
    trainer = trainer_of(config_of("R3GAN"))
    before = trainer.generator_ema.last.weight.clone()
    trainer.step()
    weight = trainer.networks["g"].last.weight.detach().clone()
    assert torch.equal(trainer.generator_ema.last.weight, weight)  # half-life 0 copies
    assert not torch.equal(before, weight)
    trainer.step()
    decay = 0.5 ** (8 / Cosine(0.0, 50.0, until_nimg=60)(8))
    expected = trainer.networks["g"].last.weight.detach().lerp(weight, decay)
    torch.testing.assert_close(trainer.generator_ema.last.weight, expected, rtol=1e-12, atol=0)
    value = Cosine(start=0.9, end=0.99, until_nimg=60)(8)
    assert trainer.optimizers["d"].param_groups[0]["betas"] == (0.0, value)


def test_a_ramp_bounds_the_half_life():
    ema = Ema(half_life_nimg=1e9, rampup=0.5, after="step")
    trainer = trainer_of(config_of("R3GAN", controllers=(ema,)))
    trainer.step()
    weight = trainer.networks["g"].last.weight.detach().clone()
    assert torch.equal(trainer.generator_ema.last.weight, weight)
    trainer.step()
    trainer.step()  # begins at 16 images: half-life 8, and 8 images more
    assert trainer.progress.step_nimg == 16
    second = trainer.networks["g"].last.weight.detach()
    assert not torch.equal(trainer.generator_ema.last.weight, second)


def test_an_average_that_moves_every_other_step_counts_all_images():
    ema = Ema(half_life_nimg=16.0, every=2, after="step")
    trainer = trainer_of(config_of("R3GAN", controllers=(ema,)))
    before = trainer.generator_ema.last.weight.clone()
    trainer.step()
    assert torch.equal(trainer.generator_ema.last.weight, before)
    assert "nimg" not in trainer.memory("controller.Ema")
    trainer.step()
    trainer.step()
    trainer.step()
    assert int(trainer.memory("controller.Ema")["nimg"]) == 32


@pytest.mark.parametrize(("unreached", "steps"), [("skip", 3), ("zero", 4)])
def test_parameters_that_a_loss_does_not_reach(unreached, steps):
    """R1 does not see the last bias: its count of steps stands still, or its moments decay."""
    updates = (
        Update(player="g", terms=(NonSaturatingG(),)),
        Update(player="d", terms=(NonSaturatingD(),)),
        Update(player="d", terms=(R1(),), every=3, reals="same", unreached=unreached),
    )
    trainer = trainer_of(toy_config(batch_size=8, updates=updates))
    bias = dict(trainer.networks["d"].named_parameters())["last.bias"]
    weight = dict(trainer.networks["d"].named_parameters())["last.weight"]
    for _ in range(3):
        trainer.step()
    state = trainer.optimizers["d"].state
    assert int(state[weight]["step"]) == 4
    assert int(state[bias]["step"]) == steps
