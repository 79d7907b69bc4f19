"""TF Hub's BigGAN: module, archive, dumps and ports give the images of biggan_v1.py."""

import io
import json
import re
import shutil
import tarfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from limner.checkpoints import read_model, write_model
from limner.checkpoints.importers import tfhub_biggan
from limner.checkpoints.importers.tfhub_biggan import TfhubBiggan
from limner.cli.main import main
from limner.core.errors import CheckpointError, ConfigError, RefusedFile
from limner.formats.variables import open_variables

ATOL = 2e-5  # the fixture's own


@pytest.fixture(scope="module")
def module(golden):
    return golden("biggan_tfhub/tfhub_module_128_ch4")


@pytest.fixture(scope="module")
def fixture(golden):
    return load_file(golden("biggan_tfhub/tfhub_v1_128_ch4.safetensors"))


@pytest.fixture(scope="module")
def arrays(module):
    with open_variables(module) as variables:
        return {name: variables[name].numpy() for name in variables}


def images(record, fixture):
    config = record.config
    net = config.generator.build(config.image_shape, config.num_classes).eval()
    net.load_state_dict(record.generator)
    with torch.no_grad():
        return net(fixture["in/z"], fixture["in/y"])[..., ::2, ::2]


def gap(record, fixture, name="v1_image"):
    return (images(record, fixture) - fixture[f"out/{name}"]).abs().max().item()


def state_of(fixture, prefix="state/G_v1/"):
    return {k.removeprefix(prefix): v for k, v in fixture.items() if k.startswith(prefix)}


def pack(module, path, names=None):
    with tarfile.open(path, "w:gz") as archive:
        for file in sorted((module / "variables").iterdir()):
            archive.add(file, f"./{'variables' if names is None else names}/{file.name}")
        archive.addfile(tarfile.TarInfo("./tfhub_module.pb"), io.BytesIO())
    return path


# --- every form of the same weights ---------------------------------------------


def test_module_folder(module, fixture, tmp_path):
    record = TfhubBiggan().read(module)
    assert gap(record, fixture) <= ATOL
    config = record.config
    assert (config.image_shape, config.num_classes) == ((3, 128, 128), 10)
    assert config.generator.attention == (64,)
    assert set(config.origin["sha256"]) == {
        "variables.index",
        "variables.data-00000-of-00001",
    }
    again = read_model(write_model(tmp_path / "model", record))
    assert torch.equal(images(again, fixture), images(record, fixture))


def test_every_other_form_is_the_same(module, fixture, arrays, tmp_path):
    np.savez(tmp_path / "dump.npz", **{f"module/{k}:0": v for k, v in arrays.items()})
    np.savez_compressed(tmp_path / "plain.npz", **arrays)
    expected = TfhubBiggan().read(module).generator
    for path in (
        module / "variables",
        module / "variables" / "variables.index",
        module / "dump.h5",
        pack(module, tmp_path / "module.tar.gz"),
        pack(module, tmp_path / "flat.tar.gz", "."),
        tmp_path / "dump.npz",
        tmp_path / "plain.npz",
    ):
        found = TfhubBiggan().read(path).generator
        assert all(torch.equal(found[key], expected[key]) for key in expected), path


def test_the_port_of_it(fixture, tmp_path):
    torch.save(state_of(fixture), tmp_path / "biggan_v1.pth")
    assert gap(TfhubBiggan().read(tmp_path / "biggan_v1.pth"), fixture) <= ATOL


def test_plain_weights_on_demand(module, fixture):
    assert gap(TfhubBiggan("raw").read(module), fixture) > 1e-2


def test_sigma_is_the_modules_own(module, fixture):
    """Control: as BigGAN-PyTorch has it (converter.py's model) images differ by some 3e-4."""
    record = TfhubBiggan().read(module)
    assert record.config.generator.spectral_norm is False
    stated = fixture["out/v1_image"] - fixture["out/converted_image"]
    assert stated.abs().max() > 10 * ATOL
    assert gap(record, fixture, "converted_image") > 10 * ATOL


def test_the_command(module, tmp_path, capsys):
    words = ["import", "tfhub-biggan", str(module), "--out", str(tmp_path / "m"), "--json"]
    assert main([*words, "--set", "weights=raw"]) == 0
    assert json.loads(capsys.readouterr().out)["origin"]["weights"] == "raw"
    assert read_model(tmp_path / "m").config.image_shape == (3, 128, 128)
    assert main([*words, "--set", "weight=raw"]) == 1
    assert "tfhub-biggan: weight: unknown key; nearest is 'weights'" in capsys.readouterr().err


# --- what converter.py makes of it -----------------------------------------------


