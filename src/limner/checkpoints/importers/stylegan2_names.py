"""Names of StyleGAN2's tensors: those of NVlabs/stylegan2-ada-pytorch and limner's, key for key.

The original keeps the resampling filter in nearly every layer, used or not; limner's config has it
once, and its networks' states do not hold it.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from torch import Tensor

from limner.formats.weights import equal_but_for_precision
from limner.layers import fir_filter
from limner.models import StyleGan2Discriminator, StyleGan2Generator

Role = Literal["generator", "discriminator"]
StyleGan2Config = StyleGan2Generator | StyleGan2Discriminator

FILTER = "resample_filter"
# (pattern of the original's, limner's)
RULES: dict[Role, list[tuple[str, str]]] = {
    "generator": [
        (r"synthesis\.b(\d+)\.", r"blocks.\1."),
        (r"torgb\.", "to_image."),
        (r"mapping\.w_avg", "mean_style"),
        (r"mapping\.fc(\d+)\.", r"mapper.layers.\1."),
        (r"mapping\.", "mapper."),
    ],
    "discriminator": [
        (r"b4\.fc\.", "final.linear."),
        (r"b4\.out\.", "final.output."),
        (r"b4\.", "final."),
        (r"b(\d+)\.", r"blocks.\1."),
        (r"fromrgb\.", "from_image."),
        (r"mapping\.fc(\d+)\.", r"mapper.layers.\1."),
        (r"mapping\.", "mapper."),
    ],
}
# Leaves of a layer and layers of a block, as the original creates them.
LEAVES = ("weight", "noise_strength", "bias", FILTER, "noise_const", "affine.weight", "affine.bias")
LAYERS: dict[Role, tuple[str, ...]] = {
    "generator": ("conv0", "conv1", "torgb", "skip"),
    "discriminator": ("fromrgb", "conv0", "conv1", "skip"),
}
WITHOUT_FILTER = ("torgb", "fc", "out")


def to_limner(
    role: Role, config: StyleGan2Config, state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The original's state dict of a network as limner's.

    A name that the original does not have stays as it is, and so does a filter that is not the
    config's, so that whoever fills a network with the result says which it is.
    """
    expected = fir_filter(config.filter)
    return {
        _to_limner(role, name): value
        for name, value in state.items()
        if not (name.endswith(f".{FILTER}") and equal_but_for_precision(value, expected))
    }


def to_reference(
    role: Role, config: StyleGan2Config, state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """limner's state dict as the original's, in its order."""
    sizes = [int(name.split(".")[1]) for name in state if re.fullmatch(r"blocks\.\d+\..*", name)]
    named: dict[str, Tensor] = {}
    known = set()
    for theirs in _names(role, sorted(set(sizes))):
        ours = _to_limner(role, theirs)
        if ours in state:
            named[theirs] = state[ours]
            known.add(ours)
        elif theirs.endswith(f".{FILTER}") and _exists(ours.removesuffix(f".{FILTER}"), state):
            named[theirs] = fir_filter(config.filter)
    return named | {key: value for key, value in state.items() if key not in known}


def _to_limner(role: Role, name: str) -> str:
    for pattern, ours in RULES[role]:
        start = r"(?<![\w.])" if not pattern.startswith(("torgb", "fromrgb")) else r"\b"
        name = re.sub(start + pattern, ours, name, count=1)
    return name


def _exists(layer: str, state: Mapping[str, Tensor]) -> bool:
    return any(name.startswith(f"{layer}.") for name in state)


def _names(role: Role, sizes: list[int]) -> Iterator[str]:
    """All names that the original may have, in its order."""
    if role == "generator":
        for size in sizes:
            yield from _block(role, f"synthesis.b{size}", ("const", FILTER))
        yield from _mapping(("w_avg",))
        return
    for size in sizes[::-1]:
        yield from _block(role, f"b{size}", (FILTER,))
    yield from _mapping(())
    for layer in ("fromrgb", "conv", "fc", "out"):
        yield from _layer(f"b4.{layer}")


def _block(role: Role, block: str, own: tuple[str, ...]) -> Iterator[str]:
    yield from (f"{block}.{leaf}" for leaf in own)
    for layer in LAYERS[role]:
        yield from _layer(f"{block}.{layer}")


def _layer(layer: str) -> Iterator[str]:
    without = layer.endswith(WITHOUT_FILTER)
    yield from (f"{layer}.{leaf}" for leaf in LEAVES if not (without and leaf == FILTER))


def _mapping(own: tuple[str, ...]) -> Iterator[str]:
    yield from (f"mapping.{leaf}" for leaf in own)
    for layer in ("embed", *(f"fc{i}" for i in range(64))):
        yield from (f"mapping.{layer}.{leaf}" for leaf in ("weight", "bias"))
