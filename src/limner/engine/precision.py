"""What numbers a run computes with: those of the weights, and those of the networks' forwards."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from limner.core.devices import require_precision
from limner.core.protocols import Labels, Scores, StyleGenerator, z_dim_of
from limner.layers import rounding, winograd
from limner.layers.convolution import (
    conv2d,
    has_fewer_products,
    taken_apart,
)

Precision = Literal["float32", "float64", "bfloat16"]

# Of weights, optimizers, averages, losses and penalties; bfloat16 is for forwards alone.
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}


class Forwards:
    """Both networks in training, run in a run's precision.

    In bfloat16 (automatic mixed precision) convolutions and matrix products take rounded inputs,
    and their images and answers come out as float32, so every term computes in float32. What
    layers do in full precision whatever is asked (power iteration, statistics of a batch) is
    their own affair. No loss scaling: bfloat16 has the exponents of float32.

    Args:
        networks: "g" and "d".
        precision: of the forwards.
        device: where the networks are.
    """

    def __init__(
        self, networks: Mapping[str, nn.Module], precision: Precision, device: torch.device
    ):
        require_precision(precision, device)
        self._networks, self._device_type = networks, device.type
        self._lower = precision == "bfloat16"
        self._dtype = DTYPES[precision]
        weights = (p for network in networks.values() for p in network.parameters())
        on_cpu = device.type == "cpu" and precision == "float32"
        self._has_fewer_products = on_cpu and any(map(winograd.has_many_channels, weights))

    @property
    def z_dim(self) -> int:
        """Entries of a latent vector."""
        return z_dim_of(self._networks["g"])

    @functools.cached_property
    def has_styles(self) -> bool:
        """Whether the generator works in two halves; asked once, for a protocol is slow to ask."""
        return isinstance(self._networks["g"], StyleGenerator)

    def generate(self, z: Tensor, y: Labels | None, update_statistics: bool = True) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] from z [N, z_dim]."""
        # Most generators have no such argument; one that shall hold still was asked beforehand.
        held = {} if update_statistics else {"update_statistics": False}
        with self._autocast():
            images = self._networks["g"](z, y, **held)
        return images.to(self._dtype)

    def styles(self, z: Tensor, y: Labels | None, update_statistics: bool) -> Tensor:
        """Styles [N, layers, w] from z [N, z_dim]."""
        with self._autocast():
            styles = cast("StyleGenerator", self._networks["g"]).mapping(z, y, update_statistics)
        return styles.to(self._dtype)

    def synthesize(self, styles: Tensor, update_statistics: bool) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] from styles."""
        with self._autocast():
            network = cast("StyleGenerator", self._networks["g"])
            images = network.synthesis(styles, update_statistics)
        return images.to(self._dtype)

    def judge(self, x: Tensor, y: Labels | None) -> Scores:
        """The discriminator's answers to images."""
        with self._autocast():
            logits, class_logits = self._networks["d"](x, y)
        if class_logits is not None:
            class_logits = class_logits.to(self._dtype)
        return Scores(logits.to(self._dtype), class_logits)

    @contextlib.contextmanager
    def _autocast(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            if self._has_fewer_products:
                stack.enter_context(_FewerProducts())
            if not self._lower:
                yield
                return
            stack.enter_context(torch.autocast(self._device_type, torch.bfloat16))
            if self._device_type == "cpu":
                stack.enter_context(
                    rounding.RoundedProducts(everywhere=not rounding.cpu_has_bfloat16())
                )
            yield


# --- on a CPU ----------------------------------------------------------------


class _FewerProducts(TorchFunctionMode):
    """Takes 3x3 convolutions of many channels by Winograd's way (layers/winograd.py)."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        asked = taken_apart(func, args, kwargs) if func is F.conv2d else None
        if asked is not None:
            x, weight, bias, shape = asked
            if has_fewer_products(x, weight, shape):
                return conv2d(x, weight, bias, *shape[:3])
        return func(*args, **kwargs)
