"""The BigGAN family: sizes of the published networks, choices of the configs, and their errors."""

import pytest
import torch
from torch import nn

from limner.core.errors import ConfigError, LimnerError
from limner.layers import ConditionalNorm2d, PlainNorm2d, SelfAttention2d, SNConv2d, SNLinear
from limner.models import (
    ARCHITECTURES,
    BigGanDeepDiscriminator,
    BigGanDeepGenerator,
    BigGanDiscriminator,
    BigGanGenerator,
    SaganDiscriminator,
    SaganGenerator,
    SnganDiscriminator,
    SnganGenerator,
)

FAMILY = ["sngan", "sagan", "biggan", "biggan-deep"]
PAPER = {"shared_dim": 128, "skip_z": True}

# Table A.2 of spec/reference-systems.md: resolution, classes, configs, numbers of parameters
COUNTS = {
    "64 ch64": (
        (64, 1000),
        (BigGanGenerator(z_dim=120, attention=(32,), **PAPER), 31_969_540),
        (BigGanDiscriminator(attention=(32,)), 20_571_842),
    ),
    "64 ch96": (
        (64, 1000),
        (BigGanGenerator(width=96, z_dim=120, attention=(32,), **PAPER), 70_377_348),
        (BigGanDiscriminator(width=96, attention=(32,)), 45_511_970),
    ),
    "128 ch64": (
        (128, 1000),
        (BigGanGenerator(z_dim=120, attention=(64,), **PAPER), 31_978_628),
        (BigGanDiscriminator(attention=(64,)), 39_448_258),
    ),
    "128 ch96": (
        (128, 1000),
        (BigGanGenerator(width=96, z_dim=120, attention=(64,), **PAPER), 70_433_988),
        (BigGanDiscriminator(width=96, attention=(64,)), 87_982_370),
    ),
    "256 ch96": (
        (256, 1000),
        (BigGanGenerator(width=96, z_dim=140, attention=(128,), **PAPER), 82_097_604),
        (BigGanDiscriminator(width=96, attention=(128,)), 99_191_330),
    ),
    "512 ch96": (
        (512, 1000),
        (BigGanGenerator(width=96, z_dim=128, attention=(64,), **PAPER), 82_296_804),
        None,
    ),
    "SAGAN 128": (
        (128, 1000),
        (SaganGenerator(), 42_017_412),
        (SaganDiscriminator(), 39_448_258),
    ),
    "SNGAN 128": (
        (128, 1000),
        (SnganGenerator(), 41_996_931),
        (SnganDiscriminator(), 30_005_013),
    ),
    "CIFAR-10": (
        (32, 10),
        (BigGanGenerator(), 4_304_387),
        (BigGanDiscriminator(), 4_207_361),
    ),
    "deep 128": (
        (128, 1000),
        (BigGanDeepGenerator(attention=(64,)), 50_244_484),
        (BigGanDeepDiscriminator(attention=(64,)), 34_590_210),
    ),
    "deep 256": (
        (256, 1000),
        (BigGanDeepGenerator(attention=(64,)), 55_736_708),
        (BigGanDeepDiscriminator(attention=(64,)), 38_247_426),
    ),
}


def count(net):
    return sum(p.numel() for p in net.parameters())


def on_meta(config, resolution, num_classes, channels=3):
    with torch.device("meta"):
        return config.build((channels, resolution, resolution), num_classes)


@pytest.mark.parametrize("name", COUNTS)
def test_numbers_of_parameters_are_the_published_ones(name):
    sizes, *players = COUNTS[name]
    got = [count(on_meta(player[0], *sizes)) for player in players if player]
    assert got == [player[1] for player in players if player]


def test_pair_for_512_pixels():
    """Issue 40 of BigGAN-PyTorch: channels 1 1 2 4 8 8 16 16, seven halvings."""
    d = on_meta(BigGanDiscriminator(width=96, attention=(64,)), 512, 1000)
    outs = [block.conv2.out_channels for block in (d.first, *d.blocks)]
    assert outs == [96 * m for m in (1, 1, 2, 4, 8, 8, 16, 16)]
    resamples = [block.conv2.resample for block in (d.first, *d.blocks)]
    assert resamples == ["down"] * 7 + ["none"]
    assert [b.attention is not None for b in (d.first, *d.blocks)].index(True) == 2
    g = BigGanGenerator(width=1, z_dim=8, multipliers=(1, 1, 1)).build((3, 512, 512), 0).eval()
    d = BigGanDiscriminator(width=1).build((3, 512, 512), 0).eval()
    with torch.no_grad():
        images = g(torch.randn(1, 8))
        assert images.shape == (1, 3, 512, 512)
        assert d(images).logits.isfinite().all()
    for config in (BigGanDeepGenerator(), BigGanDeepDiscriminator()):
        assert on_meta(config, 512, 1000)


