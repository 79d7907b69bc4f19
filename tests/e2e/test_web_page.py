"""The page of `limner export --format web`, in headless Chromium: the model's floats, from a folder."""

import functools
import http.server
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

import limner
from limner.api.exporting import export
from limner.checkpoints.exporters import web
from limner.core.errors import CheckpointError

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

MOST_BYTES = 30e6
PACKED = f"{web.PACKAGE}-{web.VERSION}.tgz"
RUNTIME = Path(__file__).resolve().parents[2] / "build" / "npm" / PACKED


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The page of digits-demo, with npm's package as `make` has fetched it, or fetched now."""
    if not RUNTIME.exists() and shutil.which("npm") is None:
        pytest.skip(f"neither {RUNTIME.name} in build nor npm is here")
    out = tmp_path_factory.mktemp("web") / "digits"
    export("digits-demo", "web", out, {"runtime": str(RUNTIME)} if RUNTIME.exists() else {})
    return out


@pytest.fixture
def page(folder, browser):
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address, asked = f"http://127.0.0.1:{server.server_port}/", []
    shown = browser.new_page(bypass_csp=False)
    shown.on("request", lambda request: asked.append(request.url))
    shown.goto(address)
    try:
        shown.get_by_text("8 pictures in").wait_for(timeout=120_000)
        yield shown
    finally:
        shown.close()
        server.shutdown()
        server.server_close()
    assert [url for url in asked if not url.startswith((address, "data:"))] == []


def test_the_page_makes_the_models_floats(page, folder):
    assert sum(path.stat().st_size for path in folder.iterdir()) < MOST_BYTES
    model = limner.load("digits-demo", "cpu")
    for seed, index, truncation in ((0, 3, None), (12345, 7, None), (7, 0, 0.5), (8, 9, 1.25)):
        words = [seed, index, truncation]
        found = page.evaluate("async (a) => Array.from(await limner.draw(...a))", words)
        plan = model.plan(seeds=[seed], classes=[index], truncation=truncation)
        expected = model.draw_float(plan)
        assert np.abs(np.array(found).reshape(expected.shape) - expected).max() < 1e-5


def test_a_person_picks_class_seed_and_truncation(page):
    page.get_by_label("Class", exact=True).select_option("7")
    page.get_by_label("Seed", exact=True).fill("40")
    page.get_by_label("Pictures", exact=True).fill("3")
    page.get_by_label("Truncation").fill("0.5")
    page.get_by_role("button", name="Draw").click()
    page.get_by_text("3 pictures in").wait_for()
    assert page.get_by_text(
        "limner sample MODEL --seed 40 --num 3 --classes 7 --truncation 0.5"
    ).count()
    captions = page.locator("figcaption").all_text_contents()
    assert captions == ["seed 40", "seed 41", "seed 42"]
    read = "c => Array.from(c.getContext('2d').getImageData(0, 0, 32, 32).data)"
    shown = np.array(page.locator("canvas").last.evaluate(read)).reshape(32, 32, 4)
    (image,) = limner.load("digits-demo", "cpu").sample(seeds=[42], classes=[7], truncation=0.5)
    assert np.abs(shown[..., 0].astype(int) - image[..., 0]).max() <= 1  # by rounding of 1e-6
    assert (shown[..., :3] == shown[..., :1]).all()
    assert (shown[..., 3] == 255).all()
    page.get_by_role("button", name="Next seeds").click()
    page.get_by_text("seed 45").wait_for()


def test_without_onnxruntime_web_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path))
    monkeypatch.setattr(web.shutil, "which", lambda name: None)
    with pytest.raises(CheckpointError, match=r"npm, which is not here: give a folder or .tgz"):
        export("digits-demo", "web", tmp_path / "out")
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / web.RUNTIME[0]).write_text("export {}")
    with pytest.raises(CheckpointError, match=f"it lacks {web.RUNTIME[1]}"):
        export("digits-demo", "web", tmp_path / "out", {"runtime": str(tmp_path)})
    spoilt = tmp_path / "a.tgz"
    spoilt.write_bytes(b"no archive")
    with pytest.raises(CheckpointError, match=r"a.tgz: no folder or .tgz of npm's onnxruntime-web"):
        export("digits-demo", "web", tmp_path / "out", {"runtime": str(spoilt)})
    assert not (tmp_path / "out").exists()
