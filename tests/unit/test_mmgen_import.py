"""What MMGeneration's files do not show: where it is taken from, how a wrong guess is told, and
what is refused."""

import pytest
import torch

from limner.api.exporting import export
from limner.checkpoints import ModelConfig, ModelRecord, write_model
from limner.checkpoints.importers.mmgen import Mmgen
from limner.checkpoints.importers.mmgen_recipes import of_text, said_of
from limner.checkpoints.importers.running_statistics import doubt
from limner.cli.main import main
from limner.core.errors import CheckpointError, ConfigError
from limner.models import BigGanDiscriminator, BigGanGenerator
from published import mmgen_names, torch_bytes

SHAPE = (3, 16, 16)


@pytest.fixture(scope="module")
def trained():
    """A conditional SN-GAN's state under the original's names, its statistics those of its images."""
    torch.manual_seed(0)
    config = BigGanGenerator(
        width=8, z_dim=16, multipliers=(2,), spectral_norm=False, batch_norm_eps=1e-4
    )
    network = config.build(SHAPE, 4)
    with torch.no_grad():
        for _ in range(40):
            network(torch.randn(32, 16), torch.randint(4, (32,)))
    return mmgen_names("generator", network)


@pytest.fixture
def write(tmp_path):
    def write(state, name="iter_1.pth", **meta):
        path = tmp_path / name
        path.write_bytes(torch_bytes({"meta": meta, "state_dict": state}))
        return path

    return write


def origin(path, **options):
    return Mmgen(**options).read(path).config.origin


# --- where settings come from ------------------------------------------------------


def test_options_go_before_the_files_config_its_name_and_the_defaults(trained, write):
    text = "model = dict(generator=dict(norm_eps=1e-3, sn_eps=1e-6), discriminator=dict())"
    named = write(trained, "sagan_128_woReLUinplace_noaug_bigGAN_Glr-1e-4-2021.pth")
    assert origin(named)["settings"] == {
        "inplace_relu": "False (config sagan_128_woReLUinplace_noaug_bigGAN)",
        "gain_around_one": "True (the classes' default)",
        "norm_eps": "1e-05 (config sagan_128_woReLUinplace_noaug_bigGAN)",
        "sn_eps": "1e-08 (config sagan_128_woReLUinplace_noaug_bigGAN)",
    }
    both = write(trained, "sagan_128_woReLUinplace_noaug_bigGAN.pth", config=text)
    record = Mmgen(sn_eps=1e-7).read(both)
    assert record.config.generator.batch_norm_eps == 1e-3
    assert record.config.generator.spectral_norm_eps == 1e-7
    assert record.config.origin["settings"]["sn_eps"] == "1e-07 (given)"
    assert record.config.origin["settings"]["norm_eps"] == "0.001 (the file's config)"


def test_the_config_asked_for_goes_before_the_files_name(trained, write):
    path = write(trained, exp_name="sngan_proj_32_woReLUinplace_lr-2e-4.py")
    assert "False (config sngan_proj_32_woReLUinplace)" in origin(path)["settings"].values()
    asked = origin(path, config="configs/sngan_proj/sngan_proj_32_wReLUinplace_lr-2e-4.py")
    assert asked["settings"]["inplace_relu"] == "True (config sngan_proj_32_wReLUinplace)"
    with pytest.raises(ConfigError, match=r"no config of MMGeneration 'sagan_64'"):
        origin(path, config="sagan_64")


def test_what_is_guessed_is_said(trained, write):
    assert (
        "neither the file nor a config's name says inplace_relu"
        in origin(write(trained))["warning"]
    )
    assert "warning" not in origin(write(trained), inplace_relu=False)
    _, facts = said_of("PGGAN", {}, None, None, write(trained))
    assert "fused_upconv" in facts["warning"]


def test_a_config_is_read_as_text_and_never_run(tmp_path, monkeypatch):
    monkeypatch.setenv("MARKER", str(tmp_path / "marker"))
    harmful = "__import__('os').system('touch $MARKER')"
    for text in (
        f"model = {harmful}",
        f"model = dict(generator=dict(norm_eps={harmful}))",
        f"{harmful}\nmodel = dict(generator=dict(norm_eps=1e-3))",
        "model = " + "[" * 5000,
        "model = 3\nx = (",
        "x" * 2**21,
    ):
        found = of_text(text)
        assert found in ({}, {"norm_eps": 1e-3})
    assert of_text(None) == of_text({"model": 1}) == {}
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"discriminator": {"act_cfg": {"type": "ReLU", "inplace": True}}}, True),
        ({"discriminator": {"act_cfg": {"type": "ReLU", "inplace": False}}}, False),
        ({"discriminator": {"act_cfg": {"type": "ReLU"}}}, True),  # mmcv's own default
        ({"discriminator": {"input_scale": 32}}, False),  # the classes' default
    ],
)
def test_activation_in_place_as_a_config_says_it(model, expected):
    assert of_text(f"model = {model!r}")["inplace_relu"] is expected


@pytest.mark.parametrize(("kind", "around"), [("studio", True), ("BigGAN", True), ("SNGAN", False)])
def test_gain_as_a_config_says_it(kind, around):
    model = {"generator": {"init_cfg": {"type": kind}}}
    assert of_text(f"model = {model!r}")["gain_around_one"] is around


