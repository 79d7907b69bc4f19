"""What a row is made of, and what makes of peers and networks the same work."""

import importlib.util
import sys
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from packaging import version
from torch import Tensor, nn

from limner.layers.rounding import cpu_has_bfloat16

Call = Callable[[], Any]
# In which limner computes here.
PRECISIONS = ("float32", "bfloat16") if cpu_has_bfloat16() else ("float32",)


@dataclass(frozen=True)
class Sides:
    """The same work twice.

    Attributes:
        limner: precision -> one call.
        peer: one call, or None where the peer is not there.
        num: what a call makes of what the row counts, so that times are those of one.
        apart: how far results are apart, relative to the peer's largest; None: not compared here.
    """

    limner: dict[str, Call]
    peer: Call | None
    num: int = 1
    apart: float | None = None


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        make: from the folder of the peer's checkout, or None without one.
        peer: the folder's name, as its repository is called; "" for what pip installs.
        unit: what times are of.
        targets: precision -> peer's time over limner's.
        about_memory: peaks of both are compared too.
    """

    make: Callable[[Path | None], Sides]
    peer: str
    unit: str
    targets: dict[str, float] = field(default_factory=dict)
    about_memory: bool = False


def apart(found: Tensor, wanted: Tensor) -> float:
    """Largest difference over the largest value."""
    return float((found - wanted).abs().max() / wanted.abs().max())


def on_path(folder: Path, missing: Iterable[str] = ("pkg_resources",)) -> None:
    """Let a peer's modules be imported. What it imports and is not here has only names that it
    never uses here, or `parse_version`."""
    sys.path.insert(0, str(folder))
    for name in missing:
        if name.partition(".")[0] in sys.modules or importlib.util.find_spec(name) is None:
            sys.modules[name] = module = types.ModuleType(name)
            module.__dict__.update(__getattr__=_nothing, __file__=name, parse_version=version.parse)


def _nothing(name: str) -> type[Exception]:
    if name.startswith("__"):
        raise AttributeError(name)
    return Exception


def drawn(network: nn.Module, seed: int = 0) -> nn.Module:
    """Weights that keep a signal's size, so that comparing means something: N(0, 1 / inputs) for
    what multiplies and small numbers for the rest; statistics stay as they begin."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * scale)
    return network
