"""Convolutions by weights sorted once give the images that they give without, in both precisions."""

import pytest
import torch
from test_prepared import GENERATORS, NUM_CLASSES, SHAPE, moved
from torch.utils._python_dispatch import TorchDispatchMode

from limner.api.recipes import read_recipe
from limner.api.samples import SampleOptions, save_samples
from limner.checkpoints import ModelConfig
from limner.core.errors import LimnerError
from limner.layers import rounding
from limner.layers.prepared import prepared
from limner.sampling import Model, generate
from limner.sampling.looks import Look, pictures

SEEDS = range(3)


def of(generator, **options):
    """Images in the mode of a look, latents and labels fixed."""
    z, y = inputs(generator)
    return generate(generator, z, y, look=Look(**options))


def inputs(generator):
    draw = torch.Generator().manual_seed(1)
    z = torch.randn(len(SEEDS), generator.z_dim, generator=draw)
    return z, torch.rand(len(SEEDS), NUM_CLASSES, generator=draw)


def rms(x):
    return x.square().mean().sqrt()


@torch.inference_mode()
def unsorted(generator):
    return pictures(prepared(generator), *inputs(generator), Look(), SEEDS)


@pytest.mark.parametrize("name", GENERATORS)
def test_images_are_the_same(name):
    generator = moved(GENERATORS[name])
    expected = unsorted(generator)
    most = expected.abs().max()
    assert (of(generator) - expected).abs().max() <= 1e-5 * most
    rounded = of(generator, precision="bfloat16")
    assert 0 < rms(rounded - expected) <= 0.06 * rms(expected)


class Products(TorchDispatchMode):
    """Dtypes of weights of convolutions and of matrices that are multiplied."""

    def __init__(self):
        super().__init__()
        self.dtypes = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(word in str(func) for word in ("convolution", "mm.")):
            self.dtypes |= {each.dtype for each in args[:2]}
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["biggan", "stylegan2", "r3gan"])
def test_without_units_products_of_rounded_numbers_are_taken_in_float32(name, monkeypatch):
    """torch's own bfloat16 took 23 times as long as float32 there (BigGAN-deep on AVX2)."""
    generator = moved(GENERATORS[name])
    with torch.autocast("cpu", torch.bfloat16):
        expected = unsorted(generator)
    monkeypatch.setattr(rounding, "cpu_has_bfloat16", lambda: False)
    with Products() as products:
        found = of(generator, precision="bfloat16")
    assert products.dtypes == {torch.float32}
    assert rms(found - expected) <= 0.03 * rms(expected)


def test_weights_are_sorted_once_and_again_after_a_change(monkeypatch):
    calls = []
    packet = torch.ops.mkldnn._reorder_convolution_weight

    def counted(*args):
        calls.append(1)
        return packet(*args)

    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_convolution_weight", counted)
    generator = moved(GENERATORS["dcgan"])
    plain = moved(GENERATORS["biggan"])
    of(plain), of(plain)
    once = len(calls)
    assert once > 0
    with torch.no_grad():
        next(plain.blocks[0].conv2.parameters()).mul_(1.5)
    expected = unsorted(plain)
    torch.testing.assert_close(of(plain), expected, rtol=1e-5, atol=1e-5)
    assert len(calls) == 2 * once
    of(generator)


class Odd(torch.nn.Module):
    """A network of a user's own, whose convolutions are called in other ways."""

    z_dim = 4

    def __init__(self):
        super().__init__()
        self.same = torch.nn.Conv2d(1, 2, 3, padding="same")
        self.weight = torch.nn.Parameter(torch.randn(1, 2, 3, 3))

    def forward(self, z, y=None):
        h = self.same(z.view(-1, 1, 2, 2))
        h = torch.nn.functional.conv2d(input=h, weight=self.weight, padding=1)
        alone = [
            torch.nn.functional.conv2d(x, self.weight, padding=1) for x in h.repeat(1, 2, 1, 1)
        ]
        return h + torch.stack(alone)


def test_convolutions_called_in_other_ways():
    net, z = Odd().eval(), torch.randn(3, 4)
    torch.testing.assert_close(generate(net, z), net(z).detach())


def test_double_precision_stays_as_it_is():
    generator = moved(GENERATORS["biggan"]).double()
    with torch.inference_mode():
        z, y = (value.double() for value in inputs(generator))
        expected = pictures(prepared(generator), z, y, Look(), SEEDS).float()
    assert of(generator).equal(expected)


@pytest.fixture
def model():
    config = ModelConfig(generator=GENERATORS["biggan"], image_shape=SHAPE, num_classes=NUM_CLASSES)
    return Model(config, moved(config.generator).eval())


def test_a_picture_says_its_precision(model, tmp_path):
    options = SampleOptions(seed=3, precision="bfloat16")
    save_samples(model, tmp_path / "rounded.png", options)
    save_samples(model, tmp_path / "plain.png", SampleOptions(seed=3))
    assert read_recipe(tmp_path / "rounded.png").options.precision == "bfloat16"
    assert read_recipe(tmp_path / "plain.png").options.precision is None


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_precision_is_told(model):
    with pytest.raises(LimnerError, match=r"precision 'bfloat61' is unknown.*bfloat16"):
        model.sample(precision="bfloat61")
