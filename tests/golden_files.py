"""Reference tensors by name: of the large set where there is one, else of this repository's."""

import os
import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

SMALL = Path(__file__).parent / "golden" / "data"


def large_roots() -> list[Path]:
    """Where the large set may be: $LIMNER_GOLDEN, then ../shared/golden beside the clone."""
    given = os.environ.get("LIMNER_GOLDEN")
    beside = Path(__file__).resolve().parents[2] / "shared" / "golden"
    return [root for root in ([Path(given)] if given else []) + [beside] if root.is_dir()]


def unpack(folder: Path) -> Path:
    """The small set as files."""
    for archive in sorted(SMALL.glob("*.tar.xz")):
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    return folder


class Golden:
    """golden("dcgan/dcgan32.json") is that file's path; the test skips where nobody has it."""

    def __init__(self, large: list[Path], small: Callable[[], Path]):
        self._large, self._small = large, cache(small)

    def __call__(self, name: str) -> Path:
        """Of a file or a folder; with CI=true the absence of either is a failure."""
        for root in self._large:
            if (root / name).exists():
                return root / name
        if (self._small() / name).exists():
            return self._small() / name
        return self.absent(name)

    def absent(self, name: str) -> NoReturn:
        """Skips or fails the test, for want of a file or of a tensor in one."""
        message = f"{name} is not in the small golden set; LIMNER_GOLDEN names the large one"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


def near(got, expected, relative=1e-4, absolute=1e-5, what=""):
    """The usual tolerance of the fixtures: relative to the largest magnitude, and a little more."""
    got = got.detach()
    assert got.shape == expected.shape, what
    gap = (got - expected).abs().max().item()
    assert gap <= relative * expected.abs().max().item() + absolute, (what, gap)
