"""Frozen parts: bit-identical weights, untouched optimizers, exact resuming, names that help."""

import copy

import pytest
import torch

from limner.core.config import from_json, override, to_json
from limner.core.errors import ConfigError
from limner.engine import RunConfig, Update
from limner.engine.frozen import first_layers
from limner.engine.trainer import Trainer
from limner.models import ARCHITECTURES
from limner.objectives import R1, HingeD, HingeG, Orthogonal
from toys import ToyDiscriminator, ToyDiscriminatorNetwork, ToyReals, toy_config

UPDATES = (
    Update(player="d", terms=(HingeD(), R1(gamma=1.0)), direct=(Orthogonal(),)),
    Update(player="g", terms=(HingeG(),)),
)


def trainer_of(*frozen: str, **changes) -> Trainer:
    config = toy_config(updates=UPDATES, frozen=frozen, **changes)
    return Trainer(config, (1, 4, 4), 0, ToyReals(config.batch_size))


def moved(trainer: Trainer, num_steps: int = 3) -> set[str]:
    """Names of the parameters that training changes."""
    before = {p: copy.deepcopy(dict(net.state_dict())) for p, net in trainer.networks.items()}
    for _ in range(num_steps):
        trainer.step()
    return {
        f"{player}.{name}"
        for player, net in trainer.networks.items()
        for name, parameter in net.named_parameters()
        if not torch.equal(parameter, before[player][name])
    }


LAYERS, KINDS = ("first", "last"), ("weight", "bias")
# Hinge gradients of the last bias cancel while both sides are within the margin.
ALL = {f"{player}.{layer}.{kind}" for player in "gd" for layer in LAYERS for kind in KINDS} - {
    "d.last.bias"
}


@pytest.mark.parametrize(
    ("frozen", "kept"),
    [
        ((), set()),
        (("discriminator.first",), {"d.first.weight", "d.first.bias"}),
        (
            ("discriminator.first.weight", "generator.last"),
            {"d.first.weight", "g.last.weight", "g.last.bias"},
        ),
        (("discriminator",), {name for name in ALL if name.startswith("d.")}),
    ],
)
def test_what_is_named_keeps_its_bits_and_the_rest_moves(frozen: tuple, kept: set[str]):
    trainer = trainer_of(*frozen)
    assert moved(trainer) - {"d.last.bias"} == ALL - kept
    names = {p: dict(net.named_parameters()) for p, net in trainer.networks.items()}
    for name in kept:
        parameter = names[name[0]][name[2:]]
        assert parameter.grad is None
        assert parameter not in trainer.optimizers[name[0]].state


def test_the_other_layers_get_the_gradients_that_they_get_without():
    plain, frozen = trainer_of(), trainer_of("discriminator.first")
    for trainer in (plain, frozen):
        trainer.step()
    gradients = [
        torch.cat([p.grad.flatten() for p in t.networks["d"].last.parameters()])
        for t in (plain, frozen)
    ]
    assert torch.equal(*gradients)


def test_statistics_of_a_frozen_layer_move():
    trainer = trainer_of("discriminator.norm", discriminator=ToyDiscriminator(norm="batch"))
    assert not {"d.norm.weight", "d.norm.bias"} & moved(trainer)
    assert int(trainer.networks["d"].norm.num_batches_tracked) > 0


def test_resuming_is_exact():
    whole = trainer_of("discriminator.first")
    for _ in range(2):
        whole.step()
    other = trainer_of("discriminator.first")
    other.load_state_dict(copy.deepcopy(whole.state_dict()))
    reals = ToyReals(4)
    reals.drawn = 2
    other._next_reals = reals
    for trainer in (whole, other):
        trainer.step()
    for player, network in whole.networks.items():
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, other.networks[player].state_dict()[name]), name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("discriminator.frist", "the discriminator has no 'frist'; nearest is 'first'"),
        ("discriminator.first.wieght", "nearest is 'first.weight'"),
        ("discriminator.fir", "nearest is 'first'"),
        ("critic.first", "names no network"),
    ],
)
def test_an_unknown_name_names_the_nearest(name: str, hint: str):
    with pytest.raises(ConfigError, match=f"frozen: .*{hint}"):
        trainer_of(name)


def test_it_is_part_of_the_config():
    config = override(toy_config(), ('frozen=["discriminator.first"]',))
    assert config.frozen == ("discriminator.first",)
    assert from_json(RunConfig, to_json(config), "here", import_modules=True) == config


# --- freeze_d ------------------------------------------------------------------


def ordered(monkeypatch, *order: str) -> None:
    monkeypatch.setattr(ToyDiscriminatorNetwork, "freeze_order", order, raising=False)


@pytest.mark.parametrize(("number", "layers"), [(0, ()), (1, ("first",)), (2, ("first", "last"))])
def test_the_first_layers_keep_their_bits(monkeypatch, number, layers):
    ordered(monkeypatch, "first", "last")
    kept = {f"d.{layer}.{kind}" for layer in layers for kind in KINDS}
    assert moved(trainer_of(freeze_d=number)) - {"d.last.bias"} == ALL - kept


def test_both_ways_to_freeze_add_up(monkeypatch):
    ordered(monkeypatch, "first")
    trainer = trainer_of("generator.last", freeze_d=1)
    assert not {"g.last.weight", "d.first.weight"} & moved(trainer)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (("first",), "freeze_d: 2 layers, and ToyDiscriminatorNetwork has 1; give 1 or less"),
        ((), "ToyDiscriminatorNetwork declares no order of layers; give 0, and name some"),
    ],
)
def test_more_layers_than_there_are(monkeypatch, order, message):
    ordered(monkeypatch, *order)
    with pytest.raises(ConfigError, match=message):
        trainer_of(freeze_d=2)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_networks_that_declare_an_order_begin_with_the_pictures_and_leave_the_last(name):
    network = ARCHITECTURES[name][1]().build((3, 32, 32), 0)
    order = getattr(network, "freeze_order", ())
    if not order:
        with pytest.raises(ConfigError, match="declares no order"):
            first_layers(1, network)
        return
    assert len(order) == len(set(order)) > 1
    frozen = {id(p) for p in first_layers(len(order), network)}
    assert any(id(p) not in frozen for p in network.parameters())
    assert first_layers(1, network)[0].shape[1] == 3
