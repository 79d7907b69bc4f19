"""Inception-v3's weights drawn at random: by the recipe of golden/torch_fidelity, and a file."""

import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from limner.metrics.features.inception import InceptionNetwork

SEED = 2024


def shapes_of(tensorflow: bool = True) -> dict[str, torch.Size]:
    with torch.device("meta"):
        state = InceptionNetwork(tensorflow).state_dict()
    return {name: value.shape for name, value in state.items()}


def random_weights(tensorflow: bool = True, seed: int = SEED) -> dict[str, Tensor]:
    """`weights_recipe` of inception_random.json, on a stream of its own."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in sorted(shapes_of(tensorflow).items()):
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros((), dtype=torch.int64)
        elif name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(shape, generator=generator)
        else:
            drawn = torch.randn(shape, generator=generator)
            state[name] = _scaled(name, drawn)
    return state


def _scaled(name: str, drawn: Tensor) -> Tensor:
    if name.endswith("bn.weight"):
        return 1 + 0.1 * drawn
    if name.endswith((".bias", "running_mean")):
        return 0.1 * drawn
    if name == "fc.weight":
        return drawn * 4 / math.sqrt(2048)
    return drawn * math.sqrt(2 / drawn[0].numel())


def random_file(folder: Path, tensorflow: bool = True) -> Path:
    path = folder / ("tensorflow" if tensorflow else "torchvision")
    path = path.with_suffix(".safetensors")
    save_file(random_weights(tensorflow), path)
    return path
