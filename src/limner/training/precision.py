"""What numbers a run computes with: those of the weights, and those of the networks' forwards."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from limner.core.errors import ConfigError
from limner.core.protocols import Labels, Scores, z_dim_of

Precision = Literal["float32", "float64", "bfloat16"]

# Of weights, optimizers, averages, losses and penalties; bfloat16 is for forwards alone.
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}


def require_precision(precision: Precision, device: torch.device) -> None:
    """Refuse a precision that a device cannot compute with.

    Raises:
        ConfigError: names the device and what to give instead.
    """
    if precision == "float64" and device.type == "mps":
        raise ConfigError("precision: mps has no float64; give precision=float32, or --device cpu")
    if precision != "bfloat16":
        return
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(
            f"precision: bfloat16 runs on cpu and cuda, not on {device.type}; "
            "give precision=float32 there"
        )
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ConfigError(
            f"precision: {torch.cuda.get_device_name(device)} has no bfloat16; "
            "give precision=float32"
        )


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

    @property
    def z_dim(self) -> int:
        """Entries of a latent vector."""
        return z_dim_of(self._networks["g"])

    def generate(self, z: Tensor, y: Labels | None) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] from z [N, z_dim]."""
        with self._autocast():
            images = self._networks["g"](z, y)
        return images.to(self._dtype)

    def judge(self, x: Tensor, y: Labels | None) -> Scores:
        """The discriminator's answers to images."""
        with self._autocast():
            logits, class_logits = self._networks["d"](x, y)
        if class_logits is not None:
            class_logits = class_logits.to(self._dtype)
        return Scores(logits.to(self._dtype), class_logits)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device_type, torch.bfloat16, enabled=self._lower)