def test_deep_networks_of_any_depth():
    for depth in (1, 2, 3, 5):
        g = BigGanDeepGenerator(width=2, z_dim=4, shared_dim=4, depth=depth).build((3, 16, 16), 3)
        d = BigGanDeepDiscriminator(width=2, depth=depth).build((3, 16, 16), 3)
        assert [len(g.blocks), len(d.blocks)] == [2 * depth, 2 * depth]
        y = torch.tensor([0, 2])
        images = g(torch.randn(2, 4), y)
        assert images.shape == (2, 3, 16, 16)
        assert d(images, y).logits.isfinite().all()


def test_deep_shortcuts_drop_channels_and_add_new_ones():
    """What a block adds to where its own convolutions put out nothing."""
    fields = {"width": 4, "multipliers": (1, 2), "depth": 1, "spectral_norm": False}
    up = BigGanDeepGenerator(**fields).build((3, 8, 8), 0).blocks[0]
    down = BigGanDeepDiscriminator(**fields).build((3, 8, 8), 0).blocks[0]
    for block in (up, down):
        nn.init.zeros_(block.conv4.weight)
    low, high, condition = torch.randn(2, 8, 4, 4), torch.randn(2, 4, 8, 8), torch.randn(2, 128)
    doubled = low[:, :4].repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(up(low, condition), doubled)
    halved = nn.functional.avg_pool2d(high, 2)
    out = down(high)
    torch.testing.assert_close(out[:, :4], halved)
    torch.testing.assert_close(out[:, 4:], nn.functional.conv2d(halved, down.shortcut.weight))


def attended(net):
    """Resolutions of the outputs after which attention stands, by watching a forward."""
    seen = []
    for layer in net.modules():
        if isinstance(layer, SelfAttention2d):
            layer.register_forward_hook(lambda _, args, out: seen.append(out.shape[-1]))
    return seen


@pytest.mark.parametrize("deep", [False, True])
def test_attention_at_several_resolutions(deep):
    kinds = (BigGanGenerator, BigGanDiscriminator)
    if deep:
        kinds = (BigGanDeepGenerator, BigGanDeepDiscriminator)
    g = kinds[0](width=8, z_dim=4, attention=(8, 32)).build((3, 32, 32), 0)
    d = kinds[1](width=8, attention=(8,), multipliers=(1,), bottom=4).build((3, 32, 32), 0)
    sizes = attended(g), attended(d)
    d(g(torch.randn(2, 4)))
    assert sizes == ([8, 32], [8])


def test_sagans_attention_stands_where_the_paper_has_it():
    for resolution, expected in ((128, 64), (256, 64), (32, 16), (16, 8)):
        for config in (SaganGenerator(multipliers=(1,)), SaganDiscriminator(multipliers=(1,))):
            net = on_meta(config, resolution, 0)
            blocks = list(net.blocks)
            if isinstance(config, SaganDiscriminator):
                blocks = [net.first, *blocks]
                sizes = [resolution >> (i + 1) for i in range(len(blocks))]
            else:
                sizes = [8 << i for i in range(len(blocks))]
            places = [s for s, b in zip(sizes, blocks, strict=True) if b.attention is not None]
            assert places == [expected]
    assert not attended(on_meta(SaganGenerator(attention=()), 32, 0))


def test_thin_and_wide_blocks():
    for wide, inner in ((False, [3, 2, 4]), (True, [2, 4, 8])):
        d = SnganDiscriminator(width=2, multipliers=(1, 2, 4), wide=wide).build((3, 16, 16), 0)
        assert [b.conv1.out_channels for b in (d.first, *d.blocks)] == inner


