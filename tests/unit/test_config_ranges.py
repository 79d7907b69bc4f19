"""Ranges in annotations: checked once, from Python and from JSON; numbers are what JSON makes."""

import math
from typing import Any

import pytest
from torch import nn

from limner.core.config import Config, decode, encode, to_json
from limner.core.errors import ConfigError, shown
from limner.core.ranges import (
    BelowOne,
    NonNegative,
    NonNegativeInt,
    Positive,
    PositiveInt,
    Share,
)
from limner.core.schedules import Linear, Schedule
from limner.engine import Adam
from limner.engine.optimizers import adam


class Inner(Config, frozen=True):
    share: Share = 0.5
    betas: tuple[BelowOne, BelowOne] = (0.0, 0.9)


class Outer(Config, frozen=True, kw_only=True):
    every: PositiveInt = 1
    keep: NonNegativeInt = 0
    size: PositiveInt | None = None
    rate: Positive = 1.0
    weight: NonNegative | Schedule = 1.0
    sizes: tuple[PositiveInt, ...] = ()
    pairs: tuple[tuple[PositiveInt, Positive], ...] = ()
    maybe: tuple[PositiveInt, ...] | None = None
    inner: Inner = Inner()
    either: int | float = 1
    most: int = 9

    def __post_init__(self) -> None:
        if self.every > self.most:  # would be a TypeError if "every" were not a number yet
            raise ConfigError(f"every: {self.every} is more than most")


class Further(Outer, frozen=True, kw_only=True):
    later: PositiveInt = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.later == 7:
            raise ConfigError("later: 7")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"every": 0}, "every: 0 is out of range; give 1 or more"),
        ({"keep": -1}, "keep: -1 is out of range; give 0 or more"),
        ({"size": 0}, "size: 0 is out of range; give 1 or more or null"),
        ({"rate": 0}, "rate: 0.0 is out of range; give more than 0"),
        ({"weight": -1.0}, "weight: -1.0 is out of range; give 0 or more"),
        ({"sizes": [3, 0]}, "sizes.1: 0 is out of range; give 1 or more"),
        ({"pairs": [[1, 0.5], [2, 0.0]]}, "pairs.1.1: 0.0 is out of range; give more than 0"),
        ({"maybe": [0]}, "maybe.0: 0 is out of range; give 1 or more"),
        ({"every": 10}, "every: 10 is more than most"),
    ],
)
@pytest.mark.parametrize("cls", [Outer, Further])
def test_what_is_out_of_range_is_refused_from_python_and_from_json(cls, change, message):
    for build in (
        lambda: cls(**change),
        lambda: cls().replace(**change),
        lambda: decode(cls, change),
    ):
        with pytest.raises(ConfigError) as caught:
            build()
        assert str(caught.value) == message


def test_the_key_is_whole_where_a_part_stands_in_another():
    with pytest.raises(ConfigError) as caught:
        decode(Outer, {"inner": {"betas": [0.0, 1.0]}})
    assert str(caught.value) == "inner.betas.1: 1.0 is out of range; give 0 or more and less than 1"
    with pytest.raises(ConfigError) as caught:
        Inner(share=1.5)
    assert str(caught.value) == "share: 1.5 is out of range; give 0 to 1"
    with pytest.raises(ConfigError, match="later: 7"):
        Further(later=7)


def test_a_range_refuses_nan_and_lets_other_types_pass_to_json():
    with pytest.raises(ConfigError, match="rate: NaN is out of range"):
        Outer(rate=math.nan)
    line = Linear(start=-1.0, end=0.0, until_nimg=5)
    assert Outer(weight=line).weight == line
    words: Any = "many"
    with pytest.raises(ConfigError, match='every: give a whole number, not "many"'):
        decode(Outer, {"every": words})


def test_numbers_and_lists_are_what_json_makes_of_them():
    pairs: Any = [[1, 2]]
    given: Any = Outer(rate=2, weight=3, pairs=pairs, inner=Inner(betas=(0, 0.9)), either=1)
    assert to_json(given) == to_json(decode(Outer, encode(given)))
    assert [type(value) for value in (given.rate, given.weight, given.either)] == [
        float,
        float,
        int,
    ]
    assert given.pairs == ((1, 2.0),)
    assert [type(beta) for beta in given.inner.betas] == [float, float]
    assert hash(given) == hash(decode(Outer, encode(given)))
    with pytest.raises(ConfigError, match="rate: an integer of 3322 bits is no float"):
        Outer(rate=10**1000)


def test_an_integer_for_a_rate_of_adam_trains():
    """torch refuses betas of which one is an integer."""
    config = Adam(lr=1, betas=(0, 0.9))
    group = adam(nn.Linear(1, 1), config).param_groups[0]
    assert (group["lr"], group["betas"]) == (1.0, (0.0, 0.9))
    assert '"lr": 1.0' in to_json(config)


def test_values_in_messages_stay_short():
    assert shown("x" * 100) == '"' + "x" * 56 + "..."
