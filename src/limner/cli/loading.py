"""What the commands on a finished model share: its loading, and its warnings as lines."""

import contextlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limner.sampling import Model


def load_model(spec: str, device: str, modules: Sequence[str], command: str) -> "Model":
    """The model that the user named; only modules named on the command line are imported.

    Raises:
        LimnerError: no such module or model, or a config whose classes are not imported.
    """
    from limner import sampling
    from limner.core.config import load_module

    for name in modules:
        load_module(name)
    with warnings_as_lines(command):
        return sampling.load(spec, device)


@contextlib.contextmanager
def warnings_as_lines(command: str) -> Iterator[None]:
    """Python warnings (a damaged checkpoint that was passed over) become one line on stderr."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default", UserWarning)
        yield
    for warning in caught:
        line = " ".join(str(warning.message).split())
        print(f"limner {command}: warning: {line}", file=sys.stderr)