def converted(fixture, arrays):
    """The converter's state dict: in the fixture where small, the rest in the hub's layout."""
    state = state_of(fixture, "converted/G/")
    for i in range(5):
        for ours, theirs in (("conv1", "conv0"), ("conv2", "conv1"), ("conv_sc", "conv_sc")):
            name = f"Generator/GBlock{f'_{i}' * (i > 0)}/{theirs}/w/ema_b999900"
            weight = torch.from_numpy(arrays[name]).permute(3, 2, 0, 1).contiguous()
            state.setdefault(f"blocks.{i}.0.{ours}.weight", weight)
        for ours, theirs in (("bn1", "HyperBN"), ("bn2", "HyperBN_1")):
            for mine, name in (("gain", "gamma"), ("bias", "beta")):
                key = f"Generator/GBlock{f'_{i}' * (i > 0)}/{theirs}/{name}/w/ema_b999900"
                weight = torch.from_numpy(arrays[key]).T
                weight = torch.cat([weight[:, -128:], weight[:, :20]], 1)
                state.setdefault(f"blocks.{i}.0.{ours}.{mine}.weight", weight)
    return state


def test_converted_files_keep_the_converters_images(fixture, arrays, tmp_path):
    torch.save(converted(fixture, arrays), tmp_path / "biggan-128.pth")
    record = TfhubBiggan().read(tmp_path / "biggan-128.pth")
    config = record.config.generator
    assert (config.batch_norm_eps, config.output_norm_eps) == (1e-4, 1e-5)
    assert gap(record, fixture, "converted_image") <= ATOL


# --- full size: names and shapes ---------------------------------------------------


def key_list(golden, name):
    plain = json.loads(golden(f"biggan_tfhub/{name}.json").read_text())["keys"]
    found = {key: re.fullmatch(r"(\w+)\[(.*)\]", text) for key, text in plain.items()}
    return {
        key: torch.empty([int(n) for n in m[2].split(",") if n], dtype=getattr(torch, m[1]))
        for key, m in found.items()
    }


@pytest.mark.parametrize(
    ("resolution", "z_dim", "attention", "output_eps"),
    [(128, 120, 64, 1e-4), (256, 140, 128, 1e-4), (512, 128, 64, 1e-5)],
)
def test_full_size_names(golden, resolution, z_dim, attention, output_eps):
    with torch.device("meta"):
        port = key_list(golden, f"keys_tfhub_v1_{resolution}")
        converter = key_list(golden, f"keys_tfhub_converted_{resolution}")
    converter = {key: value for key, value in converter.items() if not key.endswith("sv0")}
    with torch.device("meta"):
        record = tfhub_biggan.record_from(port, "keys", "ema", None)
        other = tfhub_biggan.record_from(converter, "keys", "ema", None)
    config = record.config.generator
    assert record.config.image_shape == (3, resolution, resolution)
    assert (config.width, config.z_dim, config.attention) == (96, z_dim, (attention,))
    assert (config.batch_norm_eps, config.output_norm_eps) == (1e-4, output_eps)
    normless = {key for key in other.generator if not key.endswith(("u0", "sv0"))}
    assert normless == set(record.generator)
    assert other.config.generator.attention == (attention,)
    for key in list(port)[::3]:
        if not key.endswith(("weight_v", "num_batches_tracked")):
            rest = {name: value for name, value in port.items() if name != key}
            with torch.device("meta"), pytest.raises(CheckpointError, match=re.escape(key)):
                tfhub_biggan.record_from(rest, "keys", "ema", None)


def with_blocks(small, blocks, widths, part):
    """Names and shapes of a module of more blocks, from those of the small one."""
    made = {
        name: torch.from_numpy(array).to("meta")
        for name, array in small.items()
        if not name.startswith("Generator/GBlock")
    }
    shapes = {"conv0": 3, "conv1": 3, "conv_sc": 1}
    for i in range(blocks):
        low, high = widths[i], widths[i + 1]
        base = f"Generator/GBlock{f'_{i}' * (i > 0)}"
        for conv, size in shapes.items():
            inner = high if conv == "conv1" else low
            for end in ("", "/ema_b999900"):
                made[f"{base}/{conv}/w{end}"] = torch.empty(size, size, inner, high, device="meta")
                made[f"{base}/{conv}/b{end}"] = torch.empty(high, device="meta")
            made[f"{base}/{conv}/u0"] = torch.empty(1, high, device="meta")
        for end, width in (("", low), ("_1", high)):
            for kind in ("gamma", "beta"):
                scope = f"{base}/HyperBN{end}/{kind}"
                for ema in ("", "/ema_b999900"):
                    made[f"{scope}/w{ema}"] = torch.empty(part + 128, width, device="meta")
                made[f"{scope}/u0"] = torch.empty(1, width, device="meta")
            for kind in ("accumulated_mean", "accumulated_var"):
                made[f"{base}/CrossReplicaBN{end}/{kind}"] = torch.empty(width, device="meta")
    return made


def test_six_blocks_attend_elsewhere(arrays):
    """The hub's own names at 256 px: attention after the fifth block, which has 128 pixels."""
    widths = [64, 64, 32, 32, 16, 8, 4]
    with torch.device("meta"):
        made = with_blocks(arrays, 6, widths, 20)
        record = tfhub_biggan.record_from(made, "names", "ema", None)
        assert record.config.generator.attention == (128,)
        with pytest.raises(CheckpointError, match=r"'blocks\.3\.attention\.query"):
            tfhub_biggan.record_from(made, "names", "ema", 64)


# --- what is refused -----------------------------------------------------------


