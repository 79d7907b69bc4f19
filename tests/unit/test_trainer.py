"""The step: who is updated, what is drawn, how losses are scaled and shared."""

from collections.abc import Callable
from typing import ClassVar

import pytest
import torch

from limner.core.config import Config
from limner.core.errors import ConfigError, DivergenceError
from limner.core.schedules import Linear
from limner.engine import Adam, Players, Update
from limner.engine.controllers import Ema, LearningRate
from limner.engine.trainer import Trainer
from limner.objectives import (
    R1,
    R2,
    Drift,
    GradientPenalty,
    HingeD,
    HingeG,
    NonSaturatingD,
    NonSaturatingG,
    Orthogonal,
    Term,
    WassersteinD,
    WassersteinG,
)
from toys import ToyDiscriminator, ToyGenerator, ToyReals, toy_config

D = Update(player="d", terms=(HingeD(),))
G = Update(player="g", terms=(HingeG(),))
SAME = Update(player="d", terms=(R1(),), reals="same")


def trainer_of(num_classes: int = 0, reals: Callable | None = None, **changes) -> Trainer:
    config = toy_config(**changes)
    return Trainer(
        config, (1, 4, 4), num_classes, reals or ToyReals(config.batch_size, num_classes)
    )


def weights(trainer: Trainer, player: str) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.networks[player].parameters()]).clone()


def gradient(trainer: Trainer, player: str) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in trainer.networks[player].parameters()])


def test_only_the_named_player_moves():
    for updates, moves in (((D,), "d"), ((D.replace(terms=(HingeD(),)), G), "gd")):
        trainer = trainer_of(updates=updates)
        before = {p: weights(trainer, p) for p in "gd"}
        trainer.step()
        for player in "gd":
            assert torch.equal(weights(trainer, player), before[player]) == (player not in moves)


def test_the_clock_counts_the_reals_that_are_drawn():
    reals = ToyReals(4)
    updates = (D.replace(repeats=3, accumulate=2), G)
    trainer = trainer_of(reals=reals, updates=updates)
    trainer.step()
    assert (reals.drawn, trainer.progress.nimg, trainer.progress.step) == (6, 24, 1)
    assert trainer.config.images_per_step() == 24


def test_lazy_updates_run_every_kth_step_with_the_loss_times_k():
    plain = trainer_of(updates=(D,))
    lazy = trainer_of(updates=(D, Update(player="d", terms=(R1(gamma=1.0),), every=3)))
    seen = []
    for _ in range(7):
        before = lazy.networks["d"].seen.copy()
        lazy.step()
        seen.append(len(lazy.networks["d"].seen) - len(before))
    assert seen == [3, 2, 2, 3, 2, 2, 3]
    once = trainer_of(updates=(D.replace(every=5),))
    plain.step()
    once.step()
    torch.testing.assert_close(gradient(once, "d"), 5 * gradient(plain, "d"))


class Batches:
    """Gives out the rows of one list of pictures, `size` at a time."""

    def __init__(self, images: torch.Tensor, size: int):
        self.parts = list(images.split(size))

    def __call__(self):
        self.images = self.parts.pop(0)
        self.labels = torch.zeros(len(self.images), dtype=torch.int64)
        self.indices = torch.arange(len(self.images))
        return self


def test_accumulation_is_the_mean_over_micro_batches():
    images = torch.randint(0, 256, (8, 1, 4, 4), dtype=torch.uint8)
    terms = (Drift(weight=1.0), R1(gamma=2.0))
    update = Update(player="d", terms=terms)
    whole = trainer_of(
        reals=Batches(images, 8), batch_size=8, updates=(update,), precision="float64"
    )
    parts = trainer_of(
        reals=Batches(images, 2),
        batch_size=2,
        updates=(update.replace(accumulate=4),),
        precision="float64",
    )
    whole.step()
    parts.step()
    torch.testing.assert_close(gradient(parts, "d"), gradient(whole, "d"), rtol=1e-12, atol=1e-14)
    assert parts.progress.nimg == whole.progress.nimg == 8


