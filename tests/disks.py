"""A model of a disk: the calls of a real run recorded, and what may be left after a loss of power."""

import hashlib
import itertools
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from faults import Call


@dataclass
class Change:
    """One change of one file's content or one directory's names; lost or kept as a whole."""

    inode: int
    kind: str  # content, length, names
    place: int = 0
    content: bytes = b""
    names: tuple[tuple[str, int | None], ...] = ()


@dataclass
class Recorder:
    """Turns calls into changes of inodes, and notes which changes each flush makes durable."""

    root: str
    events: list[Change | int] = field(default_factory=list)  # an int: that inode was flushed
    marks: dict[str, list[int]] = field(default_factory=dict)
    _live: dict[int, dict[str, int]] = field(default_factory=lambda: {0: {}})
    _next: int = 1

    def mark(self, name: str) -> None:
        self.marks.setdefault(name, []).append(len(self.events))

    def inode(self, path: str) -> int | None:
        found: int | None = 0
        for part in Path(path).relative_to(self.root).parts:
            found = self._live.get(found, {}).get(part) if found is not None else None
        return found

    def __call__(self, call: Call) -> None:
        inode = self.inode(call.path)
        if call.kind == "fsync":
            assert inode is not None, call.path
            self.events.append(inode)
        elif call.kind == "write":
            self._add(Change(inode or 0, "content", call.place, call.content))
        elif call.kind == "truncate":
            self._add(Change(inode or 0, "length", call.place))
        elif call.kind in ("open", "mkdir") and inode is None:
            if call.kind == "mkdir":
                self._live[self._next] = {}
            self._enter(call.path, ((os.path.basename(call.path), self._next),))
            self._next += 1
        elif call.kind in ("unlink", "rmdir") and inode is not None:
            self._enter(call.path, ((os.path.basename(call.path), None),))
        elif call.kind == "rename":
            assert os.path.dirname(call.path) == os.path.dirname(call.target)
            names = ((os.path.basename(call.path), None), (os.path.basename(call.target), inode))
            self._enter(call.path, names)

    def _enter(self, path: str, names: tuple[tuple[str, int | None], ...]) -> None:
        parent = self.inode(os.path.dirname(path))
        assert parent is not None, path
        for name, inode in names:
            self._live[parent].pop(name, None)
            if inode is not None:
                self._live[parent][name] = inode
        self._add(Change(parent, "names", names=names))

    def _add(self, change: Change) -> None:
        self.events.append(change)


Tree = dict[str, bytes | None]  # path -> content; None for a directory


def after_loss(
    events: list[Change | int], draw: random.Random, num_random: int
) -> Iterator[list[Change]]:
    """What may be on the disk after these events and a loss of power.

    Flushed changes are there. Of the others: every combination up to 5 of them; beyond that none,
    all, each alone, all but each, only names, only contents, and random parts.
    """
    flushed = {event: place for place, event in enumerate(events) if isinstance(event, int)}
    changes = [(place, event) for place, event in enumerate(events) if isinstance(event, Change)]
    sure = [flushed.get(change.inode, -1) > place for place, change in changes]
    open_ones = [k for k, durable in enumerate(sure) if not durable]
    for kept in chosen_parts(open_ones, [change for _, change in changes], draw, num_random):
        yield [change for k, (_, change) in enumerate(changes) if sure[k] or k in kept]


def chosen_parts(
    open_ones: list[int], changes: list[Change], draw: random.Random, num_random: int
) -> Iterator[set[int]]:
    whole = set(open_ones)
    if len(open_ones) <= 5:
        for size in range(len(open_ones) + 1):
            yield from (set(part) for part in itertools.combinations(open_ones, size))
        return
    names = {k for k in open_ones if changes[k].kind == "names"}
    yield from (set(), whole, names, whole - names)
    # Older ones are of files that nothing else happened to since; the newest decide.
    for k in open_ones[-12:]:
        yield from ({k}, whole - {k}, names - {k}, names & {j for j in open_ones if j <= k})
    for _ in range(num_random):
        yield {k for k in open_ones if draw.random() < 0.5}


def tree_of(changes: list[Change]) -> Tree:
    """The files that the changes leave, temporary ones (which no reader opens) left out."""
    files: dict[int, bytes] = {}
    names: dict[int, dict[str, int]] = {}
    for change in changes:
        if change.kind == "names":
            entries = names.setdefault(change.inode, {})
            for name, inode in change.names:
                if inode is None:
                    entries.pop(name, None)
                else:
                    entries[name] = inode
        else:
            before = files.get(change.inode, b"")[: change.place].ljust(change.place, b"\0")
            rest = files.get(change.inode, b"")[change.place + len(change.content) :]
            files[change.inode] = before + change.content + (rest if change.content else b"")
    tree: Tree = {}
    waiting = [("", 0)]
    while waiting:
        path, inode = waiting.pop()
        for name, entry in names.get(inode, {}).items():
            if name.startswith(".tmp-"):
                continue
            below = f"{path}/{name}".lstrip("/")
            is_file = entry in files or "." in name.lstrip(".")
            tree[below] = files.get(entry, b"") if is_file else None
            if not is_file:
                waiting.append((below, entry))
    return tree


def written(tree: Tree, root: Path) -> None:
    if root.exists():
        shutil.rmtree(root)
    root.mkdir()
    for path in sorted(tree):
        content = tree[path]
        if content is None:
            (root / path).mkdir(parents=True, exist_ok=True)
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)


def fingerprint(tree: Tree) -> bytes:
    sha = hashlib.sha256()
    for path in sorted(tree):
        content = tree[path]
        sha.update(f"{path}\0{None if content is None else len(content)}\0".encode())
        sha.update(content or b"")
    return sha.digest()
