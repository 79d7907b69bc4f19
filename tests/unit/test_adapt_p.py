"""AdaptP: how far p moves, on which answers, and what it needs."""

from types import SimpleNamespace

import pytest
import torch

from limner.core.errors import ConfigError
from limner.core.protocols import Scores
from limner.core.schedules import Linear
from limner.engine import Update
from limner.engine.augment import AdaPipe, DiffAugment
from limner.engine.controllers import AdaptP
from limner.engine.trainer import Trainer
from limner.objectives import R1, HingeD, HingeG, Memory
from toys import ToyReals, toy_config

BATCH = 64


class Run:
    """A trainer of which only the clock, the memories and the augments are there."""

    def __init__(self, controller: AdaptP, *augments):
        self.progress = SimpleNamespace(step=0, nimg=0)
        self.config = SimpleNamespace(augments=augments or (AdaPipe(),))
        self.memories: dict[str, Memory] = {}
        self.controller, self.own = controller, Memory()
        controller.begin(self, self.own)  # type: ignore[arg-type]

    def memory(self, name):
        return self.memories.setdefault(name, Memory())

    @property
    def p(self):
        return float(self.memory("augment.AdaPipe")["p"])

    def step(self, *passes):
        """Passes as (player, real logits or None)."""
        controller, own = self.controller, self.own
        controller.before_step(self, own)  # type: ignore[arg-type]
        for player, real in passes:
            batch = SimpleNamespace(fake_scores=Scores(-torch.ones(5)))
            if real is not None:
                batch.real_scores = Scores(torch.tensor(real))
            controller.after_pass(self, player, batch, own)  # type: ignore[arg-type]
        self.progress.step += 1
        self.progress.nimg += BATCH
        controller.after_step(self, own)  # type: ignore[arg-type]


def test_p_moves_every_fourth_step_by_the_images_shown():
    run = Run(AdaptP())
    for step in range(1, 13):
        run.step(("d", [0.1, 5.0]))
        assert run.p == pytest.approx(step // 4 * BATCH * 4 / 500_000, abs=1e-15)
    assert run.controller.figures(run, run.own) == {  # type: ignore[arg-type]
        "augment_p": pytest.approx(3 * 0.000512),
        "mean_sign": 1.0,
    }


@pytest.mark.parametrize(
    ("real", "direction"),
    [
        ([1.0] * 9 + [-1.0], 1),  # r = .8
        ([1.0] * 8 + [-1.0] * 2, 0),  # r = .6, the target
        ([1.0] * 7 + [-1.0] * 3, -1),  # r = .4
        ([2.0, 0.0], -1),  # the sign of 0 is 0: r = .5
        ([[1.0, 1.0], [1.0, 1.0]], 1),  # an answer for each place
    ],
)
def test_the_direction_is_that_of_the_mean_sign(real, direction):
    run = Run(AdaptP(every=1, kimg=1.0), AdaPipe(p=0.5))
    run.step(("d", real))
    assert run.p == pytest.approx(0.5 + direction * BATCH / 1000)


def test_all_answers_of_the_discriminators_updates_count_alike_and_no_others():
    run = Run(AdaptP(every=2, kimg=1.0), AdaPipe(p=0.5))
    run.step(("g", [-1.0] * 100), ("d", [1.0] * 8), ("d", [1.0, -1.0]), ("d", None))
    run.step(("d", [1.0]))
    assert float(run.own["r"]) == pytest.approx(9 / 11)
    assert "signs" not in run.own


def test_p_has_no_upper_bound_and_never_falls_below_0():
    run = Run(AdaptP(every=1, kimg=0.1))
    for _ in range(2):
        run.step(("d", [1.0]))
    assert run.p == pytest.approx(1.28)
    for _ in range(5):
        run.step(("d", [-1.0]))
    assert run.p == 0.0


def test_steps_without_answers_leave_p():
    run = Run(AdaptP(every=1), AdaPipe(p=0.5))
    run.step(("g", None))
    assert run.p == 0.5
    assert run.controller.figures(run, run.own) == {"augment_p": 0.5}  # type: ignore[arg-type]


def test_a_lazy_penalty_counts_and_forces_no_forward():
    """In a real step: 2 answers of the main update and of the penalty, each over 4 images."""
    updates = (
        Update(player="d", terms=(HingeD(),)),
        Update(player="d", terms=(R1(gamma=1.0),), reals="same"),
        Update(player="g", terms=(HingeG(),)),
    )
    config = toy_config(
        updates=updates, augments=(AdaPipe(p=0.5, transforms="cutout"),), controllers=(AdaptP(),)
    )
    trainer = Trainer(config, (1, 4, 4), 0, ToyReals(4))
    trainer.step()
    signs, count = trainer.memory("controller.AdaptP")["signs"].tolist()
    assert count == 8
    assert abs(signs) <= 8
    assert trainer.networks["d"].seen == [4, 4, 4, 4]


@pytest.mark.parametrize(
    ("augments", "message"),
    [
        ((), "AdaptP moves p of 'AdaPipe', which is no augment of this run"),
        ((DiffAugment(),), "no augment of this run"),
        ((AdaPipe(p=Linear(0.0, 1.0, 10)),), "a p that starts as a number, and that of AdaPipe is"),
    ],
)
def test_it_needs_a_p_to_move(augments, message):
    config = toy_config(augments=augments, controllers=(AdaptP(),))
    with pytest.raises(ConfigError, match=message):
        Trainer(config, (1, 4, 4), 0, ToyReals(4))
