"""StyleGAN3's networks and losses against the original's own numbers."""

import json

import pytest
import torch
from style_reference import Fixture, Replay, shape_of

from golden_files import near
from limner.checkpoints.importers import stylegan2_names, stylegan3_names
from limner.models import StyleGan2Discriminator, StyleGan3Generator
from limner.models.stylegan3 import places_of
from limner.objectives import R1, Memory, NonSaturatingD, NonSaturatingG, PathLength

FIXTURES = ["sg3t_32", "sg3r_32"]
KEYS = ["stylegan3-t-256", "stylegan3-t-ffhq1024", "stylegan3-r-ffhq1024"]


def config_of(net, given):
    """limner's config of the original's arguments, with the original's defaults."""
    if net == "G":
        return StyleGan3Generator(
            z_dim=given["z_dim"],
            w_dim=given["w_dim"],
            num_mapping=given["mapping_kwargs"]["num_layers"],
            channel_base=given.get("channel_base", 32768),
            channel_max=given.get("channel_max", 512),
            num_layers=given.get("num_layers", 14),
            kernel=given.get("conv_kernel", 3),
            radial=given.get("use_radial_filters", False),
            magnitude_decay=given["magnitude_ema_beta"],
        )
    return StyleGan2Discriminator(
        channel_base=given["channel_base"],
        channel_max=given["channel_max"],
        group_size=given["epilogue_kwargs"]["mbstd_group_size"],
    )


def to_limner(net, config, shape, state):
    if net == "G":
        return stylegan3_names.to_limner(config, shape, state)
    return stylegan2_names.to_limner("discriminator", config, state)


@pytest.fixture(scope="module", params=FIXTURES)
def fixture(golden, request):
    path = golden(f"stylegan3/{request.param}.safetensors")
    return Fixture(path, config_of, to_limner)


def test_styles_and_images(fixture):
    g, z, y = fixture.fresh("G").eval(), fixture["in/z"], fixture.labels
    seen = {key for key in fixture.tensors if key.startswith("out/") and key.count("/") == 1}
    with torch.no_grad():
        styles = g.mapping(z, y)
        truncated = g.mean_style.lerp(styles, 0.7)
        some = torch.cat([truncated[:, :4], styles[:, 4:]], dim=1)
        image = g.synthesis(styles)
        expected = {
            "out/w": styles[:, 0],
            "out/ws_psi0.7": truncated[:, 0],
            "out/ws_psi0.7_cut4": some,
            "out/image_const": image,
            "out/image_none": image,
            "out/image_psi0.7_const": g.synthesis(truncated),
        }
        if "in/transform" in fixture.tensors:
            g.input.transform.copy_(fixture["in/transform"])
            expected["out/image_transformed"] = g.synthesis(styles)
    got = expected.keys() & seen
    assert {"out/w", "out/image_const"} <= got
    for name in got:
        near(expected[name], fixture[name], what=name)
    assert {name for name in seen - got if "D_" not in name} == set()


def test_scores(fixture):
    d, real, y = fixture.fresh("D").eval(), fixture["in/real"], fixture.real_labels
    with torch.no_grad():
        near(d(real, y).logits, fixture["out/D_real"][:, 0])
        fakes = fixture["out/image_const"]
        near(d(fakes, fixture.labels).logits, fixture["out/D_fake"][:, 0])


def test_averages_move_in_training_mode_alone(fixture):
    g, z, y = fixture.fresh("G"), fixture["in/z"], fixture.labels
    before = {key: value.clone() for key, value in g.state_dict().items()}
    with torch.no_grad():
        g(z, y, update_statistics=False)
        g.eval()(z, y)
        assert all(torch.equal(value, before[key]) for key, value in g.state_dict().items())
        g.train()(z, y)
    expected = fixture.part("after_G_train", "G")
    assert len(expected) == 1 + len(g.layers)
    for key, value in expected.items():
        near(g.state_dict()[key], value, what=key)
        assert not torch.equal(value, before[key])


def gradients_match(fixture, phase, net, network, absolute=1e-6):
    expected = fixture.part(f"grad/{phase}", net)
    assert expected
    parameters = dict(network.named_parameters())
    for key, value in expected.items():
        near(parameters[key].grad, value, 2e-3, absolute, f"{phase} {key}")


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
    near(memory["mean"], fixture["out/Greg/pl_mean_after"].reshape(()))
    wanted = [p for name, p in batch.g.named_parameters() if name != "layers.6.bias"]
    loss.backward(inputs=wanted)
    expected = fixture.part("grad/Greg", "G")
    for key, value in expected.items():
        grad = batch.g.get_parameter(key).grad
        near(torch.zeros_like(value) if grad is None else grad, value, 2e-3, 0.0, key)


