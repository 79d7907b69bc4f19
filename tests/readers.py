"""Everything of limner that reads files of others, each with valid files to damage.

A reader's `files` are what may be damaged: name -> valid content. `read(name, content)` puts the
content in that file's place and reads the whole thing through the public loader; what it raises is
judged by the caller. Nothing of a case stays for the next one.
"""

import gzip
import io
import json
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import bundles
import published
import snapshots
from limner import presets
from limner.checkpoints import (
    ModelConfig,
    ModelRecord,
    RunDirectory,
    find_model,
    load_rank_state,
    load_state,
    newest_verified,
    save_state,
)
from limner.checkpoints.exporters import biggan_pytorch as biggan_export
from limner.checkpoints.importers import biggan_pytorch as biggan_import
from limner.checkpoints.importers import dcgan_mmgen, huggingface_biggan, pggan, tfhub_biggan
from limner.checkpoints.manifest import render_manifest, sha256_of_bytes
from limner.core.config import from_json, override, to_json
from limner.core.errors import LimnerError
from limner.data import Crop, DataConfig, Loader, PreparedData, prepare, report
from limner.data.tfrecords import example_of, framed
from limner.metrics import read_moments
from limner.models import BigGanDiscriminator, BigGanGenerator
from limner.models.dcgan import DcganDiscriminator, DcganGenerator
from limner.sampling import load
from limner.training import RunConfig
from pictures import ACCEPTED, COLOR, PNG, saved


class Reader:
    """Base: `files` is filled by the constructor, which makes the valid form below `root`."""

    name = ""
    tokens: tuple[bytes, ...] = ()

    def __init__(self, root: Path):
        self.root = root
        root.mkdir(parents=True)
        self.files: dict[str, bytes] = {}

    def read(self, name: str, content: bytes) -> None:
        """Raises LimnerError where the content is refused."""
        raise NotImplementedError


class Configs(Reader):
    """config.json of a run, and the text after --set."""

    name = "config"

    def __init__(self, root: Path):
        super().__init__(root)
        self.base = presets.get("digits")()
        for preset in ("digits", "dcgan-celeba64"):
            self.files[f"{preset}.json"] = to_json(presets.get(preset)()).encode()
        for number, text in enumerate(("optim.g.lr=2e-4", 'updates.0.terms.0={"type": "HingeD"}')):
            self.files[f"set{number}"] = text.encode()

    def read(self, name: str, content: bytes) -> None:
        if name.startswith("set"):
            config = override(self.base, [content.decode(errors="surrogateescape")])
        else:
            config = from_json(RunConfig, content, name)
        again = from_json(RunConfig, to_json(config).encode(), name)
        assert again == config, "a config does not come back from its own JSON"


class Checkpoints(Reader):
    """A training state. "sealed X" are files whose manifest is made to fit the damage, as one who
    means harm would; damage to the others must be found."""

    name = "checkpoint"
    SEALED = "sealed "

    def __init__(self, root: Path):
        super().__init__(root)
        tree = {
            "generator": {"a.weight": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3)},
            "optimizer_g": {
                "state": {0: {"step": torch.tensor(1.0)}},
                "groups": [{"betas": (0, 1)}],
            },
            "progress": {"step": 4, "nimg": 32, "note": None},
        }
        self.state = save_state(root, 4, tree, {"noise": torch.arange(3)}, {"names": ["x", "y"]})
        held = {path.name: path.read_bytes() for path in self.state.iterdir()}
        self.files = {**held, **{self.SEALED + name: content for name, content in held.items()}}
        self.files["sealed manifest.json"] = json.dumps(self._body()).encode()

    def _body(self) -> dict[str, Any]:
        body = json.loads((self.state / "manifest.json").read_bytes())
        del body["manifest_sha256"]
        return body

    def read(self, name: str, content: bytes) -> None:
        plain = name.removeprefix(self.SEALED)
        valid = {held: self.files[held] for held in (plain, "manifest.json")}
        try:
            if name != plain:
                self._seal(plain, content)
            else:
                (self.state / plain).write_bytes(content)
            self._load()
            assert name != plain or content == valid[plain], "damage was not found"
        finally:
            for held, text in valid.items():
                (self.state / held).write_bytes(text)

    def _seal(self, name: str, content: bytes) -> None:
        body = self._body()
        if name == "manifest.json":
            try:
                body = json.loads(content)
                rendered = render_manifest(body)
            except (ValueError, TypeError, RecursionError):  # cannot be sealed: as it is
                rendered = content
            (self.state / name).write_bytes(rendered)
            return
        (self.state / name).write_bytes(content)
        body["files"][name] = {"size": len(content), "sha256": sha256_of_bytes(content)}
        (self.state / "manifest.json").write_bytes(render_manifest(body))

    def _load(self) -> None:
        newest_verified(self.root, lambda line: None)
        load_state(self.state)
        load_rank_state(self.state, 0)


