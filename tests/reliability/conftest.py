"""Fixtures of the reliability tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch._dynamo  # noqa: F401 - the first optimizer would import it, in every fork again

from faults import fast_directory
from shapes import unchecked
from warm import Warm, warmed


@pytest.fixture(autouse=True, scope="module")
def _as_users_run_it():
    """Without checks of shapes, which cost these tests a third of their time; tests of the parts have
    them."""
    with unchecked():
        yield


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory in memory where there is one, for tests that write thousands of files."""
    with fast_directory() as directory:
        yield directory


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """Runs the public command without importing torch each time."""
    with warmed(tmp_path_factory.mktemp("warm")) as made:
        yield made


@pytest.fixture(autouse=True, scope="session")
def _warm_early(request: pytest.FixtureRequest) -> None:
    """It imports torch on the other core while the first tests run."""
    if any("warm" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("warm")