class Record(Config, Term, frozen=True):
    """Keeps the latents that it sees."""

    seen: ClassVar[list[torch.Tensor]] = []
    reads: ClassVar[tuple[str, ...]] = ("real", "fake")

    def __call__(self, batch, memory):
        self.seen.append(batch.latents)
        return batch.fake_logits.mean()


def test_every_micro_batch_has_latents_of_its_own():
    Record.seen.clear()
    update = Update(player="d", terms=(Record(),), repeats=2, accumulate=2)
    trainer = trainer_of(updates=(update, update.replace(player="g")))
    trainer.step()
    trainer.step()
    drawn = torch.cat(Record.seen)
    assert len(drawn) == 2 * 2 * 4 * 4
    assert len(drawn.unique(dim=0)) == len(drawn)


def test_the_generator_may_have_its_own_number_of_latents():
    trainer = trainer_of(updates=(D, G.replace(num_latents=10)))
    trainer.step()
    assert trainer.networks["d"].seen == [4, 4, 10]


def test_forwards_are_shared_between_terms_and_joint_where_asked():
    terms = (WassersteinD(), Drift(), R1(gamma=0.1))
    for forwards, seen in (("joint", [8]), ("fake_then_real", [4, 4]), ("real_then_fake", [4, 4])):
        trainer = trainer_of(updates=(D.replace(terms=terms, forwards=forwards),))
        trainer.step()
        assert trainer.networks["d"].seen == seen
        assert trainer.networks["g"].forwards == 1


def test_joint_and_separate_forwards_agree_without_batch_statistics():
    terms = (NonSaturatingD(), R1(gamma=1.0), R2(gamma=1.0))
    grads = []
    for forwards in ("joint", "fake_then_real", "real_then_fake"):
        trainer = trainer_of(
            updates=(D.replace(terms=terms, forwards=forwards),), precision="float64"
        )
        trainer.step()
        grads.append(gradient(trainer, "d"))
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(grads[1], grads[2], rtol=1e-12, atol=1e-15)


def test_order_of_forwards_is_part_of_the_algorithm_with_batch_norm():
    means = []
    for forwards in ("fake_then_real", "real_then_fake", "joint"):
        trainer = trainer_of(
            discriminator=ToyDiscriminator(norm="batch"), updates=(D.replace(forwards=forwards),)
        )
        trainer.step()
        means.append(trainer.networks["d"].norm.running_mean.clone())
    assert not torch.allclose(means[0], means[1])
    assert not torch.allclose(means[1], means[2])


def test_idle_generator_runs_in_training_mode_without_gradient():
    trainer = trainer_of(generator=ToyGenerator(norm="batch"), updates=(D,))
    before = trainer.networks["g"].norm.running_mean.clone()
    trainer.step()
    assert not torch.equal(trainer.networks["g"].norm.running_mean, before)
    assert all(p.grad is None for p in trainer.networks["g"].parameters())


def test_labels_of_fakes_are_drawn_or_those_of_the_reals():
    class Labels(Config, Term, frozen=True):
        seen: ClassVar[list] = []

        def __call__(self, batch, memory):
            self.seen.append((batch.fake_labels, batch.real_labels))
            return batch.fake_logits.mean()

    for labels in ("real", "drawn"):
        Labels.seen.clear()
        trainer = trainer_of(
            num_classes=5,
            batch_size=64,
            updates=(Update(player="d", terms=(Labels(),), labels=labels),),
        )
        trainer.step()
        fake, real = Labels.seen[0]
        assert torch.equal(fake, real) == (labels == "real")
        assert fake.min() >= 0
        assert fake.max() <= 4
        assert len(fake.unique()) == 5


