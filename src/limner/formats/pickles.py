"""Reads checkpoints of others that are pickles, as data: nothing in them runs.

pickle_machine.py has the rules. A caller may add builders of its own, as torch_files.py does for
tensors.
"""

import contextlib
import mmap
import warnings
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from limner.core.errors import CheckpointError, LimnerError, RefusedFile
from limner.formats.file_kinds import EMPTY, PICKLE, kind_of
from limner.formats.pickle_arrays import BUILDERS
from limner.formats.pickle_machine import (
    DAMAGE,
    Builders,
    Machine,
    Name,
    Record,
    require_harmless,
    shown,
)

__all__ = ["BUILDERS", "Machine", "Name", "Record", "mapped", "read_pickle", "reading", "shown"]


def read_pickle(
    path: str | Path,
    builders: Builders | None = None,
    wanted: str = "a .pkl that pickle wrote",
    kind: str = "pickle",
    allow: Callable[[Name], None] = require_harmless,
    keep_bytes: bool = False,
    error: type[LimnerError] = CheckpointError,
) -> Any:
    """The tree that a pickle of any protocol describes.

    Args:
        builders: beside `BUILDERS`.
        wanted, kind, error: see `reading`.
        allow, keep_bytes: see `Machine`.

    Returns:
        None, bool, int, float, str, bytes, list, tuple, dict, `Name`, `Record`, and numpy arrays
        (read-only views of the file's bytes).

    Raises:
        RefusedFile: it holds something that weights do not need.
        CheckpointError, or `error`: there is no such file, or it is damaged or no pickle.
    """
    with reading(path, kind, wanted, (PICKLE,), error), mapped(path) as content:
        held = {**BUILDERS, **(builders or {})}
        machine = Machine(len(content), held, allow=allow, keep_bytes=keep_bytes)
        tree = machine.run(content)
        if content.tell() != len(content):
            raise RefusedFile("it goes on after its end")
        return tree


@contextlib.contextmanager
def mapped(path: str | Path) -> Iterator[mmap.mmap]:
    """A file's bytes to read from; asking for more than there are allocates nothing."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content


@contextlib.contextmanager
def reading(
    path: str | Path,
    kind: str,
    wanted: str,
    own: Collection[str],
    error: type[LimnerError] = CheckpointError,
) -> Iterator[None]:
    """Errors met in a foreign file become limner's own, with its path.

    Args:
        kind, wanted: what it should be; what to give where it is plainly something else.
        own: what `kind_of` may call a file of that kind, damaged ones too.
        error: of a file that is missing, damaged or something else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # escapes in texts that the file's author spelt oddly
            yield
    except RefusedFile as refused:
        _require_kind(path, kind, wanted, own, error)
        raise RefusedFile(f"{path}: {refused}; not read") from None
    except (CheckpointError, error):
        raise
    except FileNotFoundError:
        raise error(f"{path}: no such file") from None
    except (
        *DAMAGE, OSError, NotImplementedError, RuntimeError, zlib.error, zipfile.BadZipFile,
    ) as damage:  # fmt: skip
        _require_kind(path, kind, wanted, own, error)
        if isinstance(damage, OSError):
            raise error(f"{path}: cannot be read ({damage.strerror or damage})") from None
        is_text = isinstance(damage, UnicodeError)
        reason = "a text in it is damaged" if is_text else shown(str(damage))
        raise error(
            f"{path}: not a whole {kind} ({reason or type(damage).__name__}); fetch or write the "
            "file again"
        ) from None


def _require_kind(
    path: str | Path, kind: str, wanted: str, own: Collection[str], error: type[LimnerError]
) -> None:
    """Raises `error` where the file is plainly something else."""
    try:
        found = kind_of(path)
    except OSError:
        return
    if found == EMPTY:
        raise error(f"{path}: {found}; fetch or write it again") from None
    if found is not None and found not in own:
        raise error(f"{path}: {found}, not a {kind}; give {wanted}") from None
