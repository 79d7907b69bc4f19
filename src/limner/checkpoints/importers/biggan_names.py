"""Names of the BigGAN family's tensors: BigGAN-PyTorch's and limner's, key for key.

The tensors are the same under both names, in shape and in layout. Both directions only rename, so
each undoes the other. The reference numbers blocks `blocks.<stage>.<index>`, self-attention being
the last index of its stage; limner counts blocks through and gives attention to its block. A stage
is one block, but in BigGAN-deep's discriminator it is `depth` of them.
"""

import re
from collections.abc import Mapping
from typing import Literal, TypeVar

from limner.models import (
    BigGanDeepDiscriminator,
    BigGanDeepGenerator,
    BigGanDiscriminator,
    BigGanGenerator,
    SaganDiscriminator,
    SaganGenerator,
    SnganDiscriminator,
    SnganGenerator,
)

Role = Literal["generator", "discriminator"]
FamilyConfig = (
    BigGanGenerator
    | BigGanDiscriminator
    | BigGanDeepGenerator
    | BigGanDeepDiscriminator
    | SaganGenerator
    | SaganDiscriminator
    | SnganGenerator
    | SnganDiscriminator
)
Value = TypeVar("Value")

# (reference, limner) of one component of a name
ATTENTION = (
    ("theta", "query"),
    ("phi", "key"),
    ("g", "value"),
    ("o", "output"),
    ("gamma", "gamma"),
)
STORED = (("stored_mean", "running_mean"), ("stored_var", "running_var"))
OUTSIDE = {"output_layer.2": "output", "input_conv": "first"}

TO_QUERY, FROM_QUERY = dict(ATTENTION), {ours: theirs for theirs, ours in ATTENTION}
TO_RUNNING, FROM_RUNNING = dict(STORED), {ours: theirs for theirs, ours in STORED}

STATISTICS = ("running_mean", "running_var", "accumulation_counter", "num_batches_tracked")


def to_limner(role: Role, config: FamilyConfig, state: Mapping[str, Value]) -> dict[str, Value]:
    """BigGAN-PyTorch's state dict under limner's names, in its order; the values may be of any
    kind. A name that the reference does not have stays as it is, so that whoever fills a network
    with the result says which it is."""
    names = _Names(role, config)
    return {names.ours(key): value for key, value in state.items()}


def to_reference(role: Role, config: FamilyConfig, state: Mapping[str, Value]) -> dict[str, Value]:
    """limner's state dict under BigGAN-PyTorch's names, in the order of its own state dict, which
    is also the one that the reference's optimizers count the parameters in."""
    names = _Names(role, config)
    renamed = {names.theirs(key): value for key, value in state.items()}
    return {key: renamed[key] for key in sorted(renamed, key=names.position)}


