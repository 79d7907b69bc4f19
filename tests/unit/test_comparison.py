"""Pages about several runs, and about logs of BigGAN-PyTorch."""

import json

import pytest

from limner.checkpoints import RunDirectory
from limner.core.errors import CheckpointError, LimnerError
from limner.reports import write_comparison, write_report
from limner.reports.biggan_logs import are_biggan_logs, write_as_run


@pytest.fixture
def logs(tmp_path):
    """As MyLogger and MetricsLogger of its utils.py write them."""
    folder = tmp_path / "logs" / "EXPERIMENT"
    folder.mkdir(parents=True)
    figures = {
        "G_loss": lambda i: -0.1 * i,
        "D_loss_real": lambda i: 0.5,
        "D_loss_fake": lambda i: 0.25 + i,
        "G_linear_sv0": lambda i: 3.0 + i,
        "D_blocks.0.0.conv1_sv0": lambda i: 2.0,
    }
    for name, value in figures.items():
        lines = [f"{10 * i}: {value(i):3.3e}\n" for i in range(1, 6)]
        (folder / f"{name}.log").write_text("".join(lines))
    (folder / "metalog.txt").write_text("datetime: 2019-02-01\n")
    tests = [
        {"itr": 2000, "IS_mean": 2.81, "IS_std": 0.02, "FID": 173.8, "_stamp": 1.5e9},
        {"itr": 4000, "IS_mean": 4.96, "IS_std": 0.04, "FID": 113.9, "_stamp": 1.5e9},
        {"itr": 6000, "IS_mean": 6.94, "IS_std": 0.05, "FID": 9999.0, "_stamp": 1.5e9},
    ]
    path = folder.with_name("EXPERIMENT_log.jsonl")
    path.write_text("".join(json.dumps(test) + "\n" for test in tests))
    return folder


def as_run(logs, tmp_path) -> RunDirectory:
    (tmp_path / "made").mkdir()
    return write_as_run(logs, tmp_path / "made")


@pytest.mark.parametrize("name", ["EXPERIMENT", "EXPERIMENT_log.jsonl"])
def test_its_logs_are_read_by_either_name(name, logs, tmp_path):
    assert are_biggan_logs(logs.with_name(name))
    run = as_run(logs.with_name(name), tmp_path)
    log, spectra, scores = (run.read_log(each) for each in ("log", "spectra", "scores"))
    assert [record["step"] for record in log] == [10, 20, 30, 40, 50]
    assert log[1]["loss_g"] == pytest.approx(-0.2)
    assert log[1]["loss_d"] == pytest.approx(0.5 + 2.25)
    assert spectra[0] == {"step": 10, "g.linear": 4.0, "d.blocks.0.0.conv1": 2.0}
    assert [(r["name"], r["value"]) for r in scores[0]["results"]] == [("is", 2.81), ("fid", 173.8)]
    assert [r["name"] for r in scores[2]["results"]] == ["is"]  # 9999: none was computed
    assert run.read_config()["name"] == "EXPERIMENT"


def test_a_resume_that_tells_again_replaces_and_a_torn_line_is_left(logs, tmp_path):
    with open(logs / "G_loss.log", "a") as file:
        file.write("20: 7.000e+00\n60: 1.0")
    log = as_run(logs, tmp_path).read_log("log")
    assert {record["step"]: record["loss_g"] for record in log}[20] == 7.0
    assert log[-1]["step"] == 50


@pytest.mark.parametrize(
    ("file", "text"),
    [("G_loss.log", "20 0.5\n"), ("G_loss.log", "20: many\n"), ("../EXPERIMENT_log.jsonl", "{}\n")],
)
def test_a_line_of_another_form_is_named(file, text, logs, tmp_path):
    with open(logs / file, "a") as opened:
        opened.write(text)
    with pytest.raises(CheckpointError, match=r"line [46] is not"):
        as_run(logs, tmp_path)


def test_its_logs_have_a_page(logs):
    text = write_report(logs).read_text()
    assert write_report(logs) == logs / "report.html"
    for words in ("EXPERIMENT", "Losses", "Parts of the losses", "173.8", "6.94"):
        assert words in text
    beside = write_report(logs.with_name("EXPERIMENT_log.jsonl"))
    assert beside == logs.with_name("EXPERIMENT_log.html")


@pytest.fixture
def runs(tmp_path):
    """Two runs whose scores and losses differ."""
    for name, factor in (("first", 1.0), ("second", 2.0)):
        run = RunDirectory(tmp_path / name)
        run.create()
        run.config.write_text(json.dumps({"name": "digits", "steps": 40}))
        for step in (10, 20, 40):
            run.append("log", {"step": step, "loss_d": factor * step, "loss_g": factor})
            run.append("spectra", {"step": step, "g.a": factor, "g.b": factor * 3, "d.a": None})
        for step, value in ((20, 9.0 * factor), (40, 8.0 * factor)):
            result = {"metric": "fid", "name": "fd-pixels", "value": value, "floor": 1.0}
            run.append("scores", {"step": step, "results": [result]})
    return [tmp_path / "first", tmp_path / "second"]


def test_several_runs_stand_on_one_page(runs, logs, tmp_path):
    out = write_comparison([*runs, logs], tmp_path / "comparison.html")
    text = out.read_text()
    assert "3 runs" in text
    assert "8 at 40" in text
    assert "16 at 40" in text
    assert "113.9 at 4,000" in text
    for title in ("Loss of the discriminator", "Largest singular value, generator", "fd-pixels"):
        assert f'aria-label="{title}"' in text
    loss = text[text.index('aria-label="Loss of the discriminator"') :].partition("</svg>")[0]
    assert all(name in loss for name in ("first", "second", "EXPERIMENT"))  # its legend
    assert "https://" not in text.replace("http://www.w3.org", "")


def test_one_run_is_no_comparison(runs, tmp_path):
    for few in ([], runs[:1], runs * 4):
        with pytest.raises(LimnerError, match="2 to 6"):
            write_comparison(few, tmp_path / "a.html")
    with pytest.raises(CheckpointError, match="no run here"):
        write_comparison([runs[0], tmp_path / "none"], tmp_path / "a.html")
