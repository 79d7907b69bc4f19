"""R3GAN's tensors and sizes (brownvc/R3GAN) as limner's, and back.

Its pickles hold no arguments, and its shapes tell all of them. Networks of the original are lists
of stages from the input on; limner's stages are the same, with the layers around them inside.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from torch import Tensor

from limner.core.errors import CheckpointError
from limner.formats.weights import equal_but_for_precision
from limner.layers import BINOMIAL, fir_filter
from limner.models.r3gan import BOTTOM

Role = Literal["generator", "discriminator"]
PART = re.compile(r"Model\.MainLayers\.(\d+)\.Layers\.(\d+)\.(.+)")
# (pattern of the original's, limner's) of the parts of a stage's layers
PARTS = [
    (r"LinearLayer(\d)\.Layer\.weight", r"conv\1.weight"),
    (r"NonLinearity(\d)\.Bias", r"conv\1.bias"),
    (r"LinearLayer\.Layer\.weight", "conv.weight"),
    (r"LinearLayer\.weight", "linear.weight"),
    (r"Basis(\.weight)?", "basis"),
]
KERNEL, EMBEDDING = "Resampler.Kernel", "Model.EmbeddingLayer.weight"
FIRST, LAST = "Model.ExtractionLayer.Layer.weight", "Model.AggregationLayer.Layer.weight"


def sizes_of(
    role: Role, state: Mapping[str, Tensor], where: str
) -> tuple[dict[str, Any], tuple[int, int, int], int]:
    """Fields of limner's config, image shape and number of classes, by a network's shapes.

    Raises:
        CheckpointError: a tensor is missing that tells a size.
    """
    order = 1 if role == "generator" else -1
    stages = _stages(state)[::order]
    if not stages or any(not blocks for blocks in stages):
        raise CheckpointError(f"{where}: no R3GAN: it has no Model.MainLayers with residual blocks")
    try:
        first = [_block(state, *blocks[0]) for blocks in stages]
        image = state[LAST if role == "generator" else FIRST].shape
        fields: dict[str, Any] = {
            "widths": [width for width, _, _ in first],
            "group_widths": [group for _, _, group in first],
            "blocks": [len(blocks) for blocks in stages],
            "expansion": first[0][1] // first[0][0],
        }
        entries, num_classes = state[EMBEDDING].shape if EMBEDDING in state else (0, 0)
        if num_classes:
            fields["embedding_dim"] = entries
        if role == "generator":
            linear = state["Model.MainLayers.0.Layers.0.LinearLayer.weight"]
            fields["z_dim"] = linear.shape[1] - entries
        channels = image[0] if role == "generator" else image[1]
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        raise CheckpointError(f"{where}: no whole R3GAN {role}: {error} tells no size") from None
    side = BOTTOM << (len(stages) - 1)
    return fields, (channels, side, side), num_classes


def _stages(state: Mapping[str, Tensor]) -> list[list[tuple[int, int]]]:
    """Of each stage, the places of its residual blocks."""
    found: dict[int, set[int]] = {}
    for key in state:
        match = PART.fullmatch(key)
        if match:
            places = found.setdefault(int(match[1]), set())
            if match[3] == "LinearLayer1.Layer.weight":
                places.add(int(match[2]))
    return [[(i, place) for place in sorted(found.get(i, ()))] for i in range(len(found))]


def _block(state: Mapping[str, Tensor], stage: int, place: int) -> tuple[int, int, int]:
    """Channels outside and inside of a block, and of a group."""
    name = f"Model.MainLayers.{stage}.Layers.{place}.LinearLayer"
    inner, width = state[f"{name}1.Layer.weight"].shape[:2]
    return width, inner, state[f"{name}2.Layer.weight"].shape[1]


def to_limner(role: Role, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The original's state dict of a network as limner's; names that it does not have stay."""
    found, kernel = {}, fir_filter(BINOMIAL)
    for key, tensor in state.items():
        if key.endswith(KERNEL) and equal_but_for_precision(tensor, kernel):
            continue
        name = _name(role, key, state)
        if name == "embed.weight" and tensor.ndim == 2:
            tensor = tensor.t()
        if key.endswith("Basis.weight") and tensor.ndim == 4:
            tensor = tensor[:, 0]
        found[name] = tensor
    return found


def _name(role: Role, key: str, keys: Mapping[str, Any]) -> str:
    if key == EMBEDDING:
        return "embed.weight"
    if key == FIRST and role == "discriminator":
        return "stages.0.0.weight"
    if key == LAST and role == "generator":
        places = [match for name in keys if (match := PART.fullmatch(name))]
        stage, place = max(((int(m[1]), int(m[2])) for m in places), default=(0, 0))
        return f"stages.{stage}.{place + 1}.weight"
    match = PART.fullmatch(key)
    if match is None:
        return key
    stage, place = int(match[1]), int(match[2])
    place += role == "discriminator" and stage == 0  # behind from-RGB
    for pattern, ours in PARTS:
        if re.fullmatch(pattern, match[3]):
            return f"stages.{stage}.{place}.{re.sub(pattern, ours, match[3])}"
    return key


def to_reference(role: Role, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """limner's state dict as the original's."""
    found: dict[str, Tensor] = {}
    stages = {int(key.split(".")[1]) for key in state if key.startswith("stages.")}
    for key, tensor in state.items():
        if key == "embed.weight":
            found[EMBEDDING] = tensor.t().contiguous()
            continue
        _, stage, place, *rest = key.split(".")
        part = ".".join(rest)
        if part == "weight":  # from or to the image, the only layers without a part
            found[FIRST if role == "discriminator" else LAST] = tensor
            continue
        number = int(place) - (role == "discriminator" and stage == "0")
        theirs = _part(role, part)
        found[f"Model.MainLayers.{stage}.Layers.{number}.{theirs}"] = (
            tensor[:, None] if theirs == "Basis.weight" else tensor
        )
    for stage, place in _resamplers(role, state, len(stages)):
        found[f"Model.MainLayers.{stage}.Layers.{place}.{KERNEL}"] = fir_filter(BINOMIAL)
    return found


def _part(role: Role, part: str) -> str:
    if part == "basis":
        return "Basis.weight" if role == "discriminator" else "Basis"
    theirs = re.sub(r"^conv(\d)\.weight$", r"LinearLayer\1.Layer.weight", part)
    theirs = re.sub(r"^conv(\d)\.bias$", r"NonLinearity\1.Bias", theirs)
    theirs = re.sub(r"^conv\.weight$", "LinearLayer.Layer.weight", theirs)
    return re.sub(r"^linear\.weight$", "LinearLayer.weight", theirs)


def _resamplers(role: Role, state: Mapping[str, Tensor], num: int) -> Iterator[tuple[int, int]]:
    """Stages that resample, and where in them: first in a generator's, last in a discriminator's,
    whose last one ends at the bottom."""
    for stage in range(num):
        if role == "generator" and stage:
            yield stage, 0
        if role == "discriminator" and stage < num - 1:
            blocks = sum(
                re.fullmatch(rf"stages\.{stage}\.\d+\.conv1\.weight", key) is not None
                for key in state
            )
            yield stage, blocks
