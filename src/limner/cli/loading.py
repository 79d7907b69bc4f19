"""What the commands on a finished model share: its loading, and its warnings as lines."""

import contextlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limner.api import Model


def load_model(spec: str, device: str, modules: Sequence[str], command: str) -> "Model":
    """The model that the user named; only modules named on the command line are imported."""
    from limner.api import load
    from limner.core.config import load_module

    for name in modules:
        load_module(name)
    with warnings_as_lines(command):
        return load(spec, device)


@contextlib.contextmanager
def warnings_as_lines(command: str) -> Iterator[None]:
    """Python warnings (a damaged checkpoint that was passed over) become one line on stderr, each
    as it comes: what ends in an error may have told its reason before."""

    def show(message: Warning | str, *place: object) -> None:
        print(f"limner {command}: warning: {' '.join(str(message).split())}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = show
        yield
