"""Networks prepared for use: what is the same in every forward of an evaluation is computed once.

A weight divided by its singular value, a kernel that doubles, statistics and condition of a norm as
one scale and shift: layers know what stands for them while their tensors stay as they are, and say
so by `prepare`. Nothing else knows; a network without such layers is used as it is.
"""

import copy
from collections.abc import Hashable, Iterator, Mapping
from types import MappingProxyType
from typing import Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

NONE: Mapping[str, Tensor] = MappingProxyType({})
_KEPT: WeakKeyDictionary[nn.Module, tuple[Hashable, nn.Module]] = WeakKeyDictionary()


@runtime_checkable
class Preparable(Protocol):
    """A layer that has a cheaper form for evaluation."""

    def prepare(self) -> nn.Module:
        """What stands in this layer's place, up to rounding. It is asked of a copy in eval mode
        that shares its tensors with the layer, so it may change itself, but no tensor; its children
        are prepared already."""
        ...


def prepared(network: nn.Module, statistics: Mapping[str, Tensor] = NONE) -> nn.Module:
    """A network that computes what this one does in eval mode, made of its tensors as they are now,
    with other values of the buffers that `statistics` names.

    The same one is given until a tensor, a number or a hook of the network changes; so it is
    dropped when the network trains on. A layer with hooks stays as it is, for somebody listens.
    Random numbers that layers draw are drawn as by the network itself.
    """
    state = *_state(network), *((name, _identity(x)) for name, x in statistics.items())
    kept = _KEPT.get(network)
    if kept is None or kept[0] != state:
        buffers = dict(network.named_buffers())
        values = {id(buffers[name]): value for name, value in statistics.items()}
        with torch.inference_mode(False), torch.no_grad():
            kept = state, _copy(network, {}, values)
        _KEPT[network] = kept
    return kept[1]


def _state(network: nn.Module) -> Iterator[Hashable]:
    for module in network.modules():
        yield id(module)
        yield len(module._forward_hooks) + len(module._forward_pre_hooks)
        for tensors in (module._parameters, module._buffers):
            yield from (None if x is None else _identity(x) for x in tensors.values())
        for name, value in vars(module).items():
            if name != "training" and isinstance(value, (int, float, str, tuple)):
                yield name, repr(value)


def _identity(tensor: Tensor) -> Hashable:
    """Another one where the tensor or what it holds is another."""
    version = 0 if tensor.is_inference() else tensor._version
    return id(tensor), version, tensor.data_ptr(), tensor.dtype


def _copy(
    module: nn.Module, made: dict[nn.Module, nn.Module], values: Mapping[int, Tensor]
) -> nn.Module:
    """In eval mode, all layers prepared; tensors are shared, but for those with other `values`."""
    if module not in made:
        twin = copy.copy(module)
        twin.__dict__["_parameters"] = dict(module._parameters)
        twin.__dict__["_buffers"] = {
            name: values.get(id(x), x) for name, x in module._buffers.items()
        }
        twin.__dict__["_modules"] = {
            name: None if child is None else _copy(child, made, values)
            for name, child in module._modules.items()
        }
        twin.training = False
        listened = module._forward_hooks or module._forward_pre_hooks
        made[module] = twin.prepare() if isinstance(twin, Preparable) and not listened else twin
    return made[module]


def fixed(tensor: Tensor) -> nn.Parameter:
    """A weight that is not learned, without a graph."""
    return nn.Parameter(tensor.detach(), requires_grad=False)


def scaled(weight: Tensor, scale: float) -> Tensor:
    """weight * scale, without a product where the scale is in the weight already."""
    return weight if scale == 1.0 else weight * scale


class FixedLinear(nn.Module):
    """A dense layer by a weight [outputs, inputs] that is given."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        self.weight = fixed(weight)
        self.bias = None if bias is None else fixed(bias)

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, self.weight, self.bias)