def test_generator_updates_can_read_reals():
    class Relative(Config, Term, frozen=True):
        def __call__(self, batch, memory):
            return torch.nn.functional.softplus(batch.real_logits - batch.fake_logits).mean()

    trainer = trainer_of(updates=(Update(player="g", terms=(Relative(),)),))
    before = weights(trainer, "g")
    trainer.step()
    assert trainer.progress.nimg == 4
    assert not torch.equal(weights(trainer, "g"), before)


@pytest.mark.parametrize(
    ("d", "g"), [(NonSaturatingD(), NonSaturatingG()), (WassersteinD(), WassersteinG())]
)
def test_gradient_penalty_and_penalties_train(d, g):
    terms = (d, GradientPenalty(weight=10.0), Drift(weight=1e-3))
    trainer = trainer_of(updates=(D.replace(terms=terms, repeats=5), G.replace(terms=(g,))))
    for _ in range(3):
        trainer.step()
    assert trainer.meters.drain()["term.d.GradientPenalty"] > 0


@pytest.mark.parametrize("player", ["g", "d"])
def test_direct_parts_add_to_the_gradient_of_either_player_once(player):
    strength, trainers = 0.1, []
    for direct in ((), (Orthogonal(strength=strength),)):
        changed = {"direct": direct, "accumulate": 2}
        trainer = trainer_of(
            updates=(D, G.replace(**changed)) if player == "g" else (D.replace(**changed), G)
        )
        trainer.step()
        trainers.append(trainer)
    plain, regular = (t.networks[player].first.weight.grad for t in trainers)
    initial = trainer_of().networks[player].first.weight.detach()
    gram = (initial @ initial.T) * (1 - torch.eye(len(initial)))
    torch.testing.assert_close(regular - plain, strength * 2 * gram @ initial)


# --- controllers -------------------------------------------------------------


def test_moving_average_follows_the_formula_and_copies_until_it_starts():
    trainer = trainer_of(
        generator=ToyGenerator(norm="batch"), controllers=(Ema(decay=0.9, start_step=3),)
    )
    expected = None
    for step in range(1, 6):
        trainer.step()
        now = {k: v.clone() for k, v in trainer.networks["g"].state_dict().items()}
        if step < 3:
            expected = now
        else:
            expected = {
                k: 0.9 * expected[k] + 0.1 * now[k] if v.is_floating_point() else v
                for k, v in now.items()
            }
        for key, value in trainer.generator_ema.state_dict().items():
            torch.testing.assert_close(value, expected[key])


def test_half_life_is_counted_in_images():
    trainer = trainer_of(controllers=(Ema(half_life_nimg=8.0),))
    before = weights(trainer, "g")
    trainer.step()
    average = torch.cat([p.flatten() for p in trainer.generator_ema.parameters()])
    decay = 0.5 ** (4 / 8)
    torch.testing.assert_close(average, decay * before + (1 - decay) * weights(trainer, "g"))


def test_the_average_can_follow_the_discriminator_and_copy_buffers():
    trainer = trainer_of(
        generator=ToyGenerator(norm="batch"),
        controllers=(Ema(decay=0.5, after="d", buffers="copy"),),
    )
    before = weights(trainer, "g")
    trainer.step()
    average = torch.cat([p.flatten() for p in trainer.generator_ema.parameters()])
    # It moved before the generator did: it lags by one update (Karras et al. 2018's code).
    assert torch.equal(average, before)
    assert int(trainer.generator_ema.norm.num_batches_tracked) == 1


def test_learning_rate_follows_its_schedule():
    schedule = Linear(start=1.0, end=0.0, until_nimg=16)
    trainer = trainer_of(controllers=(LearningRate(player="d", factor=schedule),))
    rates = []
    for _ in range(6):
        trainer.step()
        rates.append(trainer.optimizers["d"].param_groups[0]["lr"])
    assert rates == pytest.approx([0.01, 0.0075, 0.005, 0.0025, 0.0, 0.0])
    assert trainer.optimizers["g"].param_groups[0]["lr"] == 0.01


# --- refusals ------------------------------------------------------------------


