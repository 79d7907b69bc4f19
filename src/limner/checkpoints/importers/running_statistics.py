"""Whether a generator's batch norms remember what its layers do: a check of what was guessed."""

from typing import Any

import torch
from torch import Tensor, nn

from limner.checkpoints.filling import fill
from limner.checkpoints.model_folder import ModelRecord

NUM_PIXELS, MOST, LEAST = 2**18, 64, 8  # images of so many pixels, within these numbers
SEED = 0
FAR = 0.6  # median over channels of |log variance ratio| or of the means' distance in deviations


def doubt(record: ModelRecord) -> str | None:
    """A sentence where the running statistics of the generator that was trained, not averaged, are
    far from those of a batch that it makes; None where they are near or there are none.

    A norm's gain by another rule, inputs in another order or another epsilon change what the next
    norm sees. One batch of 8 to 64 seeded latents, labels drawn evenly.
    """
    config = record.config
    network: Any = config.generator.build(config.image_shape, config.num_classes)
    fill(network, record.generator_raw or record.generator, "the generator")
    norms: dict[str, Any] = {
        name: module for name, module in network.named_modules() if hasattr(module, "running_var")
    }
    if not norms:
        return None
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    kept = {
        name: (norm.running_mean.clone(), norm.running_var.clone()) for name, norm in norms.items()
    }
    for name, norm in norms.items():
        norm.register_forward_pre_hook(_Watch(seen, name))
    draws = torch.Generator().manual_seed(SEED)
    num = min(MOST, max(LEAST, NUM_PIXELS // config.image_shape[1] ** 2))
    z = torch.randn(num, network.z_dim, generator=draws)
    y = torch.arange(num) % config.num_classes if config.num_classes else None
    with torch.no_grad():
        network.train()(z, y)
    worst, where = 0.0, ""
    for name, (mean, var) in seen.items():
        running_mean, running_var = kept[name]
        deviation = running_var.clamp_min(1e-12).sqrt()
        ratio = (var.clamp_min(1e-12) / running_var.clamp_min(1e-12)).log().abs().median()
        distance = ((mean - running_mean).abs() / deviation).median()
        far = max(ratio.item(), distance.item())
        worst, where = max((worst, where), (far, name))
    if worst <= FAR:
        return None
    return (
        f"the running statistics of {where} are far from those of its own images ({worst:.1f}, "
        f"where {FAR:g} is much): a setting may be guessed wrongly, or the weights are not trained"
    )


class _Watch:
    def __init__(self, seen: dict[str, tuple[Tensor, Tensor]], name: str):
        self.seen, self.name = seen, name

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        var, mean = torch.var_mean(args[0].float(), (0, 2, 3), correction=0)
        self.seen[self.name] = mean, var
