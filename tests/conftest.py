"""Shared fixtures, and shapes checked. Torch has one thread: two on a loaded machine can stall."""

import os
from pathlib import Path

import pytest
import torch
from jaxtyping import config

import shapes

torch.set_num_threads(1)

shapes.install()


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As users run it: for tests of the messages that meet arguments of a wrong shape or type."""
    monkeypatch.setattr(config, "jaxtyping_disable", True)


def golden_root() -> Path | None:
    """The folder of reference tensors: $LIMNER_GOLDEN, else ../shared/golden, else none."""
    given = os.environ.get("LIMNER_GOLDEN")
    root = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "golden"
    return root if root.is_dir() else None


@pytest.fixture(scope="session")
def golden() -> Path:
    root = golden_root()
    if root is None:
        message = "no golden files: set LIMNER_GOLDEN to their folder"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return root


@pytest.fixture(autouse=True, scope="session")
def _cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory):
    """Prepared data and classifiers of the tests stay out of the user's cache."""
    before = os.environ.get("LIMNER_CACHE")
    os.environ["LIMNER_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["LIMNER_CACHE"]
    else:
        os.environ["LIMNER_CACHE"] = before
