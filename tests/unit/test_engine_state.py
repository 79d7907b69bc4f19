"""What parts keep, by name: across versions, across other lists of parts, and what is not kept."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from limner.api.exporting import _parameter_names
from limner.api.sizes import num_parameters
from limner.checkpoints import ModelConfig, ModelRecord, fill, load_state, refill
from limner.core import devices
from limner.core.config import Config, from_json
from limner.core.errors import CheckpointError, ConfigError
from limner.core.protocols import NetworkConfig, Scores
from limner.core.schedules import Linear
from limner.engine import RunConfig, Update
from limner.engine.controllers import Beta2, Ema, LearningRate
from limner.engine.naming import numbered
from limner.engine.trainer import Trainer
from limner.objectives import R1, HingeD, HingeG, Orthogonal, WassersteinD
from limner.running import watch
from runs import Centred, fit_of, toy_data
from toys import ToyGenerator, ToyReals, toy_config

BEFORE = Path(__file__).parents[1] / "data" / "run-by-place"
D = Update(player="d", terms=(HingeD(),))
G = Update(player="g", terms=(HingeG(),))


def trainer_of(**changes) -> Trainer:
    config = toy_config(**changes)
    return Trainer(config, (1, 4, 4), 0, ToyReals(config.batch_size))


def test_names_are_numbered_within_kind_and_player():
    assert numbered(["d", "g", "d", "d"]) == ["d", "g", "d.2", "d.3"]
    names = trainer_of(
        updates=(
            D.replace(terms=(HingeD(), R1(), R1(gamma=2.0)), direct=(Orthogonal(),)),
            G,
            Update(player="d", terms=(R1(),), every=2, direct=(Orthogonal(),)),
        ),
        controllers=(Ema(decay=0.5), Ema(decay=0.6)),
    ).names
    assert names.updates == ["d", "g", "d.2"]
    assert names.parts == [
        "term.d.HingeD", "term.d.R1", "term.d.R1.2", "term.g.HingeG", "term.d.R1.3",
        "direct.d.Orthogonal", "direct.d.Orthogonal.2", "controller.Ema", "controller.Ema.2",
    ]  # fmt: skip


# --- a run that the version before wrote --------------------------------------


def test_a_run_of_the_version_before_goes_on_as_it_would_have(tmp_path):
    """Written by limner 0.1.0, which named memories by place; it went on to step 14 itself."""
    config = from_json(RunConfig, (BEFORE / "config.json").read_bytes(), "config.json")
    fit = fit_of(tmp_path, config, toy_data(tmp_path))
    saved = BEFORE / "checkpoints" / "step-00000007"
    assert set(load_state(saved)["memories"]) == {"term.0.1", "controller.0"}
    assert fit.resume(saved) == []
    assert {name for name, memory in fit.trainer.memories.items() if memory} == {
        "term.d.Centred",
        "controller.Ema",
    }
    fit()
    ours = fit.trainer.state_dict()
    theirs = load_state(BEFORE / "checkpoints" / "step-00000014")
    for part in ("generator", "discriminator", "generator_ema", "optimizer_g", "optimizer_d"):
        torch.testing.assert_close(ours[part], theirs[part], rtol=1e-5, atol=1e-6)
    memories = {"term.d.Centred": "term.0.1", "controller.Ema": "controller.0"}
    for name, place in memories.items():
        torch.testing.assert_close(ours["memories"][name], theirs["memories"][place])


# --- other lists of parts ---------------------------------------------------------

SLOW = LearningRate(player="d", factor=Linear(1.0, 0.0, 1000), read_every=100)


def test_each_part_finds_its_own_memory_wherever_it_stands():
    first = trainer_of(
        updates=(D.replace(terms=(HingeD(), Centred())), G),
        controllers=(SLOW, Ema(half_life_nimg=8.0)),
    )
    for _ in range(3):
        first.step()
    second = trainer_of(
        updates=(G, D.replace(terms=(Centred(), WassersteinD()))),
        controllers=(Ema(half_life_nimg=8.0),),
    )
    left = second.load_state_dict(first.state_dict(), saved_by=first.config)
    assert left == ["controller.LearningRate"]
    for name in ("term.d.Centred", "controller.Ema"):
        assert second.memories[name] == first.memories[name]
    assert set(second.memories) == {"term.d.Centred", "controller.Ema"}


def test_a_half_life_that_begins_at_a_branch_keeps_the_average():
    first = trainer_of(controllers=(Ema(decay=0.5),))
    for _ in range(50):
        first.step()
    second = trainer_of(controllers=(Ema(half_life_nimg=1e6),))
    second.load_state_dict(first.state_dict(), saved_by=first.config)
    before = second.generator_ema.first.weight.clone()
    second.step()
    moved = (second.generator_ema.first.weight - before).abs().max()
    distance = (second.networks["g"].first.weight - before).abs().max()
    assert 0 < moved < 1e-4 * distance


def test_rates_of_the_config_rule_whatever_was_saved():
    first = trainer_of(controllers=(Ema(decay=0.5), Beta2(value=Linear(0.9, 0.5, 100)), SLOW))
    for _ in range(3):
        first.step()
    second = trainer_of()
    second.load_state_dict(first.state_dict(), saved_by=first.config)
    group = second.optimizers["d"].param_groups[0]
    assert (group["lr"], group["betas"]) == (0.01, (0.0, 0.99))


# --- direct parts -----------------------------------------------------------------


def weight_gradient(*updates: Update) -> torch.Tensor:
    trainer = trainer_of(updates=(D, *updates))
    trainer.step()
    return trainer.networks["g"].first.weight.grad


def test_an_update_of_direct_parts_alone_adds_its_gradient():
    weight = trainer_of().networks["g"].first.weight.detach()
    gram = (weight @ weight.T) * (1 - torch.eye(len(weight)))
    alone = weight_gradient(Update(player="g", terms=(), direct=(Orthogonal(strength=0.1),)))
    torch.testing.assert_close(alone, 0.1 * 2 * gram @ weight)


def test_direct_parts_of_a_lazy_update_count_as_often_as_they_are_left_out():
    part = (Orthogonal(strength=0.1),)
    once = weight_gradient(Update(player="g", terms=(), direct=part))
    lazy = weight_gradient(Update(player="g", terms=(), direct=part, every=5))
    torch.testing.assert_close(lazy, 5 * once)
    plain = weight_gradient(G.replace(every=5))
    beside = weight_gradient(G.replace(every=5, direct=part))
    torch.testing.assert_close(beside - plain, 5 * once, rtol=1e-4, atol=1e-6)


# --- parts that a network declares as frozen ----------------------------------------


class Projected(Config, NetworkConfig, frozen=True):
    """Judges what fixed features say of an image."""

    def build(self, image_shape, num_classes):
        return ProjectedNetwork()


class ProjectedNetwork(nn.Module):
    frozen_parts = ("features",)

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8)).eval()
        self.head = nn.Linear(8, 3)

    def train(self, mode=True):
        super().train(mode)
        self.features.eval()
        return self

    def forward(self, x, y=None):
        return Scores(self.head(torch.tanh(self.features(x.flatten(1)))))  # [N, 3]


def test_frozen_parts_are_in_no_optimizer_and_no_checkpoint():
    updates = (D.replace(terms=(HingeD(),)), G)
    trainer = trainer_of(discriminator=Projected(), updates=updates)
    before = trainer.networks["d"].features[0].weight.clone()
    trainer.step()
    assert torch.equal(trainer.networks["d"].features[0].weight, before)
    assert trainer.networks["d"].features[0].weight.grad is None
    state = trainer.state_dict()
    assert set(state["discriminator"]) == {"head.weight", "head.bias"}
    assert len(state["optimizer_d"]["param_groups"][0]["params"]) == 2
    again = trainer_of(discriminator=Projected(), updates=updates)
    again.load_state_dict(state)
    assert torch.equal(again.networks["d"].head.weight, trainer.networks["d"].head.weight)


def test_frozen_parts_are_filled_from_no_checkpoint_and_count_nowhere():
    state = trainer_of(discriminator=Projected(), updates=(D.replace(terms=(HingeD(),)), G))
    saved = state.state_dict()["discriminator"]
    other = ProjectedNetwork()
    own = other.features[0].weight.clone()
    fill(other, saved, "here")
    assert torch.equal(other.head.weight, saved["head.weight"])
    assert torch.equal(other.features[0].weight, own)
    assert refill(ProjectedNetwork(), saved, ProjectedNetwork(), "here") == []
    with pytest.raises(CheckpointError, match=r"missing 'head\.bias'"):
        fill(other, {"head.weight": saved["head.weight"]}, "here")
    assert num_parameters(Projected(), (1, 4, 4), 0) == 8 * 3 + 3
    record = ModelRecord(ModelConfig(generator=Projected(), image_shape=(1, 4, 4)), {})
    assert _parameter_names(Projected(), record) == ["head.weight", "head.bias"]


def test_one_logit_an_image_is_what_a_gradient_penalty_needs():

    trainer = trainer_of(discriminator=Projected(), updates=(D.replace(terms=(R1(),)),))
    with pytest.raises(ConfigError, match=r"needs one logit an image, and got \[4, 3\]"):
        trainer.step()


# --- devices ----------------------------------------------------------------------------


class NoFloat64(TorchDispatchMode):
    """A device without float64."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and found.dtype == torch.float64:
            raise AssertionError(f"{func} made a float64 tensor")
        return found


