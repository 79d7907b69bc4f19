"""Batch norm over all processes: two with 8 images each compute what one with 16 computes."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from limner.core import distributed
from limner.core.config import Config
from limner.data import DataConfig, Loader, PreparedData, open_data
from limner.engine import Adam, Intervals, Players, RunConfig, Update
from limner.engine.controllers import Controller, Ema
from limner.engine.trainer import Trainer
from limner.layers import CrossReplicaBatchNorm2d, cross_replica_batch_norm
from limner.models import (
    BigGanDiscriminator,
    BigGanGenerator,
    DcganDiscriminator,
    DcganGenerator,
)
from limner.objectives import R1, HingeD, HingeG
from processes import in_processes

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its children")
STATE = ("generator", "discriminator", "generator_ema")
SPLIT = 5  # of 16 images the first process has five: shares need not be equal


# --- the function ---------------------------------------------------------------------------


def computed(x: torch.Tensor, rows: slice, mean: float = 0.0, kind: str = "cross") -> dict:
    """Output, gradients and second-order gradients of this process' rows, and the statistics."""
    x = (x + mean)[rows].clone().requires_grad_()
    running = [torch.zeros(3).to(x), torch.ones(3).to(x)]
    batch_norm = cross_replica_batch_norm if kind == "cross" else nn.functional.batch_norm
    for _ in range(2):
        y = batch_norm(x, *running, training=True, momentum=0.1, eps=1e-5)
    weight = torch.linspace(-1, 1, 16, dtype=x.dtype)[rows, None, None, None]
    (first,) = torch.autograd.grad((weight * y.sin()).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    return {"y": y.detach(), "first": first.detach(), "second": second, "running": running}


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(16, 3, 4, 4, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def parts(pictures, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict]]:
    root = tmp_path_factory.mktemp("layer")

    def work(rank: int) -> None:
        distributed.start()
        rows = slice(SPLIT) if rank == 0 else slice(SPLIT, None)
        channels_last = pictures.contiguous(memory_format=torch.channels_last)
        answers = {
            "cross": computed(pictures, rows),
            "channels_last": computed(channels_last, rows),
            "large mean": computed(pictures.float(), rows, mean=300.0),
            "own batch": computed(pictures, rows, kind="torch"),
        }
        if rank == 0:  # in evaluation nobody waits for the others
            layer = CrossReplicaBatchNorm2d(3).double().eval()
            answers["evaluation"] = {"y": layer(pictures).detach()}
        torch.save(answers, root / str(rank))
        distributed.stop()

    assert in_processes(2, work) == [0, 0]
    return [torch.load(root / str(rank)) for rank in (0, 1)]


def joined(parts: list[dict], kind: str, name: str) -> torch.Tensor:
    return torch.cat([part[kind][name] for part in parts])


@pytest.mark.parametrize("kind", ["cross", "channels_last"])
def test_shares_are_the_rows_of_the_whole(pictures, parts, kind):
    whole = computed(pictures, slice(None), kind="torch")
    for name in ("y", "first", "second"):
        assert float(whole[name].abs().max()) > 1e-3
        torch.testing.assert_close(joined(parts, kind, name), whole[name], rtol=1e-9, atol=1e-10)
    for part in parts:
        torch.testing.assert_close(part[kind]["running"], whole["running"], rtol=1e-12, atol=1e-12)


def test_statistics_are_equal_bit_for_bit_on_all_processes(parts):
    for kind in ("cross", "large mean"):
        assert all(
            torch.equal(a, b)
            for a, b in zip(parts[0][kind]["running"], parts[1][kind]["running"], strict=True)
        )


def test_a_large_mean_costs_no_precision(pictures, parts):
    whole = computed(pictures, slice(None), mean=300.0, kind="torch")
    assert torch.allclose(joined(parts, "large mean", "y"), whole["y"].float(), atol=2e-4)
    running = parts[0]["large mean"]["running"]
    torch.testing.assert_close(running, [r.float() for r in whole["running"]])


def test_the_comparison_sees_a_batch_that_was_split(pictures, parts):
    """The control: each process' own statistics."""
    whole = computed(pictures, slice(None), kind="torch")
    for name in ("y", "first", "second"):
        assert not torch.allclose(joined(parts, "own batch", name), whole[name], atol=1e-3)
    assert not torch.allclose(parts[0]["own batch"]["running"][1], whole["running"][1], atol=1e-3)


def test_evaluation_is_torchs_own(pictures, parts):
    layer = nn.BatchNorm2d(3).double().eval()
    assert torch.equal(parts[0]["evaluation"]["y"], layer(pictures))


def test_alone_it_is_torchs_layer_bit_for_bit(pictures):
    layer, reference = CrossReplicaBatchNorm2d(3).double(), nn.BatchNorm2d(3).double()
    assert torch.equal(layer(pictures, None), reference(pictures))
    assert layer.state_dict().keys() == reference.state_dict().keys()
    for key, value in layer.state_dict().items():
        assert torch.equal(value, reference.state_dict()[key]), key


# --- the Trainer ----------------------------------------------------------------------------


class Gradients(Config, Controller, frozen=True):
    """Keeps the gradients of every update."""

    seen: ClassVar[list[torch.Tensor]] = []

    def after_update(self, trainer, player, memory):
        parameters = trainer.networks[player].parameters()
        self.seen.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))


