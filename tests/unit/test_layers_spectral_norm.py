"""Spectral normalization: the singular value, what is stored when, and the gradients."""

import pytest
import torch

from limner.core.errors import ConfigError
from limner.layers import PowerIteration, SNConv2d, SNEmbedding, SNLinear, keep_vectors
from limner.layers.prepared import prepared
from limner.layers.spectral_norm import power_iteration


def largest(weight):
    return torch.linalg.matrix_norm(weight.flatten(1), 2)


def layers():
    torch.manual_seed(0)
    return [
        (SNConv2d(3, 8, 3), torch.randn(2, 3, 6, 6)),
        (SNLinear(5, 7), torch.randn(2, 5)),
        (SNEmbedding(6, 4), torch.tensor([0, 3])),
    ]


def settled(layer, x, times=200):
    with torch.no_grad():
        for _ in range(times):
            layer(x)
    return layer


def test_divides_by_the_largest_singular_value():
    for layer, x in layers():
        settled(layer, x)
        torch.testing.assert_close(layer.sv0, largest(layer.weight).detach()[None])
    layer = settled(SNLinear(4, 4, bias=False), torch.zeros(1, 4))
    torch.testing.assert_close(largest(layer(torch.eye(4)).T), torch.tensor(1.0))


def test_the_singular_value_bounds_the_layer():
    """Spectral norm makes the map 1-Lipschitz; without it this weight would stretch by 10."""
    layer = SNLinear(6, 6, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.diag(torch.tensor([10.0, 1, 1, 1, 1, 1])))
    settled(layer, torch.zeros(1, 6))
    x = torch.randn(50, 6)
    assert (layer(x).norm(dim=1) <= x.norm(dim=1) * 1.0001).all()


def test_several_values_are_those_of_the_decomposition():
    layer = SNLinear(5, 7, power=PowerIteration(num_values=3))
    settled(layer, torch.zeros(1, 5), 2000)
    expected = torch.linalg.svdvals(layer.weight)[:3].detach()
    got = torch.cat([layer.sv0, layer.sv1, layer.sv2])
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


def test_more_vectors_than_outputs_stay_finite():
    layer = SNLinear(5, 1, power=PowerIteration(num_values=3, num_iterations=2))
    settled(layer, torch.zeros(1, 5), 5)
    assert all(buffer.isfinite().all() for buffer in layer.buffers())


def test_evaluation_iterates_but_writes_nothing():
    for layer, x in layers():
        stored = layer.u0.clone()
        layer.eval()
        first = layer(x)
        assert torch.equal(layer.u0, stored)
        assert torch.equal(layer(x), first)
        (value,), (moved,) = power_iteration(layer.weight.flatten(1), [stored], 1e-8)
        layer.train()
        assert torch.equal(layer(x), first)  # the same vectors, but now they are written
        assert torch.equal(layer.u0, moved)
        assert torch.equal(layer.sv0, value.detach()[None])
        assert not torch.equal(layer(x), first)


def test_num_iterations_equals_that_many_forwards():
    torch.manual_seed(0)
    once = SNLinear(5, 7)
    many = SNLinear(5, 7, power=PowerIteration(num_iterations=4))
    many.load_state_dict(once.state_dict())
    many(torch.zeros(1, 5))
    settled(once, torch.zeros(1, 5), 4)
    torch.testing.assert_close(once.u0, many.u0)


def test_several_forwards_before_one_backward():
    """The vectors move between the forwards; each keeps its own in the graph."""
    torch.manual_seed(0)
    layer = SNConv2d(2, 3, 3).double()
    inputs = [torch.randn(2, 2, 5, 5, dtype=torch.float64) for _ in range(3)]
    start = layer.u0.clone()
    sum(layer(x).square().sum() for x in inputs).backward()
    together = layer.weight.grad.clone()
    layer.weight.grad = None
    layer.u0.copy_(start)
    for x in inputs:
        layer(x).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, together)


