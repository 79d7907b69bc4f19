"""What a data argument may name, told without reading any."""

import os
from pathlib import Path

from limner.core.errors import DataError

BUILT_IN_NAMES = ("digits",)
UNDERSTOOD = (
    "limner reads: a folder of pictures (flat or one folder per class), a zip of pictures, an .npz "
    "with 'images' and 'labels', HDF5 files of BigGAN-PyTorch and PGGAN, the folders of CIFAR "
    "(python), MNIST, SVHN and LSUN, TFRecords of PGGAN, a prepared directory, and the built-in "
    + ", ".join(f"'{name}'" for name in BUILT_IN_NAMES)
)


def check_there(data: str | os.PathLike[str]) -> Path:
    """The path of data that are not built in; DataError where nothing is there."""
    path = Path(data).expanduser()
    if str(data) not in BUILT_IN_NAMES and not path.exists():
        hint = "a broken symbolic link" if path.is_symlink() else "no such file or folder"
        raise DataError(f"{path}: {hint}; {UNDERSTOOD}")
    return path
