"""Norms, plain and conditional, and class tables."""

import pytest
import torch
from torch import nn

from limner.core.errors import LimnerError
from limner.layers import ClassTable, ConditionalNorm2d, PlainNorm2d, lookup
from limner.layers.norms import num_groups

KINDS = ("batch", "moments", "cross_replica", "instance", "group", "none")
Y = torch.tensor([0, 1, 2, 2, 1, 0])


def make(num_channels=4, num_classes=3, **options):
    torch.manual_seed(0)
    tables = (ClassTable(num_classes, num_channels) for _ in range(2))
    return ConditionalNorm2d(num_channels, *tables, **options)


def by_class(layer, x, y=Y):
    gain, bias = layer.gain.weight[y], layer.bias.weight[y]
    return x * (1 + gain[:, :, None, None]) + bias[:, :, None, None]


@pytest.mark.parametrize("kind", ["batch", "cross_replica", "moments"])
def test_batch_kinds_equal_torchs_scaled_per_class(kind):
    """In evaluation too: BigGAN-PyTorch's cross-replica layer adds the gain there."""
    layer, reference = make(kind=kind), nn.BatchNorm2d(4, affine=False)
    x = 3 + 2 * torch.randn(6, 4, 5, 5)
    torch.testing.assert_close(layer(x, Y), by_class(layer, reference(x)))
    torch.testing.assert_close(layer.running_mean, reference.running_mean)
    if kind != "moments":
        torch.testing.assert_close(layer.running_var, reference.running_var)  # the unbiased one
    layer.running_var.copy_(reference.running_var)
    layer.eval(), reference.eval()
    torch.testing.assert_close(layer(x, Y), by_class(layer, reference(x)))


@pytest.mark.parametrize("kind", ["instance", "group"])
def test_kinds_over_one_image_equal_torchs(kind):
    groups = {"instance": 8, "group": 2}[kind]
    layer, reference = make(8, kind=kind, channels_per_group=4), nn.GroupNorm(groups, 8)
    x = 3 + 2 * torch.randn(6, 8, 5, 5)
    torch.testing.assert_close(layer(x, Y), by_class(layer, reference(x)))
    assert torch.equal(layer.eval()(x, Y), layer.train()(x, Y))
    assert not list(layer.buffers())
    torch.testing.assert_close(layer(x, Y)[:1], layer(x[:1], Y[:1]))


def test_moments_keep_the_biased_variance():
    layer = make(kind="moments")
    x = torch.randn(6, 4, 5, 5)
    layer(x, Y)
    biased = x.var((0, 2, 3), correction=0)
    torch.testing.assert_close(layer.running_var, 0.9 + 0.1 * biased)
    torch.testing.assert_close(layer.running_mean, 0.1 * x.mean((0, 2, 3)))


def test_standing_statistics_are_sums_that_evaluation_divides():
    layer = PlainNorm2d(3, "moments")
    layer(torch.randn(4, 3, 2, 2))
    layer.start_standing()
    batches = [1 + 2 * torch.randn(4, 3, 2, 2) for _ in range(3)]
    for x in batches:
        layer(x)
    means = torch.stack([x.mean((0, 2, 3)) for x in batches])
    variances = torch.stack([x.var((0, 2, 3), correction=0) for x in batches])
    torch.testing.assert_close(layer.running_mean, means.sum(0))
    torch.testing.assert_close(layer.running_var, variances.sum(0))
    assert layer.accumulation_counter.item() == 3
    layer.eval()
    expected = (batches[0] - means.mean(0)[:, None, None]) / (
        variances.mean(0)[:, None, None] + layer.eps
    ).sqrt()
    torch.testing.assert_close(layer(batches[0]), expected)


def test_statistics_have_the_same_names_in_every_kind_that_has_them():
    for kind in KINDS:
        names = {name for name, _ in PlainNorm2d(4, kind).named_buffers()}
        assert ({"running_mean", "running_var"} <= names) == (
            kind in ("batch", "moments", "cross_replica")
        )


def test_groups_divide_the_channels():
    counts = [num_groups(96, 16), num_groups(4, 16), num_groups(40, 16), num_groups(17, 4)]
    assert counts == [6, 1, 2, 1]


def test_condition_may_be_a_shared_embedding():
    shared = ClassTable(3, 2)
    layer = ConditionalNorm2d(4, nn.Linear(2, 4, bias=False), nn.Linear(2, 4, bias=False))
    y = torch.tensor([0, 2])
    assert layer(torch.randn(2, 4, 3, 3), shared(y)).shape == (2, 4, 3, 3)


def test_without_normalization_a_sample_is_independent_of_its_batch():
    layer = make(kind="none")
    x, y = torch.randn(4, 4, 3, 3), torch.tensor([0, 1, 2, 0])
    torch.testing.assert_close(layer(x, y)[:1], layer(x[:1], y[:1]))
    assert not list(layer.buffers())
    normalizing = make()
    assert not torch.allclose(normalizing(x, y)[:1], normalizing(x[:1], y[:1]))


@pytest.mark.parametrize("kind", KINDS)
def test_plain_layers_scale_the_channels_and_ignore_the_condition(kind):
    x, y = torch.randn(4, 4, 3, 3), torch.tensor([0, 1, 2, 0])
    layer = PlainNorm2d(4, kind)
    whitened = layer(x, y)
    with torch.no_grad():
        layer.weight.fill_(2.0), layer.bias.fill_(-1.0)
    torch.testing.assert_close(layer(x), 2 * whitened - 1)
    assert torch.equal(whitened, x) == (kind == "none")


@pytest.mark.parametrize("kind", KINDS)
def test_lower_precision_keeps_statistics_in_single(kind):
    x = (100 + torch.randn(8, 4, 6, 6)).bfloat16()
    layer = make(kind=kind)
    out = layer(x, torch.arange(8) % 3)
    assert out.dtype == torch.bfloat16
    for buffer in layer.buffers():
        assert buffer.dtype in (torch.float32, torch.int64)
    if kind in ("batch", "moments", "cross_replica"):
        expected = 0.1 * x.float().mean((0, 2, 3))
        torch.testing.assert_close(layer.running_mean, expected, rtol=1e-5, atol=0)


def test_lookup_of_integers_one_hot_and_soft_rows():
    table = torch.randn(3, 5)
    y = torch.tensor([2, 0])
    torch.testing.assert_close(lookup(y, table), table[y])
    torch.testing.assert_close(lookup(nn.functional.one_hot(y, 3).double(), table), table[y])
    soft = torch.tensor([[0.25, 0.75, 0.0]])
    torch.testing.assert_close(lookup(soft, table), 0.25 * table[:1] + 0.75 * table[1:2])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("y", [torch.zeros(2, 4), torch.zeros(3), torch.zeros(2, 3).long()])
def test_labels_of_another_shape_are_refused(y):
    with pytest.raises(LimnerError, match="labels"):
        lookup(y, torch.randn(3, 5))
