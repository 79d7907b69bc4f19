"""Progressive growing's networks beyond the original's numbers: sizes, levels, precision."""

import copy

import pytest
import torch
from torch import Tensor

from limner.checkpoints.filling import refill
from limner.core.errors import ConfigError, LimnerError
from limner.engine import Update
from limner.engine.controllers.ema import average
from limner.engine.precision import Forwards
from limner.engine.trainer import Trainer
from limner.layers import EqualizedConv2d, EqualizedLinear, pixel_norm, rounding
from limner.models import PgganDiscriminator, PgganGenerator
from limner.objectives import (
    AuxiliaryClassifierD,
    AuxiliaryClassifierG,
    Drift,
    GradientPenalty,
    Memory,
    WassersteinD,
    WassersteinG,
)
from toys import toy_config

SIZES = {
    32: (20_719_628, 20_726_785),
    64: (22_490_383, 22_498_049),
    128: (22_933_394, 22_941_313),
    256: (23_044_309, 23_052_353),
    512: (23_072_120, 23_080_225),
    1024: (23_079_115, 23_087_249),
}
CPU = torch.device("cpu")


def pair(shape=(3, 32, 32), num_classes=0, lod=0.0, seed=0, **more):
    torch.manual_seed(seed)
    sizes = {"fmap_base": 128, "fmap_max": 6, **more}
    networks = [
        kind(**sizes).build(shape, num_classes) for kind in (PgganGenerator, PgganDiscriminator)
    ]
    for net in networks:
        net.lod = lod
    return networks


def called(network, *inputs):
    """Names of the convolutions and dense layers that a forward uses, in order."""
    names, hooks = [], []
    for name, layer in network.named_modules():
        if isinstance(layer, (EqualizedConv2d, EqualizedLinear)):
            hooks.append(layer.register_forward_hook(lambda *_, name=name: names.append(name)))
    with torch.no_grad():
        network(*inputs)
    for hook in hooks:
        hook.remove()
    return names


@pytest.mark.parametrize("resolution", SIZES)
def test_numbers_of_parameters(resolution):
    with torch.device("meta"):
        networks = [
            kind().build((3, resolution, resolution), 0)
            for kind in (PgganGenerator, PgganDiscriminator)
        ]
    counts = tuple(sum(p.numel() for p in net.parameters()) for net in networks)
    assert counts == SIZES[resolution]


@pytest.mark.parametrize("lod", [0, 0.5, 1, 1.3, 2, 2.01, 3])
def test_only_levels_at_work_are_computed(lod):
    g, d = pair(lod=lod)
    top, faded = 3 - int(lod), lod != int(lod)
    blocks = [f"blocks.{i}.{conv}" for i in range(1, top + 1) for conv in ("conv1", "conv2")]
    images = [f"puts.{top}", *([f"puts.{top - 1}"] if faded else [])]
    expected = ["blocks.0.linear", "blocks.0.conv", *blocks, *(f"out{i}" for i in images)]
    assert called(g, torch.randn(2, 6)) == expected
    down = ["output", "blocks.0.conv", "blocks.0.linear", *blocks, *(f"in{i}" for i in images)]
    assert sorted(called(d, torch.randn(2, 3, 32, 32))) == sorted(down)


def test_parameters_of_other_levels_get_no_gradient():
    g, d = pair(lod=1.5)
    d(g(torch.randn(4, 6))).logits.sum().backward()
    for net, image in ((g, "outputs"), (d, "inputs")):
        idle = {key for key, p in net.named_parameters() if p.grad is None}
        own = [f"{image}.0", f"{image}.3", "blocks.3.conv1", "blocks.3.conv2"]
        assert idle == {f"{layer}.{leaf}" for layer in own for leaf in ("weight", "bias")}


@pytest.mark.parametrize("resolution", [4 << i for i in range(9)])
def test_every_power_of_two_at_its_first_and_last_level(resolution):
    g, d = pair((1, resolution, resolution), 2, fmap_base=2048, fmap_max=2)
    assert g.num_levels == d.num_levels == resolution.bit_length() - 2
    y = torch.tensor([0, 1])
    for lod in {0 if resolution <= 128 else 1, g.num_levels - 1}:
        g.lod = d.lod = lod
        with torch.no_grad():
            images = g(torch.randn(2, 2), y)
            assert images.shape == (2, 1, resolution, resolution)
            assert d(images).class_logits.shape == (2, 2)


