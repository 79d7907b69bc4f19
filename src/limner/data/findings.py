"""What the reading of a source tells its user: a probable mistake, or something left out."""

from typing import NamedTuple


class Finding(NamedTuple):
    """A fixed short `kind`, and a line for people: what is so, and what to type to change it."""

    kind: str
    message: str


def plural(num: int, noun: str) -> str:
    """A number of things: "1 picture", "2 pictures"."""
    return f"{num:,} {noun}{'' if num == 1 else 's'}"


def examples(names: list[str], most: int = 3) -> str:
    """The first names of several, for a message."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