def test_discriminator_loss(fixture):
    batch = Replay(fixture, moves=True)
    loss = NonSaturatingD()(batch, Memory())
    near(loss, fixture["out/Dmain/D/loss"].mean())
    near(batch.real_logits, fixture["out/Dmain/scores/real"].flatten())
    near(batch.fake_logits, fixture["out/Dmain/scores/fake"].flatten())
    loss.backward(inputs=list(batch.d.parameters()))
    gradients_match(fixture, "Dmain", "D", batch.d)


def test_penalty_of_real_gradients(fixture):
    batch = Replay(fixture)
    loss = R1(fixture.record["r1_gamma"])(batch, Memory())
    near(loss, fixture["out/Dreg/D/reg"].mean())
    loss.backward(inputs=list(batch.d.parameters()))
    gradients_match(fixture, "Dreg", "D", batch.d)


def keys(golden, stem):
    record = json.loads(golden(f"stylegan3/keys_{stem}_G.json").read_text())
    shapes = {k: json.loads(v.removeprefix("float32")) for k, v in record["keys"].items()}
    return record["config"], shapes


@pytest.mark.parametrize("stem", KEYS)
def test_names_shapes_and_order_of_published_networks(golden, stem):
    given, theirs = keys(golden, stem)
    config, shape = config_of("G", given), shape_of(given)
    with torch.device("meta"):
        network = config.build(shape, given["c_dim"])
    back = stylegan3_names.to_reference(config, shape, network.state_dict())
    assert {key: list(value.shape) for key, value in back.items()} == theirs
    assert list(back) == list(theirs)
    ours = stylegan3_names.to_limner(config, shape, back)
    assert ours.keys() == network.state_dict().keys()


@pytest.mark.parametrize(
    ("stem", "expected"),
    [("stylegan3-t-ffhq1024", 22_313_167), ("stylegan3-r-ffhq1024", 15_093_151)],
)
def test_sizes_of_published_networks(golden, stem, expected):
    given, _ = keys(golden, stem)
    with torch.device("meta"):
        network = config_of("G", given).build(shape_of(given), 0)
    assert sum(p.numel() for p in network.parameters()) == expected


# The paper's layers: (times, value) of rates and sizes; channels of t (base 32768, at most 512).
RUNS = {
    256: ("16x3 32x2 64x2 128x3 256x5", "36x3 52x2 84x2 148x3 276x3 256x2"),
    512: ("16x2 32x2 64x2 128x2 256x2 512x5", "36x2 52x2 84x2 148x2 276x2 532x3 512x2"),
    1024: (
        "16x2 32x2 64x1 128x2 256x2 512x1 1024x5",
        "36x2 52x2 84x1 148x2 276x2 532x1 1044x3 1024x2",
    ),
}
CHANNELS = {
    256: [*[512] * 9, 362, 256, 181, 128, 128, 3],
    512: [*[512] * 7, 483, 323, 215, 144, 96, 64, 64, 3],
    1024: [*[512] * 7, 323, 203, 128, 81, 51, 32, 32, 3],
}


def repeated(runs):
    pairs = (run.split("x") for run in runs.split())
    return [int(value) for value, times in pairs for _ in range(int(times))]


@pytest.mark.parametrize("side", RUNS)
def test_layers_of_the_paper(side):
    for twice in (1, 2):
        config = StyleGan3Generator(channel_base=32768 * twice, channel_max=512 * twice)
        signals = [place.target for place in places_of(config, (3, side, side))]
        rates, sizes = (repeated(runs) for runs in RUNS[side])
        assert [each.rate for each in signals] == rates
        assert [each.size for each in signals] == sizes
        if twice == 1:
            assert [each.channels for each in signals] == CHANNELS[side]


def test_values_there_and_back(fixture):
    shape, config = shape_of(fixture.record["G"]), fixture.configs["G"]
    ours = fixture.part("state", "G")
    strange = {"stranger": torch.ones(2, 3)}
    back = stylegan3_names.to_reference(config, shape, ours | strange)
    assert back.pop("stranger").shape == (2, 3)
    theirs = {
        k.removeprefix("state/G/"): v
        for k, v in fixture.tensors.items()
        if k.startswith("state/G/")
    }
    assert list(back) == list(dict.fromkeys([k for k in back if k in theirs]))
    assert back.keys() == theirs.keys()
    for key, value in back.items():
        torch.testing.assert_close(value, theirs[key], rtol=0, atol=1e-7)
    other = {key: value * 2 if "filter" in key else value for key, value in back.items()}
    assert any("down_filter" in key for key in stylegan3_names.to_limner(config, shape, other))
