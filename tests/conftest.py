"""Shared fixtures. Tests run torch on one thread: two on a loaded two-core machine can stall."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


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
