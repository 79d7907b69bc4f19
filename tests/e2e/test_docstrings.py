"""Every public name says in its docstring how it is used, and what stands there runs."""

import doctest
from pathlib import Path

import pytest

import limner
from workplace import furnish

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def place(tiny_run, tmp_path_factory) -> Path:
    return furnish(tmp_path_factory.mktemp("examples"), tiny_run)


def failures(name: str, text: str) -> tuple[int, list[str]]:
    """How many examples a docstring has, and what those say that fail."""
    found = doctest.DocTestParser().get_doctest(text, {"limner": limner}, name, None, None)
    told: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(found, out=told.append)
    return len(found.examples), told


@pytest.mark.parametrize("name", ["limner", *limner.__all__])
def test_the_examples_of_a_docstring_run(name: str, place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(place)
    documented = limner if name == "limner" else getattr(limner, name)
    num, told = failures(name, documented.__doc__ or "")
    assert num, f"{name} has no example"
    assert told == []


def test_a_wrong_example_is_found():
    assert failures("planted", ">>> 1 + 1\n3\n")[1]