class Logs(Reader):
    """log.jsonl, scores.jsonl and events.jsonl, and what a resume does with them."""

    name = "logs"

    def __init__(self, root: Path):
        super().__init__(root)
        figure = {"metric": "fid", "name": "fd-classifier", "value": 3.5, "std": None}
        lines = {
            "log.jsonl": {"step": 5, "nimg": 40, "seconds": 1.5, "loss_d": 0.25},
            "scores.jsonl": {"step": 5, "nimg": 40, "results": [figure]},
            "events.jsonl": {"step": 5, "time": "2026-01-01", "event": "saved", "message": "é"},
        }
        for name, line in lines.items():
            records = [{**line, "step": step} for step in (5, 10)]
            self.files[name] = "".join(json.dumps(record) + "\n" for record in records).encode()
        save_state(root / "checkpoints", 5, {"progress": {"step": 5}})

    def read(self, name: str, content: bytes) -> None:
        (self.root / name).write_bytes(content)
        run = RunDirectory(self.root)
        try:
            for reading in (
                lambda: run.read_log(name.removesuffix(".jsonl")),
                lambda: run.best_steps("fd-classifier"),
                lambda: run.select("best-fid"),
                lambda: run.truncate_logs(7),
            ):
                _refused_or_read(reading)
            run.append(name.removesuffix(".jsonl"), {"step": 6})
        finally:
            (self.root / name).write_bytes(self.files[name])


def _refused_or_read(reading: Callable[[], object]) -> None:
    try:
        reading()
    except LimnerError:
        return


SHAPE = (1, 8, 8)


def _networks() -> tuple[DcganGenerator, DcganDiscriminator, dict[str, Any]]:
    g, d = DcganGenerator(width=2, z_dim=2), DcganDiscriminator(width=2)
    state = {
        "generator": g.build(SHAPE, 0).state_dict(),
        "discriminator": d.build(SHAPE, 0).state_dict(),
        "generator_ema": None,
        "progress": {"step": 4, "nimg": 32},
    }
    return g, d, state


class Models(Reader):
    """A run read as a model, and a model folder: the networks are built and filled."""

    name = "model"

    def __init__(self, root: Path):
        super().__init__(root)
        g, d, state = _networks()
        run = root / "run"
        (run / "checkpoints").mkdir(parents=True)
        config = presets.get("digits")().replace(generator=g, discriminator=d, num_classes=0)
        (run / "config.json").write_text(to_json(config))
        facts = {"image_shape": SHAPE, "num_classes": 0, "class_names": [], "sha256": "0" * 64}
        (run / "data.json").write_text(json.dumps(facts))
        save_state(run / "checkpoints", 4, state)
        from limner.checkpoints import write_model

        write_model(root / "folder", find_model(run))
        plain = json.loads((root / "folder" / "config.json").read_bytes())
        del plain["origin"]["weights_sha256"]  # so that damage to the weights is read
        (root / "folder" / "config.json").write_text(json.dumps(plain))
        for name in (
            "folder/config.json",
            "folder/model.safetensors",
            "run/config.json",
            "run/data.json",
        ):
            self.files[name] = (root / name).read_bytes()

    def read(self, name: str, content: bytes) -> None:
        (self.root / name).write_bytes(content)
        try:
            load(self.root / name.partition("/")[0], "cpu")
        finally:
            (self.root / name).write_bytes(self.files[name])


