"""HuggingFace's BigGAN-deep gives that port's images at each truncation; so would TF Hub's."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file

from limner.api.importing import importer_named
from limner.checkpoints import read_model, write_model
from limner.checkpoints.importers import tfhub_biggan
from limner.checkpoints.importers.huggingface_biggan import (
    HuggingfaceBiggan,
    record_from,
    shape_from,
)
from limner.core.errors import CheckpointError, ConfigError
from limner.sampling.standing import StandingSets, using_statistics

ATOL = 2e-5
TRUNCATIONS = {"0.3": 0.3, "0.4": 0.4, "0.437": 0.437, "1": 1.0}


@pytest.fixture(scope="module")
def files(golden):
    return golden("biggan_hf/hf_biggan_deep_64_tiny_files")


@pytest.fixture(scope="module")
def fixture(golden):
    return load_file(golden("biggan_hf/hf_biggan_deep_64_tiny.safetensors"))


@pytest.fixture(scope="module")
def plain(files):
    return json.loads((files / "config.json").read_text())


@pytest.fixture
def state(fixture):
    prefix = "state/hf/"
    return {k.removeprefix(prefix): v for k, v in fixture.items() if k.startswith(prefix)}


def gaps(record, fixture):
    """Truncation -> largest difference of its image."""
    config = record.config
    net = config.generator.build(config.image_shape, config.num_classes).eval()
    net.load_state_dict(record.generator)
    sets = StandingSets(config.truncations, record.standing, config.statistics_rule)
    found = {}
    for name, truncation in TRUNCATIONS.items():
        if f"out/image_trunc{name}" not in fixture:
            continue  # the small golden set holds one of them
        z = fixture["in/z_untruncated"] * truncation
        with using_statistics(net, sets.at(truncation)), torch.no_grad():
            image = net(z, fixture["in/y"])
        found[name] = (image - fixture[f"out/image_trunc{name}"]).abs().max().item()
    return found


def test_images_at_each_truncation(files, fixture, tmp_path):
    record = HuggingfaceBiggan("huggingface").read(files)
    assert max(gaps(record, fixture).values()) <= ATOL
    config = record.config
    assert config.generator.attention == (32,)
    assert config.truncations == pytest.approx([i * 0.02 for i in range(51)])
    assert "warning" not in config.origin
    again = read_model(write_model(tmp_path / "model", record))
    assert again.config.statistics_rule == "huggingface"
    assert gaps(again, fixture) == gaps(record, fixture)


def test_the_right_interpolation_is_the_default(files, fixture):
    """Trap 11: on a stored set both agree, between two sets the port takes the wrong weights."""
    record = HuggingfaceBiggan().read(files)
    assert record.config.statistics_rule == "linear"
    found = gaps(record, fixture)
    assert found.pop("0.437") > 100 * ATOL
    assert max(found.values(), default=0.0) <= ATOL


def test_the_last_set_is_the_generators_own(files, fixture):
    record = HuggingfaceBiggan().read(files)
    rows = record.standing["output_norm.running_mean"]
    assert torch.equal(rows, fixture["state/hf/generator.bn.running_means"])
    assert torch.equal(record.generator["output_norm.running_mean"], rows[-1])


def test_names_that_the_published_files_have(files, fixture, tmp_path):
    for name in ("config.json", "pytorch_model.bin"):
        shutil.copyfile(files / name, tmp_path / f"biggan-deep-64-{name}")
    expected = HuggingfaceBiggan().read(files).generator
    for path in (tmp_path, tmp_path / "biggan-deep-64-pytorch_model.bin"):
        found = HuggingfaceBiggan().read(path).generator
        assert all(torch.equal(found[key], expected[key]) for key in expected)


# --- files that lack vectors ---------------------------------------------------


def test_missing_vectors_are_computed_and_told(files, fixture, state, tmp_path):
    shutil.copyfile(files / "config.json", tmp_path / "config.json")
    for end in (".weight_u", ".weight_v"):
        del state[f"generator.layers.3.conv_1{end}"]
    torch.save(state, tmp_path / "pytorch_model.bin")
    record = HuggingfaceBiggan("huggingface").read(tmp_path)
    assert "'generator.layers.3.conv_1'" in record.config.origin["warning"]
    assert "1 layers" in record.config.origin["warning"]
    weight = record.generator["blocks.3.conv2.weight"].flatten(1)
    assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1.0, abs=1e-3)
    whole = HuggingfaceBiggan().read(files).generator
    others = [key for key in whole if key != "blocks.3.conv2.weight"]
    assert all(torch.equal(record.generator[key], whole[key]) for key in others)


# --- full size -------------------------------------------------------------------


def key_list(golden, size):
    plain = json.loads(golden(f"biggan_hf/keys_hf_biggan-deep-{size}.json").read_text())
    found = {key: re.fullmatch(r"(\w+)\[(.*)\]", text) for key, text in plain["keys"].items()}
    state = {
        key: torch.empty([int(n) for n in m[2].split(",") if n], device="meta")
        for key, m in found.items()
    }
    return shape_from(plain["config"], "config.json"), state


@pytest.mark.parametrize("size", [128, 256, 512])
def test_full_size_names(golden, size):
    shape, state = key_list(golden, size)
    record, computed = record_from(state, shape, "linear", "keys")
    assert record.config.image_shape == (3, size, size)
    assert record.config.generator.width == 128
    assert record.config.generator.attention == (64,)
    assert computed == []
    num_norms = sum(key.endswith("running_means") for key in state)
    assert len(record.standing) == 2 * num_norms
    for key in list(state)[::5]:
        if not key.endswith(("weight_u", "weight_v")):
            rest = {name: value for name, value in state.items() if name != key}
            with pytest.raises(CheckpointError, match=f"missing '{re.escape(key)}'$"):
                record_from(rest, shape, "linear", "keys")
    with pytest.raises(CheckpointError, match=r"not known 'generator\.extra'"):
        record_from({**state, "generator.extra": torch.zeros(1)}, shape, "linear", "keys")


# --- configs ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"z_dim": None}, "z_dim must be an integer of 1 to"),
        ({"z_dim": True}, "z_dim must be"),
        ({"channel_width": 10**9}, "channel_width must be"),
        ({"n_stats": 0}, "n_stats must be"),
        ({"layers": []}, "layers must be a list"),
        ({"layers": [[False, 1, 1]] * 65}, "layers must be a list of 1 to 64"),
        ({"layers": [[0, 16, 16]]}, r"layers\[0\] must be"),
        ({"layers": [[True, 16, 10**6]]}, r"layers\[0\] must be"),
        ({"eps": -1}, "eps a positive number"),
        ({"eps": float("nan")}, "eps a positive number"),
        ({"attention_layer_position": "8"}, "attention_layer_position must be"),
    ],
)
def test_configs_that_cannot_be(plain, changes, said):
    with pytest.raises(CheckpointError, match=said):
        shape_from({**plain, **changes}, "config.json")


@pytest.mark.parametrize(
    ("layers", "at", "said"),
    [
        ([[False, 16, 16], [False, 16, 16]], 9, "no block doubles"),
        ([[True, 16, 8], [False, 8, 8]], 9, r"block 1 \(8 to 8 channels|block 1 \(32 to 32"),
        ([[True, 16, 4]], 9, "block 0"),
        ([[True, 16, 8], [True, 4, 4]], 9, "block 1"),
        ([[False, 16, 16], [True, 16, 8]], 1, "attention before block 1"),
        ([[True, 16, 8]], 0, "attention before block 0"),
    ],
)
def test_networks_that_limner_does_not_have(plain, state, layers, at, said):
    from limner.checkpoints.importers.deep import config_of

    shape = shape_from({**plain, "layers": layers, "attention_layer_position": at}, "config.json")
    with pytest.raises(CheckpointError, match=said):
        config_of(shape, 16, "here")


def test_other_files_and_options(files, tmp_path):
    with pytest.raises(
        ConfigError, match='statistics_rule: "cubic" is none of linear, huggingface'
    ):
        importer_named("huggingface-biggan")[1].of({"statistics_rule": "cubic"})
    with pytest.raises(CheckpointError, match=r"no pytorch_model\.bin in it"):
        HuggingfaceBiggan().read(tmp_path)
    shutil.copyfile(files / "pytorch_model.bin", tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"no config\.json beside it"):
        HuggingfaceBiggan().read(tmp_path)
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match="not a JSON object"):
        HuggingfaceBiggan().read(tmp_path)


# --- the same network from TF Hub, of which only the names are known -----------------


def hub_module(state, num_blocks, statistics):
    """The port's weights under the module's names and in its layout."""
    end = "/ema_0.9999"
    made = {f"linear/w{end}": state["embeddings.weight"].T}

    def layer(hub, name):
        weight = state[f"{name}.weight_orig"]
        made[f"{hub}/w{end}"] = weight.permute(2, 3, 1, 0) if weight.ndim == 4 else weight.T
        made[f"{hub}/u0"] = state[f"{name}.weight_u"][None]
        if f"{name}.bias" in state:
            made[f"{hub}/b{end}"] = state[f"{name}.bias"]

    layer("Generator/GenZ/G_linear", "generator.gen_z")
    layer("Generator/conv_to_rgb", "generator.conv_to_rgb")
    norms = {"Generator/BatchNorm": "generator.bn"}
    for i in range(num_blocks):
        theirs = f"generator.layers.{i + (i >= 8)}"
        hub = f"Generator/GBlock{f'_{i}' * (i > 0)}"
        for j in range(4):
            layer(f"{hub}/conv{j}", f"{theirs}.conv_{j}")
            scope = f"{hub}/BatchNorm{f'_{j}' * (j > 0)}"
            norms[scope] = f"{theirs}.bn_{j}"
            for kind in ("scale", "offset"):
                layer(f"{scope}/{kind}", f"{theirs}.bn_{j}.{kind}")
    for name in ("theta", "phi", "g", "o_conv"):
        layer(f"Generator/attention/{name}", f"generator.layers.8.snconv1x1_{name}")
    made[f"Generator/attention/gamma{end}"] = state["generator.layers.8.gamma"]
    made[f"Generator/BatchNorm/scale{end}"] = state["generator.bn.weight"]
    made[f"Generator/BatchNorm/offset{end}"] = state["generator.bn.bias"]
    for scope, name in norms.items() if statistics else ():
        for kind, key in (("mean", "running_means"), ("variance", "running_vars")):
            rows = state[f"{name}.{key}"]
            if statistics == "one":
                made[f"{scope}/standing_{kind}"] = rows
            else:
                made |= {f"{scope}/standing_{kind}_{i}": row for i, row in enumerate(rows)}
    return made


@pytest.fixture(scope="module")
def deep_128(golden):
    """The port's names at 128 px, of a 32nd of the channels and with values."""
    shape, big = key_list(golden, 128)
    draws = torch.Generator().manual_seed(0)
    sizes = {2048: 64, 1024: 32, 512: 16, 256: 8, 128: 4, 64: 2, 32: 1, 32768: 1024}
    small = {}
    for name, tensor in big.items():
        keeps = name.endswith((".running_means", ".running_vars"))
        size = [n if keeps and n == 51 else sizes.get(n, n) for n in tensor.shape]
        if name.endswith("weight_v"):
            continue
        if "embeddings" in name:
            size = [128, 10]
        elif name.endswith((".scale.weight_orig", ".offset.weight_orig", "gen_z.weight_orig")):
            size[1] = 256
        small[name] = torch.rand(size, generator=draws) + 0.1
    small_shape = shape._replace(blocks=tuple((up, a // 32, b // 32) for up, a, b in shape.blocks))
    return small_shape, small


@pytest.mark.parametrize("statistics", ["one", "many"])
def test_deep_module_is_that_of_the_port(deep_128, statistics):
    """Weights agree up to sigma, which each system estimates from u in its own way."""
    shape, state = deep_128
    expected, _ = record_from(state, shape, "linear", "port")
    made = hub_module(state, 10, statistics)
    found = tfhub_biggan.record_from(made, "module", "ema", None)
    assert found.config.generator == expected.config.generator
    assert "unproven" in found.config.origin["warning"]
    for name, tensor in expected.standing.items():
        assert torch.equal(found.standing[name], tensor), name
    for name, tensor in expected.generator.items():
        torch.testing.assert_close(found.generator[name], tensor, rtol=0.2, atol=0, msg=name)


def test_deep_module_without_statistics_says_where_to_find_them(deep_128):
    made = hub_module(deep_128[1], 10, "")
    with pytest.raises(CheckpointError, match=r"no batch norm statistics .*huggingface-biggan"):
        tfhub_biggan.record_from(made, "module", "ema", None)
    made = hub_module(deep_128[1], 10, "one")
    del made["Generator/GBlock_3/conv1/u0"]
    with pytest.raises(CheckpointError, match=r"missing 'Generator/GBlock_3/conv1/u0'$"):
        tfhub_biggan.record_from(made, "module", "ema", None)
