"""Conditional batch norm and class tables."""

import pytest
import torch
from torch import nn

from limner.core.errors import LimnerError
from limner.layers import ClassTable, ConditionalBatchNorm2d, PlainBatchNorm2d, Scale2d, lookup


def make(num_channels=4, num_classes=3, **options):
    torch.manual_seed(0)
    tables = (ClassTable(num_classes, num_channels) for _ in range(2))
    return ConditionalBatchNorm2d(num_channels, *tables, **options)


def test_equals_torch_batch_norm_scaled_per_class():
    layer, reference = make(), nn.BatchNorm2d(4, affine=False)
    x, y = torch.randn(6, 4, 5, 5), torch.tensor([0, 1, 2, 2, 1, 0])
    gain, bias = layer.gain.weight[y][:, :, None, None], layer.bias.weight[y][:, :, None, None]
    torch.testing.assert_close(layer(x, y), reference(x) * (1 + gain) + bias)
    torch.testing.assert_close(layer.running_mean, reference.running_mean)
    torch.testing.assert_close(layer.running_var, reference.running_var)  # the unbiased variance
    layer.eval(), reference.eval()
    torch.testing.assert_close(layer(x, y), reference(x) * (1 + gain) + bias)


def test_condition_may_be_a_shared_embedding():
    shared = ClassTable(3, 2)
    layer = ConditionalBatchNorm2d(4, nn.Linear(2, 4, bias=False), nn.Linear(2, 4, bias=False))
    y = torch.tensor([0, 2])
    assert layer(torch.randn(2, 4, 3, 3), shared(y)).shape == (2, 4, 3, 3)


def test_without_normalization_a_sample_is_independent_of_its_batch():
    layer = make(normalize=False)
    x, y = torch.randn(4, 4, 3, 3), torch.tensor([0, 1, 2, 0])
    torch.testing.assert_close(layer(x, y)[:1], layer(x[:1], y[:1]))
    assert not list(layer.buffers())
    normalizing = make()
    assert not torch.allclose(normalizing(x, y)[:1], normalizing(x[:1], y[:1]))


def test_plain_layers_ignore_the_condition():
    x = torch.randn(4, 4, 3, 3)
    for layer in (PlainBatchNorm2d(4), Scale2d(4)):
        assert torch.equal(layer(x, torch.tensor([0, 1, 2, 0])), layer(x))
    assert torch.equal(Scale2d(4)(x), x)


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
