"""Readers of pictures that libraries of their own lie below: HDF5 and LMDB."""

import io
from pathlib import Path

import h5py
import lmdb
import numpy as np

from limner.data.sources.lsun import DATA_FILE
from pictures import ACCEPTED, PNG
from readers.base import Reader
from readers.sources import look_at


class Hdf5s(Reader):
    """HDF5 files of BigGAN-PyTorch and PGGAN, and PGGAN's labels beside one."""

    name = "hdf5"
    layouts: dict[str, dict] = {
        "plain.hdf5": {},
        "chunks.hdf5": {"chunks": (2, 3, 4, 4)},
        "packed.hdf5": {"chunks": (2, 3, 4, 4), "compression": "gzip", "fletcher32": True},
    }

    def __init__(self, root: Path):
        super().__init__(root)
        images = np.arange(3 * 3 * 4 * 4, dtype=np.uint8).reshape(3, 3, 4, 4)
        for name, layout in self.layouts.items():
            with h5py.File(root / name, "w") as file:
                file.create_dataset("imgs", data=images, **layout)
                file.create_dataset("labels", data=np.arange(3))
        with h5py.File(root / "set.h5", "w") as file:
            file["data4x4"], file["data2x2"] = images, images[:, :, ::2, ::2]
        labels = io.BytesIO()
        np.save(labels, np.eye(2, dtype=np.float32)[[0, 1, 1]] * 0.5)
        (root / "set-labels.npy").write_bytes(labels.getvalue())
        self.files = {path.name: path.read_bytes() for path in sorted(root.iterdir())}

    def read(self, name: str, content: bytes) -> None:
        path = self.root / name
        path.write_bytes(content)
        try:
            look_at(self.root / "set.h5" if path.suffix == ".npy" else path)
        finally:
            path.unlink()  # the library would not open what it still holds open
            path.write_bytes(self.files[name])


class Lsuns(Reader):
    """LSUN's databases: damaged pictures and keys in a whole one, and one cut short. What is wrong
    inside a page is beyond limner: LMDB's own library trusts them."""

    name = "lsun"
    KEY, LENGTH = "key", "length"

    def __init__(self, root: Path):
        super().__init__(root)
        encoded = [content for _, content, _ in ACCEPTED.values()][:8]
        self.files = {f"{i}": content for i, content in enumerate((PNG, *encoded))}
        self.files |= {self.KEY: b"0" * 40, self.LENGTH: b"\xff\xff\xff"}

    def read(self, name: str, content: bytes) -> None:
        held = {**self.files, name: content}
        key, length = held.pop(self.KEY), held.pop(self.LENGTH)
        values = {b"1": held[name]} if name in held else {b"1": PNG}
        if 0 < len(key) <= 500:
            values[key] = PNG
        for path in self.root.iterdir():
            path.unlink()
        size = 2**16 + 4 * sum(map(len, values.values()))
        with (
            lmdb.open(str(self.root), map_size=size, lock=False, sync=False) as environment,
            environment.begin(write=True) as transaction,
        ):
            for number, value in values.items():
                transaction.put(number, value)
        file = self.root / DATA_FILE
        with open(file, "r+b") as opened:
            opened.truncate(min(int.from_bytes(length[:3], "little"), file.stat().st_size))
        look_at(self.root)
