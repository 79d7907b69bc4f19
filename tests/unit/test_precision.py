"""bfloat16 is for the forwards alone: what is learned with, and what is averaged, stays float32."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from limner.core.devices import require_precision
from limner.core.errors import ConfigError
from limner.engine import Update
from limner.engine.precision import Forwards
from limner.engine.trainer import Trainer
from limner.layers import SNConv2d, SNLinear, rounding
from limner.layers.convolution import Shape, twice_differentiable
from limner.layers.packing import fast_forwards
from limner.layers.rounding import RoundedProducts
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


def trainer_of(kind="bfloat16", **changes) -> Trainer:
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
        precision=kind,
        **changes,
    )
    return Trainer(config, (3, 16, 16), 3, Reals())


def dtypes(value) -> set[torch.dtype]:
    if isinstance(value, torch.Tensor):
        return {value.dtype} if value.is_floating_point() else set()
    if isinstance(value, dict):
        return set().union(*map(dtypes, value.values()))
    return set().union(*map(dtypes, value)) if isinstance(value, (list, tuple)) else set()


@pytest.mark.parametrize("native", [False, True])
def test_a_step_keeps_everything_in_float32_and_computes_otherwise(monkeypatch, native):
    monkeypatch.setattr(rounding, "cpu_has_bfloat16", lambda: native)
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
    for kind in ("float32", "bfloat16"):
        trainer = trainer_of()
        forwards = Forwards(trainer.networks, kind, CPU)
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
                with RoundedProducts(everywhere=True):
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


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize(
    ("function", "x", "given"),
    [
        (F.conv2d, (2, 5, 8, 8), {"weight": (6, 5, 3, 3), "stride": 2, "padding": (1, 0)}),
        (F.conv2d, (2, 6, 8, 8), {"weight": (6, 3, 3, 3), "groups": 2, "dilation": 2}),
        (F.conv2d, (2, 5, 8, 8), {"weight": (6, 5, 3, 3), "bias": (6,), "padding": "same"}),
        (F.conv_transpose2d, (2, 5, 8, 8), {"weight": (5, 6, 4, 4), "bias": (6,), "stride": 2}),
        (F.linear, (7, 9), {"weight": (4, 9), "bias": (4,)}),
    ],
)
def test_a_weight_by_keyword(function, x, given, everywhere):
    """Every way to write a call is the native product, up to the order of sums."""
    torch.manual_seed(0)
    x = torch.randn(x)
    given = {k: torch.randn(v) if k in ("weight", "bias") else v for k, v in given.items()}
    rest = {k: v for k, v in given.items() if k != "weight"}
    with torch.autocast("cpu", torch.bfloat16):
        native = function(x, **given)
        with RoundedProducts(everywhere):
            results = [
                function(x, **given),
                function(x, given["weight"], **rest),
                function(**given, input=x),
            ]
    for result in results:
        assert result.dtype == torch.bfloat16
        assert torch.equal(result, results[0])
        assert float((result - native).abs().max()) <= 2**-6 * float(native.abs().max())


# --- second derivatives --------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "weight", "bias", "shape"),
    [
        ((2, 3, 5, 4), (2, 3, 3, 3), (2,), Shape((1, 1), (1, 1), (1, 1), False, (0, 0), 1)),
        ((2, 4, 5, 5), (2, 2, 3, 3), None, Shape((2, 2), (1, 0), (1, 1), False, (0, 0), 2)),
        ((1, 2, 3, 3), (2, 3, 4, 4), (3,), Shape((2, 2), (1, 1), (1, 1), True, (0, 0), 1)),
    ],
)
def test_derivatives_of_convolutions(x, weight, bias, shape):
    torch.manual_seed(0)
    sizes = (x, weight) if bias is None else (x, weight, bias)
    inputs = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in sizes]

    def convolved(x, weight, bias=None):
        return twice_differentiable(1 * x, 1 * weight, bias if bias is None else 1 * bias, shape)

    expected = torch.ops.aten.convolution(*inputs, *([] if bias else [None]), *shape)
    torch.testing.assert_close(convolved(*inputs), expected)
    assert torch.autograd.gradcheck(convolved, inputs)
    assert torch.autograd.gradgradcheck(convolved, inputs)


class Products(TorchDispatchMode):
    """Sizes of kernels that are convolved with, and of what each gradient of one computes."""

    def __init__(self):
        super().__init__()
        self.kernels, self.weights = set(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default:
            self.kernels.add(max(args[1].shape[2:]))
        if func is torch.ops.aten.convolution_backward.default:
            self.weights += args[-1][1]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("native", [False, True])
def test_a_penalty_asks_for_no_kernel_larger_than_the_layers(monkeypatch, native):
    """Convolutions with images as kernels came out wrong on CPUs with AMX, see docs/log.md."""
    monkeypatch.setattr(rounding, "cpu_has_bfloat16", lambda: native)
    d = trainer_of().networks["d"]
    num_kernels = sum(p.ndim == 4 for p in d.parameters())
    x = torch.randn(4, 3, 16, 16, requires_grad=True)
    scores = Forwards({"d": d}, "bfloat16", CPU).judge(x, torch.arange(4) % 3)
    with Products() as first:
        (gradient,) = torch.autograd.grad(scores.logits.sum(), x, create_graph=True)
    assert first.weights == 0, "weights' gradients were computed for the images' alone"
    with Products() as second:
        gradient.square().sum().backward()
    assert second.kernels <= {1, 3, 4}
    assert second.weights >= num_kernels


def test_refused_devices_are_named():
    require_precision("bfloat16", CPU)
    for kind, device in (("bfloat16", "mps"), ("float64", "mps"), ("bfloat16", "xpu")):
        with pytest.raises(ConfigError, match=device):
            require_precision(kind, torch.device(device))
    with (
        pytest.raises(ConfigError, match="mps"),
        fast_forwards(nn.Identity(), torch.device("mps"), "bfloat16"),
    ):
        pass
