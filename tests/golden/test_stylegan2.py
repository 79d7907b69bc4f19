"""StyleGAN2's networks and losses against the PyTorch original's own numbers."""

import json

import pytest
import torch
from style_reference import Fixture, Replay, shape_of

from golden_files import near
from limner.checkpoints.importers.stylegan2_names import to_limner, to_reference
from limner.models import StyleGan2Discriminator, StyleGan2Generator
from limner.objectives import R1, Memory, NonSaturatingD, NonSaturatingG, PathLength

ROLES = {"G": "generator", "D": "discriminator"}
FIXTURES = ["sg2_32", "sg2_32_cond", "sg2_16_resnetG_skipD"]
KEYS = ["cifar10_cond", "ffhq1024_stylegan2", "ffhq256_paper256"]


def config_of(net, given):
    """limner's config of the original's arguments, with the original's defaults."""
    if net == "G":
        mapping, synthesis = given["mapping_kwargs"], given["synthesis_kwargs"]
        return StyleGan2Generator(
            z_dim=given["z_dim"],
            w_dim=given["w_dim"],
            num_mapping=mapping["num_layers"],
            channel_base=synthesis["channel_base"],
            channel_max=synthesis["channel_max"],
            architecture=synthesis.get("architecture", "skip"),
            clamp=synthesis.get("conv_clamp"),
        )
    final = given.get("epilogue_kwargs", {})
    return StyleGan2Discriminator(
        channel_base=given["channel_base"],
        channel_max=given["channel_max"],
        architecture=given.get("architecture", "resnet"),
        clamp=given.get("conv_clamp"),
        group_size=final.get("mbstd_group_size", 4),
        features=final.get("mbstd_num_channels", 1),
    )


def to_ours(net, config, shape, state):
    return to_limner(ROLES[net], config, state)


def fixture_of(golden, name):
    return Fixture(golden(f"stylegan2/{name}.safetensors"), config_of, to_ours)


@pytest.fixture(scope="module", params=FIXTURES)
def fixture(golden, request):
    return fixture_of(golden, request.param)


def test_styles_and_images(fixture):
    g, z, y = fixture.fresh("G").eval(), fixture["in/z"], fixture.labels
    with torch.no_grad():
        styles = g.mapping(z, y)
        near(styles[:, 0], fixture["out/w"])
        assert torch.equal(styles, styles[:, :1].expand_as(styles))
        truncated = g.mean_style.lerp(styles, 0.7)
        near(truncated[:, 0], fixture["out/ws_psi0.7"])
        some = torch.cat([truncated[:, :4], styles[:, 4:]], dim=1)
        near(some, fixture["out/ws_psi0.7_cut4"])
        near(g.synthesis(styles, noise="const"), fixture["out/image_const"])
        near(g.synthesis(styles, noise="none"), fixture["out/image_none"])
        if "out/image_psi0.7_const" in fixture.tensors:  # not in the small set
            near(g.synthesis(truncated, noise="const"), fixture["out/image_psi0.7_const"])
        maps = [layer.noise_const for layer in g.modules() if hasattr(layer, "noise_const")]
        given = iter(maps)
        called = g(z, y, noise=lambda shape: next(given).expand(shape))
        near(called, fixture["out/image_const"])
        assert next(given, None) is None
        assert not torch.allclose(g(z, y), called, atol=1e-3)


def test_scores(fixture):
    d, real, y = fixture.fresh("D").eval(), fixture["in/real"], fixture.real_labels
    with torch.no_grad():
        near(d(real, y).logits, fixture["out/D_real"][:, 0])
        fakes = fixture["out/image_const"]
        near(d(fakes, fixture.labels).logits, fixture["out/D_fake"][:, 0])
        num, key = next(
            (i, key) for i in (2, 3) if (key := f"out/D_real_batch{i}") in fixture.tensors
        )
        few = d(real[:num], y if y is None else y[:num]).logits
        near(few, fixture[key][:, 0])


def test_mean_style_moves_in_training_mode_alone(fixture):
    g, z, y = fixture.fresh("G"), fixture["in/z"], fixture.labels
    before = g.mean_style.clone()
    with torch.no_grad():
        g.mapping(z, y, update_statistics=False)
        g.eval().mapping(z, y)
        assert torch.equal(g.mean_style, before)
        g.train().mapping(z, y)
    near(g.mean_style, fixture["after_G_train/G/mapping.w_avg"])


