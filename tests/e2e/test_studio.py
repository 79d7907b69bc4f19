"""The studio's page in Chromium, used as a person would: with mouse, keyboard, phone and dark screen."""

import io
import re

import numpy as np
import pytest
from PIL import Image

MINUTE = 60_000  # what Playwright counts in; a loaded machine is slow
WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 400, "height": 850}
# axe-core's findings inside the library's own widgets, which limner cannot reach.
LIBRARY = {
    "image-redundant-alt": "gallery: the alt text of a picture is its caption",
    "aria-prohibited-attr": "gallery: the label of the box that says it is empty",
}


def opened(browser, studio, **how):
    context = browser.new_context(**{"viewport": WIDE, "accept_downloads": True, **how})
    context.set_default_timeout(MINUTE)
    page = context.new_page()
    page.goto(studio.address)
    page.locator("#facts", has_text="classes").wait_for()
    return page


@pytest.fixture
def page(browser, studio):
    found = opened(browser, studio)
    yield found
    found.context.close()


def generate(page) -> str:
    page.locator("#generate").click()
    page.locator("#generate-status", has_text=re.compile(r"^\s*\d+ pictures")).wait_for()
    return page.locator("#command textarea, #command input").input_value()


def fill(page, label: str, value) -> None:
    field = page.get_by_label(label, exact=True).first
    field.fill(str(value))
    field.press("Tab")


def choose(page, where: str, word: str) -> None:
    field = page.locator(f"{where} input").first
    field.click()
    field.fill(word)  # what stands there of a single choice is replaced
    field.press("Enter")


def downloaded(page, where: str) -> bytes:
    with page.expect_download() as waiting:
        page.locator(where).first.click()
    return waiting.value.path().read_bytes()


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_the_page_asks_nothing_of_other_hosts(browser, studio):
    context = browser.new_context()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    page.goto(studio.address)
    page.locator("#facts", has_text="classes").wait_for(timeout=MINUTE)
    generate(page)
    own = [url for url in asked if url.startswith(studio.address)]
    assert len(own) > 20
    assert [url for url in asked if url not in own and not url.startswith(("data:", "blob:"))] == []
    context.close()


def test_the_same_request_gives_the_same_files_as_the_command(page, studio, limner, tmp_path):
    fill(page, "Pictures", 3)
    fill(page, "First seed", 5)
    choose(page, "#classes", "7")
    page.get_by_label("Truncate").first.check()
    words = generate(page).split()
    assert words[:3] == ["limner", "sample", studio.model]
    sheet = downloaded(page, "#sheet a[download], #sheet .download a, #sheet a")
    page.locator("#pictures button.thumbnail-item, #pictures .thumbnail-item").first.click()
    alone = downloaded(page, '#pictures [aria-label="Download"], #pictures a[download]')
    own = tmp_path / "sheet.png"
    assert limner(*words[1:-1], own).code == 0
    assert sheet == own.read_bytes()
    limner("sample", studio.model, "--seeds", "5-7", "--classes", "7", "--truncation", "0.7",
           "--truncation-mode", "resample", "--batch-size", "8", "--out", tmp_path / "each")  # fmt: skip
    assert alone == (tmp_path / "each" / "7" / "seed-00000005.png").read_bytes()


def test_a_dropped_picture_restores_what_made_it(page, studio, limner, tmp_path):
    words = ["sample", studio.model, "--seed", "11", "--classes", "4", "--truncation", "0.5"]
    limner(*words, "--batch-size", "8", "--out", tmp_path / "four.png")
    page.locator("#restore input[type=file]").set_input_files(tmp_path / "four.png")
    page.locator("#generate-status", has_text="1 pictures").wait_for()
    assert page.get_by_label("Pictures", exact=True).first.input_value() == "1"
    assert (
        "--seeds 11 --classes 4 --truncation 0.5" in page.locator("#command textarea").input_value()
    )
    again = downloaded(page, "#sheet a")
    assert np.array_equal(pixels(again), pixels((tmp_path / "four.png").read_bytes()))


def test_a_picture_without_a_recipe_is_refused_in_the_page(page, tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "none.png")
    page.locator("#restore input[type=file]").set_input_files(tmp_path / "none.png")
    page.locator("#generate-status [role=alert]", has_text="does not say").wait_for()


def test_a_walk_is_that_of_the_command(page, studio, limner, tmp_path):
    page.get_by_role("tab", name="Interpolate").click()
    page.locator("#interpolate").click()
    page.locator("#interpolate-status", has_text="10 pictures").wait_for()
    words = page.locator("#walk-command textarea").input_value().split()
    own = tmp_path / "walk.png"
    assert limner(*words[1:-1], own).code == 0
    assert downloaded(page, "#walk-files a") == own.read_bytes()


