"""Sizes, initializations and checks of the architectures."""

import pytest
import torch
from torch import nn

from limner.core.errors import ConfigError
from limner.layers import SNConv2d, SNLinear
from limner.models import (
    BigGanDiscriminator,
    BigGanGenerator,
    DcganDiscriminator,
    DcganGenerator,
)


def count(net):
    return sum(p.numel() for p in net.parameters())


def on_meta(config, shape, num_classes):
    with torch.device("meta"):
        return config.build(shape, num_classes)


def test_channels_follow_the_multipliers_from_the_image_down():
    g = on_meta(BigGanGenerator(width=2, multipliers=(1, 3, 5)), (3, 64, 64), 0)
    outs = [block.conv2.out_channels for block in g.blocks]
    assert g.blocks[0].conv1.in_channels == 10
    assert outs == [10, 10, 6, 2]
    d = on_meta(BigGanDiscriminator(width=2, multipliers=(1, 3, 5)), (3, 64, 64), 0)
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
    d = BigGanDiscriminator(width=2, bottom=8, num_last_blocks=2).build((1, 32, 32), 0)
    h = d.first(torch.randn(1, 1, 32, 32))
    sizes = [h.shape[-1]]
    for block in d.blocks:
        h = block(h)
        sizes.append(h.shape[-1])
    assert sizes == [16, 8, 8, 8]
    with pytest.raises(ConfigError, match="resolution"):
        BigGanDiscriminator(bottom=8).build((1, 8, 8), 0)


def test_critic_with_spectral_norm_is_bounded_by_its_lipschitz_constant():
    """Huge weights change nothing once the vectors have settled: what a smoke run cannot see."""
    torch.manual_seed(0)
    d = BigGanDiscriminator(width=4, multipliers=(1, 2, 4)).build((1, 8, 8), 0)
    x = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        for _ in range(100):
            before = d(x).logits
        for layer in d.modules():
            if isinstance(layer, (SNConv2d, SNLinear)):
                layer.weight.mul_(50.0)
        torch.testing.assert_close(d(x).logits, before, rtol=1e-4, atol=1e-4)


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
        (lambda: BigGanGenerator(width=0), "width"),
        (lambda: BigGanGenerator(z_dim=0), "z_dim"),
        (lambda: BigGanDiscriminator(multipliers=(1, 0)), "multipliers"),
        (lambda: BigGanDiscriminator(num_last_blocks=-1), "num_last_blocks"),
        (lambda: DcganGenerator(max_channels=0), "max_channels"),
        (lambda: DcganGenerator(norm_std=-1.0), "norm_std"),
        (lambda: DcganDiscriminator(leaky_slope=-0.1), "leaky_slope"),
    ],
)
def test_values_that_cannot_be_are_named(make, field):
    with pytest.raises(ConfigError, match=field):
        make()
