"""What every term and direct part in the tables keeps."""

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from limner.core.config import Config, decode, encode
from limner.core.protocols import Scores
from limner.objectives import DIRECTS, TERMS, Direct, Memory, Term
from runs import Centred

NUM_CLASSES = 2


class Critic(nn.Module):
    """A small discriminator that is smooth, so that finite differences hold."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.linear = nn.Linear(4, 1 + NUM_CLASSES)

    def forward(self, x, y=None):
        h = torch.tanh(self.conv(x)).sum((2, 3))
        answers = self.linear(h)
        return Scores(answers[:, 0], answers[:, 1:])


class Noise:
    def uniform(self, purpose, shape):
        return torch.linspace(0, 1, shape[0]).reshape(shape)

    def normal(self, purpose, shape):
        return torch.ones(shape)


def generated(rows):
    """Styles [n, 3, 4] out of these rows, and pictures in their shape that depend on them."""
    styles = rows.flatten(1)[:, :12].reshape(-1, 3, 4)
    styles = styles if styles.requires_grad else styles.requires_grad_(True)
    places = torch.arange(rows[0].numel(), dtype=rows.dtype)
    mixed = styles.flatten(1) @ torch.sin(torch.outer(torch.arange(1.0, 13.0).to(rows), places))
    return styles, torch.tanh(mixed).reshape(rows.shape)


class Batch:
    """A Pass over fixed tensors that records what a term reads."""

    nimg = 0

    def __init__(self, critic, real, fake, term, labels=None):
        self.noise, self.network, self.read = Noise(), critic, set()
        self.latents = torch.zeros(len(fake), 3)
        self._real = real.detach().requires_grad_(True) if term.real_grad else real
        if "styles" in term.reads:
            self._styles, fake = generated(fake)
        fake = fake.detach().requires_grad_(True) if term.fake_grad else fake
        self._fake = fake
        if labels is None:
            labels = torch.arange(len(real)) % NUM_CLASSES
        self.real_labels = self.fake_labels = labels
        self._real_scores, self._fake_scores = critic(self._real), critic(self._fake)

    def critic(self, images, labels):
        return self.network(images, labels)

    @property
    def styles(self):
        self.read.add("styles")
        return self._styles

    def __getattr__(self, name):
        side, _, what = name.partition("_")
        if side not in ("real", "fake"):
            raise AttributeError(name)
        self.read.add(side)
        if not what:
            return self.__dict__[f"_{side}"]
        scores = self.__dict__[f"_{side}_scores"]
        return scores.logits if what == "logits" else scores


class Fixed(Memory):
    """A memory that stays as it is, so that a value is a function of the weights alone."""

    def __setitem__(self, name, value):
        pass


ALL_TERMS = {**TERMS, "Centred": Centred}  # a toy that keeps a running mean


@pytest.fixture(params=ALL_TERMS)
def term(request):
    return ALL_TERMS[request.param]()


def is_of_generator(term):
    return type(term).__name__.endswith("G") or "styles" in term.reads


def batch_for(term, dtype=torch.float32, generator_weight=None):
    torch.manual_seed(0)
    critic = Critic().to(dtype)
    real, fake = (torch.randn(4, 2, 5, 5, dtype=dtype) for _ in range(2))
    if generator_weight is not None:
        fake = fake * generator_weight
    return critic, Batch(critic, real, fake, term)


def test_table_holds_terms(term):
    assert isinstance(term, Term)
    assert type(term).__doc__
    assert set(term.reads) <= {"real", "fake", "styles"}
    assert ALL_TERMS[type(term).__name__] is type(term)


def test_config_round_trip(term):
    class Holder(Config, frozen=True):
        terms: tuple[Term, ...]

    holder = Holder((term,))
    assert decode(Holder, encode(holder)) == holder


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_value_is_a_finite_scalar_and_reads_what_it_says(term, dtype):
    memory = Memory()
    _, batch = batch_for(term, dtype)
    value = term(batch, memory)
    assert value.shape == ()
    assert value.dtype == dtype
    assert value.isfinite()
    assert batch.read == set(term.reads)


def test_gradient_reaches_the_player(term):
    """A generator's term moves the generator; a discriminator's moves the critic alone."""
    if is_of_generator(term):
        weight = torch.ones((), requires_grad=True)
        _, batch = batch_for(term, generator_weight=weight)
        term(batch, Memory()).backward()
        assert weight.grad is not None
        assert weight.grad.abs() > 0
        return
    critic, batch = batch_for(term)
    term(batch, Memory()).backward()
    assert critic.conv.weight.grad.abs().sum() > 0


def test_gradient_is_that_of_finite_differences(term):
    torch.manual_seed(0)
    critic = Critic().double()
    real, fake = (torch.randn(4, 2, 5, 5, dtype=torch.float64) for _ in range(2))
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    weight = scale if is_of_generator(term) else critic.conv.weight

    def value(memory):
        return term(Batch(critic, real, fake * scale, term), memory)

    value(memory := Memory())
    memory = Fixed(memory)
    (gradient,) = torch.autograd.grad(value(memory), weight)
    values = []
    for step in (1e-6, -1e-6):
        with torch.no_grad():
            weight.add_(gradient.sign(), alpha=step)
        values.append(value(memory).item())
        with torch.no_grad():
            weight.sub_(gradient.sign(), alpha=step)
    expected = (values[0] - values[1]) / 2e-6
    assert gradient.abs().sum().item() == pytest.approx(expected, rel=1e-5)


def test_a_memory_is_all_that_a_term_keeps(term):
    """Value, gradient and memory of the third batch from what was saved after the second one."""

    def step(term, memory, seed):
        torch.manual_seed(seed)
        critic = Critic()
        real, fake = (torch.randn(4, 2, 5, 5) for _ in range(2))
        value = term(Batch(critic, real, fake, term), memory)
        value.backward()
        gradients = [weight.grad for weight in critic.parameters() if weight.grad is not None]
        return [value.detach(), *gradients, *(memory[name] for name in sorted(memory))]

    memory = Memory()
    for seed in (0, 1):
        step(term, memory, seed)
    saved = load(save(dict(memory)))
    assert all(not tensor.requires_grad for tensor in memory.values())
    again = type(term)(**{name: getattr(term, name) for name in term.__struct_fields__})
    expected, found = step(term, memory, 2), step(again, Memory(saved), 2)
    assert all(torch.equal(*pair) for pair in zip(expected, found, strict=True))
    if saved:
        assert not torch.equal(expected[0], step(again, Memory(), 2)[0])


def test_value_is_a_mean_over_the_batch(term):
    """Twice the same rows give the same value, so accumulation and several processes agree."""
    critic, batch = batch_for(term, torch.float64)
    real, fake = batch._real.detach(), batch._fake.detach()
    Noise.uniform, kept = (lambda self, purpose, shape: torch.full(shape, 0.3)), Noise.uniform
    try:
        once = term(Batch(critic, real, fake, term), Memory())
        twice = term(
            Batch(critic, real.repeat(2, 1, 1, 1), fake.repeat(2, 1, 1, 1), term), Memory()
        )
    finally:
        Noise.uniform = kept
    torch.testing.assert_close(once, twice)


@pytest.mark.parametrize("name", DIRECTS)
def test_direct_parts(name):
    part = DIRECTS[name]()
    assert isinstance(part, Direct)

    class Holder(Config, frozen=True):
        direct: tuple[Direct, ...]

    assert decode(Holder, encode(Holder((part,)))) == Holder((part,))
    critic = Critic()
    for parameter in critic.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = {k: v.clone() for k, v in critic.state_dict().items()}
    part(critic, Memory())
    assert critic.conv.weight.grad.abs().sum() > 0
    assert all(torch.equal(v, before[k]) for k, v in critic.state_dict().items())
