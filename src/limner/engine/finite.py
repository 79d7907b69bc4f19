"""Numbers that are not finite: found before an update, and named for the user."""

import math
from collections.abc import Mapping
from typing import NoReturn

import torch
from torch import Tensor, nn

from limner.core import distributed
from limner.core.errors import DivergenceError
from limner.engine.progress import Progress
from limner.engine.update import Update
from limner.engine.watch import Seen, Watch

PLAYERS = {"g": "generator", "d": "discriminator"}
MOST_SHOWN = 8  # pictures that a message lists
MOST_BYTES = 1024  # of a message to the other processes
ELSEWHERE = "the loss or a gradient of another process or micro-batch, or their sum"


def checked_norm(
    update: Update,
    progress: Progress,
    networks: Mapping[str, nn.Module],
    loss: Tensor,
    watch: Watch,
) -> Tensor:
    """The gradient's norm, once loss, gradient and every buffer of both players are finite.

    Buffers (running statistics, singular vectors) count because in training mode no loss depends
    on a running statistic: one that is not finite would spoil every picture drawn in evaluation.

    Raises:
        DivergenceError: on every process, before any weight moves.
    """
    network = networks[update.player]
    grads = [p.grad for p in network.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(grads) if grads else torch.zeros(())
    buffers = [b for net in networks.values() for b in net.buffers() if b.is_floating_point()]
    # Zero times their largest size: NaN as soon as one is not finite, and no sum that overflows.
    largest = torch.nn.utils.get_total_norm(buffers, math.inf) if buffers else torch.zeros(())
    finite = bool(torch.isfinite(norm + loss + 0 * largest).item())  # the one wait of an update
    if distributed.any_rank(not finite):
        _raise_diverged(update, progress, networks, loss, watch)
    return norm


def _raise_diverged(
    update: Update,
    progress: Progress,
    networks: Mapping[str, nn.Module],
    loss: Tensor,
    watch: Watch,
) -> NoReturn:
    """Stop before the update, naming player, tensor, terms and the pictures of the batch."""
    terms = ", ".join(type(term).__name__ for term in update.terms)
    bad = [seen for seen in watch.batches if not bool(torch.isfinite(seen.loss))]
    pictures = _listed([i for seen in bad or watch.batches for i in seen.indices.tolist()])
    where = first_nonfinite(update.player, networks, watch.batches)
    if distributed.world_size() > 1:
        # What every process has after the sum over them says nothing of where it began.
        is_own = bool(bad) or not (where == ELSEWHERE or " gradient of " in where)
        where, pictures = _from_the_first(is_own, where, pictures, loss.device)
    raise DivergenceError(
        f"step {progress.step + 1} (image {progress.nimg}): the {PLAYERS[update.player]}'s update "
        f"({terms}) is not finite: {where}; loss {loss.item():.4g}, last real pictures "
        f"{pictures or 'none'}; the newest checkpoint is from before it: lower the learning rate "
        "or look at those pictures, then run the same command again"
    )


def _from_the_first(
    is_own: bool, where: str, pictures: str, device: torch.device
) -> tuple[str, str]:
    """Tensor and pictures as the first process names them that has found its own; on every process,
    and all call it. Where none has, those of this one."""
    words = f"process {distributed.rank()}: {where}\n{pictures}".encode()[:MOST_BYTES]
    own = torch.zeros(MOST_BYTES, dtype=torch.uint8, device=device)
    if is_own:
        own[: len(words)] = torch.tensor(list(words), dtype=torch.uint8, device=device)
    for row in distributed.gather(own).cpu():
        said = bytes(row.tolist()).rstrip(b"\0").decode(errors="replace")
        if said:
            first, _, rest = said.partition("\n")
            return first, rest
    return where, pictures


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:MOST_SHOWN])) + (
        ", ..." if len(numbers) > MOST_SHOWN else ""
    )


def first_nonfinite(player: str, networks: Mapping[str, nn.Module], batches: list[Seen]) -> str:
    """The first tensor that is not finite, from what went in to what came out."""
    shown = batches[-1].shown if batches else {}
    for name in ("the real pictures", "the latents"):
        rows = _bad_rows(shown[name]) if name in shown else []
        if rows:
            pictures = [int(batches[-1].indices[row]) for row in rows]
            extra = f", pictures {_listed(pictures)}" if name == "the real pictures" else ""
            return f"{name} (rows {_listed(rows)} of the batch{extra})"
    for kind in ("weight", "buffer"):
        for key, network in networks.items():
            named = network.named_parameters() if kind == "weight" else network.named_buffers()
            for name, tensor in named:
                if not is_finite(tensor):
                    return f"{PLAYERS[key]} {kind} {name}"
    for name, tensor in shown.items():
        if not is_finite(tensor):
            return name
    for name, parameter in networks[player].named_parameters():
        if parameter.grad is not None and not is_finite(parameter.grad):
            return f"{PLAYERS[player]} gradient of {name}"
    return ELSEWHERE


def _bad_rows(values: Tensor) -> list[int]:
    return (~torch.isfinite(values.flatten(1))).any(1).nonzero().flatten().tolist()


def is_finite(tensor: Tensor) -> bool:
    """Whether no number of it is infinite or NaN; whole numbers always are finite."""
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