# --- a wrong guess ---------------------------------------------------------------------


def test_a_wrong_gain_or_epsilon_shows_in_the_running_statistics(trained, write):
    path = write(trained)
    right = Mmgen(inplace_relu=False).read(path)
    assert "warning" not in right.config.origin
    assert doubt(right) is None
    for wrong in ({"gain_around_one": False}, {"norm_eps": 0.3}):
        warning = origin(path, inplace_relu=False, **wrong)["warning"]
        assert "running statistics of blocks" in warning


# --- what is refused -------------------------------------------------------------------


def refusal(capsys, path, *words):
    out = path.with_name("model")
    assert main(["import", "mmgen", str(path), "--out", str(out), *words]) == 1
    assert not out.exists()
    line = capsys.readouterr().err.strip()
    assert "\n" not in line
    assert str(path) in line or words
    return line


def renamed(state, old, new):
    return {key.replace(old, new): value for key, value in state.items()}


def test_files_that_are_none_are_one_line(trained, write, capsys):
    key = "generator.conv_blocks.1.conv_2.conv.bias"
    lacking = {k: v for k, v in trained.items() if k != key}
    line = refusal(capsys, write(lacking))
    assert "'blocks.1.conv2.bias'" in line
    assert "missing" in line
    line = refusal(capsys, write(renamed(trained, "conv_2.conv", "conv_3.conv")))
    assert "blocks.0.conv2.weight" in line
    line = refusal(capsys, write(trained | {key: torch.ones(3)}))
    assert "'blocks.1.conv2.bias' is [3], the network has [16]" in line
    line = refusal(capsys, write(trained | {key: torch.full((16,), torch.nan)}))
    assert "not finite" in line
    line = refusal(capsys, write({"generator.synthesis.b4.const": torch.ones(2, 4, 4)}))
    assert "a generator with 'synthesis.b4.const'" in line
    assert "SN-GAN" in line
    line = refusal(capsys, write({"discriminator.decision.weight": torch.ones(1, 2)}))
    assert "holds no generator" in line
    line = refusal(capsys, write({**trained, "denoising.weight": torch.ones(2)}))
    assert "unexpected entry 'denoising.weight' in state_dict (a Tensor)" in line


def test_options_that_cannot_be_are_one_line(trained, write, capsys):
    path = write(trained)
    assert "norm_epsilon" in refusal(capsys, path, "--set", "norm_epsilon=1e-5")
    assert "norm_eps" in refusal(capsys, path, "--set", "norm_eps=-1")
    assert "no config of MMGeneration" in refusal(capsys, path, "--config", "sngan")


def test_a_file_of_another_family_names_the_importer(trained, write, capsys):
    path = write(trained)
    assert main(["import", "dcgan-mmgen", str(path), "--out", str(path.with_name("m"))]) == 1
    assert "is a SN-GAN of MMGeneration; limner import mmgen" in capsys.readouterr().err


def test_a_discriminator_of_other_images_is_refused(trained, write, capsys):
    d = BigGanDiscriminator(width=2, multipliers=(1,), stored_vectors=("*",), bottom=4)
    other = mmgen_names("discriminator", d.build((1, 16, 16), 4))
    assert "'first.conv1.weight' is [2, 1, 3, 3]" in refusal(capsys, write({**trained, **other}))
    unconditional = mmgen_names("discriminator", d.build(SHAPE, 0))
    line = refusal(capsys, write({**trained, **unconditional}))
    assert "D is of [3, 16, 16] and 0 classes, the generator of [3, 16, 16] and 4" in line


def test_a_generators_state_alone_is_a_file_too(trained, write):
    alone = {key.removeprefix("generator."): value for key, value in trained.items()}
    record = Mmgen(inplace_relu=False).read(write(alone))
    assert record.discriminator is None
    assert record.config.num_classes == 4
    with pytest.raises(CheckpointError, match="holds no state_dict"):
        Mmgen().read(write({}))


@pytest.mark.parametrize(
    ("g", "d", "field"),
    [
        ({"gain_around_one": False}, {}, "gain_around_one"),
        ({"normalized_tables": True}, {}, "normalized_tables"),
        ({"stored_vectors": ("*",)}, {}, "stored_vectors"),
        ({}, {"relu_shortcut": True}, "discriminator.relu_shortcut"),
        ({}, {"stored_vectors": ("linear",)}, "discriminator.stored_vectors"),
    ],
)
def test_what_only_mmgeneration_computes_does_not_go_into_other_files(g, d, field, tmp_path):
    shape = (3, 8, 8)
    networks = (
        BigGanGenerator(width=1, z_dim=2, output_norm_eps=1e-5, **g),
        BigGanDiscriminator(width=1, **d),
    )
    config = ModelConfig(
        generator=networks[0], discriminator=networks[1], image_shape=shape, num_classes=2
    )
    states = [network.build(shape, 2).state_dict() for network in networks]
    write_model(tmp_path / "m", ModelRecord(config, states[0], discriminator=states[1]))
    with pytest.raises(CheckpointError, match=f"{field}: must be"):
        export(tmp_path / "m", "biggan-pytorch", tmp_path / "out")
