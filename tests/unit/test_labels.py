"""Labels of fakes: uniform, balanced, or as they occur in the data; for any number of processes."""

import pytest
import torch

from limner.core.config import decode, encode
from limner.core.errors import ConfigError
from limner.engine import Update
from limner.engine.noise import LABEL_RULES, Noise
from limner.engine.trainer import Trainer
from limner.objectives import HingeD, HingeG
from limner.running.fit import Fit
from runs import fit_of, toy_pictures
from toys import ToyReals, toy_config

COUNTS = torch.tensor([5, 0, 90, 5])


def labels(rule: str, num: int, step: int = 0, rank: int = 0, world_size: int = 1) -> torch.Tensor:
    noise = Noise(3, rank, world_size, label_counts=COUNTS)
    return noise.draw(step, 0).labels(num, len(COUNTS), rule)


def shares(rule: str) -> list[float]:
    drawn = torch.cat([labels(rule, 50, step) for step in range(80)])
    return (drawn.bincount(minlength=4) / len(drawn)).tolist()


def test_uniform_and_natural_shares():
    assert shares("drawn") == pytest.approx([0.25] * 4, abs=0.03)
    found = shares("natural")
    assert found == pytest.approx([0.05, 0.0, 0.9, 0.05], abs=0.015)
    assert found[1] == 0.0


@pytest.mark.parametrize("num", [1, 3, 4, 10, 15, 16])
def test_balanced_batches_hold_each_class_equally_often_up_to_one(num):
    seen = []
    for step in range(40):
        drawn = labels("balanced", num, step)
        counts = drawn.bincount(minlength=4)
        assert int(counts.sum()) == num
        assert int(counts.max() - counts.min()) <= 1
        seen.append(drawn)
    assert len({tuple(drawn.tolist()) for drawn in seen}) > 1
    extra = torch.cat(seen).bincount(minlength=4)
    assert int(extra.min()) > 0
    first = torch.stack(seen)[:, 0].bincount(minlength=4)
    assert int(first.min()) > 0, "the order is always the same"


@pytest.mark.parametrize("rule", LABEL_RULES)
def test_two_of_eight_are_one_of_sixteen(rule):
    whole = labels(rule, 16)
    parts = [labels(rule, 8, rank=rank, world_size=2) for rank in (0, 1)]
    assert torch.equal(torch.cat(parts), whole)


def updates(rule: str) -> tuple[Update, ...]:
    g = Update(player="g", terms=(HingeG(),), labels=decode_rule(rule))
    return (Update(player="d", terms=(HingeD(),)), g)


def decode_rule(rule: str):
    plain = encode(Update(player="g", terms=(HingeG(),)))
    return decode(Update, plain | {"labels": rule}).labels


@pytest.mark.parametrize("rule", ["balanced", "natural"])
def test_an_update_asks_for_them(rule, monkeypatch):
    config = toy_config(updates=updates(rule))
    trainer = Trainer(config, (1, 4, 4), 4, ToyReals(4, 4), label_counts=[0, 7, 0, 0])
    network, seen = trainer.networks["g"], []
    forward = network.forward
    monkeypatch.setattr(network, "forward", lambda z, y: (seen.append(y), forward(z, y))[1])
    for _ in range(5):
        trainer.step()
    ours = torch.stack(seen[1::2])
    if rule == "balanced":
        assert (ours.sort(1).values == torch.arange(4)).all()
    else:
        assert (ours == 1).all()


def test_natural_labels_need_counts():
    config = toy_config(updates=updates("natural"))
    with pytest.raises(ConfigError, match="label_counts"):
        Trainer(config, (1, 4, 4), 4, ToyReals(4, 4))
    Trainer(config, (1, 4, 4), 0, ToyReals(4))  # no classes, no labels


def test_an_unknown_rule_is_refused():
    with pytest.raises(ConfigError, match="labels"):
        decode_rule("uniform")


def test_a_run_counts_its_data(tmp_path):
    from limner.data import DataConfig, prepare

    source = toy_pictures(tmp_path / "pictures.npz", 10, num_classes=4)
    config = toy_config(data=DataConfig(resolution=4, channels=1), num_classes=4)
    data = prepare(str(source), tmp_path / "prepared", config.data)
    fit: Fit = fit_of(tmp_path / "run", config, data)
    assert fit.trainer.noise.label_counts.tolist() == [3, 3, 2, 2]
    fit.loader.close()