def test_gradient_flows_through_the_value_with_constant_vectors():
    layer = SNLinear(3, 4, bias=False).double().eval()
    x = torch.randn(2, 3, dtype=torch.float64)
    weight = layer.weight
    _, (left,) = power_iteration(weight.detach(), [layer.u0], 1e-8)
    right = torch.nn.functional.normalize(layer.u0 @ weight.detach())
    layer(x).square().sum().backward()
    got = weight.grad.clone()
    weight.grad = None
    (x @ weight.T / (left @ weight @ right.T)).square().sum().backward()
    torch.testing.assert_close(got, weight.grad)


def test_second_derivatives_through_the_norm():
    """An R1-like penalty through two layers in evaluation, against finite differences."""
    torch.manual_seed(0)
    conv, linear = SNConv2d(1, 2, 3, resample="down").double(), SNLinear(2, 1).double()
    conv.eval(), linear.eval()
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)

    def penalty(weight):
        layer_output = torch.func.functional_call(conv, {"weight": weight}, (x,))
        logits = linear(torch.tanh(layer_output).sum((2, 3)))
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        return gradient.square().sum()

    # With the vectors at their fixed point, moving the weight moves them only in second order.
    settled(conv.train(), x.detach(), 500)
    conv.eval()
    weight = conv.weight.detach().clone().requires_grad_(True)
    (analytic,) = torch.autograd.grad(penalty(weight), weight)
    direction = analytic.sign()
    step = 1e-6
    numeric = (penalty(weight + step * direction) - penalty(weight - step * direction)) / (2 * step)
    assert (analytic * direction).sum().item() == pytest.approx(numeric.item(), rel=1e-4)


def test_state_dict_carries_the_vectors():
    for layer, x in layers():
        assert {"u0", "sv0"} <= set(layer.state_dict())
        layer(x)
        torch.manual_seed(1)
        copy = next(new for new, _ in layers() if type(new) is type(layer))
        copy.load_state_dict(layer.state_dict())
        assert torch.equal(copy(x), layer(x))


def test_embedding_takes_rows():
    layer = SNEmbedding(3, 4).eval()
    rows = torch.tensor([[1.0, 0, 0], [0, 0.5, 0.5]])
    table = layer(torch.arange(3))
    torch.testing.assert_close(layer(rows), torch.stack([table[0], (table[1] + table[2]) / 2]))


# --- torch's rule of evaluation -----------------------------------------------------------


@pytest.mark.parametrize("kind", ["conv", "linear", "table"])
def test_stored_vectors_are_those_of_torchs_own_spectral_norm(kind):
    torch.manual_seed(0)
    made = {
        "conv": (SNConv2d(3, 5, 3), torch.nn.Conv2d(3, 5, 3, padding=1), torch.randn(2, 3, 4, 4)),
        "linear": (SNLinear(3, 5), torch.nn.Linear(3, 5), torch.randn(2, 3)),
        "table": (SNEmbedding(3, 5), torch.nn.Embedding(3, 5), torch.tensor([0, 2])),
    }
    ours, theirs, x = made[kind]
    theirs.load_state_dict({k: ours.state_dict()[k] for k in theirs.state_dict()})
    theirs = torch.nn.utils.spectral_norm(theirs, eps=1e-8)
    keep_vectors(torch.nn.ModuleDict({"layer": ours}), ["layer"])
    theirs.weight_u.copy_(ours.u0[0])
    for _ in range(2):
        torch.testing.assert_close(ours(x), theirs(x))
    with torch.no_grad():  # the weight moves on, the vectors stay
        ours.weight.add_(0.3)
        theirs.weight_orig.add_(0.3)
    ours, theirs = ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.v0[0], theirs.weight_v)
    torch.testing.assert_close(prepared(ours)(x), theirs(x))


def test_stored_vectors_of_no_layer_are_named():
    with pytest.raises(ConfigError, match="no layer with spectral norm in 'block'"):
        keep_vectors(torch.nn.ModuleDict({"blocks": SNLinear(2, 2)}), ["block"])
