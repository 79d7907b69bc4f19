"""R3GAN's own names of arguments and tensors, as limner has them."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from limner.layers.fir import BINOMIAL, fir_filter
from limner.models import R3ganDiscriminator, R3ganGenerator
from limner.models.r3gan import R3ganConfig


def config_of(net: str, arguments: Mapping[str, Any]) -> R3ganConfig:
    """Of the original's arguments for G or D, whose lists begin with the image for D."""
    order = 1 if net == "G" else -1
    widths = arguments["WidthPerStage"][::order]
    expansion = arguments["ExpansionFactor"]
    groups = arguments["CardinalityPerStage"][::order]
    shared = {
        "widths": widths,
        "group_widths": [w * expansion // g for w, g in zip(widths, groups, strict=True)],
        "blocks": arguments["BlocksPerStage"][::order],
        "expansion": expansion,
        "bfloat16_stages": len(arguments["FP16Stages"]),
    }
    if "ConditionEmbeddingDimension" in arguments:
        shared["embedding_dim"] = arguments["ConditionEmbeddingDimension"]
    if net == "G":
        return R3ganGenerator(z_dim=arguments["NoiseDimension"], **shared)
    return R3ganDiscriminator(**shared)


def to_limner(net: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict, or gradients by its keys; the filters are checked and left out."""
    found = {}
    for key, tensor in tensors.items():
        if key.endswith("Resampler.Kernel"):
            assert tensor.equal(fir_filter(BINOMIAL))
            continue
        if key == "Model.EmbeddingLayer.weight":
            tensor = tensor.T
        if key.endswith("Basis.weight"):
            tensor = tensor[:, 0]
        found[name_of(net, key, tensors)] = tensor
    return found


def name_of(net: str, key: str, keys: Mapping[str, Any]) -> str:
    if key == "Model.EmbeddingLayer.weight":
        return "embed.weight"
    if key == "Model.ExtractionLayer.Layer.weight":
        return "stages.0.0.weight"
    places = [re.match(r"Model\.MainLayers\.(\d+)\.Layers\.(\d+)\.", name) for name in keys]
    if key == "Model.AggregationLayer.Layer.weight":
        stage, place = max((int(m[1]), int(m[2])) for m in places if m)
        return f"stages.{stage}.{place + 1}.weight"
    match = re.fullmatch(r"Model\.MainLayers\.(\d+)\.Layers\.(\d+)\.(.+)", key)
    assert match, key
    stage, place, part = int(match[1]), int(match[2]), match[3]
    place += net == "D" and stage == 0  # behind from-RGB
    for pattern, ours in (
        (r"LinearLayer(\d)\.Layer\.weight", r"conv\1.weight"),
        (r"NonLinearity(\d)\.Bias", r"conv\1.bias"),
        (r"LinearLayer\.Layer\.weight", "conv.weight"),
        (r"LinearLayer\.weight", "linear.weight"),
        (r"Basis(\.weight)?", "basis"),
    ):
        if re.fullmatch(pattern, part):
            return f"stages.{stage}.{place}.{re.sub(pattern, ours, part)}"
    raise AssertionError(key)
