"""The report of a run: self-contained, escaped, honest about what is missing."""

import json
import re
import sys
from datetime import datetime
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from limner.checkpoints import RunDirectory
from limner.core.errors import CheckpointError, MissingExtra
from limner.core.ticks import duration, end_time, rate_words
from limner.reports import page as page_module
from limner.reports import write_report
from limner.reports.page import figure, monotonic
from limner.reports.plots import score_charts, series, short_number, thin, training_charts

CONFIG = {"name": "digits", "batch_size": 16, "steps": 400, "seed": 3}
DATA = {
    "name": "digits", "num_images": 1797, "num_classes": 10, "image_shape": [1, 32, 32],
    "class_names": list("0123456789"),
}  # fmt: skip


def log_record(step):
    return {
        "step": step, "nimg": 16 * step, "seconds": 0.5 * step, "images_per_second": 30.0 + step % 7,
        "memory_mb": 500.0, "data_wait_share": 0.004, "loss_d": 1.0 / step, "loss_g": 0.5,
        "real_logits": 0.4, "fake_logits": -0.4, "grad_norm_d": 100.0 / step, "grad_norm_g": 1.0,
        "lr_d": 1e-4, "lr_g": 1e-4, "term.d.HingeD": 1.0, "term.g.HingeG": 0.5,
    }  # fmt: skip


def score_record(step, value):
    result = {
        "metric": "fid", "name": "fd-digits", "value": value, "std": None, "num": 1797,
        "extractor": "digits-classifier", "weights_sha256": "c0ffee" * 10, "floor": 2.5, "seed": 0,
    }  # fmt: skip
    recall = {"metric": "prdc", "name": "recall", "value": 1 / value, "std": 0.01, "floor": 0.9}
    return {"step": step, "nimg": 16 * step, "results": [result, recall]}


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture
def run(tmp_path):
    """A finished run as training leaves it."""
    folder = tmp_path / "run"
    (folder / "samples").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "data.json").write_text(json.dumps(DATA))
    write_lines(folder / "log.jsonl", [log_record(step) for step in range(10, 401, 10)])
    write_lines(folder / "scores.jsonl", [score_record(200, 20.0), score_record(400, 10.0)])
    event = {"step": 200, "time": 1.79e9, "event": "resumed", "message": "from step 200"}
    write_lines(folder / "events.jsonl", [event])
    rng = np.random.default_rng(0)
    for name in ["reals", *(f"step-{step:08d}" for step in range(0, 401, 20))]:
        pixels = rng.integers(0, 256, (20, 30), np.uint8)
        Image.fromarray(pixels).save(folder / "samples" / f"{name}.png")
    return folder


@pytest.fixture
def without_charts(monkeypatch):
    """Charts take most of a page's time; the tests of the other parts leave them out."""
    monkeypatch.setattr(page_module, "training_charts", lambda log: [])
    monkeypatch.setattr(page_module, "score_charts", lambda scores: [])


def page_of(run):
    return write_report(run).read_text(encoding="utf-8")


def test_the_page_stands_alone(run):
    assert write_report(run) == run / "report.html"
    page = (run / "report.html").read_text(encoding="utf-8")
    addresses = set(re.findall(r"https?://[^\"'\s<)]*", page))
    assert addresses == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r'\bsrc="([^,"]*)', page)) == {"data:image/png;base64"}
    assert set(re.findall(r'href="(.)', page)) == {"#"}
    assert not re.findall(r"<script|<link|@import|<iframe", page)


@pytest.mark.usefixtures("without_charts")
def test_the_page_says_the_main_facts(run):
    page = page_of(run)
    for words in (
        "digits",
        "finished",
        "1,797 images",
        "32x32",
        "6,400",
        "3 min 20 s",
        "500 MB",
        "seed 3",
    ):
        assert words in page
    assert page.count("data:image/png;base64") == 8 + 2
    assert "step 400" in page
    assert "from step 200" in page


@pytest.mark.usefixtures("without_charts")
def test_the_sheets_are_spread_evenly_and_end_with_the_newest(run):
    captions = re.findall(r"<figcaption>step (\d+)", page_of(run))
    assert captions[0] == "0"
    assert captions[-1] == "400"
    gaps = np.diff([int(caption) for caption in captions])
    assert len(captions) == 8
    assert gaps.max() - gaps.min() <= 20


@pytest.mark.usefixtures("without_charts")
def test_scores_stand_beside_their_floor_and_best(run):
    write_lines(run / "scores.jsonl", [score_record(200, 5.0), score_record(400, 10.0)])
    page = page_of(run)
    row = re.search(r"<tr><td>fd-digits.*?</tr>", page)[0]
    for words in (">10<", ">2.5<", ">4.00<", "5 at 200", "(c0ffeec0)", "1,797", "lower is better"):
        assert words in row
    assert "0.2 at 200" in re.search(r"<tr><td>recall.*?</tr>", page)[0], "higher is better"