class Foreign(Reader):
    """A foreign .pth for the importer."""

    name = "pth"

    def __init__(self, root: Path):
        super().__init__(root)
        state = {
            "generator.noise2feat.conv.weight": torch.zeros(2, 4, 4, 4),
            "generator.output_layer.conv.weight": torch.zeros(4, 1, 4, 4),
            "generator.output_layer.conv.bias": torch.zeros(1),
            "discriminator.downsamples.0.conv.weight": torch.zeros(4, 1, 4, 4),
            "discriminator.downsamples.0.conv.bias": torch.zeros(4),
            "discriminator.output_layer.conv.weight": torch.zeros(1, 4, 4, 4),
            "discriminator.output_layer.conv.bias": torch.zeros(1),
        }
        for name in ("weight", "bias", "running_mean", "running_var"):
            state[f"generator.noise2feat.bn.{name}"] = torch.zeros(4)
        state["generator.noise2feat.bn.num_batches_tracked"] = torch.tensor(0)
        for name, zipped in (("zip.pth", True), ("legacy.pth", False)):
            file = io.BytesIO()
            torch.save({"state_dict": state}, file, _use_new_zipfile_serialization=zipped)
            self.files[name] = file.getvalue()

    def read(self, name: str, content: bytes) -> None:
        (self.root / name).write_bytes(content)
        dcgan_mmgen.read(self.root / name)


class WeightFolders(Reader):
    """A weight folder of BigGAN-PyTorch, in both formats of torch.save."""

    name = "biggan-pytorch"

    def __init__(self, root: Path):
        super().__init__(root)
        g, d = BigGanGenerator(width=1, z_dim=2), BigGanDiscriminator(width=1)
        config = ModelConfig(generator=g, discriminator=d, image_shape=(3, 8, 8), num_classes=2)
        states = [network.build((3, 8, 8), 2).state_dict() for network in (g, d)]
        biggan_export.write(ModelRecord(config, states[0], None, states[1]), root)
        for path in sorted(root.iterdir()):
            tree = torch.load(path, weights_only=True)
            if path.stem == "state_dict":
                tree["config"]["G_activation"] = torch.nn.ReLU(inplace=True)
            for name, zipped in (("", True), ("_copy0", False)):
                file = io.BytesIO()
                torch.save(tree, file, _use_new_zipfile_serialization=zipped)
                self.files[f"{path.stem}{name}.pth"] = file.getvalue()
        for name, content in self.files.items():
            (root / name).write_bytes(content)
        for suffix in (None, "copy0"):
            biggan_import.read(root, suffix)

    def read(self, name: str, content: bytes) -> None:
        (self.root / name).write_bytes(content)
        try:
            biggan_import.read(self.root, "copy0" if name.endswith("_copy0.pth") else None)
        finally:
            (self.root / name).write_bytes(self.files[name])


def look_at(path: Path) -> None:
    """`limner data report`, which opens every picture; memory must not have run out unseen."""
    made = report(path)
    starved = [reason for _, reason in made.refused if "MemoryError" in reason]
    assert not starved, f"a picture asked for more memory than there is: {starved[0]}"
    assert all(reason and "\n" not in f"{name}{reason}" for name, reason in made.refused)


