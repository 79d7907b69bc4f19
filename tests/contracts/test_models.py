"""What every architecture in the table keeps, whatever it is."""

import pytest
import torch

from limner.core.config import Config, decode, encode
from limner.core.errors import ConfigError, LimnerError
from limner.core.protocols import Generator, NetworkConfig, Scores
from limner.layers.spectral_norm import normalized
from limner.models import ARCHITECTURES, NETWORKS

NUM_CLASSES = 3
CASES = [((1, 8, 8), 0), ((3, 16, 16), NUM_CLASSES), ((2, 32, 32), 1)]


# whose images are any numbers, nominally in [-1, 1]
LINEAR = {"pggan", "projected", "r3gan", "stylegan2", "stylegan3"}
PICTURES = {"projected"}  # whose discriminator knows gray and color alone
SIZES = {"width": 4, "fmap_max": 4, "widths": (4,), "channel_max": 4}
SIZES |= {"head_channels": 4, "input_size": 128, "num_heads": 1, "first_side": 2}


def small(kind):
    """A config of the class, narrow where it has a width."""
    return kind(**{k: v for k, v in SIZES.items() if k in kind.__struct_fields__})


def build(name, shape=(3, 16, 16), num_classes=NUM_CLASSES, seed=0):
    torch.manual_seed(seed)
    return [small(kind).build(shape, num_classes) for kind in ARCHITECTURES[name]]


def labels_of(num, num_classes):
    return torch.arange(num) % num_classes if num_classes else None


def classifies(d):
    """Whether it has an auxiliary classifier: then it tells the class and is not told it."""
    with torch.no_grad():
        return d(torch.zeros(2, 3, 16, 16), torch.tensor([0, 0])).class_logits is not None


def at_all_levels(*networks):
    """Networks that grow compute only some of their levels: one value for each pair of levels."""
    growing = [net for net in networks if hasattr(net, "lod")]
    yield from (None,) if not growing else ()
    for level in range(growing[0].num_levels - 1 if growing else 0):
        for net in growing:
            net.lod = level + 0.5
        yield level


def twins(name, num_classes):
    """Two equal copies of a pair in training mode."""
    pairs = (build(name, num_classes=num_classes) for _ in range(2))
    return zip(*pairs, strict=True)


every = pytest.mark.parametrize("name", ARCHITECTURES)
both = pytest.mark.parametrize("num_classes", [0, NUM_CLASSES], ids=["unconditional", "classes"])


def test_tables_agree():
    kinds = [kind for pair in ARCHITECTURES.values() for kind in pair]
    assert {kind.__name__: kind for kind in kinds} == NETWORKS
    for kind in kinds:
        assert issubclass(kind, NetworkConfig)
        assert kind.__doc__


@every
def test_config_round_trip(name):
    class Holder(Config, frozen=True):
        network: NetworkConfig

    for kind in ARCHITECTURES[name]:
        for config in (kind(), small(kind)):
            assert decode(Holder, encode(Holder(config))) == Holder(config)


@every
@pytest.mark.parametrize(("shape", "num_classes"), CASES)
def test_forward_shapes_and_ranges(name, shape, num_classes):
    if name in PICTURES and shape[0] == 2:
        shape = (3, *shape[1:])
    g, d = build(name, shape, num_classes)
    assert isinstance(g, Generator)
    y = labels_of(4, num_classes)
    images = g(torch.randn(4, g.z_dim), y)
    assert images.shape == (4, *shape)
    assert images.isfinite().all()
    assert name in LINEAR or images.abs().max() <= 1
    scores = d(images, y)
    assert isinstance(scores, Scores)
    assert scores.logits.shape == ((4, 1) if name in PICTURES else (4,))
    g.eval(), d.eval()
    assert d(g(torch.randn(1, g.z_dim), labels_of(1, num_classes)), labels_of(1, num_classes))


@every
def test_kinds_of_labels_agree(name):
    y = torch.tensor([0, 2, 1, 2])
    rows = torch.nn.functional.one_hot(y, NUM_CLASSES).float()
    g, d = (net.eval() for net in build(name))
    z, x = torch.randn(4, g.z_dim), torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(g(z, y), g(z, rows))
    torch.testing.assert_close(d(x, y).logits, d(x, rows).logits)
    soft = rows.lerp(torch.full_like(rows, 1 / NUM_CLASSES), 0.5)
    assert g(z, soft).shape == (4, 3, 16, 16)
    assert classifies(d) or not torch.allclose(d(x, soft).logits, d(x, y).logits)


@every
def test_labels_matter_with_classes_and_not_without(name):
    g, d = (net.eval() for net in build(name))
    z, x = torch.randn(2, g.z_dim), torch.randn(2, 3, 16, 16)
    first, second = torch.tensor([0, 0]), torch.tensor([1, 1])
    assert not torch.equal(g(z, first), g(z, second))
    assert classifies(d) == torch.equal(d(x, first).logits, d(x, second).logits)
    g, d = (net.eval() for net in build(name, num_classes=0))
    assert torch.equal(g(z, None), g(z, first))
    assert torch.equal(d(x, None).logits, d(x, second).logits)