@pytest.mark.usefixtures("without_charts")
def test_the_best_is_the_one_that_best_selects(run):
    values = (float("nan"), 4.0, 4.0, 8.0)
    write_lines(run / "scores.jsonl", [score_record(s, v) for s, v in enumerate(values, 1)])
    assert "4 at 3" in re.search(r"<tr><td>fd-digits.*?</tr>", page_of(run))[0]


@pytest.mark.usefixtures("without_charts")
def test_a_page_says_of_few_images_that_they_are_few(run):
    assert page_of(run).count("fid of 1,797 images is larger than of the 10,000") == 1
    record = score_record(400, 10.0)
    record["results"][0]["num"] = 50_000
    write_lines(run / "scores.jsonl", [record])
    assert "is larger than of the" not in page_of(run)


def test_names_are_escaped_everywhere(run):
    evil = '<script>alert("x")</script>'
    (run / "config.json").write_text(json.dumps({**CONFIG, "name": evil}))
    (run / "data.json").write_text(json.dumps({**DATA, "name": evil, "class_names": [evil]}))
    record = {**log_record(410), f"term.d.{evil}": 1.0, "term.d.Other": 2.0}
    write_lines(run / "log.jsonl", [record, {**record, "step": 411}])
    score = score_record(400, 1.0)
    score["results"][0].update(name=evil, extractor=evil, weights_sha256=evil)
    write_lines(run / "scores.jsonl", [score, {**score, "step": 401}])
    write_lines(run / "events.jsonl", [{"step": 400, "time": evil, "event": evil, "message": evil}])
    page = page_of(run)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert 'aria-label="<' not in page


def test_a_run_that_has_only_begun(run):
    for name in ("data.json", "log.jsonl", "scores.jsonl", "events.jsonl"):
        (run / name).unlink()
    for path in (run / "samples").iterdir():
        path.unlink()
    page = page_of(run)
    for words in (
        "nothing logged yet",
        "No sample sheet",
        "not been evaluated",
        "Nothing has been logged",
    ):
        assert words in page


@pytest.mark.usefixtures("without_charts")
@pytest.mark.parametrize(
    "missing", ["data.json", "log.jsonl", "scores.jsonl", "events.jsonl", "samples/reals.png"]
)
def test_any_part_may_be_missing(run, missing):
    (run / missing).unlink()
    assert "digits" in page_of(run)


