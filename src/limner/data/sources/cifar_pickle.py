"""Reads the pickles of CIFAR (and SVHN) without letting them run anything (core.pickle_machine)."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from limner.core.errors import DataError, RefusedFile, printable
from limner.formats.pickle_arrays import BUILDERS
from limner.formats.pickle_machine import DAMAGE, Machine, Name

Result = TypeVar("Result")
MAX_BYTES = 2**28  # the largest published file has 155 MB
ARRAY_TYPE = Name("numpy", "ndarray")  # that numpy's builders are called with


def read_batch(path: Path) -> dict[str, Any]:
    """The dictionary of a CIFAR file: keys as text, arrays as uint8, lists as they are.

    Raises:
        RefusedFile: it holds an instruction or a name that CIFAR's files do not need.
        DataError: it is damaged or no dictionary.
    """
    return read_arrays(path, "CIFAR", _batch_of)


def _batch_of(tree: Any) -> dict[str, Any]:
    if not isinstance(tree, dict):
        raise ValueError("no dictionary")
    return {
        key.decode() if isinstance(key, bytes) else key: built(value) for key, value in tree.items()
    }


def built(value: Any) -> Any:
    """An array, if it is one of bytes; anything else as it is.

    Raises:
        ValueError: it is an array of anything else.
    """
    if isinstance(value, np.ndarray) and value.dtype != np.uint8:
        raise ValueError("an array of other values than uint8")
    return value


def read_arrays(path: Path, what: str, shaped: Callable[[Any], Result]) -> Result:
    """What `shaped` makes of the tree of a pickle: dictionaries, lists, tuples, numbers, arrays and
    texts (those of Python 2 as bytes).

    Args:
        path: the file.
        what: the data set whose file it should be, for messages.
        shaped: raises ValueError where the tree has another form.

    Raises:
        RefusedFile: it holds an instruction or a name that such files do not need.
        DataError: it is damaged, or `shaped` refuses it.
    """
    if path.stat().st_size > MAX_BYTES:
        raise RefusedFile(f"{path}: larger than {MAX_BYTES >> 20} MB")

    def refuse(name: Name) -> None:
        if name != ARRAY_TYPE:
            raise RefusedFile(f"names {name}, which {what}'s files do not")

    content = path.read_bytes()
    stream = io.BytesIO(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # escapes in texts that the pickle's author spelt oddly
            machine = Machine(len(content), BUILDERS, allow=refuse, keep_bytes=True)
            tree = machine.run(stream)
        if stream.read(1):
            raise RefusedFile("holds more after its end")
        return shaped(tree)
    except RefusedFile as error:
        raise RefusedFile(f"{path}: {printable(str(error)[:200])}; not read") from None
    except DAMAGE as error:
        reason = printable(str(error)[:200]) or type(error).__name__
        raise DataError(f"{path}: not a {what} file ({reason}); unpack the archive again") from None
