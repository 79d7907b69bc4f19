"""Values of a form, which anybody may have sent: checked before work begins."""

import math
from typing import Any

from limner.core.errors import LimnerError

MOST_SEED = 2**53 - 1  # beyond it a browser's numbers have gaps


def whole(name: str, value: Any, least: int, most: int) -> int:
    """An integer within both bounds; a LimnerError that names the field for anything else."""
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    if not least <= number <= most or number != int(number):
        raise LimnerError(f"{name}: give a whole number, {least:,} to {most:,}")
    return int(number)


def seed(name: str, value: Any) -> int:
    """A seed."""
    return whole(name, value, 0, MOST_SEED)


def finite(name: str, value: Any) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise LimnerError(f"{name}: give a number")
    return float(value)


def weights(text: str, num: int) -> list[float]:
    """Shares of so many classes from "0.7, 0.3", equal ones from ""; they need not sum to 1."""
    if not text.strip():
        return [1 / num] * num
    try:
        found = [float(piece) for piece in text.split(",")]
    except ValueError:
        found = []
    if len(found) != num or not all(math.isfinite(value) for value in found):
        raise LimnerError(f"Shares: give {num} numbers, one a class, for example 0.7, 0.3")
    return found