def test_latent_is_cut_in_order():
    """The first part goes to the first layer, then one to each block, behind the class vector."""
    config = BigGanGenerator(width=2, z_dim=6, shared_dim=3, skip_z=True, multipliers=(1,))
    g = config.build((1, 8, 8), 4).eval()
    z, y = torch.randn(2, 6), torch.tensor([1, 3])
    first, (condition,) = g.split(z, y)
    assert torch.equal(first, z[:, :3])
    assert torch.equal(condition, torch.cat([g.shared.weight[y], z[:, 3:]], 1))
    assert g.linear.in_features == 3
    without = config.build((1, 8, 8), 0).eval()
    assert torch.equal(without.split(z, None)[1][0], z[:, 3:])
    moved = z.clone()
    moved[:, 4] += 1
    assert not torch.equal(without(z), without(moved))


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("channels", [1, 5])
def test_unconditional_and_any_channels(name, channels):
    for kind in ARCHITECTURES[name]:
        net = kind(width=4).build((channels, 16, 16), 0)
        assert not any(isinstance(m, (ConditionalNorm2d, nn.Embedding)) for m in net.modules()) or (
            kind is BigGanDeepGenerator  # whose norms take the latent vector
        )
        assert net.num_classes == 0
    g, d = (kind(width=4).build((channels, 16, 16), 0) for kind in ARCHITECTURES[name])
    images = g(torch.randn(2, g.z_dim))
    assert images.shape == (2, channels, 16, 16)
    assert d(images).logits.shape == (2,)


@pytest.mark.parametrize("shared_dim", [0, 5])
def test_classes_between_two_classes(shared_dim):
    """Tables of each layer's own mix too, where BigGAN-PyTorch cuts the labels to integers."""
    g = BigGanGenerator(width=4, z_dim=4, shared_dim=shared_dim).build((1, 8, 8), 2).eval()
    z = torch.randn(1, 4).expand(5, 4)
    share = torch.linspace(0, 1, 5)
    with torch.no_grad():
        images = g(z, torch.stack([1 - share, share], 1))
        ends = g(z[:2], torch.tensor([0, 1]))
    torch.testing.assert_close(images[[0, -1]], ends)
    steps = (images[1:] - images[:-1]).abs().amax((1, 2, 3))
    assert (steps > 0.05 * (ends[1] - ends[0]).abs().max()).all()


@pytest.mark.parametrize("norm", ["instance", "group", "none"])
@pytest.mark.parametrize("kind", [BigGanGenerator, BigGanDeepGenerator])
@pytest.mark.parametrize("num_classes", [0, 3])
def test_norms_over_one_image_make_samples_independent(norm, kind, num_classes):
    torch.manual_seed(0)
    y = torch.tensor([0, 1, 2, 1]) if num_classes else None
    z = torch.randn(4, 8)
    fields = {"width": 4, "z_dim": 8, "channels_per_group": 4}
    for chosen, alike in ((norm, True), ("batch", False)):
        g = kind(norm=chosen, **fields).build((1, 8, 8), num_classes)
        g.eval()(z, y)
        g.train()
        stored = {k: v.clone() for k, v in g.state_dict().items()}
        together = g(z, y)[:2]
        g.load_state_dict(stored)
        assert torch.allclose(together, g(z[:2], None if y is None else y[:2]), atol=1e-5) == alike


def test_output_norms_epsilon():
    for given, expected in ((None, 1e-4), (1e-5, 1e-5)):
        config = BigGanGenerator(width=4, batch_norm_eps=1e-4, output_norm_eps=given)
        g = config.build((1, 8, 8), 2)
        assert g.output_norm.eps == expected
        assert {m.eps for m in g.modules() if isinstance(m, ConditionalNorm2d)} == {1e-4}
        assert isinstance(g.output_norm, PlainNorm2d)


def test_spectral_norm_stands_where_it_is_asked_for():
    kinds = (SNConv2d, SNLinear)

    def normed(config):
        return sum(isinstance(m, kinds) for m in config.build((1, 8, 8), 3).modules())

    def weighted(config):
        modules = config.build((1, 8, 8), 3).modules()
        return sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in modules)

    for name in FAMILY:
        for kind in ARCHITECTURES[name]:
            assert normed(kind(width=4)) == weighted(kind(width=4)) > 3
            assert normed(kind(width=4, spectral_norm=False)) == 0
    g = BigGanGenerator(width=4, shared_dim=4).build((1, 8, 8), 3)
    assert not hasattr(g.shared, "u0")  # BigGAN: the shared embedding is never normalized


def test_singular_values_and_iterations_reach_every_layer():
    for name in FAMILY:
        for kind in ARCHITECTURES[name]:
            net = kind(width=4, num_singular_values=2, num_iterations=3).build((1, 8, 8), 0)
            powers = {m.power for m in net.modules() if hasattr(m, "power")}
            assert {(p.num_values, p.num_iterations) for p in powers} == {(2, 3)}
            assert any(key.endswith("u1") for key in net.state_dict())


