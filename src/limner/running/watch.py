"""Figures about the health of a run, read from what training has computed anyway.

That is the newest pictures, answers, weights and singular vectors: a run learns the same, bit for
bit, whether it is watched or not.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from limner.core import distributed
from limner.core.devices import widest
from limner.core.protocols import is_fixed
from limner.core.streams import stream
from limner.engine.watch import Watch

MOST_PICTURES = 64  # of each side, in the distances: 2,016 pairs
FEWEST_PAIRS = 16  # of one class, for a diversity within the classes
NUM_ITERATIONS = 20  # of the power iteration where a layer keeps no singular vector of its own
LAYERS = (nn.Linear, nn.modules.conv._ConvNd)


def figures(watch: Watch, networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The figures of the health line: "sv.PLAYER.LAYER", "diversity", the mean distance between two
    generated pictures over that between two real ones (Euclidean, in [-1, 1]), and
    "diversity_within", of pairs of one class only."""
    found = {} if len(watch.newest) < 2 else diversity(*watch.newest["real"], *watch.newest["fake"])
    for player, network in networks.items():
        for name, value in singular_values(network).items():
            found[f"sv.{player}.{name}"] = value
    return found


def record(watch: Watch, networks: Mapping[str, nn.Module]) -> dict[str, float]:
    """The figures on the host, as means over the processes; all of them call it."""
    found = figures(watch, networks)
    if not found:
        return {}
    means = distributed.average(torch.stack([v.to(widest(v.device)) for v in found.values()]))
    return {k: v for k, v in zip(found, means.tolist(), strict=True) if math.isfinite(v)}


@torch.no_grad()
def diversity(
    real: Tensor, real_labels: Tensor | None, fake: Tensor, fake_labels: Tensor | None
) -> dict[str, Tensor]:
    """See `figures`; without two pictures on both sides there is none."""
    sides = []
    for images, labels in ((real, real_labels), (fake, fake_labels)):
        rows = images[:MOST_PICTURES].flatten(1).float()
        if len(rows) < 2:
            return {}
        pairs = torch.triu_indices(len(rows), len(rows), 1, device=rows.device)
        distances = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
        same = None
        if labels is not None and not labels.is_floating_point():
            own = labels[:MOST_PICTURES]
            same = own[pairs[0]] == own[pairs[1]]
        sides.append((distances[pairs[0], pairs[1]], same))
    (reals, same_reals), (fakes, same_fakes) = sides
    found = {"diversity": _ratio(fakes, reals)}
    if same_reals is not None and same_fakes is not None:
        within = fakes[same_fakes], reals[same_reals]
        enough = min(map(len, within)) >= FEWEST_PAIRS
        # NaN and not absent: the processes average what they have found, name by name.
        found["diversity_within"] = _ratio(*within) if enough else fakes.new_tensor(math.nan)
    return found


def _ratio(fakes: Tensor, reals: Tensor) -> Tensor:
    return fakes.mean() / reals.mean().clamp(min=1e-6)


@torch.no_grad()
def singular_values(network: nn.Module) -> dict[str, Tensor]:
    """Largest singular value by layer name: of every layer that keeps one (as the forward left
    it), and of the first and the last layer (of kernels as [rows, inputs * k * k])."""
    learning = ((n, m) for n, m in network.named_modules() if not is_fixed(network, n))
    layers = {name: m for name, m in learning if isinstance(m, LAYERS)}
    ends = {*list(layers)[:1], *list(layers)[-1:]}
    found = {}
    for name, module in network.named_modules():
        known = dict(module.named_buffers(recurse=False)).get("sv0")
        if known is not None:
            found[name] = known.detach().clone().squeeze()
        elif name in ends:
            found[name] = largest_singular_value(_raw_weight(layers[name]))
    return found


@torch.no_grad()
def kept_singular_values(networks: Mapping[str, nn.Module]) -> dict[str, float]:
    """ "PLAYER.LAYER" -> largest singular value of every layer that keeps one, as its newest
    training forward left it. Costs one wait for the device."""
    kept = {
        f"{player}.{key.removesuffix('.sv0')}": buffer
        for player, network in networks.items()
        for key, buffer in network.named_buffers()
        if key.endswith(".sv0")
    }
    values = [value.reshape(()).to(widest(value.device)) for value in kept.values()]
    return dict(zip(kept, torch.stack(values).tolist(), strict=True)) if kept else {}


def _raw_weight(module: nn.Module) -> Tensor:
    """The parameter itself: asking a parametrized module for its weight could move its vectors."""
    if parametrize.is_parametrized(module, "weight"):
        return module.get_parameter("parametrizations.weight.original")
    weight = dict(module.named_parameters(recurse=False)).get("weight_orig")
    return module.get_parameter("weight") if weight is None else weight


def largest_singular_value(weight: Tensor) -> Tensor:
    """By power iteration from one fixed start, from below; within a few percent at first."""
    matrix = weight.detach().flatten(1).float()
    start = torch.randn(matrix.shape[1], generator=stream("singular values"))
    right = nn.functional.normalize(start.to(matrix.device), dim=0)
    for _ in range(NUM_ITERATIONS):
        left = nn.functional.normalize(matrix @ right, dim=0)
        right = nn.functional.normalize(left @ matrix, dim=0)
    return (matrix @ right).norm()