def test_null_figures_torn_lines_and_half_pictures_do_not_stop_it(run):
    record = dict.fromkeys(log_record(10), None) | {"step": 410}
    with open(run / "log.jsonl", "a") as file:
        file.write(json.dumps(record) + '\n{"step": 42')
    score = score_record(410, 1.0)
    score["results"][0]["value"] = None
    write_lines(run / "scores.jsonl", [score])
    whole = (run / "samples" / "step-00000400.png").read_bytes()
    (run / "samples" / "step-00000420.png").write_bytes(whole[: len(whole) // 2])
    (run / "samples" / "step-00000440.png").write_bytes(b"")
    page = page_of(run)
    assert "finished" in page


@pytest.mark.usefixtures("without_charts")
def test_a_stop_by_the_user_is_no_alarm(run):
    stop = {"step": 400, "time": 1.79e9, "event": "stopped", "message": "by signal 2"}
    write_lines(run / "events.jsonl", [stop])
    assert [event["alarm"] for event in page_module.gather(RunDirectory(run))["events"]] == [False]
    write_lines(run / "events.jsonl", [{**stop, "event": "diverged"}])
    assert [event["alarm"] for event in page_module.gather(RunDirectory(run))["events"]] == [True]


@pytest.mark.usefixtures("without_charts")
def test_an_unfinished_run_says_how_far_it_is(run):
    (run / "config.json").write_text(json.dumps({**CONFIG, "steps": 5000}))
    assert "step 400 of 5,000" in page_of(run)
    (run / "config.json").write_text(json.dumps({**CONFIG, "steps": None, "kimg": 12.8}))
    assert "6.4 of 12.8 kimg" in page_of(run)
    done = {"step": 408, "time": 0.0, "event": "finished", "message": "checkpoint of step 408"}
    write_lines(run / "events.jsonl", [done])  # the log's last line is of step 400
    assert "6.4 of 12.8 kimg" not in page_of(run)
    assert "finished" in page_of(run)
    write_lines(run / "events.jsonl", [done, {**done, "event": "resumed"}])
    assert "6.4 of 12.8 kimg" in page_of(run)


@pytest.mark.usefixtures("without_charts")
def test_warnings_stand_on_top(run):
    event = {"step": 30, "time": 1.79e9, "event": "warning", "message": "slow disk"}
    write_lines(run / "events.jsonl", [event])
    page = page_of(run)
    assert page.index("slow disk") < page.index("<h2>Pictures")


def test_the_page_is_a_pure_function_of_the_run(run, tmp_path):
    first, second = write_report(run), write_report(run, tmp_path / "new" / "b.html")
    assert first.read_bytes() == second.read_bytes()
    assert not [path for path in run.iterdir() if path.name.startswith(".tmp")]


def test_no_run_and_broken_config_are_refused(tmp_path, run):
    with pytest.raises(CheckpointError, match="no run here"):
        write_report(tmp_path)
    (run / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: not valid JSON"):
        write_report(run)


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_package_names_the_extra(run, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=r"limner\[report\]"):
        write_report(run)


# --- parts -------------------------------------------------------------------


def test_a_resumed_run_overwrites_what_it_overtook():
    records = [
        {"step": 10, "a": 1},
        {"step": 20, "a": 1},
        {"step": 30, "a": 1},
        {"step": 20, "a": 2},
    ]
    assert [(r["step"], r["a"]) for r in monotonic([*records, {"a": 3}])] == [(10, 1), (20, 2)]


def test_long_logs_are_thinned_without_losing_peaks():
    values = np.zeros(10_000)
    values[7777] = 5.0
    steps, means, lowest, highest = thin((np.arange(10_000.0), values), 300)
    assert len(steps) == len(means) == 300
    assert highest.max() == 5.0
    assert np.isclose(means.mean(), values.mean(), rtol=0.1)
    assert (lowest <= means).all()


def test_hundreds_of_evaluations_with_deviations_are_thinned_with_them():
    """A million steps scored every 2,000, as the presets of the paper do."""
    result = {"metric": "is", "name": "is", "value": 3.0, "std": 0.1, "floor": None}
    scores = [{"step": 2000 * i, "results": [result]} for i in range(1, 501)]
    (chart,) = score_charts(scores)
    assert "one standard deviation" in chart.note


def test_missing_and_not_finite_values_are_left_out():
    records = [
        {"step": 1, "a": 2},
        {"step": 2, "a": None},
        {"step": 3},
        {"step": 4, "a": float("nan")},
    ]
    steps, values = series([*records, {"step": 5, "a": True}], "a")
    assert (steps.tolist(), values.tolist()) == ([1], [2])


def test_charts_are_clean_svg_with_ids_of_their_own():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    charts = training_charts([log_record(step) for step in range(1, 350)])
    charts += score_charts([score_record(1, 2.0), score_record(2, 1.0)])
    titles = [chart.title for chart in charts]
    assert titles == [
        "Losses",
        "The discriminator's answers",
        "Gradient norms",
        "Speed and memory",
        "fd-digits",
        "recall",
    ]
    ids = []
    for chart in charts:
        root = ElementTree.fromstring(chart.svg)
        own = {node.get("id") for node in root.iter() if node.get("id")}
        used = set(re.findall(r"(?:url\(|href=\")#([^\")]+)", chart.svg))
        assert used <= own
        ids.extend(own)
        assert "date" not in chart.svg.lower().split("<style")[0]
    assert len(ids) == len(set(ids))
    assert dict(mpl.rcParams) == before
    assert "real pictures" in charts[4].svg, "the floor line"


def test_several_terms_and_moving_learning_rates_get_their_charts():
    log = [{**log_record(s), "term.d.R1": 0.1 * s, "lr_g": 1e-4 / s} for s in range(1, 5)]
    charts = {chart.title: chart.svg for chart in training_charts(log)}
    assert "d: R1" in charts["Parts of the losses"]
    assert "g: HingeG" not in charts["Parts of the losses"]
    assert "generator" in charts["Learning rates"]


def test_figures_read_well():
    assert [figure(v) for v in (None, 12345, 0.123456, 123456.7, 2.0)] == [
        "-",
        "12,345",
        "0.1235",
        "123,457",
        "2",
    ]
    assert [duration(s) for s in (42.3, 180, 222, 9000, 200_000)] == [
        "42 s",
        "3 min",
        "3 min 42 s",
        "2 h 30 min",
        "2 d 7 h",
    ]
    now = datetime(2026, 2, 28, 22, 0)
    assert [end_time(s, now) for s in (3600, 7200, 1e15)] == ["23:00", "2026-03-01 00:00", "never"]
    assert [rate_words(v) for v in (1234.5, 31.25, 0.0312)] == [
        "1,234 images/s",
        "31 images/s",
        "0.031 images/s",
    ]
    assert [short_number(v) for v in (0, 1500, 2e6, -3e9)] == ["0", "1.5k", "2M", "-3G"]
