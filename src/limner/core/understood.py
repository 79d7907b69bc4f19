"""What a data argument may name, told without reading any."""

import os
import re
from pathlib import Path

from limner.core.errors import DataError

BUILT_IN_NAMES = ("digits",)
UNDERSTOOD = (
    "limner reads: a folder of pictures (flat or one folder per class), a zip of pictures, an .npz "
    "with 'images' and 'labels', HDF5 files of BigGAN-PyTorch and PGGAN, the folders of CIFAR "
    "(python), MNIST, SVHN and LSUN, TFRecords of PGGAN, a prepared directory, shards (a folder or "
    "a URL), and the built-in " + ", ".join(f"'{name}'" for name in BUILT_IN_NAMES)
)


def is_url(data: object) -> bool:
    """Whether a data argument is a URL, such as s3://bucket/faces, and no path."""
    return isinstance(data, str) and re.match(r"[a-z][a-z0-9+.-]+:(:|//)", data) is not None


def check_there(data: str | os.PathLike[str]) -> Path:
    """The path of data that are not built in; DataError where nothing is there. What a URL has is
    known once it is opened."""
    path = Path(data).expanduser()
    if str(data) not in BUILT_IN_NAMES and not is_url(data) and not path.exists():
        hint = "a broken symbolic link" if path.is_symlink() else "no such file or folder"
        raise DataError(f"{path}: {hint}; {UNDERSTOOD}")
    return path
