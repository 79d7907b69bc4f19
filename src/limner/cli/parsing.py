"""How every command reads its options: a frozen dataclass, shown and checked by tyro."""

import inspect
from collections.abc import Sequence
from typing import TypeVar

import tyro

Options = TypeVar("Options")


def parse(kind: type[Options], argv: Sequence[str], command: str, example: str) -> Options:
    """Options of a command, which the docstring of their dataclass describes; --help and usage
    errors leave through SystemExit 0 and 2."""
    return tyro.cli(
        kind,
        args=list(argv),
        prog=f"limner {command}",
        description=f"{inspect.cleandoc(kind.__doc__ or '')}\n\nexample: {example}",
        config=(tyro.conf.FlagCreatePairsOff,),
    )