def test_stop_keeps_the_pictures_that_are_there(page):
    for num in (3, 4, 5):  # what comes after a stop is done, every time
        fill(page, "Pictures", 4096)
        page.locator("#generate").click()
        page.locator("#pictures img").nth(8).wait_for()
        page.locator("#generate-stop").click()
        page.locator("#generate-status", has_text="stopped").wait_for()
        assert 8 < page.locator("#pictures img").count() < 200
        fill(page, "Pictures", num)
        assert f"--num {num}" in generate(page)


def test_a_model_of_1000_classes_begins_as_the_hub_demo(page, studio):
    choose(page, "#model", "thousand")
    page.locator("#facts", has_text="1,000 classes").wait_for()
    assert page.locator("#classes", has_text="933: cheeseburger").count() == 1
    choose(page, "#classes", "goldfinch")
    words = generate(page)
    assert "--num 10 --seed 0 --classes 933,11 --truncation 0.4" in words
    page.get_by_role("tab", name="Interpolate").click()
    page.locator("#interpolate").click()
    page.locator("#interpolate-status", has_text="10 pictures").wait_for()
    walk = page.locator("#walk-command textarea").input_value()
    assert "--from 0:207 --to 0:8" in walk
    assert "--truncation 0.2" in walk


def test_explore_moves_a_picture_and_shows_what_is_around_it(page):
    page.get_by_role("tab", name="Explore").click()
    made = []
    for distance in ("0", "4"):
        page.locator("#direction-1 input[type=number]").fill(distance)
        with page.expect_response(re.compile("picture.png")) as waiting:
            page.locator("#explore").click()
        made.append(pixels(waiting.value.body()))
    assert not np.array_equal(*made)
    for button, word, number in (
        ("#strip-of-truncation", "along the truncation", 10),
        ("#nearest", "nearest training pictures", 8),
    ):
        page.locator(button).click()
        page.locator("#explore-status", has_text=word).wait_for()
        page.locator("#around img").nth(number - 1).wait_for()
        assert page.locator("#around img").count() == number
    page.locator("#levels").click()
    page.locator("#explore-status [role=alert]", has_text="it has one level").wait_for()


@pytest.mark.parametrize(
    ("label", "value", "message"),
    [
        ("Pictures", "1000000", "give a whole number, 1 to 4,096"),
        ("Pictures", "", "give a whole number"),
        ("Pictures", "2.5", "give a whole number"),
        ("First seed", "-1", "First seed: give a whole number"),
    ],
)
def test_values_out_of_range_are_told_in_the_page(page, label, value, message):
    fill(page, label, value)
    page.locator("#generate").click()
    page.locator("#generate-status [role=alert]", has_text=message).wait_for()
    assert page.locator("#pictures img").count() == 0


def test_the_keyboard_alone_is_enough(page):
    page.keyboard.press("Tab")
    for _ in range(60):
        if page.evaluate("document.activeElement.id") == "generate":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("#generate-status", has_text="16 pictures").wait_for()


def test_runs_stand_beside_each_other(page, studio):
    page.get_by_role("tab", name="Runs").click()
    page.locator("#words-a h2").wait_for()
    choose(
        page,
        "#run-b",
        "second" if "first" in page.locator("#run-a input").input_value() else "first",
    )
    page.locator("#words-b h2").wait_for()
    assert "batch_size" in page.locator("#differences").text_content()
    assert page.locator("#sheet-b img").count() >= 1


@pytest.mark.parametrize(
    ("size", "scheme"), [(WIDE, "light"), (PHONE, "dark")], ids=["wide-light", "phone-dark"]
)
def test_every_tab_fits_its_screen_and_is_accessible(browser, studio, size, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = opened(browser, studio, viewport=size, color_scheme=scheme)
    generate(page)
    found: dict[str, list[str]] = {}
    for name in ("Generate", "Interpolate", "Explore", "Runs"):
        tab = page.get_by_role("tab", name=name)
        if tab.is_visible():
            tab.click()
        page.wait_for_timeout(1000)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], name
        for violation in Axe().run(page).response["violations"]:
            places = [node["html"][:200] for node in violation["nodes"]]
            found.setdefault(violation["id"], []).extend(places)
    page.context.close()
    own = {rule: places for rule, places in found.items() if rule not in LIBRARY}
    assert not own, own
