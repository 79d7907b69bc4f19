"""Spectral normalization by power iteration (Miyato et al. 2018), as BigGAN uses it.

Every forward, in evaluation too, runs power iteration from the stored vectors u and divides the
weight by the largest singular value so found. Only a forward in training mode writes u (and the
values, as a log) back. The gradient of the singular value flows through the weight alone: u and v
are constants. More vectors than one cost more and change only the log, not the output.

torch.nn.utils.spectral_norm differs in evaluation alone: it takes the vectors u and v of the last
training forward as they are. `keep_vectors` gives layers that rule.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from limner.core.errors import ConfigError
from limner.core.protocols import Labels
from limner.layers.class_table import ClassTable, lookup
from limner.layers.precision import at_least_single, full_precision
from limner.layers.prepared import FixedLinear, fixed
from limner.layers.resampling import FixedConv2d, Resample, ResampleConv2d, convolve


class PowerIteration(NamedTuple):
    """How singular values are estimated: how many, iterations a forward, normalize()'s eps, and
    whether evaluation takes the stored vectors u0 and v0 as they are."""

    num_values: int = 1
    num_iterations: int = 1
    eps: float = 1e-8
    stored: bool = False


def power_iteration(
    weight: Float[Tensor, "o k"], vectors: Sequence[Float[Tensor, "1 o"]], eps: float
) -> tuple[list[Float[Tensor, ""]], list[Float[Tensor, "1 o"]]]:
    """One iteration for the largest singular values of a weight, as many as vectors are given.

    Returns the values (differentiable in the weight) and the new vectors (constants).
    Later vectors are made orthogonal to earlier ones (Gram-Schmidt).
    """
    values: list[Tensor] = []
    lefts: list[Tensor] = []
    rights: list[Tensor] = []
    for vector in vectors:
        with torch.no_grad():
            right = F.normalize(_orthogonal_to(vector @ weight, rights), eps=eps)
            left = F.normalize(_orthogonal_to(right @ weight.T, lefts), eps=eps)
        rights.append(right)
        lefts.append(left)
        values.append((right @ weight.T @ left.T).squeeze())
    return values, lefts


def _orthogonal_to(x: Tensor, units: Sequence[Tensor]) -> Tensor:
    for unit in units:
        x = x - (x @ unit.T) * unit
    return x


def add_buffers(module: nn.Module, num_outputs: int, power: PowerIteration) -> None:
    """Give a layer its vectors u0, u1 .. [1, num_outputs] and logged values sv0, sv1 .. [1]."""
    for i in range(power.num_values):
        module.register_buffer(f"u{i}", torch.randn(1, num_outputs))
        module.register_buffer(f"sv{i}", torch.ones(1))


def keep_vectors(network: nn.Module, names: Collection[str]) -> None:
    """Have the layers with spectral norm of these names, and those inside modules of these names,
    evaluate with their vectors u0 and v0 [1, inputs] of the last training forward, as
    torch.nn.utils.spectral_norm does; "*" names all. ConfigError where a name has no such layer.
    """
    own: list[tuple[str, Any]] = [
        (name, module) for name, module in network.named_modules() if hasattr(module, "power")
    ]
    for wanted in names:
        chosen = [m for name, m in own if wanted == "*" or f"{name}.".startswith(f"{wanted}.")]
        if not chosen:
            raise ConfigError(f"stored_vectors: there is no layer with spectral norm in '{wanted}'")
        for module in chosen:
            module.power = module.power._replace(stored=True)
            num_inputs = module.get_parameter("weight")[0].numel()
            module.register_buffer("v0", F.normalize(torch.randn(1, num_inputs)))
            if isinstance(module, SNEmbedding):
                module.per_class = (*module.per_class, "v0")


def normalized(
    module: nn.Module, weight: Float[Tensor, " o *inputs"], power: PowerIteration
) -> Float[Tensor, " o *inputs"]:
    """weight / its largest singular value, rows being outputs; in training, u and sv move on.

    In the weight's own precision, in single at least, whatever autocast asks of products.
    """
    with full_precision(weight.device):
        return weight / _largest_value(module, at_least_single(weight.flatten(1)), power)


def _largest_value(
    module: nn.Module, matrix: Float[Tensor, "o k"], power: PowerIteration
) -> Float[Tensor, ""]:
    stored = [module.get_buffer(f"u{i}") for i in range(power.num_values)]
    if power.stored and not module.training:
        left, right = (module.get_buffer(name).to(matrix.dtype) for name in ("u0", "v0"))
        return (right @ matrix.T @ left.T).squeeze()
    values: list[Tensor] = []
    # In evaluation nothing is written, so a second iteration would start from the same vectors.
    for _ in range(power.num_iterations if module.training else 1):
        starts = [buffer.to(matrix.dtype) for buffer in stored]
        values, vectors = power_iteration(matrix, starts, power.eps)
        if module.training:
            with torch.no_grad():
                if power.stored:
                    right = F.normalize(starts[0] @ matrix, eps=power.eps)
                    module.get_buffer("v0").copy_(right)
                for buffer, vector in zip(stored, vectors, strict=True):
                    buffer.copy_(vector)
    if module.training:
        with torch.no_grad():
            for i, value in enumerate(values):
                module.get_buffer(f"sv{i}").copy_(value)
    return values[0]


class SNConv2d(ResampleConv2d):
    """Of spectrally normalized weight: the matrix is [outputs, inputs * k * k], that of the k x k
    kernel, whatever the resampling makes of it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        bias: bool = True,
        resample: Resample = "none",
        power: PowerIteration = PowerIteration(),  # noqa: B008 - an immutable tuple
    ):
        super().__init__(in_channels, out_channels, kernel_size, bias, resample)
        self.power = power
        add_buffers(self, out_channels, power)

    def forward(self, input: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o new_h new_w"]:
        weight = normalized(self, self.weight, self.power)
        return convolve(input, weight, self.bias, self.resample)

    def prepare(self) -> nn.Module:
        weight = normalized(self, self.weight, self.power)
        return FixedConv2d(weight, self.bias, self.resample)


class SNStridedConv2d(nn.Conv2d):
    """torch's convolution, of any stride, padding and groups, of spectrally normalized weight."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        power: PowerIteration = PowerIteration(),  # noqa: B008 - an immutable tuple
        **options: Any,
    ):
        super().__init__(in_channels, out_channels, kernel_size, **options)
        self.power = power
        add_buffers(self, out_channels, power)

    def forward(self, input: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o new_h new_w"]:
        return self._conv_forward(input, self._weight(), self.bias)

    def _weight(self) -> Tensor:
        return normalized(self, self.weight, self.power)

    def prepare(self) -> nn.Module:
        weight = fixed(self._weight())
        self._weight = lambda: weight
        return self


class SNLinear(nn.Linear):
    """A linear layer of spectrally normalized weight."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        power: PowerIteration = PowerIteration(),  # noqa: B008 - an immutable tuple
    ):
        super().__init__(in_features, out_features, bias)
        self.power = power
        add_buffers(self, out_features, power)

    def forward(self, input: Float[Tensor, "n i"]) -> Float[Tensor, "n o"]:
        return F.linear(input, normalized(self, self.weight, self.power), self.bias)

    def prepare(self) -> nn.Module:
        return FixedLinear(normalized(self, self.weight, self.power), self.bias)


class SNEmbedding(nn.Embedding):
    """A table of class vectors, spectrally normalized as a whole: u has one entry a class."""

    def __init__(
        self,
        num_classes: int,
        dim: int,
        power: PowerIteration = PowerIteration(),  # noqa: B008 - an immutable tuple
    ):
        super().__init__(num_classes, dim)
        self.power = power
        add_buffers(self, num_classes, power)
        self.per_class = ("weight", *(name for name, _ in self.named_buffers()))

    def forward(self, input: Labels) -> Float[Tensor, "n d"]:
        return lookup(input, normalized(self, self.weight, self.power))

    def prepare(self) -> nn.Module:
        return ClassTable.from_pretrained(normalized(self, self.weight, self.power))