class Zips(Reader):
    """A zip of pictures with and without labels."""

    name = "zip"

    def __init__(self, root: Path):
        super().__init__(root)
        methods = {"stored": 0, "deflated": 8, "bzip2": 12, "lzma": 14}
        for name, method in methods.items():
            self.files[f"{name}.zip"] = self._packed(["a/1.png", "b/2.png"], method, None)
        labels = {"labels": [["1.png", 0], ["2.png", [0, 1]]]}
        self.files["labels.zip"] = self._packed(["1.png", "2.png"], 0, labels)
        self.files["dataset.json"] = json.dumps(labels).encode()

    @staticmethod
    def _packed(names: list[str], method: int, labels: Any) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for name in names:
                archive.writestr(name, PNG)
            if labels is not None:
                archive.writestr("dataset.json", json.dumps(labels))
        return file.getvalue()

    def read(self, name: str, content: bytes) -> None:
        path = self.root / "a.zip"
        if name == "dataset.json":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("1.png", PNG)
                archive.writestr("dataset.json", content)
        else:
            path.write_bytes(content)
        look_at(path)


class Npzs(Reader):
    """An .npz of pictures and labels."""

    name = "npz"

    def __init__(self, root: Path):
        super().__init__(root)
        images = np.arange(2 * 6 * 5 * 3, dtype=np.uint8).reshape(2, 6, 5, 3)
        for name, save in (("stored", np.savez), ("deflated", np.savez_compressed)):
            for form, labels in (("", np.arange(2)), ("-onehot", np.eye(2))):
                file = io.BytesIO()
                save(file, images=images, labels=labels)
                self.files[f"{name}{form}.npz"] = file.getvalue()
        for name, array in (("images", images), ("labels", np.arange(2))):
            file = io.BytesIO()
            np.save(file, array)
            self.files[f"{name}.npy"] = file.getvalue()

    def read(self, name: str, content: bytes) -> None:
        path = self.root / "a.npz"
        if name.endswith(".npy"):
            with zipfile.ZipFile(path, "w") as archive:
                for held in ("images.npy", "labels.npy"):
                    archive.writestr(held, content if held == name else self.files[held])
        else:
            path.write_bytes(content)
        look_at(path)


class Moments(Reader):
    """BigGAN-PyTorch's moments of Inception features."""

    name = "moments"

    def __init__(self, root: Path):
        super().__init__(root)
        for name, save in (("stored", np.savez), ("deflated", np.savez_compressed)):
            file = io.BytesIO()
            save(file, mu=np.zeros(3), sigma=np.eye(3, dtype=np.float32))
            self.files[f"{name}.npz"] = file.getvalue()

    def read(self, name: str, content: bytes) -> None:
        (self.root / name).write_bytes(content)
        found = read_moments(self.root / name)
        assert found.covariance.shape == (len(found.mean), len(found.mean))


class Cifars(Reader):
    """CIFAR's pickles, which are programs."""

    name = "cifar"

    def __init__(self, root: Path):
        super().__init__(root)
        rows = np.zeros((2, 3072), np.uint8)
        for protocol in (0, 2, 4):
            batch = {b"data": rows, b"labels": [0, 9], b"filenames": [b"a", b"b"]}
            self.files[f"data_batch_1 p{protocol}"] = pickle.dumps(batch, protocol)
        names = {b"label_names": [f"c{i}".encode() for i in range(10)]}
        self.files["batches.meta"] = pickle.dumps(names, 2)

    def read(self, name: str, content: bytes) -> None:
        held = {
            "data_batch_1": self.files["data_batch_1 p2"],
            "batches.meta": self.files["batches.meta"],
        }
        held[name.partition(" ")[0]] = content
        for file, text in held.items():
            (self.root / file).write_bytes(text)
        look_at(self.root)