def test_a_device_without_float64_is_given_none(monkeypatch):
    assert devices.widest(torch.device("mps")) == torch.float32
    assert devices.widest(torch.device("cpu")) == torch.float64
    with pytest.raises(AssertionError, match="float64"), NoFloat64():
        trainer_of().step()  # the control: where there is float64, sums are kept in it
    for name in ("trainer", "progress", "watch", "state"):
        monkeypatch.setattr(f"limner.engine.{name}.widest", lambda device: torch.float32)
    monkeypatch.setattr(watch, "widest", lambda device: torch.float32)
    with NoFloat64():
        trainer = trainer_of(
            generator=ToyGenerator(norm="batch"),
            updates=(D.replace(terms=(HingeD(), Centred(), R1())), G),
            controllers=(Ema(half_life_nimg=8.0), SLOW),
        )
        for _ in range(3):
            trainer.step()
        assert watch.record(trainer.watch, trainer.networks)
        trainer.load_state_dict(trainer.state_dict())
        trainer.step()
        assert trainer.meters.drain()["loss_d"]


def test_a_step_seeds_no_device_but_its_own(monkeypatch):
    """torch.manual_seed walks through all of them, and is slow for it."""
    trainer = trainer_of(generator=ToyGenerator(dropout=0.5))
    monkeypatch.setattr(torch, "manual_seed", lambda seed: pytest.fail("seeds every device"))
    trainer.step()


def test_what_a_network_draws_is_a_function_of_the_step():
    ends = []
    for disturbed in (False, True):
        trainer = trainer_of(generator=ToyGenerator(dropout=0.5))
        trainer.step()
        if disturbed:
            torch.rand(7)
        trainer.step()
        ends.append(trainer.networks["g"].first.weight.detach().clone())
    assert torch.equal(*ends)
