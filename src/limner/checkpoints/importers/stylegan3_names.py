"""Names of StyleGAN3's generator: those of NVlabs/stylegan3 and limner's, key for key.

The original's layers bear their sizes and channels in their names, and it keeps the filters that
its arguments say; limner's networks compute them. Its discriminator is StyleGAN2's, see there.
"""

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

from limner.formats.weights import equal_but_for_precision
from limner.models.stylegan3 import StyleGan3Generator, filters_of, places_of

FILTERS = ("up_filter", "down_filter")
# (pattern of the original's, limner's), at the beginning of a name or of a part of it
RULES = [
    (r"^synthesis\.input\.freqs$", "input.frequencies"),
    (r"^synthesis\.input\.", "input."),
    (r"^synthesis\.L(\d+)_\d+_\d+\.magnitude_ema$", r"layers.\1.magnitude"),
    (r"^synthesis\.L(\d+)_\d+_\d+\.", r"layers.\1."),
    (r"^mapping\.w_avg$", "mean_style"),
    (r"^mapping\.fc(\d+)\.", r"mapper.layers.\1."),
    (r"^mapping\.", "mapper."),
]
LAYER = ("weight", "bias", "magnitude_ema", *FILTERS, "affine.weight", "affine.bias")
INPUT = ("weight", "transform", "freqs", "phases", "affine.weight", "affine.bias")
CLOSE = 1e-6  # of a filter's taps: the original designs them in another library


def to_limner(
    config: StyleGan3Generator,
    image_shape: tuple[int, int, int],
    state: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """The original's state dict of a generator as limner's.

    A name that the original does not have stays as it is, and so does a filter that is not the
    config's, so that whoever fills a network with the result says which it is.
    """
    theirs, filters = list(_names(config, image_shape)), _filters(config, image_shape)
    known = set(theirs)
    return {
        (_to_limner(name) if name in known else name): value
        for name, value in state.items()
        if not (name in filters and _is_close(value, filters[name]))
    }


def to_reference(
    config: StyleGan3Generator,
    image_shape: tuple[int, int, int],
    state: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """limner's state dict as the original's, in its order."""
    named, filters = {}, _filters(config, image_shape)
    known = set()
    for theirs in _names(config, image_shape):
        ours = _to_limner(theirs)
        if ours in state:
            named[theirs] = state[ours]
            known.add(ours)
        elif theirs in filters:
            named[theirs] = filters[theirs]
    return named | {key: value for key, value in state.items() if key not in known}


def _is_close(value: Tensor, expected: Tensor) -> bool:
    return equal_but_for_precision(value, expected, CLOSE)


def _to_limner(name: str) -> str:
    for pattern, ours in RULES:
        name, found = re.subn(pattern, ours, name, count=1)
        if found:
            break
    return name


def _layers(config: StyleGan3Generator, image_shape: tuple[int, int, int]) -> list[str]:
    places = enumerate(places_of(config, image_shape))
    return [f"synthesis.L{i}_{place.target.size}_{place.target.channels}" for i, place in places]


def _filters(config: StyleGan3Generator, image_shape: tuple[int, int, int]) -> dict[str, Tensor]:
    """By their names in the original, those that it has."""
    layers, places = _layers(config, image_shape), places_of(config, image_shape)
    return {
        f"{layer}.{name}": kernel
        for layer, place in zip(layers, places, strict=True)
        for name, kernel in filters_of(config, place).items()
        if kernel is not None
    }


def _names(config: StyleGan3Generator, image_shape: tuple[int, int, int]) -> Iterator[str]:
    """All names that the original may have, in its order."""
    yield from (f"synthesis.input.{leaf}" for leaf in INPUT)
    for layer in _layers(config, image_shape):
        yield from (f"{layer}.{leaf}" for leaf in LAYER)
    yield "mapping.w_avg"
    for layer in ("embed", *(f"fc{i}" for i in range(config.num_mapping))):
        yield from (f"mapping.{layer}.{leaf}" for leaf in ("weight", "bias"))
