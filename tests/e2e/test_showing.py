"""What models, scores and runs show of themselves in a console and under the cell of a notebook."""

import base64
import io
import re
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import limner
from limner.api import notebooks
from limner.core.errors import LimnerError
from limner.metrics import Result
from limner.presets import digits_tiny
from limner.sampling import showing


@pytest.fixture
def model(tiny_run):
    return limner.load(tiny_run, "cpu")


def picture_in(html: str) -> Image.Image:
    (encoded,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    return Image.open(io.BytesIO(base64.b64decode(encoded)))


# --- a model -----------------------------------------------------------------


def test_a_model_says_what_it_is(model):
    num = sum(parameter.numel() for parameter in model.generator.parameters())
    line = f"BigGanGenerator, 1x8x8, 10 classes, {num:,} parameters, on cpu"
    assert repr(model) == f"Model({line})"
    html = model._repr_html_()
    assert line in html
    assert len(html) < 50_000
    with picture_in(html) as shown:
        of_model = limner.sheet(model.sample(num=10), columns=10, headings=list("0123456789"))
        assert shown.size == of_model.size
        gap = np.asarray(shown, float) - np.asarray(of_model, float)
        assert np.abs(gap).mean() < 3  # JPEG


@pytest.mark.parametrize(("side", "num"), [(64, 10), (256, 8), (512, 2), (1024, 1)])
def test_large_pictures_are_few(model, monkeypatch, side, num):
    asked: list[int] = []

    def sample(num: int) -> np.ndarray:
        asked.append(num)
        return np.zeros((num, 8, 8, 3), np.uint8)

    monkeypatch.setattr(model, "image_shape", (3, side, side))
    monkeypatch.setattr(model, "sample", sample)
    with picture_in(model._repr_html_()) as shown:
        assert shown.width <= showing.WIDEST
    assert asked == [num]


def test_names_of_classes_are_no_html(model, monkeypatch):
    monkeypatch.setattr(model, "class_names", ("<script>", *"abcdefghijk"))
    monkeypatch.setattr(model, "num_classes", 3)
    html = model._repr_html_()
    assert "&lt;script&gt;, a, b, c, d, e, f, g, h, i, ..." in html
    assert "<script>" not in html


def test_a_sheet_of_a_list(model):
    images = model.sample(num=4)
    expected = limner.sheet(images).tobytes()
    assert limner.sheet(list(images)).tobytes() == expected
    gray = [Image.fromarray(image[..., 0]) for image in images]
    assert limner.sheet(gray).tobytes() == expected
    with pytest.raises(LimnerError, match="one size"):
        limner.sheet([images[0], np.zeros((4, 4, 1), np.uint8)])
    with pytest.raises(LimnerError, match="at least one"):
        limner.sheet([])


# --- scores ------------------------------------------------------------------


def result(name: str, value: float, std: float | None = None, num: int = 1500) -> Result:
    return Result(
        metric="fid",
        name=name,
        value=value,
        std=std,
        extractor="pixels",
        weights_sha256=None,
        num=num,
        floor=0.5,
        seed=0,
        num_real=100,
        resize=None,
        data_sha256="ab",
        higher_is_better=False,
    )


def test_scores_are_a_table(monkeypatch):
    scores = limner.Scores([result("fd-pixels", 12.3456), result("<b>", 1.0, 0.25)])
    assert repr(scores).splitlines()[:3] == [
        "score      value    +-  floor  images",
        "fd-pixels  12.35          0.5   1,500",
        "<b>            1  0.25    0.5   1,500",
    ]
    assert repr(scores).splitlines()[3:] == [f"note: {note}" for note in scores.notes] != []
    html = scores._repr_html_()
    assert "<td>fd-pixels</td><td>12.35</td><td></td><td>0.5</td><td>1,500</td>" in html
    assert "<b>" not in html
    assert scores.to_dict()["fd-pixels"] | {"value": 0} == scores.to_dict()["<b>"] | {
        "value": 0,
        "std": None,
    }
    frame = scores.to_frame()
    assert frame.loc["<b>", "std"] == 0.25
    assert frame.index.name == "score"
    monkeypatch.setattr("limner.api.tables.find_spec", lambda name: None)
    with pytest.raises(LimnerError, match="pip install pandas"):
        scores.to_frame()


# --- callbacks and progress --------------------------------------------------


def short(**changes: Any):
    config = digits_tiny().replace(steps=2, metrics=(), batch_size=8)
    intervals = config.intervals.replace(log=1, sample=1, save=0)
    return config.replace(intervals=intervals, data=config.data.replace(filter="box"), **changes)


def test_callbacks_of_train(tmp_path):
    logged: list[int] = []
    sheets: dict[int, Image.Image] = {}
    options = limner.TrainOptions(device="cpu", on_log=lambda record: pytest.fail("replaced"))
    run = limner.train(
        short(),
        "digits",
        tmp_path / "run",
        options,
        on_log=lambda record: logged.append(record["step"]),
        on_sample=sheets.__setitem__,
    )
    assert logged == [1, 2]
    assert list(sheets) == [0, 1, 2]
    with Image.open(run.path / "samples" / "step-00000002.png") as written:
        assert sheets[2].tobytes() == written.tobytes()
        assert getattr(sheets[2], "filename", None) == str(written.filename)

    def refuse(step: int, sheet: Image.Image) -> None:
        raise OSError("no network")

    with pytest.raises(OSError, match="no network"):  # the disk's refusals alone are passed over
        limner.train(short(failed_saves=3), "digits", tmp_path / "other", on_sample=refuse)


@pytest.fixture
def shown(monkeypatch) -> list[dict[str, str]]:
    """What the cells of a notebook show, one change after the other."""
    changes: list[dict[str, str]] = []
    handle = SimpleNamespace(update=lambda content, raw: changes.append(content))
    display = SimpleNamespace(display=lambda content, raw, display_id: handle)
    shell = SimpleNamespace(kernel=object())
    # matplotlib asks for the version
    ipython = SimpleNamespace(get_ipython=lambda: shell, display=display, version_info=(9, 0))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(notebooks, "SECONDS", 0.0)
    return changes


def test_training_shows_itself_in_a_notebook(shown, tmp_path):
    logged: list[dict[str, Any]] = []
    limner.train(short(steps=3), "digits", tmp_path / "run", on_log=logged.append)
    last, before = shown[-1], shown[-2]
    assert "step 3 of 3" in before["text/plain"]
    assert "left" in before["text/plain"]
    assert f"loss_d {logged[1]['loss_d']:.3f}" in before["text/plain"]
    assert last["text/plain"] == "finished at step 3, 24 images shown"
    assert '<progress max="1" value="1"' in last["text/html"]
    picture_in(last["text/html"]).close()


def test_other_work_shows_how_far_it_is(shown, model, tmp_path):
    limner.save_samples(model, tmp_path / "a.npz", limner.SampleOptions(num=3, batch_size=2))
    assert [change["text/plain"] for change in shown] == ["sampling: 2 of 3", "sampling: 3 of 3"]
    shown.clear()
    limner.evaluate(model, "digits", ["prdc"], 8, features="pixels")
    assert shown[-1]["text/plain"] == "scoring: 8 of 8"


def test_nothing_is_shown_elsewhere(monkeypatch):
    assert not notebooks.in_notebook()
    terminal = SimpleNamespace(get_ipython=lambda: SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", terminal)
    assert not notebooks.in_notebook()
    notebooks.counter("scoring")(1, 2)
