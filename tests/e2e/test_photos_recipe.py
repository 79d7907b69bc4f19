"""The recipe of docs/recipes/own-photos.md makes pictures that are near and diverse enough: minutes,
so it runs with `make test-full`. Thresholds: tests/photos_recipe.py."""

from pathlib import Path

import pytest

from photos_recipe import UNTRAINED, figures, passes


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("recipe")


@pytest.mark.full
def test_the_recipe_reaches_its_thresholds(place: Path):
    found = figures(place, seed=0)
    assert passes(found) == {"distance": True, "diversity": True}, found


@pytest.mark.full
def test_a_run_that_has_hardly_begun_passes_neither(place: Path):
    found = figures(place, seed=0, kimg=UNTRAINED)
    assert passes(found) == {"distance": False, "diversity": False}, found