@pytest.mark.parametrize(
    ("shape", "base"), [((5, 128, 192), (4, 6)), ((2, 9, 3), (9, 3)), ((1, 10, 40), (5, 20))]
)
def test_any_base_and_number_of_channels(shape, base):
    g, d = pair(shape, 3, base=base, fmap_base=512)
    y = torch.tensor([0, 2])
    assert g.num_levels == (shape[1] // base[0]).bit_length()
    for lod in (0.0, 0.75, g.num_levels - 1.0):
        g.lod = d.lod = min(lod, g.num_levels - 1.0)
        images = g(torch.randn(2, 6), y)
        assert images.shape == (2, *shape)
        assert d(images).logits.shape == (2,)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((12, 12), r"nearest is 16x16; .* base of both networks to \[6, 6\]"),
        ((100, 100), r"reaches 4x4, 8x8, 16x16, 32x32 ..., the nearest is 128x128"),
        ((16, 24), r"base of both networks to \[4, 6\]"),
        ((2, 2), "nearest is 4x4"),
        ((20, 10), r"nearest is 16x16; .* base of both networks to \[10, 5\]"),
        ((31, 32), "nearest is 32x32; set data.resolution to one of them, such as 32$"),
    ],
)
def test_sizes_out_of_reach_name_the_nearest(size, message):
    for kind in (PgganGenerator, PgganDiscriminator):
        with pytest.raises(ConfigError, match=message):
            kind().build((3, *size), 0)


