"""The run's clock: what a log line says of seconds, with right values on a planted clock."""

import json

import pytest

from limner.engine import Intervals
from limner.running.hooks import Hooks
from limner.running.pace import Pace
from planted import planted_config
from runs import fit_of, toy_data


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


def line(pace: Pace, clock: Clock, after: float, nimg: int, waited: float, tick: int | None = None):
    """A log line `after` seconds later."""
    clock.time += after
    record = pace.measure(clock(), nimg, waited)
    return record | pace.hear({**record, "tick": tick} if tick is not None else record)


def test_a_line_has_the_right_figures(clock):
    pace = Pace(clock)
    with pace.maintaining():
        clock.time += 1.5
    assert line(pace, clock, 4.5, 100, 0.6) == {
        "seconds": 6.0,
        "images_per_second": 16.67,
        "data_wait_share": 0.1,
        "seconds_per_kimg": 45.0,
        "maintenance": 1.5,
    }
    clock.time += 1.0
    assert pace.seconds == 7.0
    assert line(pace, clock, 1.0, 150, 1.6)["data_wait_share"] == 0.5


@pytest.mark.parametrize("seconds", [0.0, 40.0])
def test_where_a_state_is_taken_up_every_mark_is_set_anew(clock, seconds):
    """A resume, a branch and a rollback; the loader is made anew and has waited for nothing."""
    pace = Pace(clock)
    line(pace, clock, 50.0, 5000, waited=30.0, tick=9)
    with pace.maintaining():
        clock.time += 20.0
    pace.begin(seconds, 1000, waited=0.0)
    assert pace.seconds == seconds
    assert line(pace, clock, 10.0, 1100, waited=2.0, tick=3) == {
        "seconds": seconds + 10.0,
        "images_per_second": 10.0,
        "data_wait_share": 0.2,
        "seconds_per_kimg": 100.0,
        "maintenance": 0.0,
    }


def test_time_rings_ever_more_seldom_and_goes_on_where_a_state_was_taken_up(clock):
    pace = Pace(clock)

    def rings_after(seconds: float) -> bool:
        clock.time += seconds
        return pace.rings(30.0)

    assert [rings_after(s) for s in (29, 1, 1, 28, 2, 59, 2, 1000, 1)] == [
        *(False, True, False, False, True, True, False, True, False)
    ]
    pace.begin(29.0, 0, 0.0)
    assert [rings_after(s) for s in (0.5, 1)] == [False, True]
    pace.begin(70.0, 0, 0.0)  # it rang at 60
    assert [rings_after(s) for s in (1, 48, 2)] == [False, False, True]
    assert not Pace(clock).rings(0.0)


def test_what_is_left_follows_from_all_steps(clock):
    pace = Pace(clock)
    clock.time += 99.0
    pace.start(100)  # resumed there
    assert pace.left(100, 1100) is None
    clock.time += 50.0
    assert pace.left(101, 1101) == 50_000.0
    clock.time += 10.0
    assert pace.left(160, 1160) == 1000.0


def test_a_clock_that_stands_still_counts_nothing(clock):
    pace = Pace(clock)
    clock.time += 2.0
    with pace.standing_still():
        clock.time += 100.0
    assert pace.seconds == 2.0
    assert line(pace, clock, 3.0, 50, 0.0)["images_per_second"] == 10.0


def test_ticks_last_from_the_line_that_began_them(clock):
    pace = Pace(clock)
    said = [line(pace, clock, 5.0, 100, 0.0, tick).get("seconds_per_tick") for tick in (0, 0, 1)]
    assert said == [None, None, 15.0]  # the first tick began with the run
    said = [line(pace, clock, 4.0, 100, 0.0, tick).get("seconds_per_tick") for tick in (1, 3, 3, 4)]
    assert said == [None, 4.0, None, 8.0]


def test_a_tick_of_unknown_beginning_has_no_length(clock):
    pace = Pace(clock)
    pace.begin(1000.0, 9000, 0.0)
    said = [line(pace, clock, 5.0, 100, 0.0, tick).get("seconds_per_tick") for tick in (7, 8, 9)]
    assert said == [None, None, 5.0]


def test_a_tick_in_which_a_run_was_resumed_counts_whole(clock):
    """The same lines give the same marks: 12 s before the stop, 5 s of them in tick 2, and 4 s."""
    pace = Pace(clock)
    pace.begin(12.0, 200, 0.0)
    for record in ({"tick": 1, "seconds": 3.0}, {"tick": 2, "seconds": 7.0}, {"seconds": 9.0}):
        pace.hear(record)
    assert line(pace, clock, 4.0, 300, 0.0, tick=3)["seconds_per_tick"] == 9.0


@pytest.mark.usefixtures("unchecked")
def test_after_a_rollback_the_log_has_no_negative_share(tmp_path):
    """The loader of before has waited long; the one that is made then, hardly."""
    config = planted_config("weight", "g", at=3, times=1, intervals=Intervals(log=2, save=2))
    waits = iter([1000.0])

    def on_step(step: int, nimg: int) -> None:
        if step == 2:
            fit.loader.seconds_waited += next(waits, 0.0)

    fit = fit_of(tmp_path / "run", config, toy_data(tmp_path), hooks=Hooks(on_step=on_step))
    fit._on_divergence = "rollback"
    fit()
    log = [json.loads(row) for row in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == [2, 4, 6, 8, 10]
    assert log[0]["data_wait_share"] > 1
    assert all(0 <= row["data_wait_share"] <= 1 for row in log[1:]), log
    assert [row.get("rollbacks") for row in log] == [None, 1, 1, 1, 1]