def test_initializations():
    def weight(**fields):
        torch.manual_seed(0)
        layer = BigGanGenerator(width=16, multipliers=(1,), **fields).build((1, 8, 8), 3).blocks[0]
        return layer.conv2.weight.flatten(1), layer.conv2.bias

    rows, bias = weight(init="orthogonal")
    torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), atol=1e-5, rtol=0)
    assert bias.abs().max() == 0
    rows, bias = weight(init="normal")
    assert rows.std().item() == pytest.approx(0.02, rel=0.05)
    bound = (6 / (2 * 16 * 9)) ** 0.5
    rows, bias = weight(init="xavier")
    assert rows.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert rows.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert bias.abs().max() == 0
    rows, bias = weight(init="none")
    assert bias.abs().max() > 0


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", FAMILY)
def test_latents_of_another_size_are_named(name):
    g = ARCHITECTURES[name][0](width=4, z_dim=6).build((1, 8, 8), 0)
    for z in (torch.randn(2, 5), torch.randn(6)):
        with pytest.raises(LimnerError, match=r"\[N, 6\]"):
            g(z)


@pytest.mark.parametrize(
    ("config", "resolution", "message"),
    [
        (BigGanGenerator(attention=(48,)), 32, "48 .* allowed: 8, 16, 32"),
        (BigGanGenerator(attention=(4,)), 32, "allowed: 8, 16, 32"),
        (BigGanDiscriminator(attention=(32,)), 32, "allowed: 8, 16"),
        (BigGanDeepGenerator(attention=(64,)), 32, "allowed: 8, 16, 32"),
        (BigGanDeepDiscriminator(attention=(64,)), 64, "allowed: 4, 8, 16, 32"),
        (SaganGenerator(attention=(7,)), 16, "allowed: 8, 16"),
        (BigGanGenerator(width=1, attention=(32,)), 32, "8 channels"),
        (BigGanGenerator(z_dim=122, **PAPER), 128, "120 or 126"),
        (BigGanGenerator(z_dim=3, **PAPER), 128, "nearest that can: 6"),
        (BigGanGenerator(), 1024, "8, 16, 32, 64, 128, 256, 512"),
        (BigGanDiscriminator(), 1024, "multipliers"),
        (BigGanDeepGenerator(multipliers=(4, 1)), 16, "must not shrink"),
        (BigGanDeepDiscriminator(multipliers=(4, 1)), 16, "must not shrink"),
        (BigGanGenerator(), 48, "4, 8, 16|8, 16, 32"),
    ],
)
def test_what_cannot_be_built_names_what_can(config, resolution, message):
    with pytest.raises(ConfigError, match=message):
        on_meta(config, resolution, 10)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: BigGanGenerator(skip_z=True), "shared_dim"),
        (lambda: BigGanGenerator(shared_dim=-1), "shared_dim"),
        (lambda: BigGanGenerator(num_singular_values=0), "num_singular_values"),
        (lambda: BigGanDiscriminator(num_iterations=0), "num_iterations"),
        (lambda: BigGanGenerator(batch_norm_eps=0.0), "batch_norm_eps"),
        (lambda: BigGanGenerator(output_norm_eps=-1.0), "output_norm_eps"),
        (lambda: BigGanGenerator(channels_per_group=0), "channels_per_group"),
        (lambda: BigGanDeepGenerator(depth=0), "depth"),
        (lambda: BigGanDeepDiscriminator(depth=65), "depth"),
        (lambda: BigGanDiscriminator(bottom=0), "bottom"),
        (lambda: SaganGenerator(width=0), "width"),
        (lambda: SnganGenerator(z_dim=0), "z_dim"),
        (lambda: SnganDiscriminator(spectral_norm_eps=0.0), "spectral_norm_eps"),
    ],
)
def test_values_that_cannot_be_are_named(make, field):
    with pytest.raises(ConfigError, match=field):
        make()


@pytest.mark.parametrize("name", FAMILY)
def test_lower_precision_keeps_norms_and_answers_in_single(name):
    torch.manual_seed(0)
    g, d = (kind(width=4).build((3, 16, 16), 3) for kind in ARCHITECTURES[name])
    z, y = torch.randn(4, g.z_dim), torch.tensor([0, 1, 2, 0])
    exact = d.eval()(g.eval()(z, y), y).logits
    with torch.autocast("cpu", torch.bfloat16):
        images = g(z, y)
        logits = d(images, y).logits
    assert images.dtype == logits.dtype == torch.float32
    torch.testing.assert_close(logits, exact, rtol=0.1, atol=0.1)
    g.train(), d.train()
    with torch.autocast("cpu", torch.bfloat16):
        d(g(z, y), y).logits.mean().backward()
    for net in (g, d):
        assert all(p.grad.isfinite().all() for p in net.parameters())
        assert all(b.dtype != torch.bfloat16 for b in net.buffers())
