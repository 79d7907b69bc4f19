"""Values of the terms on numbers worked out by hand, and the penalties on a linear critic."""

import math

import pytest
import torch
from torch import nn

from limner.core.errors import ConfigError
from limner.core.protocols import Scores
from limner.core.schedules import Linear
from limner.objectives import (
    R1,
    R2,
    Drift,
    GradientPenalty,
    HingeD,
    HingeG,
    LeastSquaresD,
    LeastSquaresG,
    LeCam,
    Memory,
    MinimaxD,
    MinimaxG,
    NonSaturatingD,
    NonSaturatingG,
    Orthogonal,
    PathLength,
    RelativisticD,
    RelativisticG,
    WassersteinD,
    WassersteinG,
)


class Logits:
    """A pass of two reals and two fakes."""

    nimg = 0
    real_logits = torch.tensor([0.0, 3.0])
    fake_logits = torch.tensor([0.0, -2.0])


def softplus(x):
    return math.log1p(math.exp(x))


@pytest.mark.parametrize(
    ("term", "value"),
    [
        (NonSaturatingD(), (2 * math.log(2) + softplus(-3) + softplus(-2)) / 2),
        (MinimaxD(), (2 * math.log(2) + softplus(-3) + softplus(-2)) / 2),
        (NonSaturatingG(), (math.log(2) + softplus(2)) / 2),
        (MinimaxG(), -(math.log(2) + softplus(-2)) / 2),
        (HingeD(), (1 + 0) / 2 + (1 + 0) / 2),
        (HingeG(), 1.0),
        (WassersteinD(), -1.0 - 1.5),
        (WassersteinG(), 1.0),
        (LeastSquaresD(), (1 + 4) / 2 + (0 + 4) / 2),
        (LeastSquaresD(real_target=3.0, fake_target=-2.0), (9 + 0) / 2 + (4 + 0) / 2),
        (LeastSquaresG(), (1 + 9) / 2),
        (LeastSquaresG(target=0.0), (0 + 4) / 2),
        (Drift(0.5), 0.5 * 9 / 2),
    ],
)
def test_values(term, value):
    assert term(Logits(), Memory()).item() == pytest.approx(value, rel=1e-6)