@pytest.mark.parametrize("lod", [1, 2, 3])
def test_growing_has_no_steps(lod):
    """Just before a level is at work alone it is what it was just after: both sides of a lod."""
    g, d = pair(lod=lod)
    z, x = torch.randn(4, 6), torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        image, scores = g(z), d(x).logits
        g.lod = d.lod = lod - 1e-6
        torch.testing.assert_close(g(z), image, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(d(x).logits, scores, rtol=1e-4, atol=1e-4)
        g.lod = lod - 0.5
        assert not torch.allclose(g(z), image, atol=1e-2)


def test_pixels_of_what_has_not_grown():
    g, d = pair(lod=2)
    with torch.no_grad():
        image = g(torch.randn(2, 6))
        small = image[:, :, ::4, ::4]
        assert torch.equal(image, small.repeat_interleave(4, 2).repeat_interleave(4, 3))
        noise = torch.randn_like(image)
        noise -= torch.nn.functional.interpolate(
            torch.nn.functional.avg_pool2d(noise, 4), scale_factor=4.0
        )
        torch.testing.assert_close(d(image + noise).logits, d(image).logits)


# --- the level of detail ------------------------------------------------------


def test_lod_is_saved_loaded_copied_and_averaged():
    g, other = pair(lod=1.3)[0], pair(seed=1)[0]
    assert g.state_dict()["lod"].item() == g.lod == pytest.approx(1.3, abs=1e-6)
    other.load_state_dict(g.state_dict())
    assert other.lod == g.lod
    twin = copy.deepcopy(g)
    g.lod = 0.25
    assert (twin.lod, g.lod) == (other.lod, 0.25)
    average(twin, g, 0.999, average_buffers=False)
    assert twin.lod == 0.25
    assert twin.double().lod == 0.25
    z = torch.randn(2, 6)
    assert torch.equal(other(z), pair(lod=1.3)[0](z))


def test_lod_is_not_read_from_the_device_in_a_forward(monkeypatch):
    g, d = pair(lod=1.3)
    reads = []
    for name in ("item", "__float__", "__bool__", "tolist", "__int__"):
        own = getattr(Tensor, name)
        monkeypatch.setattr(
            Tensor, name, lambda self, own=own, name=name: (reads.append(name), own(self))[1]
        )
    d(g(torch.randn(2, 6)))
    assert reads == []
    g._buffers["lod"].fill_(2.0)
    assert g.lod == 2.0
    assert reads


@pytest.mark.parametrize("value", [-0.1, 3.01, float("nan"), float("inf")])
def test_lod_outside_its_range(value):
    g = pair()[0]
    with pytest.raises(LimnerError, match=r"lod: .* must be 0 to 3 in a network of 4 levels"):
        g.lod = value
    assert g.lod == 0.0
    state = g.state_dict() | {"lod": torch.tensor(value)}
    g.load_state_dict(state)
    with pytest.raises(LimnerError, match="lod"):
        g(torch.randn(2, 6))


def test_networks_without_memory_have_their_first_lod():
    state = pair(lod=1.3)[0].state_dict()
    for assign in (False, True):
        with torch.device("meta"):
            g = pair()[0]
        assert g.lod == 0.0
        assert g(torch.empty(2, 6, device="meta")).shape == (2, 3, 32, 32)
        if not assign:
            g.to_empty(device="cpu")
        g.load_state_dict(state, assign=assign)
        assert g.lod == state["lod"].item()


def test_lod_under_inference_mode():
    with torch.inference_mode():
        g = pair()[0]
        g.lod = 1.0
        g._buffers["lod"].fill_(2.0)
        assert g.lod == 2.0
        image = g(torch.randn(2, 6))
    assert torch.equal(image[:, :, ::4, ::4], image[:, :, 3::4, 3::4])


# --- labels -------------------------------------------------------------------


@pytest.mark.parametrize("soft", [False, True])
def test_labels_stand_behind_the_latents_before_the_norm(soft):
    """A conditional network is one without classes whose latents end in class weights."""
    g = generator(3, z_dim=4)
    plain = generator(0, z_dim=7)
    plain.load_state_dict(g.state_dict())
    z = torch.randn(5, 4)
    y = torch.rand(5, 3) if soft else torch.tensor([0, 1, 2, 0, 1])
    rows = y if soft else torch.eye(3)[y]
    assert torch.equal(g(z, y), plain(torch.cat([z, rows], 1)))
    inputs = []
    g.blocks[0].register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    g(z, y)
    torch.testing.assert_close(inputs[0], pixel_norm(torch.cat([z, rows], 1)))


def generator(num_classes=0, shape=(3, 16, 16), **more):
    torch.manual_seed(0)
    return PgganGenerator(fmap_base=64, fmap_max=6, **more).build(shape, num_classes)


def test_multiple_attributes_and_head_size():
    g, d = pair((3, 8, 8), 5)
    y = torch.tensor([[1.0, 1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0, 0.0]])
    scores = d(g(torch.randn(2, 6), y), y)
    assert scores.class_logits.shape == (2, 5)
    assert len(d.output.bias) == 6
    term = AuxiliaryClassifierG(2.0)
    batch = type("Batch", (), {"fake_scores": scores, "fake_labels": y, "nimg": 0})
    expected = -2.0 * (y * scores.class_logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(term(batch, Memory()), expected)


@pytest.mark.parametrize("term", [AuxiliaryClassifierD(), AuxiliaryClassifierG()])
def test_auxiliary_classifier_without_classes(term):
    g, d = pair((3, 8, 8))
    scores = d(g(torch.randn(2, 6)))
    values = {"fake_scores": scores, "real_scores": scores, "nimg": 0}
    batch = type("Batch", (), {**values, "fake_labels": None, "real_labels": None})
    with pytest.raises(ConfigError, match="needs data with classes"):
        term(batch, Memory())


def test_other_classes_keep_all_but_the_ends():
    for before, net in zip(pair(num_classes=3), pair(num_classes=5, seed=1), strict=True):
        state = {key: value.clone() for key, value in before.state_dict().items()}
        anew = {change.name for change in refill(net, state, before, "here")}
        ends = (
            {"blocks.0.linear.weight"}
            if hasattr(net, "z_dim")
            else {"output.weight", "output.bias"}
        )
        assert anew == ends
        assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items() if k not in ends)


# --- ablations ----------------------------------------------------------------


def test_ablations():
    z, x = torch.randn(8, 6), torch.randn(8, 3, 16, 16)
    g = generator()
    with torch.no_grad():  # without biases a network that normalizes knows no scale
        for key, parameter in g.named_parameters():
            if key.endswith("bias"):
                parameter.normal_()
    changes = [
        {"pixel_norm": False},
        {"normalize_latents": False},
        {"leaky": False},
        {"pixel_norm_eps": 1e-2},
    ]
    for change in changes:
        other = generator(**change)
        other.load_state_dict(g.state_dict())
        assert not torch.allclose(other(z), g(z), atol=1e-4), change
    unfused = generator(fused_scale=False)
    unfused.load_state_dict(g.state_dict())
    torch.testing.assert_close(unfused(z), g(z), rtol=1e-3, atol=1e-4)
    raw = generator(equalized=False)
    assert raw.blocks[1].conv1.weight.std() < 0.5 < g.blocks[1].conv1.weight.std()
    d = critics()
    assert d[0].blocks[0].conv.weight.shape[1] == 6
    assert d[4].blocks[0].conv.weight.shape[1] == 7
    d[16].load_state_dict(d[4].state_dict())
    assert not torch.allclose(d[16](x).logits, d[4](x).logits)
    assert torch.equal(d[16](x[:4]).logits, d[4](x[:4]).logits)
    assert torch.allclose(d[0](x).logits[:2], d[0](x[:2]).logits, atol=1e-5)
    relu = PgganDiscriminator(fmap_base=64, fmap_max=6, leaky=False).build((3, 16, 16), 0)
    assert relu.blocks[0](torch.randn(4, 6, 4, 4)).min() == 0


def critics():
    torch.manual_seed(0)
    return {
        size: PgganDiscriminator(fmap_base=64, fmap_max=6, group_size=size).build((3, 16, 16), 0)
        for size in (0, 4, 16)
    }


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (PgganGenerator, {"z_dim": 0}, "z_dim: 0"),
        (PgganGenerator, {"fmap_max": 0}, "fmap_max: 0"),
        (PgganGenerator, {"fmap_decay": -1.0}, "fmap_decay"),
        (PgganGenerator, {"pixel_norm_eps": 0.0}, "pixel_norm_eps"),
        (PgganDiscriminator, {"group_size": 1}, "group_size: 1 must be 2 or more, or 0"),
        (PgganDiscriminator, {"base": (0, 4)}, "base"),
        (PgganDiscriminator, {"fmap_base": 8}, "level 4 of resolution; give 16 or more"),
    ],
)
def test_configs_that_make_no_network(kind, changes, message):
    with pytest.raises(ConfigError, match=message):
        kind(**changes).build((3, 32, 32), 0)


