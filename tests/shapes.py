"""Annotations of shapes are checked in tests: the import hook, and the modules that it changes."""

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from beartype import BeartypeConf, beartype
from jaxtyping import config, install_import_hook

SOURCE = Path(__file__).resolve().parents[1] / "src"

# Every module that imports jaxtyping names shapes, so it is checked without standing on a list.
SHAPED = tuple(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts)
    for path in sorted(SOURCE.rglob("*.py"))
    if "\nfrom jaxtyping import " in path.read_text(encoding="utf-8")
)

# The tower lets an int stand for a float, as Python's own typing rules do.
CONF = BeartypeConf(is_pep484_tower=True)


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments alone, or the result alone: jaxtyping calls one function for the arguments and,
    after the call, another for both, where the sizes of the arguments are known already.
    """
    notes = inspect.get_annotations(function)
    if notes.get("return", Any) is not Any:
        function.__annotations__ = {"return": notes["return"]}
    return beartype(conf=CONF)(function)


@contextmanager
def unchecked() -> Iterator[None]:
    """Without these checks, as users run it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "jaxtyping_disable", True)
        yield


def install() -> None:
    """Check arguments and results of these modules at every call; before limner is imported."""
    early = [name for name in sys.modules if name.partition(".")[0] == "limner"]
    assert not early, f"imported before the hook: {early}"
    install_import_hook(SHAPED, "shapes.checked")
