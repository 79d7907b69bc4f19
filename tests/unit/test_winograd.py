"""Convolutions by fewer multiplications give what the definition gives, derivatives too."""

import pytest
import torch
import torch.nn.functional as F
from test_layers_convolution import derivatives
from test_packing import GENERATORS, moved, of, unsorted
from torch import nn

from draws import normal
from limner.engine.precision import Forwards
from limner.layers import winograd
from limner.layers.convolution import TwiceDifferentiableConv2d

CPU = torch.device("cpu")


@pytest.fixture
def forced(monkeypatch):
    """Also where it is not worth it; strips of so few tiles that there are several."""
    values = {"CHANNELS": 1, "KEPT_CHANNELS": 1, "FEW_TILES": 1, "TILES": 24}
    for name, value in values.items():
        monkeypatch.setattr(winograd, name, value)


def close(found, expected, most=2e-6):
    return (found.double() - expected).abs().max() <= most * expected.abs().max()


@pytest.mark.parametrize("shape", [(1, 16, 16), (5, 4, 6), (2, 12, 34), (7, 2, 2)])
@pytest.mark.parametrize("together", [True, False])
def test_it_is_a_convolution(shape, together, forced):
    num, height, width = shape
    x, weight, bias = normal(num, 6, height, width), normal(5, 6, 3, 3, seed=1), normal(5, seed=2)
    expected = F.conv2d(x, weight, bias, padding=1)
    products = winograd.products_of(weight.float())
    found = winograd.convolved(x.float(), products, bias.float(), 5, together)
    assert close(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_an_image_has_the_same_bits_in_any_batch(forced):
    x, products = normal(5, 6, 4, 4).float(), winograd.products_of(normal(5, 6, 3, 3).float())
    both = (winograd.convolved(part, products, None, 5, together=False) for part in (x, x[2:3]))
    whole, one = both
    assert torch.equal(whole[2:3], one)


def test_its_derivatives_of_both_orders_are_those_of_a_convolution(forced, monkeypatch):
    calls = []
    gradient = winograd.weight_gradient
    monkeypatch.setattr(
        winograd, "weight_gradient", lambda *args: calls.append(1) or gradient(*args)
    )
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 5, 3, padding=1).double()
    twice = TwiceDifferentiableConv2d(6, 5, 3, padding=1)
    twice.load_state_dict(plain.state_dict())
    x = torch.randn(3, 6, 8, 10, dtype=torch.float64, requires_grad=True)
    expected = derivatives(plain, x)
    found = derivatives(twice, x.detach().float().requires_grad_())
    assert calls
    assert all(map(close, found, expected, [1e-5] * len(found)))


@pytest.mark.parametrize("name", GENERATORS)
def test_images_of_all_generators_are_the_same(name, forced):
    generator = moved(GENERATORS[name])
    expected = unsorted(generator)
    assert (of(generator) - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(("channels", "taken"), [(192, 1), (128, 0)])
def test_training_takes_it_where_channels_are_many(channels, taken, monkeypatch):
    calls = []
    convolved = winograd.convolved
    monkeypatch.setattr(winograd, "convolved", lambda *args: calls.append(1) or convolved(*args))
    torch.manual_seed(0)
    judge = nn.Conv2d(channels, channels, 3, padding=1)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.judge = judge

        def forward(self, x, y):
            return self.judge(x).mean((1, 2, 3)), None

    x = torch.randn(6, channels, 16, 16)
    forwards = Forwards({"g": nn.Module(), "d": Network()}, "float32", CPU)
    logits = forwards.judge(x, None).logits
    assert len(calls) == taken
    expected = judge(x).mean((1, 2, 3)).detach()
    torch.testing.assert_close(logits.detach(), expected, rtol=1e-5, atol=1e-6)
    logits.sum().backward()
    assert len(calls) == taken  # pixels ask for no gradient
    assert judge.weight.grad is not None


@pytest.mark.parametrize(
    "change", ["float64", "odd", "few channels", "few tiles", "1x1", "one image"]
)
def test_what_does_not_suit_is_left_alone(change):
    x, weight = torch.randn(16, 192, 8, 16), torch.randn(192, 192, 3, 3)
    assert winograd.suits(x, weight)
    if change == "float64":
        x, weight = x.double(), weight.double()
    elif change == "odd":
        x = x[..., :7, :]
    elif change == "few channels":
        weight = weight[:191]
    elif change == "few tiles":
        x = x[:2]
    elif change == "one image":
        x = x[0]
    else:
        weight = weight[..., :1, :1]
    assert not winograd.suits(x, weight)
