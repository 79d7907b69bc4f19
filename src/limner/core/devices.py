"""What devices differ in."""

import torch


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
