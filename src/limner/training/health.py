"""What a run that met a value that is not finite tells its user."""

from typing import NoReturn

import torch
from torch import Tensor, nn

from limner.core.errors import DivergenceError
from limner.training.progress import Progress
from limner.training.update import Update

PLAYERS = {"g": "generator", "d": "discriminator"}


def first_nonfinite(network: nn.Module) -> str:
    """Where a player is sick: its first weight, buffer or gradient that is not finite."""
    kinds = (
        ("weight", network.named_parameters()),
        ("buffer", network.named_buffers()),
        ("gradient of", ((n, p.grad) for n, p in network.named_parameters() if p.grad is not None)),
    )
    for kind, tensors in kinds:
        for name, tensor in tensors:
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                return f"{kind} {name}"
    return "the loss alone"


def raise_diverged(
    update: Update, progress: Progress, network: nn.Module, loss: Tensor, indices: Tensor
) -> NoReturn:
    """Stop before the update, naming player, place, terms and the pictures of the batch."""
    terms = ", ".join(type(term).__name__ for term in update.terms)
    shown = ", ".join(str(i) for i in indices.tolist()[:8]) + (", ..." if len(indices) > 8 else "")
    raise DivergenceError(
        f"step {progress.step + 1} (image {progress.nimg}): the {PLAYERS[update.player]}'s update "
        f"({terms}) is not finite: {first_nonfinite(network)}, loss {loss.item():.4g}, last real "
        f"pictures {shown or 'none'}; the newest checkpoint is from before it: lower the learning "
        "rate or look at those pictures, then run the same command again"
    )