@pytest.mark.usefixtures("unchecked")
@every
@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "pass labels y"),
        (torch.zeros(2, NUM_CLASSES + 1), r"\[N, 3\]"),
        (torch.zeros(2, NUM_CLASSES, dtype=torch.int64), r"must be \[N\]"),
    ],
)
def test_wrong_labels_are_named(name, y, message):
    g, d = build(name)
    calls = [lambda: g(torch.randn(2, g.z_dim), y), lambda: d(torch.randn(2, 3, 16, 16), y)]
    for call in calls[: 1 if classifies(d) else 2]:
        with pytest.raises(LimnerError, match=message):
            call()


@every
@both
def test_state_dict_round_trip(name, num_classes):
    for one, other in zip(
        build(name, num_classes=num_classes, seed=0),
        build(name, num_classes=num_classes, seed=1),
        strict=True,
    ):
        assert any(not torch.equal(v, other.state_dict()[k]) for k, v in one.state_dict().items())
        other.load_state_dict(one.state_dict())
        state = other.state_dict()
        assert all(torch.equal(v, state[k]) for k, v in one.state_dict().items())


@every
@both
def test_build_is_a_function_of_the_seed(name, num_classes):
    for one, other in twins(name, num_classes):
        state = other.state_dict()
        assert all(torch.equal(v, state[k]) for k, v in one.state_dict().items())


@every
@both
def test_builds_on_the_meta_device(name, num_classes):
    with torch.device("meta"):
        for net, real in zip(
            build(name, num_classes=num_classes), build(name, num_classes=num_classes), strict=True
        ):
            assert all(t.is_meta for t in net.state_dict().values())
            assert list(net.state_dict()) == list(real.state_dict())


@every
@both
def test_every_parameter_gets_a_gradient(name, num_classes):
    g, d = build(name, num_classes=num_classes)
    y = labels_of(6, num_classes)
    for _ in at_all_levels(g, d):
        d(g(torch.randn(6, g.z_dim), y), y).logits.square().mean().backward()
    for net in (g, d):
        for key, parameter in net.named_parameters():
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key


# A pretrained network's own gradients are longest by far, and torchvision's.
SLOW = pytest.param("projected", marks=pytest.mark.full)


@pytest.mark.parametrize("name", [SLOW if name in SLOW.values else name for name in ARCHITECTURES])
@pytest.mark.usefixtures("unchecked")
def test_double_backward_against_finite_differences(name):
    d = build(name)[1].double()
    y = labels_of(2, NUM_CLASSES)
    torch.manual_seed(1)
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    # Power iteration at its fixed point: before, moving a weight moves the vectors in first order.
    with torch.no_grad():
        for layer in (m for m in d.modules() if hasattr(m, "power")):
            for _ in range(300):
                normalized(layer, layer.weight, layer.power)
    d.eval()

    def penalty():
        (gradient,) = torch.autograd.grad(d(x, y).logits.sum(), x, create_graph=True)
        return gradient.square().sum((1, 2, 3)).mean()

    penalty().backward()
    for key, parameter in d.named_parameters():
        if parameter.ndim != 4 or parameter.grad is None:
            continue  # a bias, or a level that is not at work
        direction = parameter.grad.sign()
        step = 1e-6
        values = []
        with torch.no_grad():
            for sign in (1, -1):
                parameter.add_(direction, alpha=sign * step)
                with torch.enable_grad():
                    values.append(penalty().item())
                parameter.sub_(direction, alpha=sign * step)
        expected = (values[0] - values[1]) / (2 * step)
        assert (parameter.grad * direction).sum().item() == pytest.approx(expected, 1e-3), key


@every
@both
def test_float64(name, num_classes):
    for single, net in twins(name, num_classes):
        double = net.double().eval()
        single.eval()
        y = labels_of(4, num_classes)
        size = (4, single.z_dim) if hasattr(single, "z_dim") else (4, 3, 16, 16)
        x = torch.randn(size)
        got, expected = single(x, y), double(x.double(), y)
        if isinstance(got, Scores):
            got, expected = got.logits, expected.logits
        assert expected.dtype == torch.float64
        torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-4)


@every
@both
def test_inputs_and_state_are_left_alone_in_evaluation(name, num_classes):
    y = labels_of(4, num_classes)
    for net in build(name, num_classes=num_classes):
        net.eval()
        size = (4, net.z_dim) if hasattr(net, "z_dim") else (4, 3, 16, 16)
        x = torch.randn(size)
        kept, state = x.clone(), {k: v.clone() for k, v in net.state_dict().items()}
        net(x, y)
        assert torch.equal(x, kept)
        assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())


IMPOSSIBLE = [(3, 12, 12), (3, 16, 32), (3, 4, 4), (3, 2, 2), (0, 16, 16)]
POSSIBLE = ("pggan", (3, 4, 4))  # where progressive growing begins it may end


@pytest.mark.parametrize(
    ("name", "shape"),
    [(n, shape) for n in ARCHITECTURES for shape in IMPOSSIBLE if (n, shape) != POSSIBLE],
)
def test_shapes_that_cannot_be_built(name, shape):
    for kind in ARCHITECTURES[name]:
        with pytest.raises(ConfigError, match="image shape"):
            small(kind).build(shape, 0)


@every
@both
def test_channels_last_changes_no_result(name, num_classes):
    y = labels_of(4, num_classes)
    for plain, net in twins(name, num_classes):
        net = net.to(memory_format=torch.channels_last)
        size = (4, net.z_dim) if hasattr(net, "z_dim") else (4, 3, 16, 16)
        x = torch.randn(size)
        got, expected = net(x, y), plain(x, y)
        if isinstance(got, Scores):
            got, expected = got.logits, expected.logits
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
