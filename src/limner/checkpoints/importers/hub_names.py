"""How the modules of TF Hub name their variables and lay them out."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from limner.checkpoints.importers.fitting import listed
from limner.core.errors import CheckpointError


def hub_block(i: int) -> str:
    """TensorFlow's name of the block: the first has no number."""
    return f"Generator/GBlock_{i}" if i else "Generator/GBlock"


def ema_of(names: Mapping[str, Any], where: str) -> str:
    """The ending of the moving averages, "/ema_b999900"; CheckpointError where there are none, or
    of several decays."""
    ends = {match[0] for name in names if (match := re.search(r"/ema_[^/]+$", name))}
    if len(ends) != 1:
        found = f"several moving averages ({listed(sorted(ends))})" if ends else "no moving average"
        raise CheckpointError(f"{where}: {found}; --set weights=raw takes the plain weights")
    return ends.pop()


def number_of(names: Mapping[str, Any], pattern: str) -> int:
    """1 + the largest number that the pattern's group finds; no number is 0."""
    found = [match[1] for name in names if (match := re.fullmatch(pattern, name))]
    return 1 + max((int(number[:4]) for number in found if number), default=0)


def outputs_first(weight: Tensor) -> Tensor:
    """From TensorFlow's layout, outputs last, to torch's; CheckpointError for neither a matrix nor
    a kernel."""
    if weight.ndim not in (2, 4):
        raise CheckpointError(f"a weight of shape {list(weight.shape)}")
    return weight.permute(3, 2, 0, 1) if weight.ndim == 4 else weight.mT