def gradients_match(fixture, phase, net, network, relative=2e-3, absolute=1e-6):
    expected = fixture.part(f"grad/{phase}", net)
    assert expected
    parameters = dict(network.named_parameters())
    for key, value in expected.items():
        if (
            parameters[key].grad is None
        ):  # the original multiplies what is missing by 0 into its loss
            assert not value.any(), (phase, key)
        else:
            near(parameters[key].grad, value, relative, absolute, f"{phase} {key}")


def test_generator_loss(fixture):
    batch = Replay(fixture)
    loss = NonSaturatingG()(batch, Memory())
    near(loss, fixture["out/Gmain/G/loss"].mean())
    near(batch.fake_logits, fixture["out/Gmain/scores/fake"].flatten())
    loss.backward(inputs=list(batch.g.parameters()))
    gradients_match(fixture, "Gmain", "G", batch.g)


def test_path_length(fixture):
    batch, memory = Replay(fixture, len(fixture["in/z"]) // 2), Memory()
    loss = PathLength(2.0)(batch, memory)
    near(loss, fixture["out/Greg/G/reg"].mean())
    near(loss / 2, fixture["out/Greg/pl_penalty"].mean())
    near(memory["mean"], fixture["out/Greg/pl_mean_after"].reshape(()))
    loss.backward(inputs=list(batch.g.parameters()))
    gradients_match(fixture, "Greg", "G", batch.g, absolute=0.0)


def test_discriminator_loss(fixture):
    batch = Replay(fixture)
    loss = NonSaturatingD()(batch, Memory())
    near(loss, fixture["out/Dmain/D/loss"].mean())
    near(batch.real_logits, fixture["out/Dmain/scores/real"].flatten())
    near(batch.fake_logits, fixture["out/Dmain/scores/fake"].flatten())
    loss.backward(inputs=list(batch.d.parameters()))
    gradients_match(fixture, "Dmain", "D", batch.d)


def test_penalty_of_real_gradients(fixture):
    batch = Replay(fixture)
    gamma = fixture.record["r1_gamma"]
    loss = R1(gamma)(batch, Memory())
    near(loss, fixture["out/Dreg/D/reg"].mean())
    near(loss * 2 / gamma, fixture["out/Dreg/r1_penalty"].mean())
    near(batch.real_logits, fixture["out/Dreg/scores/real"].flatten())
    loss.backward(inputs=list(batch.d.parameters()))
    gradients_match(fixture, "Dreg", "D", batch.d)


def keys(golden, stem, net):
    record = json.loads(golden(f"stylegan2/keys_{stem}_{net}.json").read_text())
    shapes = {k: json.loads(v.removeprefix("float32")) for k, v in record["keys"].items()}
    return record["config"], shapes


@pytest.mark.parametrize("net", ROLES)
@pytest.mark.parametrize("stem", KEYS)
def test_names_shapes_and_order_of_published_networks(golden, stem, net):
    given, theirs = keys(golden, stem, net)
    config = config_of(net, given)
    with torch.device("meta"):
        network = config.build(shape_of(given), given["c_dim"])
    back = to_reference(ROLES[net], config, network.state_dict())
    assert {key: list(value.shape) for key, value in back.items()} == theirs
    assert list(back) == list(theirs)
    assert to_limner(ROLES[net], config, back).keys() == network.state_dict().keys()


@pytest.mark.parametrize(
    ("stem", "net", "expected"),
    [
        ("ffhq1024_stylegan2", "G", 30_370_060),
        ("ffhq1024_stylegan2", "D", 29_012_513),
        ("ffhq256_paper256", "G", 24_767_458),
        ("ffhq256_paper256", "D", 24_001_089),
    ],
)
def test_sizes_of_published_networks(golden, stem, net, expected):
    given, _ = keys(golden, stem, net)
    with torch.device("meta"):
        network = config_of(net, given).build(shape_of(given), given["c_dim"])
    assert sum(p.numel() for p in network.parameters()) == expected


@pytest.mark.parametrize("net", ROLES)
def test_values_there_and_back(fixture, net):
    ours, config = fixture.part("state", net), fixture.configs[net]
    back = to_reference(ROLES[net], config, ours | {"stranger": torch.ones(2, 3)})
    assert back.pop("stranger").shape == (2, 3)
    theirs = {k: v for k, v in fixture.tensors.items() if k.startswith(f"state/{net}/")}
    assert {f"state/{net}/{key}" for key in back} == theirs.keys()
    for key, value in back.items():
        assert torch.equal(value, theirs[f"state/{net}/{key}"])
    other = {key: value * 2 if "filter" in key else value for key, value in back.items()}
    assert any("resample_filter" in key for key in to_limner(ROLES[net], config, other))
