"""Readers of other systems' checkpoints."""

import collections
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bundles
import published
import snapshots
from hostile import as_torch_zip
from limner.checkpoints.importers.biggan_pytorch import BigGanPytorch
from limner.checkpoints.importers.huggingface_biggan import HuggingfaceBiggan
from limner.checkpoints.importers.mmgen import DcganMmgen
from limner.checkpoints.importers.pggan import Pggan
from limner.checkpoints.importers.tfhub_biggan import TfhubBiggan
from limner.formats.pickles import Record, read_pickle
from limner.formats.torch_files import read_torch
from readers.base import Reader, saved_by_torch


class Foreign(Reader):
    """A foreign .pth for the importer."""

    name = "pth"

    def __init__(self, root: Path):
        super().__init__(root)
        state = published.PLANTED["dcgan-mmgen"](root).tensors
        for name, zipped in (("zip.pth", True), ("legacy.pth", False)):
            self.files[name] = saved_by_torch({"state_dict": state}, zipped)

    def read(self, name: str, content: bytes) -> None:
        (self.root / name).write_bytes(content)
        DcganMmgen().read(self.root / name)


def touch(tree: Any) -> None:
    """Read every number of a tree, wherever it says that they lie."""
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, (torch.Tensor, np.ndarray)):
            value.tobytes() if isinstance(value, np.ndarray) else value.clone()
        elif isinstance(value, (list, tuple)):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend([*value, *value.values()])
        elif isinstance(value, Record):
            waiting.extend((value.args, value.state, value.items, value.entries))


class Pickles(Reader):
    """Pickles of any protocol, of objects that are not known here too."""

    name = "pickle"

    def __init__(self, root: Path):
        super().__init__(root)
        array = np.arange(6.0, dtype=np.float32).reshape(2, 3)
        tree = {
            "a": [1, -2.5, None, True, 2**70, "é", b"\xff", (1, ({},))],
            7: array,
            "f": np.asfortranarray(array),
            "s": np.float64(2),
            "set": {1},
            "o": collections.OrderedDict(a=1),
            "p": torch.nn.ReLU(),
        }
        self.files = {f"p{number}.pkl": pickle.dumps(tree, number) for number in range(6)}

    def read(self, name: str, content: bytes) -> None:
        (self.root / name).write_bytes(content)
        touch(read_pickle(self.root / name))


class TorchFiles(Reader):
    """Files of torch.save with all that is read from them. "inside" is the program of one, packed as
    one who means harm would."""

    name = "torch"
    INSIDE = "inside"

    def __init__(self, root: Path):
        super().__init__(root)
        base = torch.arange(6.0).reshape(2, 3)
        tree = {
            "kinds": [
                torch.arange(3).to(kind) for kind in (torch.bfloat16, torch.bool, torch.int8)
            ],
            "views": [base, base[1:, ::2], base.T, base[:, :0]],
            "parameter": torch.nn.Parameter(torch.ones(2)),
            "module": torch.nn.Linear(1, 1),
            "scalar": (torch.tensor(2.5), base.shape),
        }
        for name, zipped in (("zip.pth", True), ("old.pth", False)):
            self.files[name] = saved_by_torch(tree, zipped)
        with zipfile.ZipFile(io.BytesIO(self.files["zip.pth"])) as archive:
            held = {Path(name).name: archive.read(name) for name in archive.namelist()}
        self.storages = {name: content for name, content in held.items() if name.isdigit()}
        self.files[self.INSIDE] = held["data.pkl"]

    def read(self, name: str, content: bytes) -> None:
        if name == self.INSIDE:
            content = as_torch_zip(content, self.storages)
        (self.root / name).write_bytes(content)
        touch(read_torch(self.root / name))


class WeightFolders(Reader):
    """A weight folder of BigGAN-PyTorch, in both formats of torch.save."""

    name = "biggan-pytorch"

    def __init__(self, root: Path):
        super().__init__(root)
        published.weight_folder(root)
        for path in root.glob("*_optim.pth"):
            path.unlink()
        for path in sorted(root.iterdir()):
            tree = torch.load(path, weights_only=True)
            if path.stem == "state_dict":
                tree["config"]["G_activation"] = torch.nn.ReLU(inplace=True)
            for name, zipped in (("", True), ("_copy0", False)):
                self.files[f"{path.stem}{name}.pth"] = saved_by_torch(tree, zipped)
        for name, content in self.files.items():
            (root / name).write_bytes(content)
        for suffix in (None, "copy0"):
            BigGanPytorch(suffix).read(root)

    def read(self, name: str, content: bytes) -> None:
        (self.root / name).write_bytes(content)
        try:
            BigGanPytorch("copy0" if name.endswith("_copy0.pth") else None).read(self.root)
        finally:
            (self.root / name).write_bytes(self.files[name])


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
            TfhubBiggan().read(self.root if "/" in name else self.root / name)
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
            HuggingfaceBiggan().read(self.root)
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
        Pggan().read(self.root / name)
