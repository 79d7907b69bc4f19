"""Weights into modules: exactly, or to a network of another number of classes."""

import dataclasses
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from limner.core.config import nearest
from limner.core.errors import CheckpointError
from limner.core.protocols import without_frozen


def fill(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load a state dict into a module, every tensor of both present and of the same shape, but
    those of parts that the module declares as frozen, which no checkpoint holds.
    Otherwise CheckpointError, one line with `where` and the tensors that do not fit; the module is
    then unchanged."""
    check_fit(module, state, where)
    with torch.no_grad():  # what the module declares as frozen stays as it was built
        module.load_state_dict({**module.state_dict(), **state}, strict=True)


def check_fit(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """The check of `fill` alone, which also a module without memory (device "meta") can be
    asked."""
    own = without_frozen(module, module.state_dict().items())
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"'{name}' is {list(state[name].shape)}, the network has {list(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    shapes += [
        f"'{name}' is {state[name].dtype}, the network has {own[name].dtype}"
        for name in own
        if name in state and not torch.can_cast(state[name].dtype, own[name].dtype)
    ]
    problems = []
    if missing:
        problems.append(f"missing {_some(missing)}")
    if unexpected:
        problems.append(f"unexpected {_some(unexpected)}{_hint(unexpected[0], missing)}")
    if shapes:
        problems.append(_some(shapes, quoted=False))
    if problems:
        raise CheckpointError(
            f"{where}: the weights do not fit {type(module).__name__}: {'; '.join(problems)}"
        )


@dataclasses.dataclass(frozen=True)
class Anew:
    """A tensor that a change of classes made anew: shapes before and after, None where absent."""

    name: str
    before: tuple[int, ...] | None
    after: tuple[int, ...] | None

    def __str__(self) -> str:
        shapes = (self.before, self.after)
        before, after = ("none" if shape is None else list(shape) for shape in shapes)
        return f"'{self.name}' {before} -> {after}"


def refill(
    module: nn.Module,
    state: Mapping[str, Tensor],
    source: nn.Module,
    where: str,
    both_conditional: bool = True,
) -> list[Anew]:
    """`fill` from a network of another number of classes: what belongs to the classes keeps the
    module's own initialization, everything else is taken and has to fit.

    What belongs to them the layers say: `per_class` names a layer's own tensors with an entry a
    class. `conditioned` names tensors and children that have another form where there are no
    classes at all, and counts only between a network with and one without.

    Args:
        source: a network that `state` fits exactly, also on the device "meta".
        both_conditional: neither of the two is without classes.

    Returns:
        what was made anew, in the module's order, then what was left out.

    Raises:
        CheckpointError: as `fill`; the module is then unchanged.
    """
    check_fit(source, state, where)
    own = without_frozen(module, module.state_dict().items())
    anew = {*_declared(module, "per_class"), *_declared(source, "per_class")}
    if not both_conditional:
        either = {*_declared(module, "conditioned"), *_declared(source, "conditioned")}
        anew |= {name for name in either if _shape(own.get(name)) != _shape(state.get(name))}
    merged = {name: tensor for name, tensor in state.items() if name not in anew}
    merged |= {name: tensor for name, tensor in own.items() if name in anew}
    fill(module, merged, where)
    names = [name for name in (*own, *(n for n in state if n not in own)) if name in anew]
    return [Anew(name, _shape(state.get(name)), _shape(own.get(name))) for name in names]


def _declared(network: nn.Module, attribute: str) -> Iterator[str]:
    """Names in the state dict of the tensors that the layers' `attribute` names."""
    known = list(network.state_dict())
    for path, layer in network.named_modules():
        for name in getattr(layer, attribute, ()):
            full = f"{path}.{name}" if path else name
            yield from (key for key in known if f"{key}.".startswith(f"{full}."))


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)


def _some(names: list[str], quoted: bool = True) -> str:
    shown = [f"'{name}'" if quoted else name for name in names[:3]]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(shown) + more


def _hint(name: str, missing: list[str]) -> str:
    hint = nearest(name, missing)
    return hint if hint.startswith("; nearest") else ""
