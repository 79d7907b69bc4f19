"""Files that are given to a command: arrays of latents, pictures to score, networks' weights."""

import io
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from limner.api.arrays import read_array
from limner.api.pictures import read_pictures
from limner.formats.weights import read_weights
from readers.base import Reader, saved_by_torch


class Latents(Reader):
    """Latent vectors for `limner sample --z`."""

    name = "latents"

    def __init__(self, root: Path):
        super().__init__(root)
        z = np.arange(6.0).reshape(2, 3)
        for name, array in (
            ("a.npy", z),
            ("f.npy", np.asfortranarray(z)),
            ("i.npy", np.eye(2, dtype=">u2")),
        ):
            file = io.BytesIO()
            np.save(file, array)
            self.files[name] = file.getvalue()
        for name, store in (("stored.npz", np.savez), ("deflated.npz", np.savez_compressed)):
            file = io.BytesIO()
            store(file, z=z)
            self.files[name] = file.getvalue()

    def read(self, name: str, content: bytes) -> None:
        (self.root / name).write_bytes(content)
        array = read_array(self.root / name, "z")
        torch.from_numpy(array)


class ScoredPictures(Reader):
    """The .npz files of `limner sample`, given to `limner evaluate`."""

    name = "scored"

    def __init__(self, root: Path):
        super().__init__(root)
        x = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4, 3)
        forms = {"classes": np.arange(2), "mixed": np.full((2, 3), 1 / 3, np.float32)}
        for form, y in forms.items():
            for name, store in (("stored", np.savez), ("deflated", np.savez_compressed)):
                file = io.BytesIO()
                store(file, x=x, y=y)
                self.files[f"{form}-{name}.npz"] = file.getvalue()

    def read(self, name: str, content: bytes) -> None:
        (self.root / name).write_bytes(content)
        found = read_pictures(self.root / name, None, lambda *_: None)
        assert found.labels is None or len(found.labels) == len(found.images)


class Weights(Reader):
    """Weights of networks that features are taken from, as safetensors and of torch.save."""

    name = "weights"

    def __init__(self, root: Path):
        super().__init__(root)
        tensors = {"a.weight": torch.ones(2, 3), "b": torch.zeros(0), "n": torch.tensor(3)}
        self.files["w.safetensors"] = save(tensors)
        for name, zipped in (("zip.pth", True), ("old.pth", False)):
            self.files[name] = saved_by_torch({"state_dict": tensors}, zipped)

    def read(self, name: str, content: bytes) -> None:
        (self.root / name).write_bytes(content)
        for tensor in read_weights(self.root / name).values():
            tensor.clone()
