"""What a recipe can be fitted to."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["cpu", "cuda", "mps"]  # of a device


@dataclass(frozen=True)
class Pictures:
    """A set of pictures.

    Attributes:
        num: how many.
        side: pixels that the short side of nine in ten has at least.
        class_counts: pictures of each class; () without classes.
        is_final: whether `side` is decided: they are prepared, or somebody said so.
    """

    num: int
    side: int
    class_counts: tuple[int, ...] = ()
    is_final: bool = False


@dataclass(frozen=True)
class Machine:
    """What trains: the kind of device, and how many of them."""

    kind: Kind = "cpu"
    num: int = 1
