"""A prepared network computes what the network does, and is dropped when the network changes."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

from limner.core.protocols import StyleGenerator
from limner.layers import BINOMIAL, ClassTable, ConditionalNorm2d, SNConv2d, SNLinear
from limner.layers.equalized import EqualizedConv2d, FilterConv2d
from limner.layers.prepared import prepared
from limner.layers.resampling import ResampleConv2d
from limner.layers.spectral_norm import SNEmbedding, SNStridedConv2d
from limner.models import (
    BigGanDeepGenerator,
    BigGanGenerator,
    DcganGenerator,
    FastGanGenerator,
    PgganGenerator,
    R3ganGenerator,
    StyleGan2Generator,
    StyleGan3Generator,
)

NUM_CLASSES, SHAPE = 3, (3, 16, 16)
GENERATORS = {
    "biggan": BigGanGenerator(width=4, shared_dim=5, attention=(16,)),
    "biggan, own tables": BigGanGenerator(width=4, norm="moments"),
    "biggan, skip_z": BigGanGenerator(width=4, z_dim=12, shared_dim=5, skip_z=True),
    "biggan, groups": BigGanGenerator(width=4, norm="group", channels_per_group=2),
    "biggan, no norm": BigGanGenerator(width=4, norm="none"),
    "biggan-deep": BigGanDeepGenerator(width=8, norm="cross_replica"),
    "dcgan": DcganGenerator(width=4),
    "pggan": PgganGenerator(fmap_max=4),
    "pggan, fused": PgganGenerator(fmap_max=4, fused_scale=True),
    "stylegan2": StyleGan2Generator(channel_max=4, w_dim=8, z_dim=8),
    "stylegan2, resnet": StyleGan2Generator(channel_max=4, architecture="resnet", clamp=0.5),
    "stylegan3": StyleGan3Generator(channel_max=4, w_dim=8, z_dim=8, num_layers=4),
    "stylegan3, r": StyleGan3Generator(
        channel_max=4, w_dim=8, z_dim=8, num_layers=4, kernel=1, radial=True, clamp=0.5
    ),
    "r3gan": R3ganGenerator(widths=(4,)),
    "fastgan": FastGanGenerator(width=4),
}


def moved(config, num_classes=NUM_CLASSES):
    """A generator whose weights and statistics are not those that it begins with."""
    torch.manual_seed(0)
    generator = config.build(SHAPE, num_classes)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for _ in range(3):
            images(generator.train(), num_classes)
    return generator


def images(generator, num_classes=NUM_CLASSES):
    draw = torch.Generator().manual_seed(1)
    like = next(generator.parameters())
    z = torch.randn(5, generator.z_dim, generator=draw).to(like)
    y = torch.rand(5, num_classes, generator=draw) if num_classes else None
    y = y if y is None else y.to(like)
    torch.manual_seed(2)  # of the noise
    return generator(z, y)


@pytest.mark.parametrize("num_classes", [0, NUM_CLASSES], ids=["unconditional", "classes"])
@pytest.mark.parametrize("name", GENERATORS)
@torch.no_grad()
def test_it_computes_the_same(name, num_classes):
    generator = moved(GENERATORS[name], num_classes).double()
    before = copy.deepcopy(generator.state_dict())
    modes = [module.training for module in generator.modules()]
    got = images(prepared(generator), num_classes)
    assert [module.training for module in generator.modules()] == modes
    for key, value in generator.state_dict().items():
        assert torch.equal(value, before[key]), key
    expected = images(generator.eval(), num_classes)
    assert expected.std() > 1e-3
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    single = images(prepared(generator.float()), num_classes)
    bound = 1e-5 * float(expected.abs().max())
    torch.testing.assert_close(single, expected.float(), rtol=1e-5, atol=bound)


LAYERS = {
    "doubling": lambda: ResampleConv2d(2, 3, 3, resample="up"),
    "halving": lambda: ResampleConv2d(2, 3, 3, resample="down"),
    "1x1": lambda: ResampleConv2d(2, 3, 1, resample="up"),
    "spectral": lambda: SNConv2d(2, 3, 3, False, "up"),
    "strided": lambda: SNStridedConv2d(2, 4, 3, stride=2, groups=2),
    "equalized": lambda: EqualizedConv2d(2, 3, 3, resample="down"),
    "filter": lambda: FilterConv2d(2, 3, 3, "up", BINOMIAL, clamp=1.0),
}


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_layers_are_prepared(name):
    layer = LAYERS[name]().eval()
    x = torch.randn(2, 2, 8, 8)
    ready = prepared(layer)
    torch.testing.assert_close(ready(x), layer(x), rtol=1e-5, atol=1e-6)
    layer.weight.mul_(2.0)
    torch.testing.assert_close(prepared(layer)(x), layer(x), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_a_norm_on_a_table_and_on_a_linear_layer():
    x = torch.randn(4, 6, 3, 3)
    for norm, condition in (
        (ConditionalNorm2d(6, ClassTable(5, 6), SNEmbedding(5, 6)), torch.tensor([0, 1, 4, 4])),
        (ConditionalNorm2d(6, SNLinear(2, 6, False), SNLinear(2, 6, False)), torch.randn(4, 2)),
        (ConditionalNorm2d(6, nn.Linear(2, 6), nn.Linear(2, 6)), torch.randn(4, 2)),  # with biases
    ):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
        norm.eval()
        got = prepared(norm)(x, condition)
        torch.testing.assert_close(got, norm(x, condition), rtol=1e-5, atol=1e-5)


# --- what changes ------------------------------------------------------------------------


def test_it_is_kept_until_a_weight_changes():
    generator = moved(GENERATORS["biggan"])
    first = prepared(generator)
    assert prepared(generator) is first
    generator.eval()
    assert prepared(generator) is first
    optimizer = torch.optim.Adam(generator.parameters())
    images(generator).sum().backward()
    optimizer.step()
    second = prepared(generator)
    assert second is not first
    assert not torch.allclose(images(first), images(second))
    torch.testing.assert_close(images(second), images(generator), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        lambda g: g.output_norm.running_mean.add_(1.0),
        lambda g: g.load_state_dict({k: v + v for k, v in g.state_dict().items()}),
        lambda g: g.double(),
        lambda g: setattr(g.output.weight, "data", torch.ones_like(g.output.weight)),
        lambda g: setattr(g.output_norm, "eps", 0.5),
        lambda g: setattr(g, "output", nn.Identity()),
    ],
    ids=["buffer", "state", "type", "data", "number", "layer"],
)
def test_whatever_changes_makes_another(change):
    generator = moved(GENERATORS["biggan"]).eval()
    first = prepared(generator)
    with torch.no_grad():
        change(generator)
    assert prepared(generator) is not first


@torch.no_grad()
def test_a_level_of_detail_is_followed():
    generator = moved(GENERATORS["pggan"], 0).eval()
    for lod in (0.0, 0.5, 1.0):
        generator.lod = lod
        got = images(prepared(generator), 0)
        torch.testing.assert_close(got, images(generator, 0), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_layer_that_somebody_listens_to_is_as_it_is():
    generator = moved(GENERATORS["biggan"]).eval()
    prepared(generator)
    seen = []
    conv = generator.blocks[0].conv1
    conv.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    images(prepared(generator))
    assert seen == [(5, *seen[0][1:])]


@torch.no_grad()
def test_statistics_stand_in_for_the_networks_own():
    generator = moved(GENERATORS["biggan"]).eval()
    names = [name for name, _ in generator.named_buffers() if "running" in name]
    statistics = {name: 1.0 + torch.rand_like(generator.get_buffer(name)) for name in names}
    own = copy.deepcopy(generator.state_dict())
    got = images(prepared(generator, statistics))
    for key, value in generator.state_dict().items():
        assert torch.equal(value, own[key])
    assert not torch.allclose(got, images(prepared(generator)))
    generator.load_state_dict(own | statistics)
    torch.testing.assert_close(got, images(generator), rtol=1e-5, atol=1e-5)


def test_styles_can_be_fine_tuned_through_it():
    generator = moved(GENERATORS["stylegan2"]).eval().requires_grad_(False)
    with torch.inference_mode():
        ready = prepared(generator)
    assert isinstance(ready, StyleGenerator)
    w = torch.randn(1, generator.num_styles, 8, requires_grad=True)
    ready.synthesis(w, noise="const").square().sum().backward()
    assert w.grad.abs().sum() > 0


def test_it_goes_with_its_network():
    generator = moved(GENERATORS["biggan"])
    gone = weakref.ref(prepared(generator))
    del generator
    gc.collect()
    assert gone() is None
