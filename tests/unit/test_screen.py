"""What a training says before its first step, and when its first sheets and pages come."""

import io
import json
import math
import sys
import time
from typing import ClassVar

import pytest
import torch

from limner import api
from limner.api import training
from limner.api.screen import time_lines
from limner.cli.display import Display
from limner.core.config import Config
from limner.engine import Intervals, Update
from limner.engine.controllers import Growth
from limner.engine.trainer import Trainer
from limner.objectives import HingeD, HingeG, Term
from limner.running import timing as timing_module
from limner.running.hooks import Hooks
from limner.running.pace import Pace
from limner.running.timing import FEW, Timing, timed
from runs import eventful_config, fit_of, toy_data, toy_pictures
from toys import toy_config

CPU = torch.device("cpu")


class Slow(Config, Term, frozen=True):
    """Takes a hundredth of a second a picture, and counts them."""

    reads: ClassVar[tuple[str, ...]] = ("real",)
    seen: ClassVar[list[int]] = []

    def __call__(self, batch, memory):
        self.seen.append(len(batch.real_logits))
        time.sleep(0.01 * len(batch.real_logits))
        return 0 * batch.real_logits.sum()


def test_a_slow_step_is_estimated_from_few_pictures(tmp_path):
    data = toy_data(tmp_path)
    updates = (Update(player="d", terms=(HingeD(), Slow())), Update(player="g", terms=(HingeG(),)))
    config = toy_config(updates=updates, num_classes=0, batch_size=10**6, steps=10)
    timing = timed(config, data, CPU)
    assert timing is not None
    assert 1 <= len(Slow.seen) <= 3
    assert set(Slow.seen) == {FEW}
    assert 0 < timing.images_per_second < 101  # 100 and no more can go through
    assert timing.seconds == pytest.approx(10 * 10**6 / timing.images_per_second)


def test_a_fast_step_is_measured_whole_with_its_lazy_updates(tmp_path, monkeypatch):
    monkeypatch.setattr(timing_module, "PATIENCE", 600.0)  # whatever this machine has to do
    config, steps = eventful_config(kimg=3.2, steps=None, batch_size=8), []
    real = Trainer.step

    def counting(self):
        steps.append((self.batch_size, self.progress.step))
        real(self)

    monkeypatch.setattr(Trainer, "step", counting)
    timing = timed(config, toy_data(tmp_path), CPU)
    assert timing is not None
    whole = [number for size, number in steps if size == config.batch_size]
    assert whole == [0, 1, 2, 3]  # one to warm up, and a round of every=3
    assert timing.seconds == pytest.approx(3200 / timing.images_per_second)


def test_beyond_a_day_a_line_warns_and_names_what_is_smaller(tmp_path):
    data = toy_data(tmp_path)
    config = eventful_config(kimg=100.0, steps=None)
    lines = list(time_lines(Timing(1.0, 100_000.0), config, data, 0.0, "1 x cpu"))
    assert [event for event, _ in lines] == ["speed", "warning"]
    assert lines[0][1].startswith("1 images/s on 1 x cpu by the first steps: ")
    assert "100 kimg take about 27 h 46 min, until " in lines[0][1]
    assert "--kimg 86.4 (what a day holds)" in lines[1][1]
    assert "the preset photos" in lines[1][1]
    half_left = list(time_lines(Timing(1.0, 100_000.0), config, data, 0.5, "1 x cpu"))
    assert [event for event, _ in half_left] == ["speed"]
    assert "13 h 53 min" in half_left[0][1]


def test_the_lines_stand_in_the_events_before_the_first_step(tmp_path):
    pictures = toy_pictures(tmp_path / "pictures.npz", 40)
    heard: list[tuple[str, str]] = []
    options = api.TrainOptions(
        device="cpu",
        on_event=lambda event, message: heard.append((event, message)),
        on_step=lambda step, nimg: heard.append(("step", str(step))),
    )
    config = eventful_config(steps=2)
    api.train(config, pictures, tmp_path / "run", options)
    before = heard[: heard.index(("step", "1"))]
    text = "\n".join(message for _, message in before)
    for words in ("40 pictures", "no classes", "4x4 px, gray", "largest centred square"):
        assert words in text, text
    for words in ("mirrored", "half of the pictures", "weights", "--batch-size", "--steps N"):
        assert words in text, text
    assert [event for event, message in before if "warning: only 40" in message] == ["data"]
    assert "images/s on 1 x cpu by the first steps: 2 steps take about 0 s, until " in text
    lines = (tmp_path / "run" / "events.jsonl").read_text().splitlines()
    written = [(line["event"], line["message"]) for line in map(json.loads, lines)]
    assert written[: len(before)] == before
    heard.clear()  # a run that goes on has said it
    api.train(config.replace(steps=3), pictures, tmp_path / "run", options)
    assert not [event for event, _ in heard if event in ("data", "setting")]