D, G = Update(player="d", terms=(HingeD(),)), Update(player="g", terms=(HingeG(),))
LAZY = Update(player="d", terms=(R1(),), every=2)
DISCRIMINATOR = BigGanDiscriminator(width=4, multipliers=(1, 2))


def residual(norm: Any, shared_dim: int = 4, spectral_norm: bool = False) -> BigGanGenerator:
    return BigGanGenerator(
        width=4,
        z_dim=8,
        shared_dim=shared_dim,
        multipliers=(1, 2),
        norm=norm,
        spectral_norm=spectral_norm,
    )


def dcgan(norm: Any) -> tuple[DcganGenerator, DcganDiscriminator]:
    sizes: dict[str, Any] = {"width": 4, "conv_std": 0.1, "norm_mean": 1.0, "norm": norm}
    return DcganGenerator(z_dim=8, embedding_dim=4, **sizes), DcganDiscriminator(**sizes)


# name -> generator, discriminator, updates, labels
PAIRS: dict[str, Callable[[Any], tuple]] = {
    "conditional": lambda norm: (residual(norm), DISCRIMINATOR, (D, LAZY, G), "classes"),
    "tables, spectral": lambda norm: (residual(norm, 0, True), DISCRIMINATOR, (D, G), "classes"),
    "plain": lambda norm: (residual(norm), DISCRIMINATOR, (D.replace(accumulate=2), G), "none"),
    "dcgan": lambda norm: (*dcgan(norm), (D, LAZY, G), "classes"),
    "dcgan, joint": lambda norm: (
        *dcgan(norm),
        (D.replace(terms=(HingeD(), R1()), forwards="joint"), G),
        "none",
    ),
}


def trained(name: str, norm: str) -> dict[str, Any]:
    """Five steps of this process' share."""
    generator, discriminator, updates, labels = PAIRS[name](norm)
    data = digits(labels)
    config = RunConfig(
        name="pair",
        generator=generator,
        discriminator=discriminator,
        data=data_config(labels),
        updates=updates,
        optim=Players(g=Adam(lr=1e-3), d=Adam(lr=1e-3)),
        controllers=(Ema(half_life_nimg=50.0), Gradients()),
        batch_size=16,
        steps=5,
        precision="float64",
        intervals=Intervals(log=2, sample=0, save=0),
    )
    rank, world_size = distributed.rank(), distributed.world_size()
    loader = Loader(data, config.batch_size, config.seed, rank=rank, world_size=world_size)
    Gradients.seen.clear()
    trainer = Trainer(config, data.image_shape, data.num_classes, loader.next)
    for _ in range(config.steps or 0):
        trainer.step()
    state = trainer.state_dict()
    return {"gradients": list(Gradients.seen), **{part: state[part] for part in STATE}}


def data_config(labels: Any) -> DataConfig:
    return DataConfig(resolution=8, labels=labels)


def digits(labels: str) -> PreparedData:
    return open_data("digits", data_config(labels))


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shares")
    for labels in ("classes", "none"):
        digits(labels)  # prepared before two want to

    def work(rank: int) -> None:
        distributed.start()
        for name in PAIRS:
            torch.save(trained(name, "cross_replica"), root / f"{name}-{rank}")
        torch.save(trained("conditional", "batch"), root / f"control-{rank}")
        distributed.stop()

    assert in_processes(2, work) == [0, 0]
    return root


@pytest.mark.parametrize("name", PAIRS)
def test_two_by_eight_is_one_by_sixteen(shares, name):
    alone = trained(name, "cross_replica")
    for rank in (0, 1):
        share = torch.load(shares / f"{name}-{rank}")
        assert len(share["gradients"]) == len(alone["gradients"]) >= 10
        for theirs, ours in zip(share["gradients"], alone["gradients"], strict=True):
            assert float(ours.abs().max()) > 1e-3
            torch.testing.assert_close(theirs, ours, rtol=1e-9, atol=1e-9)
        for part in STATE:
            torch.testing.assert_close(share[part], alone[part], rtol=1e-9, atol=1e-9)
    assert any("running_var" in key for key in alone["generator_ema"])


@pytest.mark.parametrize("name", PAIRS)
def test_processes_hold_equal_state_bit_for_bit(shares, name):
    left, right = (torch.load(shares / f"{name}-{rank}") for rank in (0, 1))
    for part in STATE:
        torch.testing.assert_close(left[part], right[part], rtol=0.0, atol=0.0)


def test_the_comparison_sees_the_ordinary_batch_norm(shares):
    """The control: 2 x 8 with statistics of 8 is something else than 1 x 16."""
    alone = trained("conditional", "batch")
    share, other = (torch.load(shares / f"control-{rank}") for rank in (0, 1))
    assert not torch.allclose(share["gradients"][0], alone["gradients"][0], rtol=1e-6, atol=1e-6)
    key = next(key for key in share["generator"] if key.endswith("running_var"))
    assert not torch.allclose(share["generator"][key], alone["generator"][key], rtol=1e-6)
    assert not torch.equal(share["generator"][key], other["generator"][key])


@pytest.mark.parametrize("name", PAIRS)
def test_alone_the_option_changes_nothing(name):
    left, right = trained(name, "cross_replica"), trained(name, "batch")
    for part in STATE:
        torch.testing.assert_close(
            without_counters(left[part]), without_counters(right[part]), rtol=0.0, atol=0.0
        )


def without_counters(state):
    """BigGAN-PyTorch's cross-replica layer has a counter of forwards that its own layer lacks."""
    if not isinstance(state, dict):
        return state
    return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