# --- precision ----------------------------------------------------------------


class Reals:
    images = torch.randint(
        0, 256, (8, 3, 16, 16), generator=torch.Generator().manual_seed(0)
    ).byte()
    labels = torch.arange(8) % 3
    indices = torch.arange(8)

    def __call__(self):
        return self


def trainer_of(kind):
    sizes = {"fmap_base": 64, "fmap_max": 8}
    config = toy_config(
        generator=PgganGenerator(**sizes),
        discriminator=PgganDiscriminator(**sizes),
        updates=(
            Update(
                player="d",
                terms=(WassersteinD(), GradientPenalty(), Drift(), AuxiliaryClassifierD()),
                labels="real",
                forwards="real_then_fake",
            ),
            Update(player="g", terms=(WassersteinG(), AuxiliaryClassifierG())),
        ),
        batch_size=8,
        precision=kind,
    )
    trainer = Trainer(config, (3, 16, 16), 3, Reals())
    for net in trainer.networks.values():
        net.lod = 0.4
    return trainer


def test_training_in_both_precisions():
    rounded, exact = trainer_of("bfloat16"), trainer_of("float32")
    for _ in range(2):
        rounded.step(), exact.step()
    for player, net in rounded.networks.items():
        other = exact.networks[player].state_dict()
        assert net.lod == exact.networks[player].lod
        for value in net.state_dict().values():
            assert value.dtype == torch.float32
            assert value.isfinite().all()
        assert any(not torch.equal(v, other[k]) for k, v in net.state_dict().items())


# Over 60 seeds the cosine is .9933 or more on either path (measured on a CPU without units).
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("native", [False, True])
def test_penalty_in_bfloat16_forwards_is_float32_and_near(monkeypatch, native, seed):
    """The kernels of bfloat16 run on every CPU, where there are no units more slowly."""
    monkeypatch.setattr(rounding, "cpu_has_bfloat16", lambda: native)
    values, gradients = {}, {}
    for name in ("float32", "bfloat16"):
        g, d = pair((3, 16, 16), lod=0.4, seed=seed)
        forwards = Forwards({"g": g, "d": d}, name, CPU)
        x = torch.randn(
            8, 3, 16, 16, generator=torch.Generator().manual_seed(1 + seed), requires_grad=True
        )
        (gradient,) = torch.autograd.grad(
            forwards.judge(x, None).logits.sum(), x, create_graph=True
        )
        penalty = (gradient.flatten(1).norm(dim=1) - 1.0).square().mean()
        assert penalty.dtype == gradient.dtype == torch.float32
        penalty.backward()
        values[name] = penalty.item()
        gradients[name] = torch.cat(
            [p.grad.flatten() for p in d.parameters() if p.grad is not None]
        )
    assert values["bfloat16"] != values["float32"]
    assert values["bfloat16"] == pytest.approx(values["float32"], rel=0.05)
    both = torch.nn.functional.cosine_similarity(*gradients.values(), dim=0)
    assert both > 0.99