@pytest.mark.parametrize("player", ["d", "g"])
@pytest.mark.parametrize("place", ["weight", "buffer"])
def test_a_value_that_is_not_finite_stops_before_the_update(player, place):
    trainer = trainer_of(
        updates=(D, G) if player == "d" else (G, D),
        generator=ToyGenerator(norm="batch"),
        discriminator=ToyDiscriminator(norm="batch"),
    )
    trainer.step()
    network = trainer.networks[player]
    with torch.no_grad():
        if place == "weight":
            network.first.weight[0, 0] = float("nan")
        if place == "buffer":
            network.eval().norm.running_mean[0] = float("nan")
    before = network.last.weight.clone()
    with pytest.raises(DivergenceError) as caught:
        trainer.step()
    assert torch.equal(network.last.weight, before)
    assert ("generator" if player == "g" else "discriminator") in str(caught.value)
    if place == "weight":
        assert "first.weight" in str(caught.value)


def test_a_loss_that_diverges_in_the_first_step_touches_nothing():
    class Infinite(Config, Term, frozen=True):
        def __call__(self, batch, memory):
            return batch.fake_logits.mean() / 0.0

    trainer = trainer_of(updates=(D.replace(terms=(Infinite(), HingeD())), G))
    before = {p: weights(trainer, p) for p in "gd"}
    with pytest.raises(DivergenceError, match=r"step 1 .*discriminator.*Infinite"):
        trainer.step()
    assert all(torch.equal(weights(trainer, p), before[p]) for p in "gd")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Update(player="d", terms=(HingeD(),), every=0),
            "every: 0 is out of range; give 1 or more",
        ),
        (lambda: Update(player="d", terms=()), "needs a loss"),
        (lambda: toy_config(steps=None), "exactly one of steps and kimg"),
        (lambda: toy_config(kimg=3.0), "exactly one of steps and kimg"),
        (lambda: toy_config(updates=(G,)), "no update reads real images"),
        (lambda: toy_config(updates=()), "updates is empty"),
        (lambda: Adam(lr=-1.0), "lr: -1.0 is out of range; give 0 or more"),
        (lambda: Adam(lr=1.0, betas=(0.0, 1.0)), "betas"),
        (lambda: Ema(), "exactly one of decay and half_life_nimg"),
        (lambda: Ema(decay=1.0), "decay: 1.0 is out of range"),
        (lambda: Linear(start=1.0, end=0.0, until_nimg=0), "until_nimg"),
        (lambda: LearningRate(factor=Linear(1.0, 0.0, 9), read_every=0), "read_every: 0 is out"),
        (lambda: toy_config(keep_best=-1), "keep_best: -1 is out of range"),
        (lambda: toy_config(num_evaluate=1), "num_evaluate: 1 is out of range; give 2 or more"),
        (lambda: G.replace(labels="real", num_latents=8), "leave num_latents and latent_share out"),
        (lambda: D.replace(latent_share=0.0), "latent_share: 0.0 is out of range"),
        (lambda: Ema(decay=0.9, rampup=0.05), "rampup: it bounds a half-life"),
        (
            lambda: toy_config(updates=(SAME, D)),
            r"updates.0.reals: \"same\" needs an update before",
        ),
        (
            lambda: toy_config(updates=(D.replace(every=2), SAME)),
            r"updates.1.reals: \"same\" needs an update before it that draws .* in each of its",
        ),
        (
            lambda: toy_config(updates=(D.replace(accumulate=2), SAME)),
            "updates.1.accumulate: 1 micro-batches cannot be the same as the 2 drawn before",
        ),
        (lambda: toy_config(updates=(D.replace(counts=False),)), "so no clock moves"),
    ],
)
def test_senseless_configs_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_players_may_learn_at_their_own_rates():
    trainer = trainer_of(optim=Players(g=Adam(lr=0.5), d=Adam(lr=0.25)))
    assert (trainer.base_lr("g"), trainer.base_lr("d")) == (0.5, 0.25)
