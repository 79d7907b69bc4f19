"""StyleGAN2 beyond what every architecture keeps: styles, noise, precision, labels, freezing."""

import pytest
import torch

from limner.checkpoints.filling import refill
from limner.core.errors import ConfigError, LimnerError
from limner.core.protocols import StyleGenerator
from limner.engine.frozen import frozen_parameters
from limner.layers.mapping import StyleLinear
from limner.models import StyleGan2Discriminator, StyleGan2Generator

SMALL = {"channel_max": 8}
ARCHITECTURES = ("skip", "resnet", "orig")


def generator(shape=(3, 16, 16), num_classes=0, noisy=True, **fields):
    torch.manual_seed(0)
    sizes = {"z_dim": 6, "w_dim": 5, "num_mapping": 2, **SMALL}
    g = StyleGan2Generator(**{**sizes, **fields}).build(shape, num_classes)
    if noisy:
        with torch.no_grad():
            for name, parameter in g.named_parameters():
                if name.endswith("noise_strength"):
                    parameter.fill_(0.3)
    return g


def discriminator(shape=(3, 16, 16), num_classes=0, **fields):
    torch.manual_seed(1)
    return StyleGan2Discriminator(**{**SMALL, **fields}).build(shape, num_classes)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 16, 16), (5, 32, 32)])
def test_layers_of_a_resolution(architecture, shape):
    g = generator(shape, architecture=architecture)
    assert isinstance(g, StyleGenerator)
    doublings = shape[1].bit_length() - 3
    styles = g.mapping(torch.randn(3, 6))
    assert styles.shape == (3, 2 * doublings + 2, 5)
    images = g.synthesis(styles)
    assert images.shape == (3, *shape)
    assert discriminator(shape, architecture=architecture)(images).logits.shape == (3,)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_style_is_read_where_it_stands(architecture):
    g = generator(architecture=architecture).eval()
    styles = g.mapping(torch.randn(2, 6)).detach().requires_grad_()
    image = g.synthesis(styles, noise="none")
    (gradient,) = torch.autograd.grad(image.square().sum(), styles)
    assert (gradient.flatten(2).abs().sum((0, 2)) > 0).all()


def test_images_do_not_depend_on_their_batch():
    g, z = generator().eval(), torch.randn(4, 6)
    with torch.no_grad():
        whole = g(z, noise="const")
        torch.testing.assert_close(g(z[2:3], noise="const"), whole[2:3], rtol=1e-4, atol=1e-5)


def test_kinds_of_noise():
    g, styles = generator().eval(), None
    with torch.no_grad():
        styles = g.mapping(torch.randn(2, 6))
        torch.manual_seed(3)
        first, again = g.synthesis(styles), g.synthesis(styles)
        torch.manual_seed(3)
        assert torch.equal(g.synthesis(styles), first)
        assert not torch.equal(first, again)
        fixed = g.synthesis(styles, noise="const")
        assert torch.equal(fixed, g.synthesis(styles, noise="const"))
        assert not torch.equal(fixed, g.synthesis(styles, noise="none"))
        shapes = []
        g.synthesis(styles, noise=lambda shape: shapes.append(shape) or torch.zeros(shape))
    assert shapes == [(2, 1, 4, 4), *[(2, 1, 8, 8)] * 2, *[(2, 1, 16, 16)] * 2]
    bare = generator(noisy=False, noise=False).eval()
    assert not any("noise" in name for name in bare.state_dict())
    assert torch.equal(bare.synthesis(styles), bare.synthesis(styles))


def test_the_clamp_is_part_of_the_function():
    z, x = torch.randn(4, 6), torch.randn(4, 3, 16, 16)
    for bound in (0.1, 256.0):
        g, d = generator(clamp=bound).eval(), discriminator(clamp=bound).eval()
        free_g, free_d = generator(clamp=None).eval(), discriminator(clamp=None).eval()
        same = bound > 1
        assert torch.equal(g(z, noise="const"), free_g(z, noise="const")) == same
        assert torch.equal(d(x).logits, free_d(x).logits) == same


