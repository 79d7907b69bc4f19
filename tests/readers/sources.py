"""Readers of pictures: sources, prepared directories, moments."""

import gzip
import io
import json
import pickle
import shutil
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from limner.data import Crop, DataConfig, Loader, PreparedData, prepare, report
from limner.formats.tfrecords import example_of, framed
from limner.metrics import read_moments
from pictures import ACCEPTED, COLOR, PNG, saved
from readers.base import Reader, refused_or_read


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
        self.files["labels.csv"] = b'\xef\xbb\xbffile;label;x\r\n1.png;"cat";1\r\n2.png;3;0.5\r\n'

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
        if name in ("dataset.json", "labels.csv"):
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("1.png", PNG)
                archive.writestr(name, content)
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
            whose = np.frombuffer(b"inception 12", np.uint8)
            save(file, mu=np.zeros(3), sigma=np.eye(3, dtype=np.float32), features=whose)
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
                refused_or_read(reading)
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
