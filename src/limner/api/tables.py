"""Scores as they are read: a table in a notebook and a console, a dict, a frame."""

from collections.abc import Iterator
from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from limner.core.config import encode
from limner.core.errors import LimnerError
from limner.metrics.base import Result
from limner.metrics.notes import notes

if TYPE_CHECKING:
    from pandas import DataFrame

HEADINGS = ("score", "value", "+-", "floor", "images")


class Scores(list[Result]):
    """Results in their order, shown as a table: value, deviation, floor, generated images.

    Examples:
        >>> scores = limner.evaluate("runs/digits", "digits", ["prdc"], 50, features="pixels")
        >>> scores.to_dict()["recall"]["num"]
        50
        >>> list(scores.to_frame().columns[:3])
        ['metric', 'value', 'std']
    """

    @property
    def notes(self) -> list[str]:
        """What a reader must know besides the figures."""
        return notes(self)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """A text for each of HEADINGS, result by result."""
        for result in self:
            figures = (shown(value) for value in (result.value, result.std, result.floor))
            yield (result.name, *figures, f"{result.num:,}")

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The name of each figure -> all that is known of it, as plain values."""
        return {result.name: _without_name(result) for result in self}

    def to_frame(self) -> "DataFrame":
        """A pandas frame, a row a figure.

        Raises:
            LimnerError: pandas is not installed.
        """
        if find_spec("pandas") is None:
            raise LimnerError("a frame needs the package 'pandas': pip install pandas")
        from pandas import DataFrame

        return DataFrame.from_dict(self.to_dict(), orient="index").rename_axis("score")

    def __repr__(self) -> str:
        rows = [HEADINGS, *self.rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in rows
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(text)}</th>" for text in HEADINGS)
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in self.rows()
        )
        told = "".join(f"<div>note: {escape(note)}</div>" for note in self.notes)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{told}"


def shown(value: float | None) -> str:
    """Four figures; nothing for none."""
    return "" if value is None else f"{value:.4g}"


def _without_name(result: Result) -> dict[str, Any]:
    return {key: value for key, value in encode(result).items() if key != "name"}
