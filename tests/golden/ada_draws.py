"""The draws of a whole training step as the originals recorded them, for the ADA pipe."""

import re
from collections.abc import Mapping

from torch import Tensor

RECORDED = re.compile(r"\d+_T(\d+)_(\w+)_(value|gate|center)")


def recorded_calls(tensors: Mapping[str, Tensor], place: str) -> list[dict[str, Tensor]]:
    """For each call of the pipe in a round, in their order (T0, T1): purpose -> numbers [n, ...].

    Args:
        place: of the round, as "in/step1/Dmain/r0".
    """
    calls: dict[int, dict[str, Tensor]] = {}
    for key in sorted(tensors):
        found = RECORDED.fullmatch(key.removeprefix(f"{place}/"))
        if found is not None:
            calls.setdefault(int(found[1]), {})[f"{found[2]} {found[3]}"] = tensors[key]
    return [calls[number] for number in sorted(calls)]


class RecordedDraws:
    """Hands out the numbers of one call, in the shapes asked for; each once."""

    def __init__(self, call: Mapping[str, Tensor]):
        self.left = dict(call)

    def uniform(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        return self.left.pop(purpose).reshape(shape)

    normal = uniform
