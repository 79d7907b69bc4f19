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
        is_gray: whether all that were looked at have one channel.
        mirrors: whether a mirrored picture could be one of them; not so with digits.
    """

    num: int
    side: int
    class_counts: tuple[int, ...] = ()
    is_final: bool = False
    is_gray: bool = False
    mirrors: bool = True

    def power_of_two(self, smallest: int, largest: int) -> int:
        """The largest side of 2^k pixels that most pictures have, between two bounds that are such
        themselves; `side` where it is decided."""
        if self.is_final:
            return self.side
        return min(max(1 << (self.side.bit_length() - 1), smallest), largest)


@dataclass(frozen=True)
class Machine:
    """What trains: the kind of device, and how many of them."""

    kind: Kind = "cpu"
    num: int = 1
