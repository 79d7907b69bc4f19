"""Sizes, initializations and checks of the two architectures."""

import pytest
import torch
from torch import nn

from limner.core.errors import ConfigError
from limner.layers import SNConv2d, SNLinear
from limner.models import (
    DcganDiscriminator,
    DcganGenerator,
    ResidualDiscriminator,
    ResidualGenerator,
)


def count(net):
    return sum(p.numel() for p in net.parameters())


def on_meta(config, shape, num_classes):
    with torch.device("meta"):
        return config.build(shape, num_classes)


def test_counts_of_biggan_on_cifar():
    shape = (3, 32, 32)
    g = ResidualGenerator(width=64, z_dim=128, embedding_dim=0, multipliers=(4,))
    d = ResidualDiscriminator(width=64, multipliers=(4,), bottom=8, num_last_blocks=2)
    assert count(on_meta(g, shape, 10)) == 4_304_387
    assert count(on_meta(d, shape, 10)) == 4_207_361


def test_channels_follow_the_multipliers_from_the_image_down():
    g = on_meta(ResidualGenerator(width=2, multipliers=(1, 3, 5)), (3, 64, 64), 0)
    outs = [block.conv2.out_channels for block in g.blocks]
    assert g.blocks[0].conv1.in_channels == 10
    assert outs == [10, 10, 6, 2]
    d = on_meta(ResidualDiscriminator(width=2, multipliers=(1, 3, 5)), (3, 64, 64), 0)
    assert [d.first.conv2.out_channels] + [b.conv2.out_channels for b in d.blocks] == [
        2,
        6,
        10,
        10,
        10,
    ]
    g = on_meta(DcganGenerator(width=2, max_channels=6), (1, 64, 64), 0)
    assert [block.conv.out_channels for block in g.blocks] == [6, 6, 4, 2]
    d = on_meta(DcganDiscriminator(width=2, max_channels=6), (1, 64, 64), 0)
    assert [block.conv.out_channels for block in d.blocks] == [2, 4, 6, 6]


def test_discriminator_ends_at_the_bottom():
    d = ResidualDiscriminator(width=2, bottom=8, num_last_blocks=2).build((1, 32, 32), 0)
    h = d.first(torch.randn(1, 1, 32, 32))
    sizes = [h.shape[-1]]
    for block in d.blocks:
        h = block(h)
        sizes.append(h.shape[-1])
    assert sizes == [16, 8, 8, 8]
    with pytest.raises(ConfigError, match="resolution"):
        ResidualDiscriminator(bottom=8).build((1, 8, 8), 0)


@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize("shared", [0, 4])
def test_without_batch_norm_images_do_not_depend_on_their_batch(num_classes, shared):
    torch.manual_seed(0)
    y = torch.tensor([0, 1, 2, 1]) if num_classes else None
    z = torch.randn(4, 8)
    for norm, alike in (("none", True), ("batch", False)):
        config = ResidualGenerator(width=4, z_dim=8, embedding_dim=shared, norm=norm)
        g = config.build((1, 8, 8), num_classes)
        alone = g(z[:2], None if y is None else y[:2])
        assert torch.allclose(g(z, y)[:2], alone, atol=1e-5) == alike


def test_spectral_norm_stands_where_it_is_asked_for():
    shape = (1, 8, 8)
    kinds = (SNConv2d, SNLinear)

    def normed(config):
        return sum(isinstance(m, kinds) for m in config.build(shape, 3).modules())

    def weighted(config):
        return sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in config.build(shape, 3).modules())

    for config in (ResidualGenerator(spectral_norm=True), ResidualDiscriminator()):
        assert normed(config) == weighted(config) > 3
    assert normed(ResidualGenerator()) == 0
    assert normed(ResidualDiscriminator(spectral_norm=False)) == 0
    g = ResidualGenerator(spectral_norm=True).build(shape, 3)
    assert not hasattr(g.shared, "u0")  # BigGAN: the shared embedding is never normalized


def test_critic_with_spectral_norm_is_bounded_by_its_lipschitz_constant():
    """Huge weights change nothing once the vectors have settled: what a smoke run cannot see."""
    torch.manual_seed(0)
    d = ResidualDiscriminator(width=4).build((1, 8, 8), 0)
    x = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        for _ in range(100):
            before = d(x).logits
        for layer in d.modules():
            if isinstance(layer, (SNConv2d, SNLinear)):
                layer.weight.mul_(50.0)
        torch.testing.assert_close(d(x).logits, before, rtol=1e-4, atol=1e-4)


def test_residual_initializations():
    torch.manual_seed(0)
    net = ResidualGenerator(width=16, init="orthogonal").build((1, 16, 16), 3)
    rows = net.blocks[0].conv2.weight.flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), atol=1e-5, rtol=0)
    net = ResidualGenerator(width=16, init="normal").build((1, 16, 16), 3)
    assert net.blocks[0].conv2.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert net.blocks[0].conv2.bias.abs().max() == 0


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.0, 0.02)])
def test_dcgan_initialization(mean, std):
    torch.manual_seed(0)
    fields = {"width": 64, "norm_mean": mean, "norm_std": std}
    for config in (DcganGenerator(**fields), DcganDiscriminator(**fields)):
        net = config.build((3, 32, 32), 0)
        norms = torch.cat([m.weight for m in net.modules() if isinstance(m, nn.BatchNorm2d)])
        assert norms.mean().item() == pytest.approx(mean, abs=0.2 * std)
        assert norms.std().item() == pytest.approx(std, rel=0.15)
        assert net.output.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert net.output.bias.abs().max() == 0


def test_leaky_slope_is_used():
    torch.manual_seed(0)
    d = DcganDiscriminator(width=2, leaky_slope=0.3).build((1, 8, 8), 0)
    with torch.no_grad():
        d.blocks[0].conv.weight.zero_()
        d.blocks[0].conv.bias.fill_(-1.0)
    assert torch.equal(d.blocks[0](torch.zeros(1, 1, 8, 8)), torch.full((1, 2, 4, 4), -0.3))


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: ResidualGenerator(width=0), "width"),
        (lambda: ResidualGenerator(z_dim=0), "z_dim"),
        (lambda: ResidualGenerator(embedding_dim=-1), "embedding_dim"),
        (lambda: ResidualGenerator(multipliers=()), "multipliers"),
        (lambda: ResidualDiscriminator(multipliers=(1, 0)), "multipliers"),
        (lambda: ResidualDiscriminator(num_last_blocks=-1), "num_last_blocks"),
        (lambda: DcganGenerator(max_channels=0), "max_channels"),
        (lambda: DcganGenerator(norm_std=-1.0), "norm_std"),
        (lambda: DcganDiscriminator(leaky_slope=-0.1), "leaky_slope"),
    ],
)
def test_values_that_cannot_be_are_named(make, field):
    with pytest.raises(ConfigError, match=field):
        make()
