"""How every command reads its options: a frozen dataclass, shown and checked by tyro."""

import inspect
from collections.abc import Sequence
from typing import TypeVar

import tyro

Options = TypeVar("Options")


def parse(kind: type[Options], argv: Sequence[str], command: str, example: str) -> Options:
    """Options of a command; --help and usage errors leave through SystemExit 0 and 2.

    Args:
        kind: dataclass of the options; its docstring describes the command.
        argv: the arguments after the command's name.
        command: for example "train".
        example: a line shown below the description.
    """
    return tyro.cli(
        kind,
        args=list(argv),
        prog=f"limner {command}",
        description=f"{inspect.cleandoc(kind.__doc__ or '')}\n\nexample: {example}",
        config=(tyro.conf.FlagCreatePairsOff,),
    )