class Weighted(nn.Module):
    """D(x) = w . x, whose gradient is w everywhere."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x, y=None):
        return Scores((x.flatten(1) * self.weight).sum(1))


class Batch:
    def __init__(self, critic, nimg=0, grad=()):
        torch.manual_seed(0)
        self.network, self.nimg, self.noise = critic, nimg, self
        dtype = critic.weight.dtype
        self.real, self.fake = (torch.randn(3, 1, 2, 2, dtype=dtype) for _ in range(2))
        for name in grad:
            getattr(self, name).requires_grad_(True)
        self.real_labels = None
        self.real_logits = critic(self.real).logits
        self.fake_logits = critic(self.fake).logits
        self.judged = []

    def critic(self, images, labels):
        self.judged.append(images)
        return self.network(images, labels)

    def uniform(self, purpose, shape):
        assert purpose == "mix"
        return torch.tensor([0.0, 0.5, 1.0]).reshape(shape)


def test_penalties_on_a_linear_critic():
    critic = Weighted(torch.tensor([0.0, 3.0, 0.0, 4.0]))  # |w| = 5
    assert R1(2.0)(Batch(critic, grad=["real"]), Memory()).item() == pytest.approx(25.0)
    assert R2(2.0)(Batch(critic, grad=["fake"]), Memory()).item() == pytest.approx(25.0)
    batch = Batch(critic)
    assert GradientPenalty(10.0)(batch, Memory()).item() == pytest.approx(10 * 16)
    expected = 10 * (5 - 2) ** 2 / 4
    assert GradientPenalty(10.0, target=2.0)(batch, Memory()).item() == pytest.approx(expected)


def test_mixes_lie_between_the_real_and_the_fake_of_their_row():
    batch = Batch(Weighted(torch.ones(4)))
    GradientPenalty()(batch, Memory())
    (mixed,) = batch.judged
    torch.testing.assert_close(mixed[0], batch.real[0])
    torch.testing.assert_close(mixed[1], (batch.real[1] + batch.fake[1]) / 2)
    torch.testing.assert_close(mixed[2], batch.fake[2])


def test_gradient_penalty_of_a_dead_critic_is_finite():
    critic = Weighted(torch.zeros(4))
    value = GradientPenalty(10.0)(Batch(critic), Memory())
    assert value.item() == pytest.approx(10.0)
    value.backward()
    assert critic.weight.grad.isfinite().all()


def test_gradient_penalty_in_float64_and_with_a_schedule():
    critic = Weighted(torch.tensor([0.0, 3.0, 0.0, 4.0], dtype=torch.float64))
    schedule = Linear(start=10.0, end=0.0, until_nimg=100)
    value = GradientPenalty(schedule)(Batch(critic, nimg=50), Memory())
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(5 * 16)
    gamma = R1(schedule)(Batch(critic, nimg=90, grad=["real"]), Memory())
    assert gamma.item() == pytest.approx(0.5 * 1.0 * 25)


def test_gradient_penalty_needs_pairs():
    batch = Batch(Weighted(torch.ones(4)))
    batch.fake = batch.fake[:2]
    with pytest.raises(ConfigError, match="num_latents"):
        GradientPenalty()(batch, Memory())
    with pytest.raises(ConfigError, match="target"):
        GradientPenalty(target=0.0)


def test_saturating_generator_has_the_weaker_gradient_where_the_critic_is_sure():
    gradients = []
    for term in (MinimaxG(), NonSaturatingG()):
        batch = Logits()
        batch.fake_logits = torch.full((2,), -8.0, requires_grad=True)
        term(batch, Memory()).backward()
        gradients.append(batch.fake_logits.grad.mean().item())
    assert gradients[0] < 0
    assert gradients[1] < 1000 * gradients[0]


# --- orthogonal regularization ---------------------------------------------


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(2, 3, 3)
        self.shared = nn.Embedding(4, 5)
        self.unused = nn.Linear(3, 3)
        for name, parameter in self.named_parameters():
            if not name.startswith("unused"):
                parameter.grad = torch.ones_like(parameter)


@pytest.mark.parametrize("variant", ["modified", "plain"])
def test_orthogonal_is_the_gradient_of_its_penalty(variant):
    net = Net()
    Orthogonal(strength=0.1, variant=variant)(net, Memory())
    weight = net.conv.weight.detach().clone().requires_grad_(True)
    rows = weight.flatten(1)
    gram = rows @ rows.T
    eye = torch.eye(len(gram))
    penalty = (gram * (1 - eye) if variant == "modified" else gram - eye).square().sum()
    # d/dW of |A|^2 with A = W W^T (masked) is 4 A W; the published rule adds half of that.
    (expected,) = torch.autograd.grad(penalty / 2, weight)
    torch.testing.assert_close(net.conv.weight.grad, 1 + 0.1 * expected)
    assert torch.equal(net.conv.bias.grad, torch.ones(3))
    assert torch.equal(net.shared.weight.grad, torch.ones(4, 5))
    assert net.unused.weight.grad is None


@pytest.mark.parametrize("variant", ["modified", "plain"])
def test_orthogonal_of_a_tall_weight_is_that_of_all_pairs_of_rows(variant):
    weight = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gram = weight @ weight.T
    eye = torch.eye(40, dtype=torch.float64)
    pairs = gram * (1 - eye) if variant == "modified" else gram - eye
    found = Orthogonal(variant=variant).gradient(weight)
    torch.testing.assert_close(found, 2 * pairs @ weight, rtol=1e-10, atol=1e-10)


def test_orthogonal_excludes_whole_names_only():
    net = Net()
    Orthogonal(exclude=("share", "weight.conv"))(net, Memory())
    assert not torch.equal(net.shared.weight.grad, torch.ones(4, 5))
    net = Net()
    Orthogonal(exclude=("conv",))(net, Memory())
    assert torch.equal(net.conv.weight.grad, torch.ones_like(net.conv.weight))


def test_orthogonal_leaves_orthogonal_rows_alone():
    net = Net()
    with torch.no_grad():
        nn.init.orthogonal_(net.conv.weight)
    Orthogonal(strength=1.0)(net, Memory())
    torch.testing.assert_close(net.conv.weight.grad, torch.ones_like(net.conv.weight))


# --- terms that remember -------------------------------------------------------


def test_lecam_pulls_each_side_to_the_other_ones_average():
    """E D(real) = 1.5, E D(fake) = -1; anchors keep 0.9 of what they were (Tseng et al. 2021)."""
    term, memory = LeCam(weight=2.0, decay=0.9), Memory()
    first = term(Logits(), memory)  # type: ignore[arg-type]
    over, under = (1.0 + 16.0) / 2, (2.25 + 12.25) / 2  # relu(real + 1)^2, relu(1.5 - fake)^2
    assert first.item() == pytest.approx(2.0 * (over + under))

    class Later(Logits):
        real_logits = torch.tensor([5.0])
        fake_logits = torch.tensor([1.0])

    second = term(Later(), memory)  # type: ignore[arg-type]
    real, fake = 0.9 * 1.5 + 0.1 * 5.0, 0.9 * -1.0 + 0.1 * 1.0
    assert memory["means"].tolist() == pytest.approx([real, fake])
    assert second.item() == pytest.approx(2.0 * ((5.0 - fake) ** 2 + (real - 1.0) ** 2))


def test_lecam_without_bias_and_before_it_begins():
    debiased, memory = LeCam(decay=0.99, debias=True), Memory()
    for _ in range(3):  # the same means again and again are their average from the first call on
        value = debiased(Logits(), memory)  # type: ignore[arg-type]
        assert value.item() == pytest.approx(0.3 * (8.5 + 7.25), rel=1e-5)
    assert memory["share"].item() == pytest.approx(1 - 0.99**3, rel=1e-5)
    assert LeCam(from_nimg=1)(Logits(), Memory()).item() == 0.0  # type: ignore[arg-type]


def test_path_lengths_are_those_of_each_image_alone():
    """l = |J^T y| by one product a sample and layer; m moves by a hundredth and is differentiated
    (Karras et al. 2020, eq. 4)."""
    torch.manual_seed(0)
    weight = torch.randn(12, 18, dtype=torch.float64, requires_grad=True)
    styles = torch.randn(5, 3, 4, dtype=torch.float64, requires_grad=True)
    noise = torch.randn(5, 2, 3, 3, dtype=torch.float64)

    def made(styles):
        return torch.tanh(styles.flatten(1) @ weight).reshape(-1, 2, 3, 3)

    class Made:
        fake = made(styles)

        class noise:  # noqa: N801 - stands for an attribute
            @staticmethod
            def normal(purpose, shape):
                return noise

    Made.styles = styles
    term, memory = PathLength(weight=2.0, decay=0.01), Memory({"mean": torch.tensor(0.5).double()})
    value = term(Made(), memory)  # type: ignore[arg-type]
    lengths = []
    for k in range(5):
        jacobian = torch.autograd.functional.jacobian(made, styles[k : k + 1].detach())
        product = torch.einsum("chw,chwlf->lf", noise[k] / 3.0, jacobian[0, :, :, :, 0])
        lengths.append(product.square().sum(1).mean().sqrt())
    lengths = torch.stack(lengths)
    mean = 0.5 + 0.01 * (lengths.mean() - 0.5)
    torch.testing.assert_close(memory["mean"], mean)
    torch.testing.assert_close(value, 2.0 * (lengths - mean).square().mean())


def test_relativistic_losses_look_at_pairs():
    value = RelativisticD()(Logits(), Memory())  # type: ignore[arg-type]
    assert value.item() == pytest.approx((math.log(2) + softplus(-5)) / 2)
    value = RelativisticG()(Logits(), Memory())  # type: ignore[arg-type]
    assert value.item() == pytest.approx((math.log(2) + softplus(5)) / 2)
