"""CIFAR-10 and CIFAR-100 in their python form: folders of pickles, read without unpickling."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from limner.core.config import Config
from limner.core.errors import DataError, printable
from limner.data.sources.base import Item, Labels, Listing, Source
from limner.data.sources.cifar_pickle import read_batch
from limner.data.sources.grouping import check_classes

TEN = tuple(f"data_batch_{i}" for i in range(1, 6))
FOLDERS = ("cifar-10-batches-py", "cifar-100-python")


class Cifar(Config, Source, frozen=True):
    """The training pictures of CIFAR-10 (data_batch_1 ... 5) or CIFAR-100 (train, fine labels);
    the test pictures are left out. The folder itself or the one around it may be given."""

    path: str = ""

    @classmethod
    def reads(cls, path: Path) -> bool:
        """A folder with CIFAR's files, or one that holds such a folder."""
        return _folder(path) is not None

    def listing(self, labels: Labels) -> Listing:
        """See `Source.listing`."""
        folder = _folder(Path(self.path))
        if folder is None:
            raise DataError(f"{self.path}: no data_batch_1 and no train + meta file in it")
        ten = (folder / TEN[0]).is_file()
        files = [folder / name for name in TEN if (folder / name).is_file()]
        files = files if ten else [folder / "train"]
        notes = ["the test pictures are left out"]
        if ten and len(files) < len(TEN):
            notes.append(f"{len(files)} of {len(TEN)} data_batch files are there")
        names = self._class_names(folder, ten) if labels == "classes" else []
        return Listing(
            items=_items(files, "labels" if ten else "fine_labels", names),
            num_items=None,
            class_names=names,
            notes=notes,
        )

    def _class_names(self, folder: Path, ten: bool) -> list[str]:
        file = folder / ("batches.meta" if ten else "meta")
        default = [str(i) for i in range(10 if ten else 100)]
        if not file.is_file():
            return default
        key = "label_names" if ten else "fine_label_names"
        names = read_batch(file).get(key)
        if not isinstance(names, list) or not all(isinstance(name, (str, bytes)) for name in names):
            raise DataError(f"{file}: no list '{key}' in it; unpack the archive again")
        return [
            printable(name.decode(errors="surrogateescape") if isinstance(name, bytes) else name)
            for name in names
        ]


def _folder(path: Path) -> Path | None:
    for folder in (path, *(path / name for name in FOLDERS)):
        if (folder / TEN[0]).is_file():
            return folder
        if (folder / "train").is_file() and (folder / "meta").is_file():
            return folder
    return None


def _items(files: list[Path], key: str, class_names: list[str]) -> Iterator[Item]:
    for file in files:
        batch: dict[str, Any] = read_batch(file)
        rows, labels = batch.get("data"), batch.get(key)
        if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != 3072:
            raise DataError(f"{file}: no array 'data' of [N, 3072] in it; unpack the archive again")
        if not isinstance(labels, list) or len(labels) != len(rows):
            raise DataError(f"{file}: no list '{key}' of {len(rows)} in it; unpack it again")
        pictures = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            if class_names:
                if not isinstance(label, int) or isinstance(label, bool):
                    raise DataError(f"{file}: {key}[{i}] is no class number; unpack it again")
                check_classes(label, label, f"{file}: {key}[{i}]")
                if label >= len(class_names):
                    raise DataError(f"{file}: {key}[{i}] = {label} has no class name")
            yield Item(f"{file.name}/{i}", label if class_names else None, picture.copy)