class TfrecordSets(Reader):
    """PGGAN's TFRecords and their labels. "sealed example" is what a record holds; its checksums are
    made to fit the damage, as one who means harm would."""

    name = "tfrecord"
    SEALED = "sealed example"

    def __init__(self, root: Path):
        super().__init__(root)
        pictures = np.arange(3 * 48, dtype=np.uint8).reshape(3, 3, 4, 4)
        examples = [example_of(picture) for picture in pictures]
        self.files["set-r02.tfrecords"] = b"".join(map(framed, examples))
        file = io.BytesIO()
        np.save(file, np.eye(2, dtype=np.float32)[[0, 1, 1]])
        self.files["set-rxx.labels"] = file.getvalue()
        self.files[self.SEALED] = examples[0]

    def read(self, name: str, content: bytes) -> None:
        held = dict(self.files)
        del held[self.SEALED]
        if name == self.SEALED:
            held = {"set-r02.tfrecords": framed(content)}
        else:
            held[name] = content
        for path in self.root.iterdir():
            path.unlink()
        for file, text in held.items():
            (self.root / file).write_bytes(text)
        look_at(self.root)


class Idxs(Reader):
    """MNIST's files, gzipped and not."""

    name = "mnist"

    def __init__(self, root: Path):
        super().__init__(root)
        images = bytes((0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 5)) + bytes(range(40))
        labels = bytes((0, 0, 8, 1, 0, 0, 0, 2, 7, 3))
        for name, content in (("images-idx3", images), ("labels-idx1", labels)):
            self.files[f"train-{name}-ubyte"] = content
            self.files[f"train-{name}-ubyte.gz"] = gzip.compress(content, mtime=0)

    def read(self, name: str, content: bytes) -> None:
        for file, text in {**self.files, name: content}.items():
            if file.endswith(".gz") == name.endswith(".gz"):
                (self.root / file).write_bytes(text)
            else:
                (self.root / file).unlink(missing_ok=True)
        look_at(self.root)


class Svhns(Reader):
    """SVHN's MATLAB file and PGGAN's pickles. "inside" is what the compressed variable holds."""

    name = "svhn"
    INSIDE = "inside"

    def __init__(self, root: Path):
        super().__init__(root)
        shape = struct.pack("<II4i", 5, 16, 4, 4, 3, 2)
        flags = struct.pack("<IIII", 6, 8, 9, 0)
        pictures = struct.pack("<II", 2, 96) + bytes(range(96))
        digits = struct.pack("<IIii", 5, 8, 2, 1) + struct.pack("<HH4s", 1, 1, b"y")
        digits += struct.pack("<HHBBxx", 2, 2, 10, 3)
        held = flags + shape + struct.pack("<HH4s", 1, 1, b"X") + pictures
        self.digits = self._packed(flags + digits)
        self.files["train_32x32.mat"] = self._whole(held)
        self.files[self.INSIDE] = held
        batch = (np.zeros((2, 3, 32, 32), np.uint8), np.array([3, 0], np.uint8))
        self.files["train_1.pkl"] = pickle.dumps(batch, 2)

    @staticmethod
    def _packed(held: bytes) -> bytes:
        content = zlib.compress(struct.pack("<II", 14, len(held)) + held)
        return struct.pack("<II", 15, len(content)) + content

    def _whole(self, held: bytes) -> bytes:
        return b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + self._packed(held) + self.digits

    def read(self, name: str, content: bytes) -> None:
        for path in self.root.iterdir():
            path.unlink()
        if name == self.INSIDE:
            name, content = "train_32x32.mat", self._whole(content)
        (self.root / name).write_bytes(content)
        look_at(self.root)


class Prepared(Reader):
    """A prepared directory."""

    name = "prepared"
    config = DataConfig(resolution=8)
    picture = PNG

    def __init__(self, root: Path):
        super().__init__(root)
        (root / "a").mkdir()
        (root / "b").mkdir()
        for name in ("a/1.png", "b/2.png"):
            (root / name).write_bytes(self.picture)
        made = prepare(root, root.parent / f"{self.name}-set", self.config)
        shutil.rmtree(root)
        made.directory.rename(root)
        self.files = {path.name: path.read_bytes() for path in root.iterdir()}

    def read(self, name: str, content: bytes) -> None:
        (self.root / name).write_bytes(content)
        try:
            for reading in (self._open, lambda: look_at(self.root)):
                _refused_or_read(reading)
        finally:
            (self.root / name).unlink()  # a map of the old file is still open
            (self.root / name).write_bytes(self.files[name])

    def _open(self) -> None:
        data = PreparedData(self.root)
        assert len(data.names()) == len(data) == int((data.images[:].sum((1, 2, 3)) >= 0).sum())
        if data.label_rows is None:
            assert not data.num_classes or data.labels.max() < data.num_classes
        else:
            assert data.labels.shape == (len(data), data.num_classes)
            assert np.isfinite(data.labels).all()
        data.verify()


