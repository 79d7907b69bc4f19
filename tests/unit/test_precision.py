"""bfloat16 is for the forwards alone: what is learned with, and what is averaged, stays float32."""

import math

import pytest
import torch
from torch import nn

from limner.core.errors import ConfigError
from limner.engine import Update
from limner.engine.precision import Forwards, _RoundedProducts, require_precision
from limner.engine.trainer import Trainer
from limner.layers import SNConv2d, SNLinear
from limner.models import BigGanDiscriminator, BigGanGenerator
from limner.objectives import R1, GradientPenalty, HingeD, HingeG, Orthogonal
from toys import toy_config

CPU = torch.device("cpu")
SIZES = (torch.float32, torch.float64)


class Reals:
    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randint(0, 256, (8, 3, 16, 16), generator=generator).to(torch.uint8)
        self.labels = torch.arange(8) % 3
        self.indices = torch.arange(8)

    def __call__(self):
        return self


def trainer_of(precision="bfloat16", **changes) -> Trainer:
    config = toy_config(
        generator=BigGanGenerator(
            width=4, z_dim=9, shared_dim=4, skip_z=True, multipliers=(1, 2), attention=(8,)
        ),
        discriminator=BigGanDiscriminator(width=8, multipliers=(1, 2), attention=(8,)),
        updates=(
            Update(player="d", terms=(HingeD(), R1(gamma=0.1), GradientPenalty(weight=0.1))),
            Update(player="g", terms=(HingeG(),), direct=(Orthogonal(strength=1e-4),)),
        ),
        batch_size=8,
        precision=precision,
        **changes,
    )
    return Trainer(config, (3, 16, 16), 3, Reals())


def dtypes(value) -> set[torch.dtype]:
    if isinstance(value, torch.Tensor):
        return {value.dtype} if value.is_floating_point() else set()
    if isinstance(value, dict):
        return set().union(*map(dtypes, value.values()))
    return set().union(*map(dtypes, value)) if isinstance(value, (list, tuple)) else set()


def test_a_step_keeps_everything_in_float32_and_computes_otherwise():
    rounded, exact = trainer_of(), trainer_of("float32")
    for _ in range(2):
        rounded.step()
        exact.step()
    for part in ("generator", "discriminator", "generator_ema", "optimizer_g", "optimizer_d"):
        assert dtypes(rounded.state_dict()[part]) == {torch.float32}, part
    assert dtypes([seen.shown for seen in rounded.watch.batches]) == {torch.float32}
    log, plain = rounded.meters.drain(), exact.meters.drain()
    assert all(math.isfinite(value) for value in log.values())
    assert log["loss_d"] != plain["loss_d"]
    assert log["loss_d"] == pytest.approx(plain["loss_d"], rel=0.1)


def test_layers_see_bfloat16_and_terms_float32():
    trainer, seen = trainer_of(), set()
    for network in trainer.networks.values():
        for module in network.modules():
            if isinstance(module, (SNConv2d, SNLinear)):
                module.register_forward_hook(lambda m, i, out: seen.add(out.dtype))
    forwards = Forwards(trainer.networks, "bfloat16", CPU)
    images = forwards.generate(torch.randn(4, 9), torch.arange(4) % 3)
    scores = forwards.judge(images, torch.arange(4) % 3)
    assert torch.bfloat16 in seen
    assert (images.dtype, scores.logits.dtype) == (torch.float32, torch.float32)
    assert float(images.detach().abs().max()) <= 1.0


def test_power_iteration_is_that_of_float32():
    """The same weights and vectors give the same values, bit for bit."""
    values = []
    for precision in ("float32", "bfloat16"):
        trainer = trainer_of()
        forwards = Forwards(trainer.networks, precision, CPU)
        forwards.judge(torch.zeros(4, 3, 16, 16), torch.zeros(4, dtype=torch.int64))
        buffers = dict(trainer.networks["d"].named_buffers())
        values.append({k: v.clone() for k, v in buffers.items() if k.endswith(("u0", "sv0"))})
    assert len(values[0]) > 10
    for key, value in values[0].items():
        assert torch.equal(value, values[1][key]), key


def test_statistics_of_a_batch_are_sums_in_float32():
    """In bfloat16 a mean of 4,096 values near 100 would be off by up to a half."""
    norm = nn.BatchNorm2d(1, momentum=1.0)
    x = 100 + torch.randn(16, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        norm(x.to(torch.bfloat16))
    exact = x.to(torch.bfloat16).double()
    assert float(norm.running_mean) == pytest.approx(float(exact.mean()), rel=1e-6)
    assert float(norm.running_var) == pytest.approx(float(exact.var()), rel=1e-4)


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (nn.functional.conv2d, ((2, 5, 8, 8), (6, 5, 3, 3))),
        (nn.functional.conv_transpose2d, ((2, 5, 8, 8), (5, 6, 4, 4))),
        (nn.functional.linear, ((7, 9), (4, 9))),
        (torch.bmm, ((2, 3, 4), (2, 4, 5))),
    ],
)
def test_rounded_products_are_the_native_ones_up_to_the_order_of_sums(function, shapes):
    torch.manual_seed(0)
    arguments = [torch.randn(shape).to(torch.bfloat16) for shape in shapes]
    results = []
    for ours in (False, True):
        x, w = (a.float().requires_grad_(True) for a in arguments)
        with torch.autocast("cpu", torch.bfloat16):
            if ours:
                with _RoundedProducts(everywhere=True):
                    y = function(x, w)
            else:
                y = function(x, w)
        assert y.dtype == torch.bfloat16
        y.float().square().sum().backward()
        results.append((y.detach().float(), x.grad, w.grad))
    for native, rounded in zip(*results, strict=True):
        assert float((native - rounded).abs().max()) <= 2**-6 * float(native.abs().max())
    x, w = (a.float() for a in arguments)
    assert not torch.equal(function(x, w), results[1][0]), "nothing was rounded"


def test_refused_devices_are_named():
    require_precision("bfloat16", CPU)
    for precision, device in (("bfloat16", "mps"), ("float64", "mps"), ("bfloat16", "xpu")):
        with pytest.raises(ConfigError, match=device):
            require_precision(precision, torch.device(device))