def test_bfloat16_leaves_the_mapping_image_and_end_in_single_precision():
    g, d = generator(num_classes=2).eval(), discriminator(num_classes=2).eval()
    z, y, found = torch.randn(4, 6), torch.tensor([0, 1, 0, 1]), {}

    def note(name):
        return lambda module, inputs, output: found.__setitem__(name, output)

    for network, name in ((g, "g"), (d, "d")):
        for path, layer in network.named_modules():
            layer.register_forward_hook(note(f"{name}.{path}"))
    with torch.no_grad():
        exact = g(z, y, noise="const")
        expected = d(exact, y).logits
        with torch.autocast("cpu", torch.bfloat16):
            images = g(z, y, noise="const")
            logits = d(images, y).logits
    assert images.dtype == logits.dtype == torch.float32
    for name in ("g.mapper", "g.blocks.16.conv0.affine", "g.blocks.4.conv1", "d.final.conv"):
        assert found[name].dtype == torch.float32, name
    assert found["g.blocks.16"][1].dtype == found["d.mapper"].dtype == torch.float32
    for name in ("g.blocks.16.conv0", "g.blocks.8.conv1", "d.blocks.16.conv1", "d.blocks.8.skip"):
        assert found[name].dtype == torch.bfloat16, name
    torch.testing.assert_close(images, exact, rtol=0.05, atol=0.1)
    torch.testing.assert_close(logits, expected, rtol=0.1, atol=0.1)


def test_a_rate_of_its_own_changes_no_first_output():
    x = torch.randn(3, 7)
    torch.manual_seed(0)
    slow = StyleLinear(7, 4, leaky=True, rate=0.01)
    torch.manual_seed(0)
    plain = StyleLinear(7, 4, leaky=True)
    torch.testing.assert_close(slow(x), plain(x))
    assert slow.weight.std() > 50


@pytest.mark.parametrize("labels", ["integers", "rows", "soft"])
def test_labels(labels):
    g, d = generator(num_classes=3).eval(), discriminator(num_classes=3).eval()
    y = {
        "integers": torch.tensor([0, 2]),
        "rows": torch.eye(3)[[0, 2]],
        "soft": torch.tensor([[0.2, 3.0, -1.0], [0.0, 0.5, 0.5]]),
    }[labels]
    images = g(torch.randn(2, 6), y, noise="none")
    assert d(images, y).logits.isfinite().all()
    with pytest.raises(LimnerError, match="built for 3 classes: pass labels y"):
        g(torch.randn(2, 6))
    with pytest.raises(LimnerError, match="built for 3 classes: pass labels y"):
        d(images)


def test_what_cannot_be_built():
    with pytest.raises(ConfigError, match="square images of 8, 16, 32"):
        generator((3, 24, 24))
    with pytest.raises(
        ConfigError, match="channel_base: 8 leaves no channel at 16 pixels; give 16"
    ):
        discriminator(channel_base=8)
    with pytest.raises(ConfigError, match="features: 3 must divide the 8 channels"):
        discriminator(features=3)


@pytest.mark.parametrize("num_classes", [0, 5])
def test_other_classes_make_anew_what_belongs_to_them(num_classes):
    for build, names in (
        (generator, {"mapper.embed", "mapper.layers.0"}),
        (discriminator, {"mapper", "final.output"}),
    ):
        old, new = build(num_classes=3), build(num_classes=num_classes)
        anew = refill(new, old.state_dict(), old, "there", bool(num_classes))
        if num_classes:
            assert [each.name for each in anew] == ["mapper.embed.weight"]
        else:
            assert all(each.name.startswith(tuple(names)) for each in anew)
        changed = {each.name for each in anew}
        for name, value in new.state_dict().items():
            assert name in changed or torch.equal(value, old.state_dict()[name]), name


def test_the_first_layers_of_the_discriminator_freeze_by_name():
    """The original numbers four of the first block and three of each other one."""
    d = discriminator()
    order = list(d.freeze_order)
    block = ["conv0", "conv1", "skip"]
    assert order == [
        *(f"blocks.16.{layer}" for layer in ("from_image", *block)),
        *(f"blocks.8.{layer}" for layer in block),
    ]
    frozen = frozen_parameters(
        ["discriminator.blocks.16", "discriminator.blocks.8.conv0"], {"d": d, "g": generator()}
    )
    names = {name for name, p in d.named_parameters() if any(p is each for each in frozen)}
    expected = [f"{layer}.{leaf}" for layer in order[:5] for leaf in ("weight", "bias")]
    assert names == set(expected) - {"blocks.16.skip.bias"}
