"""Every importer reads a small checkpoint of its system and refuses its hostile twins; what an
exporter writes comes back. A new line in a table is tested here once it has a planted file."""

import dataclasses
import json
import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import limner
from hostile import HARMFUL, as_torch_zip
from limner.api.exporting import EXPORTERS, export
from limner.api.importing import IMPORTERS, import_model, importer_named
from limner.checkpoints import ModelConfig, ModelRecord, read_model, write_model
from limner.cli.main import main
from limner.core.errors import ConfigError
from limner.core.protocols import NetworkConfig
from limner.models import BigGanDiscriminator, BigGanGenerator, DcganGenerator
from network_snapshots import R3GAN, STYLE_D, STYLES
from published import PLANTED, Planted, torch_bytes
from toys import ToyGenerator


@pytest.fixture(params=IMPORTERS)
def name(request) -> str:
    return request.param


@pytest.fixture
def planted(name, tmp_path) -> Planted:
    (tmp_path / "source").mkdir()
    return PLANTED[name](tmp_path / "source")


def refusal(capsys, *words) -> str:
    assert main([str(word) for word in words]) == 1
    line = capsys.readouterr().err.strip()
    assert "\n" not in line
    return line


# --- importers -------------------------------------------------------------------


def test_it_imports_and_samples(name, planted, tmp_path, capsys):
    out = tmp_path / "model"
    assert main(["import", name, str(planted.source), "--out", str(out), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["next"].startswith(f"limner sample {out}")
    assert Path(facts["preview"]) == tmp_path / "model-preview.png"
    assert Path(facts["preview"]).stat().st_size > 0
    origin = read_model(out).config.origin
    assert facts["origin"] | {"weights_sha256": origin["weights_sha256"]} == origin
    assert (origin["kind"], origin["importer"]) == ("import", name)
    images = limner.load(out, "cpu").sample(num=3, as_float=True)
    assert images.shape[0] == 3
    assert np.isfinite(images).all()
    # Other weights make other pictures: the tensors of the file are the model's.
    record = read_model(out)
    for tensor in filter(torch.is_floating_point, record.generator.values()):
        tensor.mul_(1.5)
    write_model(tmp_path / "other", record)
    other = limner.load(tmp_path / "other", "cpu").sample(num=3, as_float=True)
    assert not np.array_equal(images, other)


def test_its_options_are_its_fields(name, capsys):
    saved, importer = importer_named(name)
    assert saved == name
    assert importer.of({}) == importer()
    with pytest.raises(ConfigError, match="no_such_option"):
        importer.of({"no_such_option": 1})
    with pytest.raises(SystemExit):
        main(["import", name, "--help"])
    shown = capsys.readouterr().out
    for field in importer.__struct_fields__:
        if getattr(importer(), field) != {}:
            assert f"--{field.replace('_', '-')}" in shown
            assert f"{field}:" in (importer.__doc__ or "")


def twins(planted: Planted) -> dict[str, bytes]:
    """Contents for the file of weights that no importer may take."""
    whole, text = planted.weights.read_bytes(), "Größe: 8\nPictures of cats\n" * 40
    largest = max(planted.tensors, key=lambda key: np.asarray(planted.tensors[key]).size)
    value = torch.as_tensor(planted.tensors[largest])
    others = {key: held for key, held in planted.tensors.items() if key != largest}
    like = torch.Tensor.numpy if isinstance(planted.tensors[largest], np.ndarray) else torch.clone
    return {
        "a missing tensor": planted.packed(others),
        "a tensor of another shape": planted.packed(others | {largest: like(value[:0])}),
        "a tensor too many": planted.packed(planted.tensors | {"Generator/x": like(value)}),
        "cut": whole[: len(whole) // 2],
        "its end is missing": whole[:-9],
        "a text file": text.encode(),
        "an empty file": b"",
        "a pickle that runs a command": HARMFUL["os.system"],
        "a file of torch.save that runs a command": as_torch_zip(HARMFUL["os.system"]),
        "an .npz of numpy": zipped("x.npy"),
        "a zip file": zipped("größe.png"),
    }


def zipped(entry: str) -> bytes:
    from io import BytesIO

    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(entry, b"\xff" * 99)
    return file.getvalue()


def test_its_hostile_twins_are_refused_in_one_line_and_run_nothing(
    name, planted, tmp_path, capsys, monkeypatch
):
    marker = tmp_path / "marker"
    monkeypatch.setenv("MARKER", str(marker))
    for kind, content in twins(planted).items():
        planted.weights.write_bytes(content)
        line = refusal(capsys, "import", name, planted.source, "--out", tmp_path / "model")
        assert str(planted.weights) in line, kind
        assert len(line) < 600
        assert not any(word in line for word in ("codec", "opcode", "mmap", "0xff", "Errno")), line
        is_npz = planted.weights.suffix == ".npz"
        if kind in ("a text file", "a zip file"):
            assert f"{kind}, not a" in line
            assert planted.hint in line
        elif kind == "an .npz of numpy":
            assert ("not a numpy array" if is_npz else planted.hint) in line
        elif kind == "an empty file":
            assert "an empty file; fetch or write it again" in line
        assert not marker.exists(), kind
        assert not (tmp_path / "model").exists()
    pickle.loads(HARMFUL["os.system"])  # the control: it would have run
    assert marker.exists()


def wrapped(planted: Planted) -> dict[str, bytes]:
    """The same weights as other scripts put them down."""
    tensors = planted.tensors
    prefixes = ("module.", "_orig_mod.", "module._orig_mod.")
    others = {
        f"behind {prefix}": planted.packed({f"{prefix}{name}": t for name, t in tensors.items()})
        for prefix in prefixes
    }
    # An exact half of each number, so that the weights of all forms are the same.
    others["in half precision"] = planted.packed({name: halved(t) for name, t in tensors.items()})
    if planted.packed(tensors)[:2] == b"PK" and planted.weights.suffix != ".npz":
        tree = torch.load(planted.weights, weights_only=True)
        whole = tree.get("state_dict", tree)
        others |= {f"inside {name}": torch_bytes({name: whole}) for name in ("state_dict", "model")}
        others["inside two"] = torch_bytes({"epoch": 3, "model": {"state_dict": whole}})
        inner = {key: t for key, t in whole.items() if key.startswith("generator.")}
        if any(key.startswith("discriminator.") for key in whole):
            other = {key: t for key, t in whole.items() if key not in inner}
            named = {key.replace("generator.", "generator.module."): t for key, t in inner.items()}
            others["behind module. in one network"] = torch_bytes({"state_dict": other | named})
            cut = {key.removeprefix("generator."): t for key, t in inner.items()}
            rest = {key.removeprefix("discriminator."): t for key, t in other.items()}
            others["networks as tables"] = torch_bytes({"generator": cut, "discriminator": rest})
        else:
            others["inside generator_ema"] = torch_bytes({"generator_ema": whole})
    return others


def halved(value):
    """Single precision as half, anything else as it is."""
    if isinstance(value, torch.Tensor):
        return value.half() if value.dtype == torch.float32 else value
    is_single = isinstance(value, np.ndarray) and value.dtype == np.float32
    return value.astype(np.float16) if is_single else value


def rounded(value):
    half = halved(value)
    if isinstance(half, torch.Tensor):
        return half.to(value.dtype)
    return half.astype(value.dtype) if isinstance(half, np.ndarray) else half


@pytest.mark.filterwarnings("ignore:.*is taken off all names")
def test_prefixes_nesting_and_half_precision_change_nothing(name, planted):
    importer = importer_named(name)[1].of({})
    tensors = {key: rounded(value) for key, value in planted.tensors.items()}
    planted = dataclasses.replace(planted, tensors=tensors)
    planted.weights.write_bytes(planted.packed(tensors))
    expected = importer.read(planted.source)
    for kind, content in wrapped(planted).items():
        planted.weights.write_bytes(content)
        got = importer.read(planted.source)
        assert got.config.generator == expected.config.generator, kind
        assert got.generator.keys() == expected.generator.keys(), kind
        for key, value in expected.generator.items():
            assert got.generator[key].dtype == value.dtype, (kind, key)
            assert torch.equal(got.generator[key], value), (kind, key)


def test_a_folder_or_file_in_its_place_is_named(name, planted, tmp_path, capsys):
    place = tmp_path / "place"
    if planted.source.is_dir():
        place.write_text("x")
    else:
        place.mkdir()
    line = refusal(capsys, "import", name, place, "--out", tmp_path / "model")
    assert str(place) in line
    line = refusal(capsys, "import", name, tmp_path / "none", "--out", tmp_path / "model")
    assert f"{tmp_path / 'none'}: no such file" in line


# --- exporters -------------------------------------------------------------------


def biggan() -> ModelRecord:
    shape, g, d = (
        (3, 8, 8),
        BigGanGenerator(width=1, z_dim=2, output_norm_eps=1e-5),
        BigGanDiscriminator(width=1),
    )
    config = ModelConfig(generator=g, discriminator=d, image_shape=shape, num_classes=2)
    states = [network.build(shape, 2).state_dict() for network in (g, g, d)]
    return ModelRecord(config, *states)


def generator_alone() -> ModelRecord:
    record = biggan()
    return ModelRecord(record.config.replace(discriminator=None), record.generator)


def pair_of(g: NetworkConfig, d: NetworkConfig, num_classes: int):
    def make() -> ModelRecord:
        shape = (3, 8, 8)
        config = ModelConfig(
            generator=g, discriminator=d, image_shape=shape, num_classes=num_classes
        )
        states = [network.build(shape, num_classes).state_dict() for network in (g, g, d)]
        return ModelRecord(config, *states)

    return make


def by(importer: str):
    return lambda folder: import_model(importer, folder, folder.with_name("back"))


# Exporter -> a model that goes into its files, and what reads them.
EXPORTED = {
    "biggan-pytorch": (biggan, by("biggan-pytorch")),
    "stylegan2-ada": (pair_of(STYLES["stylegan2-ada"][0], STYLE_D, 2), by("stylegan2-ada")),
    "stylegan3": (pair_of(STYLES["stylegan3"][0], STYLE_D, 2), by("stylegan3")),
    "r3gan": (pair_of(*R3GAN, 0), by("r3gan")),
    "space": (generator_alone, lambda folder: read_model(folder / "model")),
}


ONE_WAY = {"onnx", "web"}  # tests/unit/test_onnx_export.py, tests/e2e/test_web_page.py


@pytest.mark.parametrize("exporter", sorted(EXPORTERS.keys() - ONE_WAY))
def test_what_it_writes_comes_back(exporter, tmp_path, capsys):
    make, read = EXPORTED[exporter]
    record = make()
    write_model(tmp_path / "model", record)
    words = [
        "export",
        str(tmp_path / "model"),
        "--format",
        exporter,
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["format"] == exporter
    assert sorted(facts["files"]) == sorted(map(str, (tmp_path / "out").iterdir()))
    back = read(tmp_path / "out")
    assert back.config.generator == record.config.generator
    assert back.config.discriminator == record.config.discriminator
    for group in ("generator", "generator_raw", "discriminator"):
        ours, theirs = getattr(record, group) or {}, getattr(back, group) or {}
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("exporter", sorted(EXPORTERS.keys() - ONE_WAY))
def test_a_model_that_does_not_go_into_its_files_is_refused(exporter, tmp_path, capsys):
    toy = ToyGenerator()
    config = ModelConfig(generator=toy, image_shape=(3, 8, 8), num_classes=2)
    write_model(tmp_path / "toy", ModelRecord(config, toy.build((3, 8, 8), 2).state_dict()))
    out = tmp_path / "out"
    line = refusal(capsys, "export", tmp_path / "toy", "--format", exporter, "--out", out)
    assert "ToyGenerator" in line
    assert not out.exists()


# --- of one's own -----------------------------------------------------------------

MODULE = '''
import numpy as np
import torch

from limner.checkpoints import ModelConfig, ModelRecord
from limner.checkpoints.foreign import Exporter, Importer
from limner.core.config import Config
from limner.models import DcganGenerator


class Mine(Config, Importer, frozen=True):
    """Arrays of a DCGAN in an .npz.

    Attributes:
        scale: what the weights are multiplied by.
    """

    scale: float = 1.0

    def read(self, source):
        with np.load(source) as arrays:
            state = {name: torch.tensor(arrays[name] * arrays[name].dtype.type(self.scale)) for name in arrays}
        network = DcganGenerator(width=2, z_dim=2, max_channels=4)
        config = ModelConfig(generator=network, image_shape=(3, 8, 8))
        return ModelRecord(config, state)


class Back(Config, Exporter, frozen=True):
    def write(self, record, folder, training):
        folder.mkdir()
        np.savez(folder / "w.npz", **{k: v.numpy() for k, v in record.generator.items()})
        return [folder / "w.npz"]
'''


@pytest.fixture
def module(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_formats.py").write_text(MODULE)
    yield tmp_path / "my_formats.py"
    sys.modules.pop("my_formats", None)


def weights_of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays}


def test_an_importer_and_an_exporter_outside_the_package(module, tmp_path, capsys):
    state = DcganGenerator(width=2, z_dim=2, max_channels=4).build((3, 8, 8), 0).state_dict()
    source = tmp_path / "source.npz"
    np.savez(source, **{name: tensor.numpy() for name, tensor in state.items()})
    model, out = tmp_path / "model", tmp_path / "out"
    words = ["import", f"{module}:Mine", str(source), "--scale", "2", "--out", str(model), "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["origin"]["importer"] == "my_formats:Mine"
    assert limner.load(model, "cpu").sample(num=2).shape == (2, 8, 8, 3)
    assert main(["export", str(model), "--format", f"{module}:Back", "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out / "w.npz")
    before, after = weights_of(source), weights_of(out / "w.npz")
    assert before.keys() == after.keys()
    assert all(np.array_equal(after[name], 2 * before[name]) for name in before)

    record = import_model("my_formats:Mine", source, tmp_path / "again", {"scale": 3.0})
    assert record.config.origin["importer"] == "my_formats:Mine"
    export(tmp_path / "again", "my_formats:Back", tmp_path / "third")
    third = weights_of(tmp_path / "third" / "w.npz")
    assert all(np.array_equal(third[name], 3 * before[name]) for name in before)


def test_names_outside_that_lead_nowhere_are_one_line(module, tmp_path, capsys):
    out = ("--out", tmp_path / "m")
    said = lambda name: refusal(capsys, "import", name, tmp_path, *out)  # noqa: E731
    assert "has no class 'Other'" in said(f"{module}:Other")
    assert "is no Importer" in said(f"{module}:Back")
    assert "not importable" in said("no_such_module:Mine")
    assert "no such file" in said(tmp_path / "none.py:Mine")
    assert "the formats are" in said("mine")
    line = refusal(capsys, "export", tmp_path, "--format", f"{module}:Mine", *out)
    assert "is no Exporter" in line
    assert "unknown key" in refusal(
        capsys, "import", f"{module}:Mine", tmp_path, *out, "--set", "scales=2"
    )