def test_the_first_sheets_come_by_time_and_then_by_steps(tmp_path):
    """Steps of 20 s: sheets after 30, 60, 120 seconds, and from step 10 on each tenth step."""
    clock = [0.0]

    def on_step(step: int, nimg: int) -> None:
        clock[0] += 20.0

    drawn: list[int] = []
    config = eventful_config(steps=21, intervals=Intervals(log=5, sample=10, save=5))

    def fit(steps: int):
        hooks = Hooks(on_step=on_step, draw_samples=lambda g, path, step: drawn.append(step))
        made = fit_of(tmp_path / "run", config.replace(steps=steps), toy_data_once, hooks=hooks)
        made.book.pace = Pace(lambda: clock[0])
        return made

    toy_data_once = toy_data(tmp_path)
    first = fit(4)
    first()
    assert drawn == [0, 2, 3, 4]  # the last one is the end's
    drawn.clear()
    second = fit(21)
    second.resume(second.run.checkpoints / "step-00000004")
    second()
    assert drawn == [6, 10, 20, 21]


@pytest.mark.parametrize(("share", "anew"), [(math.inf, True), (1e-6, False)])
def test_the_page_is_written_anew_at_sheets_where_that_takes_little_of_the_time(
    tmp_path, monkeypatch, share, anew
):
    monkeypatch.setattr(training, "REPORT_SHARE", share)
    pictures, pages = toy_pictures(tmp_path / "pictures.npz"), []
    page = tmp_path / "run" / "report.html"

    def on_step(step: int, nimg: int) -> None:
        pages.append("step 2 of 5" in page.read_text() if page.exists() else None)

    config = eventful_config(steps=5, intervals=Intervals(log=1, sample=2, save=0))
    api.train(config, pictures, tmp_path / "run", api.TrainOptions(device="cpu", on_step=on_step))
    assert pages == [None, None, True, True, not anew]
    assert "finished" in page.read_text()


def test_the_display_hears_losses_and_the_time_left_from_the_first_step_on(tmp_path):
    shown: list[dict] = []
    hooks = Hooks(on_glance=shown.append)
    config = eventful_config(steps=4, intervals=Intervals(log=100, sample=0, save=0))
    fit = fit_of(tmp_path / "run", config, toy_data(tmp_path), hooks=hooks)
    clock = iter(range(1000))
    fit.book.pace = Pace(lambda: float(next(clock)))
    fit()
    assert [record["step"] for record in shown][:2] == [1, 2]
    assert {"loss_d", "loss_g", "images_per_second", "seconds_left"} <= set(shown[0])
    assert shown[0]["seconds_left"] > 0
    assert shown[-1]["seconds_left"] >= 0


def test_a_step_that_the_log_has_told_is_not_told_again_as_no_images(tmp_path):
    shown: list[dict] = []
    config = eventful_config(steps=4, intervals=Intervals(log=2, sample=0, save=0))
    fit = fit_of(tmp_path / "run", config, toy_data(tmp_path), hooks=Hooks(on_glance=shown.append))
    clock = iter(range(0, 100_000, 100))  # each look at the clock is later than a glance waits
    fit.book.pace = Pace(lambda: float(next(clock)))
    fit()
    assert [record["step"] for record in shown] == [1, 2, 3, 4]
    assert all(record["images_per_second"] > 0 for record in shown)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("size", ["steps", "kimg"])
def test_the_bar_shows_losses_speed_and_the_time_left(monkeypatch, size):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    config = (
        eventful_config(steps=2000) if size == "steps" else eventful_config(steps=None, kimg=8.0)
    )
    with Display(config) as display:
        display.on_event("setting", "  batch  4")
        display.on_step(120, 480)
        record = {"step": 120, "nimg": 480, "images_per_second": 312.4, "seconds_left": 222.0}
        display.on_glance({**record, "loss_d": 0.6931, "loss_g": 1.25})
    shown = terminal.getvalue()
    for words in ("  batch  4", "312 images/s", "3 min 42 s left", "loss_d=0.69"):
        assert words in shown, shown
    assert ("120/2,000" if size == "steps" else "0.5/8 kimg") in shown


def test_a_growing_run_is_timed_over_all_of_its_growth(tmp_path, monkeypatch):
    seen: list[int] = []
    monkeypatch.setattr(timing_module, "PATIENCE", 600.0)
    monkeypatch.setattr(timing_module, "BUDGET", 600.0)

    def measured(config, data, device, nimg):
        seen.append(nimg)
        return 1.0 if nimg < 500 else 3.0

    monkeypatch.setattr(timing_module, "_seconds_an_image", measured)
    config = eventful_config(steps=None, kimg=0.8, controllers=(Growth(),))
    data = toy_data(tmp_path)
    timing = timed(config, data, CPU)
    assert seen == [0, 50, 150, 250, 350, 450, 550, 650, 750]
    assert timing == Timing(1.0, 5 * 100 * 1.0 + 3 * 100 * 3.0)
    monkeypatch.setattr(timing_module, "BUDGET", -1.0)
    assert timed(config, data, CPU) == Timing(1.0, 800.0, is_least=True)
