"""Samples in one .npz file, written image by image as they are made."""

import tempfile
import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.lib import format as npy

from limner.core.errors import LimnerError
from limner.core.files import whole_file

NpzLayout = Literal["limner", "biggan-pytorch"]
CHUNK = 1 << 22


class NpzWriter:
    """A context in which batches are appended; the file is there, whole, once it is left well.

    Of the images only the batch at hand is in memory. "limner" holds `images` uint8 [N, H, W, C],
    `z` (or `styles`), `y` and, with floats, `images_float` float32 [N, C, H, W]; "biggan-pytorch"
    holds `x` uint8 [N, C, H, W] and `y` int64 [N], as its sample.py writes them; floats and labels
    that mix classes are refused there.
    """

    def __init__(
        self,
        path: str | Path,
        num: int,
        image_shape: tuple[int, int, int],
        with_floats: bool = False,
        layout: NpzLayout = "limner",
    ):
        """Nothing is written yet; `num` images of a shape (C, H, W) will be added."""
        if with_floats and layout != "limner":
            raise LimnerError(f"the layout '{layout}' of an .npz has no place for floats")
        self.path, self.num, self.image_shape = Path(path), num, image_shape
        self.with_floats, self.layout = with_floats, layout
        self.num_added = 0

    def __enter__(self) -> "NpzWriter":
        channels, height, width = self.image_shape
        if self.layout == "limner":
            name, shape = "images", (self.num, height, width, channels)
        else:
            name, shape = "x", (self.num, channels, height, width)
        with ExitStack() as stack:
            temporary = stack.enter_context(whole_file(self.path))
            self._zip = stack.enter_context(zipfile.ZipFile(temporary, "w", allowZip64=True))
            self._images = stack.enter_context(self._begun(name, shape, np.uint8))
            if self.with_floats:  # a zip grows by one member at a time: these wait in a file
                spool = tempfile.TemporaryFile(dir=temporary.parent)
                self._floats = stack.enter_context(spool)
            self._stack = stack.pop_all()
        return self

    def add(self, images: np.ndarray, floats: np.ndarray | None = None) -> None:
        """Append uint8 [n, H, W, C] and, with floats, float32 [n, C, H, W]."""
        assert (floats is not None) == self.with_floats
        if self.layout == "biggan-pytorch":
            images = images.transpose(0, 3, 1, 2)
        self._images.write(np.ascontiguousarray(images).data)
        if floats is not None:
            self._floats.write(np.ascontiguousarray(floats, np.float32).data)
        self.num_added += len(images)

    def finish(self, y: np.ndarray | None, z: np.ndarray) -> None:
        """After the last batch: the labels (None: zeros, as prepared data has them), and latents
        [N, z_dim] or styles [N, layers, w]."""
        assert self.num_added == self.num, f"{self.num_added} of {self.num} images"
        self._images.close()
        labels = np.zeros(self.num, np.int64) if y is None else y
        if self.layout == "limner":
            self._whole("y", labels)
            self._whole("z" if z.ndim == 2 else "styles", z)
        else:
            if labels.ndim != 1:
                raise LimnerError("mixed classes are no label in the layout 'biggan-pytorch'")
            self._whole("y", labels.astype(np.int64))
        if self.with_floats:
            self._floats.seek(0)
            chunks = iter(lambda: self._floats.read(CHUNK), b"")
            shape = (self.num, *self.image_shape)
            with self._begun("images_float", shape, np.float32) as member:
                for chunk in chunks:
                    member.write(chunk)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None and self.num_added < self.num:  # left before the last batch
            error = LimnerError(f"{self.path}: {self.num_added} of {self.num} images")
        self._stack.__exit__(None if error is None else type(error), error, None)

    def _begun(self, name: str, shape: tuple[int, ...], kind: type) -> IO[bytes]:
        """A member with the header of an array that is to come."""
        member = self._zip.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)
        descr = npy.dtype_to_descr(np.dtype(kind))
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        npy.write_array_header_2_0(member, header)
        return member

    def _whole(self, name: str, array: np.ndarray) -> None:
        with self._zip.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
            npy.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
