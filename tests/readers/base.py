"""What a reader to fuzz is."""

import io
from collections.abc import Callable
from pathlib import Path

import torch

from limner.core.errors import LimnerError


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


def refused_or_read(reading: Callable[[], object]) -> None:
    try:
        reading()
    except LimnerError:
        return


def saved_by_torch(tree: object, zipped: bool) -> bytes:
    """A file of torch.save, in today's form or in the one before it."""
    file = io.BytesIO()
    torch.save(tree, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()
