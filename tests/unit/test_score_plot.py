"""Plots of scores: the floor is named, and does not flatten a curve."""

import pytest

from limner.api.score_plot import mark_floor, plotted
from limner.metrics import Result

figures = pytest.importorskip("matplotlib.figure")


def result(value: float, floor: float | None = 1.0, std: float | None = None) -> Result:
    return Result(
        metric="fid", name="fd-x", value=value, std=std, extractor="x", weights_sha256=None,
        num=2, floor=floor, seed=0, num_real=2, resize=None, data_sha256="", higher_is_better=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("floor", "lines", "words"),
    [(2.0, 1, ["floor"]), (0.5, 1, ["floor"]), (80.0, 0, ["floor 80"]), (None, 0, [])],
)
def test_a_floor_is_a_line_or_far_away_a_word(floor, lines, words):
    axes = figures.Figure().add_subplot()
    mark_floor(axes, floor, [1.0, 1.5, 2.5])
    assert len(axes.lines) == lines
    assert [text.get_text() for text in axes.texts] == words


def test_one_evaluation_and_many_are_drawn_with_and_without_floor_and_deviation():
    many = {2 * step: [result(float(step), std=0.1)] for step in range(3)}
    for by_step in ({0: [result(3.0)]}, {0: [result(3.0, None)]}, many, {4: many[4], 2: many[2]}):
        picture = plotted(by_step, "title")
        assert picture.mode == "RGB"
        assert min(picture.size) > 200
