"""DCGAN and its losses against MMGeneration's own numbers, and the import of its checkpoints."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from golden_files import near
from limner.checkpoints.importers.mmgen import DcganMmgen, Mmgen
from limner.checkpoints.importers.mmgen_dcgan import (
    discriminator_config,
    generator_config,
    rename_discriminator,
    rename_generator,
)
from limner.core.errors import CheckpointError
from limner.models import DcganDiscriminator, DcganGenerator
from limner.objectives import (
    HingeD,
    HingeG,
    LeastSquaresD,
    LeastSquaresG,
    Memory,
    NonSaturatingD,
    NonSaturatingG,
    WassersteinD,
    WassersteinG,
)

LR = 2e-4


@dataclass
class Fixture:
    """Tensors of one golden file, and the two networks in their state before."""

    tensors: dict
    config: dict
    g: torch.nn.Module = field(init=False)
    d: torch.nn.Module = field(init=False)

    def __post_init__(self):
        shape = tuple(self.tensors["in/real"].shape[1:])
        g_state, d_state = self.group("state/G/"), self.group("state/D/")
        g_config, g_shape = generator_config(g_state)
        assert g_shape == shape
        assert g_config.z_dim == self.config["G"]["noise_size"]
        assert g_config.max_channels == self.config["G"]["base_channels"]
        d_config = discriminator_config(d_state, shape)
        assert d_config.width == self.config["D"]["base_channels"]
        self.g, self.d = g_config.build(shape, 0), d_config.build(shape, 0)
        self.g.load_state_dict(rename_generator(g_state))
        self.d.load_state_dict(rename_discriminator(d_state))

    def group(self, prefix):
        found = {k[len(prefix) :]: v for k, v in self.tensors.items() if k.startswith(prefix)}
        assert found, prefix
        return found

    def after(self, name):
        return {
            **{("g", k): v for k, v in rename_generator(self.group(f"{name}/G/")).items()},
            **{("d", k): v for k, v in rename_discriminator(self.group(f"{name}/D/")).items()},
        }

    def __getitem__(self, name):
        return self.tensors[name]


class OnePass:
    """The least of a Pass that adversarial terms read."""

    nimg = 0

    def __init__(self, real_logits=None, fake_logits=None):
        self.real_logits, self.fake_logits = real_logits, fake_logits


@pytest.fixture(params=["dcgan32", "dcgan64"])
def fixture(request, golden):
    config = json.loads(golden(f"dcgan/{request.param}.json").read_text())["config"]
    return Fixture(load_file(golden(f"dcgan/{request.param}.safetensors")), config)


def test_forward_in_evaluation_leaves_the_state(fixture):
    g, d = fixture.g.eval(), fixture.d.eval()
    before = {k: v.clone() for k, v in g.state_dict().items()}
    near(g(fixture["in/noise"]), fixture["out/G_eval"])
    near(d(fixture["in/real"]).logits, fixture["out/D_eval_real"][:, 0])
    assert all(torch.equal(v, before[k]) for k, v in g.state_dict().items())


def test_forward_in_training_and_statistics(fixture):
    near(fixture.g(fixture["in/noise"]), fixture["out/G_train"])
    near(fixture.d(fixture["in/real"]).logits, fixture["out/D_train_real"][:, 0])
    states = {"g": fixture.g.state_dict(), "d": fixture.d.state_dict()}
    for (net, key), value in fixture.after("after_forward").items():
        near(states[net][key], value, what=key)


def fake_then_real(fixture, noise="in/noise"):
    with torch.no_grad():
        fake = fixture.g(fixture[noise])
    return OnePass(
        fake_logits=fixture.d(fake).logits, real_logits=fixture.d(fixture["in/real"]).logits
    )


LOSSES = {
    "lsgan": (LeastSquaresD(), LeastSquaresG()),
    "hinge": (HingeD(), HingeG()),
    "wgan": (WassersteinD(), WassersteinG()),
    "wgan-logistic-ns": (NonSaturatingD(), NonSaturatingG()),
}


@pytest.mark.parametrize("name", LOSSES)
def test_loss_values(fixture, name):
    batch = fake_then_real(fixture)
    d_term, g_term = LOSSES[name]
    expected = fixture[f"out/{name}/disc_fake"] + fixture[f"out/{name}/disc_real"]
    near(d_term(batch, Memory()), expected)
    near(g_term(batch, Memory()), fixture[f"out/{name}/gen"])


def test_gradients_of_both_players(fixture):
    stored = {k: v.clone() for k, v in fixture.d.state_dict().items()}
    loss = NonSaturatingD()(fake_then_real(fixture), Memory())
    near(loss, fixture["out/loss_disc_fake"] + fixture["out/loss_disc_real"])
    loss.backward()
    compare_gradients(fixture.d, rename_discriminator(fixture.group("grad/disc/D/")))

    fixture.d.load_state_dict(stored)
    fake = fixture.g(fixture["in/noise"])
    loss = NonSaturatingG()(OnePass(fake_logits=fixture.d(fake).logits), Memory())
    near(loss, fixture["out/loss_gen"])
    loss.backward()
    compare_gradients(fixture.g, rename_generator(fixture.group("grad/gen/G/")))


def compare_gradients(net, expected):
    parameters = dict(net.named_parameters())
    assert expected.keys() == parameters.keys()
    for key, value in expected.items():
        near(parameters[key].grad, value, 2e-3, 3e-6, key)


def test_training_step(fixture):
    g, d = fixture.g, fixture.d
    g_adam = torch.optim.Adam(g.parameters(), LR, (0.5, 0.999))
    d_adam = torch.optim.Adam(d.parameters(), LR, (0.5, 0.999))
    NonSaturatingD()(fake_then_real(fixture), Memory()).backward()
    d_adam.step()
    fake = g(fixture["in/noise_g"])
    loss = NonSaturatingG()(OnePass(fake_logits=d(fake).logits), Memory())
    near(loss, fixture["out/train_step/loss_gen"])
    loss.backward()
    g_adam.step()
    compare_after_step({"g": g, "d": d}, fixture.after("after_train_step"))


def compare_after_step(nets, expected):
    """Within 1e-5, a twentieth of Adam's first step: the file's own 1e-3 would hide that step.

    Entries with almost no gradient may be two steps apart, as the file says.
    """
    states = {name: net.state_dict() for name, net in nets.items()}
    gradients = {
        (name, key): p.grad for name, net in nets.items() for key, p in net.named_parameters()
    }
    for (net, key), value in expected.items():
        gap = (states[net][key] - value).abs()
        limit = torch.full_like(gap, 1e-5, dtype=torch.float32)
        gradient = gradients.get((net, key))
        if gradient is not None:
            limit = torch.where(gradient.abs() < 1e-6, 2 * LR, limit)
        assert (gap <= limit).all(), key


def test_frozen_players_are_seen(fixture):
    """The control of the test above: statistics as after the step, weights as before, fails."""
    expected = fixture.after("after_train_step")
    for net, own in (("g", fixture.g), ("d", fixture.d)):
        buffers = dict(own.named_buffers())
        for key in buffers:
            buffers[key].copy_(expected[net, key])
        only = {k: v for k, v in expected.items() if k[0] == net}
        with pytest.raises(AssertionError, match=r"weight|bias"):
            compare_after_step({net: own}, only)


def test_counts_of_the_celeba_recipe():
    shape = (3, 64, 64)
    with torch.device("meta"):
        nets = DcganGenerator().build(shape, 0), DcganDiscriminator().build(shape, 0)
    counts = [sum(p.numel() for p in net.parameters()) for net in nets]
    assert counts == [12_658_435, 11_036_289]


# --- import ----------------------------------------------------------------


@pytest.fixture(params=["dcgan32", "dcgan64"])
def checkpoint(request, golden) -> Path:
    return golden(f"dcgan/{request.param}_mmcv_ckpt.pth")


def networks(record):
    config = record.config
    g = config.generator.build(config.image_shape, config.num_classes)
    d = config.discriminator.build(config.image_shape, config.num_classes)
    g.load_state_dict(record.generator)
    d.load_state_dict(record.discriminator)
    return g.eval(), d.eval()


def test_imported_checkpoint_is_the_state_after_the_step(checkpoint):
    record = DcganMmgen().read(checkpoint)
    name = checkpoint.name[: len("dcgan32")]
    config = json.loads(checkpoint.with_name(f"{name}.json").read_text())["config"]
    fixture = Fixture(load_file(checkpoint.with_name(f"{name}.safetensors")), config)
    after = fixture.after("after_train_step")
    states = {"g": record.generator, "d": record.discriminator}
    for (net, key), value in after.items():
        assert torch.equal(states[net][key], value), key
    assert len(after) == sum(map(len, states.values()))
    # The same record in the state before gives the golden images and logits.
    record.generator = rename_generator(fixture.group("state/G/"))
    record.discriminator = rename_discriminator(fixture.group("state/D/"))
    g, d = networks(record)
    near(g(fixture["in/noise"]), fixture["out/G_eval"])
    near(d(fixture["in/real"]).logits, fixture["out/D_eval_real"][:, 0])
    assert record.config.origin["channel_order"] == "BGR (as trained)"
    assert len(record.config.origin["sha256"]) == 64


def test_the_importer_of_all_families_takes_it_too(checkpoint):
    ours, theirs = Mmgen().read(checkpoint), DcganMmgen().read(checkpoint)
    assert ours.config == theirs.config
    assert all(torch.equal(ours.generator[key], theirs.generator[key]) for key in theirs.generator)


def test_swapped_colors(checkpoint):
    plain, swapped = (
        networks(DcganMmgen().read(checkpoint)),
        networks(DcganMmgen(bgr=True).read(checkpoint)),
    )
    assert "swapped" in DcganMmgen(bgr=True).read(checkpoint).config.origin["channel_order"]
    z = torch.randn(2, plain[0].z_dim)
    image = plain[0](z)
    torch.testing.assert_close(swapped[0](z), image.flip(1))
    torch.testing.assert_close(swapped[1](image.flip(1)).logits, plain[1](image).logits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("generator.upsampling.0.bn.bias"), "missing 'blocks.1.norm.bias'"),
        (lambda s: s.update({"generator.extra": torch.ones(1)}), "unexpected 'extra'"),
        (lambda s: s.update({"other.weight": torch.ones(1)}), "unexpected entry 'other.weight'"),
        (lambda s: s.pop("generator.noise2feat.conv.weight"), "noise2feat.conv.weight' is missing"),
        (
            lambda s: s.update({"generator.noise2feat.bn.bias": torch.ones(1)}),
            "the network has \\[16\\]",
        ),
        (lambda s: s.pop("discriminator.downsamples.2.conv.weight"), "makes images"),
    ],
)
def test_a_tensor_that_does_not_fit_is_one_error(golden, tmp_path, change, message):
    source = golden("dcgan/dcgan32_mmcv_ckpt.pth")
    state = dict(torch.load(source, weights_only=True)["state_dict"])
    change(state)
    path = tmp_path / "iter_1.pth"
    torch.save({"state_dict": state}, path)
    with pytest.raises(CheckpointError, match=message):
        DcganMmgen().read(path)


def test_moving_average_is_the_generator(golden, tmp_path):
    source = golden("dcgan/dcgan32_mmcv_ckpt.pth")
    state = dict(torch.load(source, weights_only=True)["state_dict"])
    for key in [k for k in state if k.startswith("generator.")]:
        state[key.replace("generator.", "generator_ema.")] = state[key] + 1
    torch.save({"state_dict": state}, tmp_path / "iter_1.pth")
    record = DcganMmgen().read(tmp_path / "iter_1.pth")
    torch.testing.assert_close(
        record.generator["output.bias"], record.generator_raw["output.bias"] + 1
    )


def test_the_rest_of_a_checkpoint_may_hold_objects(golden, tmp_path):
    """MMCV saves its hooks' and logs' objects beside the weights, which nobody needs."""
    saved = torch.load(golden("dcgan/dcgan32_mmcv_ckpt.pth"), weights_only=True)
    torch.save({**saved, "meta": {"act": torch.nn.ReLU()}}, tmp_path / "iter_1.pth")
    record = DcganMmgen().read(tmp_path / "iter_1.pth")
    plain = DcganMmgen().read(golden("dcgan/dcgan32_mmcv_ckpt.pth"))
    assert record.generator.keys() == plain.generator.keys()
    assert all(torch.equal(record.generator[key], plain.generator[key]) for key in plain.generator)
