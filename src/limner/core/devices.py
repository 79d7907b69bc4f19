"""What devices differ in."""

import torch

from limner.core.errors import ConfigError


def widest(device: torch.device) -> torch.dtype:
    """The dtype in which sums are kept: float64, or float32 on a device that has none (mps)."""
    return torch.float32 if device.type == "mps" else torch.float64


def seed_device(device: torch.device, seed: int) -> None:
    """Seed what a network draws by itself: the CPU's generator and that of one device.
    (torch.manual_seed walks through all kinds of devices, 594 us a call where this takes 2.)"""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def require_precision(precision: str, device: torch.device) -> None:
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
