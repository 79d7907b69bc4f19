"""Reads the pickles of CIFAR (and SVHN) without letting them run anything."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from limner.core.errors import DataError, RefusedFile
from limner.formats.file_kinds import PICKLE
from limner.formats.pickles import Name, read_pickle, reading

Result = TypeVar("Result")
MAX_BYTES = 2**28  # the largest published file has 155 MB
ARRAY_TYPE = Name("numpy", "ndarray")  # that numpy's builders are called with


def read_batch(path: Path) -> dict[str, Any]:
    """The dictionary of a CIFAR file: keys as text, arrays as uint8, lists as they are; errors as
    of `read_arrays`."""
    return read_arrays(path, "CIFAR", _batch_of)


def _batch_of(tree: Any) -> dict[str, Any]:
    if not isinstance(tree, dict):
        raise ValueError("no dictionary")
    return {
        key.decode() if isinstance(key, bytes) else key: built(value) for key, value in tree.items()
    }


def built(value: Any) -> Any:
    """The value; ValueError for an array of anything else than bytes."""
    if isinstance(value, np.ndarray) and value.dtype != np.uint8:
        raise ValueError("an array of other values than uint8")
    return value


def read_arrays(path: Path, what: str, shaped: Callable[[Any], Result]) -> Result:
    """What `shaped` makes of the tree of a pickle: dictionaries, lists, tuples, numbers, arrays and
    texts (those of Python 2 as bytes). It raises ValueError where the tree has another form.

    Raises:
        RefusedFile: it holds an instruction or a name that files of that data set do not need.
        DataError: it is damaged, or `shaped` refuses it.
    """
    if path.stat().st_size > MAX_BYTES:
        raise RefusedFile(f"{path}: larger than {MAX_BYTES >> 20} MB")

    def refuse(name: Name) -> None:
        if name != ARRAY_TYPE:
            raise RefusedFile(f"it names {name}, which {what}'s files do not")

    about: dict[str, Any] = {"kind": f"{what} file", "wanted": f"the {what} file of the archive"}
    tree = read_pickle(path, allow=refuse, keep_bytes=True, error=DataError, **about)
    with reading(path, own=(PICKLE,), error=DataError, **about):
        return shaped(tree)
