"""Reads checkpoints of others that are pickles, as data: nothing in them runs.

core.pickle_machine has the rules. A caller may add builders of its own, as torch_files.py does for
tensors.
"""

import contextlib
import mmap
import warnings
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from limner.core.errors import CheckpointError, RefusedFile
from limner.formats.file_kinds import EMPTY, PICKLE, kind_of
from limner.formats.pickle_arrays import BUILDERS
from limner.formats.pickle_machine import DAMAGE, Builders, Machine, Name, Record, shown

__all__ = ["BUILDERS", "Machine", "Name", "Record", "mapped", "read_pickle", "reading", "shown"]


def read_pickle(
    path: str | Path, builders: Builders | None = None, wanted: str = "a .pkl that pickle wrote"
) -> Any:
    """The tree that a pickle of any protocol describes.

    Args:
        path: the file.
        builders: (module, name) -> function of the call's arguments, beside `BUILDERS`.
        wanted: what to give instead of a file that is plainly no pickle.

    Returns:
        None, bool, int, float, str, bytes, list, tuple, dict, `Name`, `Record`, and numpy arrays
        (read-only views of the file's bytes).

    Raises:
        RefusedFile: it holds something that weights do not need.
        CheckpointError: there is no such file, or it is damaged or no pickle.
    """
    with reading(path, "pickle", wanted, (PICKLE,)), mapped(path) as content:
        machine = Machine(len(content), {**BUILDERS, **(builders or {})})
        tree = machine.run(content)
        if content.tell() != len(content):
            raise ValueError("it goes on after its end")
        return tree


@contextlib.contextmanager
def mapped(path: str | Path) -> Iterator[mmap.mmap]:
    """A file's bytes to read from; asking for more than there are allocates nothing."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content


@contextlib.contextmanager
def reading(path: str | Path, kind: str, wanted: str, own: Collection[str]) -> Iterator[None]:
    """Errors met in a foreign file become limner's own, with its path.

    Args:
        path: the file.
        kind: what it should be.
        wanted: what to give where it is plainly something else.
        own: what `kind_of` may call a file of that kind, damaged ones too.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # escapes in texts that the file's author spelt oddly
            yield
    except RefusedFile as error:
        _require_kind(path, kind, wanted, own)
        raise RefusedFile(f"{path}: {error}; not read") from None
    except CheckpointError:
        raise
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (
        *DAMAGE, OSError, NotImplementedError, RuntimeError, zlib.error, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        _require_kind(path, kind, wanted, own)
        if isinstance(error, OSError):
            raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
        is_text = isinstance(error, UnicodeError)
        reason = "a text in it is damaged" if is_text else shown(str(error))
        raise CheckpointError(
            f"{path}: not a whole {kind} ({reason or type(error).__name__}); fetch or write the "
            "file again"
        ) from None


def _require_kind(path: str | Path, kind: str, wanted: str, own: Collection[str]) -> None:
    """Raises CheckpointError where the file is plainly something else."""
    try:
        found = kind_of(path)
    except OSError:
        return
    if found == EMPTY:
        raise CheckpointError(f"{path}: {found}; fetch or write it again") from None
    if found is not None and found not in own:
        raise CheckpointError(f"{path}: {found}, not a {kind}; give {wanted}") from None