class Kept(Prepared):
    """A prepared directory of pictures that keep their aspect, cropped as in training."""

    name = "kept"
    config = DataConfig(resolution=4, crop="random")
    picture = saved(Image.fromarray(COLOR[:5]), "PNG")

    def _open(self) -> None:
        data = PreparedData(self.root)
        Loader(data, 4, 0, crop=Crop(random=True, pad=1)).next()
        super()._open()


class LabelRows(Prepared):
    """A prepared directory whose labels are rows of numbers."""

    name = "label-rows"
    config = DataConfig(resolution=8, max_label_size=1)


class Pictures(Reader):
    """Picture files in a folder."""

    name = "pictures"

    def __init__(self, root: Path):
        super().__init__(root)
        for name, content, _ in ACCEPTED.values():
            self.files[f"{len(self.files):02}{Path(name).suffix}"] = content

    def read(self, name: str, content: bytes) -> None:
        path = self.root / name
        path.write_bytes(content)
        try:
            look_at(self.root)
        finally:
            path.unlink()


class Hubs(Reader):
    """TF Hub's BigGAN in each of its forms. "sealed N" is an entry of the index whose damage the
    checksums fit, as one who means harm would make them."""

    name = "tfhub"
    SEALED = "sealed "

    def __init__(self, root: Path):
        super().__init__(root)
        self.pairs = bundles.pairs_of(published.hub_arrays(), 2)
        sealed = {f"{self.SEALED}{number}": self.pairs[number][1] for number in (0, 1, 5)}
        self.files = {**published.hub_files(root), **sealed}

    def read(self, name: str, content: bytes) -> None:
        if name.startswith(self.SEALED):
            number = int(name.removeprefix(self.SEALED))
            changed = {number: (self.pairs[number][0], content)}
            pairs = [changed.get(i, pair) for i, pair in enumerate(self.pairs)]
            name, content = "variables/variables.index", bundles.table(pairs)
        (self.root / name).write_bytes(content)
        try:
            tfhub_biggan.read(self.root if "/" in name else self.root / name)
        finally:
            (self.root / name).write_bytes(self.files[name])


class Huggings(Reader):
    """HuggingFace's BigGAN-deep: config.json and the weights."""

    name = "huggingface"

    def __init__(self, root: Path):
        super().__init__(root)
        self.files = published.huggingface_files()
        for name, content in self.files.items():
            (root / name).write_bytes(content)

    def read(self, name: str, content: bytes) -> None:
        (self.root / name).write_bytes(content)
        try:
            huggingface_biggan.read(self.root)
        finally:
            (self.root / name).write_bytes(self.files[name])


class Snapshots(Reader):
    """Pickles of progressive_growing_of_gans, of both of its codes."""

    name = "pggan"

    def __init__(self, root: Path):
        super().__init__(root)
        self.files = snapshots.files()

    def read(self, name: str, content: bytes) -> None:
        (self.root / name).write_bytes(content)
        pggan.read(self.root / name)


READERS: dict[str, type[Reader]] = {
    reader.name: reader
    for reader in (
        Configs, Checkpoints, Logs, Models, Zips, Npzs, Cifars, TfrecordSets, Idxs, Svhns, Prepared, Kept, LabelRows, Moments, Pictures,
        Foreign, Hubs, Huggings, WeightFolders, Snapshots,
    )
}  # fmt: skip
