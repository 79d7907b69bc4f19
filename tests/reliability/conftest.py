"""Fixtures of the reliability tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import fast_directory


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory in memory where there is one, for tests that write thousands of files."""
    with fast_directory() as directory:
        yield directory