def test_missing_and_foreign_variables_are_named(arrays, tmp_path):
    lost = ["Generator/GBlock_2/conv0/w/ema_b999900", "Generator/attention/phi/u0"]
    held = {name: array for name, array in arrays.items() if name not in lost}
    np.savez(tmp_path / "a.npz", **held, **{"Generator/GBlock_9x/w": np.zeros(2)})
    with pytest.raises(CheckpointError) as caught:
        TfhubBiggan().read(tmp_path / "a.npz")
    line = str(caught.value)
    assert all(f"'{name}'" in line for name in lost)
    assert "not known 'Generator/GBlock_9x/w'" in line
    assert line.count("'Generator") == 3


def test_without_moving_average(arrays, tmp_path):
    np.savez(tmp_path / "a.npz", **{k: v for k, v in arrays.items() if "/ema" not in k})
    with pytest.raises(CheckpointError, match="no moving average; --set weights=raw"):
        TfhubBiggan().read(tmp_path / "a.npz")
    assert TfhubBiggan("raw").read(tmp_path / "a.npz").config.num_classes == 10


def test_a_shape_that_does_not_fit_is_named(arrays, tmp_path):
    name = "Generator/GBlock_2/conv0/w/ema_b999900"
    for array in (arrays[name][:, :, :-1], arrays[name].reshape(-1), arrays[name][..., :-1]):
        np.savez(tmp_path / "a.npz", **{**arrays, name: array})
        with pytest.raises(CheckpointError, match=r"GBlock_2/conv0|blocks\.2\.conv1"):
            TfhubBiggan().read(tmp_path / "a.npz")


def test_archives_that_mean_harm(module, tmp_path):
    index = (module / "variables" / "variables.index").read_bytes()

    def entry(name, content=index, **fields):
        info = tarfile.TarInfo(name)
        info.size = len(content)
        for key, value in fields.items():
            setattr(info, key, value)
        return info, io.BytesIO(content)

    link = entry("variables/variables.index", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    hard = entry("variables/variables.index", b"", type=tarfile.LNKTYPE, linkname="other")
    cases = [
        ([link], RefusedFile, "is a link"),
        ([hard], RefusedFile, "is a link"),
        ([entry("variables/variables.index")] * 2, RefusedFile, "two checkpoints"),
        (
            [entry("a/variables.index"), entry("b/variables.data-00000-of-00001")],
            RefusedFile,
            "two",
        ),
        ([entry("variables/x", bytes(2**25))], RefusedFile, "unpacks to more than 20 times"),
        ([entry(f"x{i}", b"") for i in range(10_001)], RefusedFile, "more than 10000 entries"),
        ([entry("../../variables.index")], CheckpointError, "missing variables.data-00000-of-"),
        ([entry("saved_model.pb")], CheckpointError, "no variables/variables.index"),
    ]
    for members, error, said in cases:
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
            for info, content in members:
                content.seek(0)
                archive.addfile(info, content if info.isreg() else None)
        with pytest.raises(error, match=said) as caught:
            TfhubBiggan().read(tmp_path / "a.tar.gz")
        assert str(tmp_path / "a.tar.gz") in str(caught.value)
        assert "limner-import" not in str(caught.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.tar.gz"]


def test_a_torn_archive_and_a_torn_folder(module, tmp_path):
    whole = pack(module, tmp_path / "a.tar.gz").read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"a\.tar\.gz: damaged"):
        TfhubBiggan().read(tmp_path / "a.tar.gz")
    shutil.copytree(module / "variables", tmp_path / "variables")
    (tmp_path / "variables").chmod(0o755)
    (tmp_path / "variables" / "variables.index").unlink()
    with pytest.raises(CheckpointError, match="only its data files are there"):
        TfhubBiggan().read(tmp_path)


def test_hdf5_that_points_elsewhere(module, tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a.h5"
    for make, said in (
        (
            lambda f: f.update({"x": h5py.ExternalLink(str(module / "dump.h5"), "/module")}),
            "a link",
        ),
        (lambda f: f.update({"x": h5py.SoftLink("/y")}), "a link"),
        (lambda f: f.create_dataset("x", data="text"), "not numbers"),
        (
            lambda f: f.create_dataset("x", (2,), "f4", external=[(str(module / "dump.h5"), 0, 8)]),
            "other files",
        ),
        (lambda f: f.create_dataset("x", (2**40,), "f4", chunks=(2**10,)), "20 times its size"),
        (lambda f: f.create_group("a").update({"a": f}), "too deep"),
    ):
        with h5py.File(path, "w") as file:
            make(file)
        with pytest.raises(RefusedFile, match=said):
            TfhubBiggan().read(path)


def test_wrong_options_say_what_is_allowed():
    with pytest.raises(ConfigError, match='weights: "best" is none of ema, raw'):
        TfhubBiggan.of({"weights": "best"})
    with pytest.raises(ConfigError, match="attention: give a whole number, not"):
        TfhubBiggan.of({"attention": "x"})


def test_other_files_are_no_generators(tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="it holds 'weight'"):
        TfhubBiggan().read(tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="no such file"):
        TfhubBiggan().read(tmp_path / "none")