class _Names:
    def __init__(self, role: Role, config: FamilyConfig):
        self.role = role
        self.deep = isinstance(config, (BigGanDeepGenerator, BigGanDeepDiscriminator))
        # The reference counts a deep generator's blocks through, and the discriminator's by stage.
        self.depth: int = getattr(config, "depth", 1) if role == "discriminator" else 1
        norm = getattr(config, "norm", "batch")
        self.own_layer = norm in ("moments", "cross_replica")  # the statistics are those of a .bn
        self.renames_statistics = norm != "cross_replica"
        # On the image stands a block of its own kind, which limner does not count.
        self.offset = 1 if role == "discriminator" and not self.deep else 0

    def ours(self, key: str) -> str:
        match = re.fullmatch(r"blocks\.(\d+)\.(\d+)\.(.+)", key)
        if match is None:
            return self._norm_to_ours(key, "output_layer.0", "output_norm") or self._outside(key)
        stage, index, rest = int(match[1]), int(match[2]), match[3]
        head, _, tail = rest.partition(".")
        if index == self.depth and head in TO_QUERY:
            index, rest = index - 1, _dotted("attention", TO_QUERY[head], tail)
        elif head == "conv_sc":
            rest = _dotted("shortcut", tail)
        elif re.fullmatch(r"bn\d", head):
            rest = self._norm_to_ours(rest, head, head.replace("bn", "norm")) or rest
        number = stage * self.depth + index - self.offset
        return f"first.{rest}" if number < 0 else f"blocks.{number}.{rest}"

    def theirs(self, key: str) -> str:
        match = re.fullmatch(r"blocks\.(\d+)\.(.+)", key)
        if match is None and self.offset and key.startswith("first."):
            match = re.fullmatch(r"(first)\.(.+)", key)
        if match is None:
            named = self._norm_to_theirs(key, "output_norm", "output_layer.0")
            return named or self._outside(key, back=True)
        number = 0 if match[1] == "first" else int(match[1]) + self.offset
        stage, index = divmod(number, self.depth)
        head, _, tail = match[2].partition(".")
        rest = match[2]
        if head == "attention":
            part, _, tail = tail.partition(".")
            index, rest = index + 1, _dotted(FROM_QUERY[part], tail)
        elif head == "shortcut":
            rest = _dotted("conv_sc", tail)
        elif head.startswith("norm"):
            rest = self._norm_to_theirs(rest, head, head.replace("norm", "bn")) or rest
        return f"blocks.{stage}.{index}.{rest}"

    def _norm_to_ours(self, key: str, theirs: str, ours: str) -> str | None:
        if not key.startswith(f"{theirs}."):
            return None
        tail = key[len(theirs) + 1 :]
        if tail.startswith("bn."):
            tail = tail[len("bn.") :]
        if theirs.startswith("output"):
            tail = {"gain": "weight"}.get(tail, tail)
        return _dotted(ours, TO_RUNNING.get(tail, tail))

    def _norm_to_theirs(self, key: str, ours: str, theirs: str) -> str | None:
        if not key.startswith(f"{ours}."):
            return None
        tail = key[len(ours) + 1 :]
        layer = "bn" if tail in STATISTICS and self.own_layer else ""
        if self.renames_statistics:
            tail = FROM_RUNNING.get(tail, tail)
        if ours.startswith("output"):
            tail = {"weight": "gain"}.get(tail, tail)
        return _dotted(theirs, layer, tail)

    def _outside(self, key: str, back: bool = False) -> str:
        for theirs, ours in OUTSIDE.items():
            old, new = (ours, theirs) if back else (theirs, ours)
            if key.startswith(f"{old}."):
                return new + key[len(old) :]
        return key

    def position(self, key: str) -> list[tuple[int, int]]:
        """Where a name stands in the reference's state dict."""
        *modules, leaf = key.split(".")
        return [*(self._rank(f"{part}.") for part in modules), self._rank(leaf)]

    def _rank(self, part: str) -> tuple[int, int]:
        if part[:-1].isdigit():
            return 0, int(part[:-1])
        vector = re.fullmatch(r"(u|sv)(\d+)", part)
        if vector is not None:
            return len(ORDER), 2 * int(vector[2]) + (vector[1] == "sv")
        order = ORDER if self.role == "generator" else LATE_LINEAR
        return (order.index(part) if part in order else len(order) + 1), 0


# A module's own tensors come before its modules, which end in a dot here.
ORDER = [
    *("gamma", "weight", "gain", "bias", "stored_mean", "stored_var", "accumulation_counter"),
    *("running_mean", "running_var", "num_batches_tracked"),
    *("shared.", "input_conv.", "linear.", "blocks.", "output_layer."),
    *("conv1.", "conv2.", "conv3.", "conv4.", "conv_sc.", "bn1.", "bn2.", "bn3.", "bn4."),
    *("gain.", "bias.", "bn.", "theta.", "phi.", "g.", "o."),
]
LATE_LINEAR = [*(name for name in ORDER if name != "linear."), "linear.", "embed."]


def _dotted(*parts: str) -> str:
    return ".".join(filter(None, parts))
