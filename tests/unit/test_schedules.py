"""Schedules at their edges and between them."""

import pytest

from limner.core.errors import ConfigError
from limner.core.schedules import SCHEDULES, Cosine, Exponential, Linear, Steps, value_at


def test_linear_and_cosine_between_their_moments():
    linear = Linear(start=1.0, end=3.0, from_nimg=100, until_nimg=200)
    cosine = Cosine(start=1.0, end=3.0, from_nimg=100, until_nimg=200)
    for schedule in (linear, cosine):
        ends = [schedule(nimg) for nimg in (0, 100, 150, 200, 1000)]
        assert ends == pytest.approx([1.0, 1.0, 2.0, 3.0, 3.0])
    assert linear(125) == pytest.approx(1.5)
    assert cosine(125) == pytest.approx(1 + (1 - 2**-0.5))


def test_exponential_halves_and_stops_at_its_floor():
    schedule = Exponential(start=8.0, half_life_nimg=10, floor=1.5)
    assert [schedule(nimg) for nimg in (0, 10, 20, 30)] == pytest.approx([8.0, 4.0, 2.0, 1.5])


def test_steps_hold_from_their_moment_on():
    schedule = Steps(start=1.0, changes=((10, 0.5), (20, 0.1)))
    assert [schedule(nimg) for nimg in (0, 9, 10, 19, 20, 99)] == [1.0, 1.0, 0.5, 0.5, 0.1, 0.1]


@pytest.mark.parametrize("changes", [((20, 0.5), (10, 0.1)), ((10, 0.5), (10, 0.1))])
def test_steps_out_of_order_are_refused(changes):
    with pytest.raises(ConfigError, match=r"changes: \[10, 0.1\] follows .0; .* in rising order"):
        Steps(start=1.0, changes=changes)


def test_a_number_is_its_own_schedule():
    assert value_at(0.25, 10**9) == 0.25
    assert value_at(Steps(start=2.0), 5) == 2.0
    assert len(SCHEDULES) == 4
