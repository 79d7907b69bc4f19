"""How far a long work is."""

from collections.abc import Callable

Progress = Callable[[int, int | None], None]  # called with (done, their number or None)
