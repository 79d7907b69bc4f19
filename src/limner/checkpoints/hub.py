"""Models and files on the Hugging Face hub, by huggingface_hub: no torch here.

hf:USER/NAME names a repository there, hf:USER/NAME@REVISION one state of it, a branch, tag or
commit, and hf:USER/NAME@REVISION/FILE a file. What was fetched stays in that package's cache, and
is taken from there where the hub cannot be reached.
"""

import contextlib
import functools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from limner.core.errors import CheckpointError, MissingExtra

PREFIX = "hf:"
FORM = "hf:USER/NAME, hf:USER/NAME@REVISION or hf:USER/NAME@REVISION/FILE"
COMMIT = "snapshots"  # the folder of the cache that has one for each commit
_PLACE = re.compile(
    r"hf:(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^@:/\\]+))?(?:/(?P<file>[^@:\\]+))?"
)


@dataclass(frozen=True)
class HubPlace:
    """What a name on the hub says.

    Attributes:
        revision: a branch, tag or commit; None for the newest of the main branch.
        file: a path in the repository; None for all of it.
    """

    repository: str
    revision: str | None = None
    file: str | None = None

    @classmethod
    def of(cls, text: str) -> "HubPlace":
        """CheckpointError for a text of another form."""
        match = _PLACE.fullmatch(text)
        if match is None:
            raise CheckpointError(f"{text}: give {FORM}")
        return cls(match["repository"], match["revision"], match["file"])

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{PREFIX}{self.repository}{revision}{f'/{self.file}' if self.file else ''}"


@dataclass(frozen=True)
class Fetched:
    """A copy on this machine.

    Attributes:
        path: of the file, or of a folder with the repository's files.
        place: with the commit as its revision.
    """

    path: Path
    place: HubPlace


@functools.cache  # one state a process: a command asks for its model more than once
def fetched(place: HubPlace, only: tuple[str, ...] | None = None) -> Fetched:
    """Fetch a file or a repository.

    Args:
        only: of a repository, the names of the files.

    Raises:
        MissingExtra: huggingface_hub is not installed.
        CheckpointError: it cannot be fetched.
    """
    require_hub(f"{PREFIX}USER/NAME")
    from huggingface_hub import hf_hub_download, snapshot_download

    with hub_errors(str(place)):
        if place.file is not None:
            found = hf_hub_download(place.repository, place.file, revision=place.revision)
        else:
            patterns = None if only is None else list(only)
            found = snapshot_download(
                place.repository, revision=place.revision, allow_patterns=patterns
            )
    path = Path(found)
    parts = path.parts
    commit = parts[len(parts) - parts[::-1].index(COMMIT)]
    return Fetched(path, HubPlace(place.repository, commit, place.file))


def require_hub(purpose: str) -> None:
    """Raise MissingExtra without huggingface_hub; with it, no bars of its own from here on."""
    if find_spec("huggingface_hub") is None:
        raise MissingExtra("huggingface_hub", "hub", purpose)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@contextlib.contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """What the hub answers, as one line."""
    from huggingface_hub.errors import HTTPError

    try:
        yield
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{what}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """The hub's own words, without the lines that suggest what limner's users cannot type."""
    told = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()]
    lines: Sequence[str] = told or [type(error).__name__]
    name = type(error).__name__
    if name in ("RepositoryNotFoundError", "GatedRepoError"):
        return "no such repository, or it is private: `hf auth login` tells the hub who you are"
    if name == "RevisionNotFoundError":
        return "the repository has no such revision"
    if name in ("EntryNotFoundError", "RemoteEntryNotFoundError"):
        return "the repository has no such file"
    return f"it cannot be reached or refused ({' '.join(lines)[:200]})"
