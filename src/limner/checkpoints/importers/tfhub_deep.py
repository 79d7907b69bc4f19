"""BigGAN-deep 128, 256 and 512 (version 1) of TF Hub, from the module's variables.

Unproven: no module was at hand to compare with. The weights' names are those that HuggingFace's
convert_tf_to_pytorch.py reads; depth, attention and epsilon are those of its configs. The batch
norm statistics are recorded nowhere: that script takes them out of the running graph. They are
found here by structure, where they are variables at all.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from limner.checkpoints.importers.deep import ATTENTION, NUM_NORMS, DeepShape, record_of
from limner.checkpoints.importers.fitting import listed, require_names
from limner.checkpoints.importers.folding import folded_by_module
from limner.checkpoints.importers.hub_names import ema_of, hub_block, number_of, outputs_first
from limner.checkpoints.model_folder import ModelRecord
from limner.core.errors import CheckpointError

DEPTH, ATTENTION_BEFORE, EPS = 2, 8, 1e-4
MAX_BLOCKS = 64
WHAT = "BigGAN-deep of TF Hub"
NOTE = (
    "unproven: a BigGAN-deep module was never at hand; look at samples and compare them with the "
    "module's or with huggingface-biggan's"
)
KINDS = {"means": re.compile(r"mean"), "variances": re.compile(r"var")}


def record_from(values: Mapping[str, Tensor], where: str, weights: str) -> ModelRecord:
    """The generator; `weights` as in tfhub_biggan. Raises CheckpointError where names are missing
    or left over, statistics are not among the variables, or shapes do not fit."""
    end = ema_of(values, where) if weights == "ema" else ""
    num_blocks = number_of(values, r"Generator/GBlock(?:_(\d+))?/.+")
    if num_blocks > MAX_BLOCKS:
        raise CheckpointError(f"{where}: it has {num_blocks} blocks, at most {MAX_BLOCKS} are read")
    has_attention = any(name.startswith("Generator/attention/") for name in values)
    layers, others, norms = names_of(num_blocks, has_attention)
    needed = [name + end for name in others.values()]
    for theirs, has_bias in layers.values():
        needed += [f"{theirs}/w{end}", f"{theirs}/u0"] + [f"{theirs}/b{end}"] * has_bias
    bases = {name.removesuffix(end) for name in needed}
    spare = [
        name
        for name in values
        if name.startswith(("Generator/", "linear/"))
        and re.sub(r"/ema_[^/]+$", "", name) not in bases
        and not re.fullmatch(r".+/u\d+", name)
    ]
    require_names(needed, values, (), where, WHAT)
    parts = {name: outputs_or_flat(values[theirs + end]) for name, theirs in others.items()}
    parts |= _statistics(values, spare, norms, where)
    for name, (theirs, has_bias) in layers.items():
        weight = outputs_first(values[f"{theirs}/w{end}"].float())
        try:
            parts[f"{name}.weight"] = folded_by_module(weight, values[f"{theirs}/u0"].float())
        except (RuntimeError, CheckpointError) as error:
            reason = str(error).splitlines()[0][:200]
            raise CheckpointError(f"{where}: '{theirs}' does not fit: {reason}") from None
        if has_bias:
            parts[f"{name}.bias"] = values[f"{theirs}/b{end}"].float()
    record = record_of(parts, _shape(parts, num_blocks, has_attention), "linear", where)
    record.config = record.config.replace(origin={"warning": NOTE})
    return record


def names_of(
    num_blocks: int, has_attention: bool
) -> tuple[dict[str, tuple[str, bool]], dict[str, str], dict[str, str]]:
    """Part -> the module's layer and whether it has a bias; part -> its variable; norm -> scope."""
    layers = {"first": ("Generator/GenZ/G_linear", True), "rgb": ("Generator/conv_to_rgb", True)}
    others = {
        "embeddings.weight": "linear/w",
        "last.weight": "Generator/BatchNorm/scale",
        "last.bias": "Generator/BatchNorm/offset",
    }
    norms = {"last": "Generator/BatchNorm"}
    for i in range(num_blocks):
        for j in range(NUM_NORMS):
            scope = f"{hub_block(i)}/BatchNorm" + (f"_{j}" if j else "")
            norms[f"blocks.{i}.bn_{j}"] = scope
            for kind in ("scale", "offset"):
                layers[f"blocks.{i}.bn_{j}.{kind}"] = (f"{scope}/{kind}", False)
            layers[f"blocks.{i}.conv_{j}"] = (f"{hub_block(i)}/conv{j}", True)
    if has_attention:
        others["attention.gamma"] = "Generator/attention/gamma"
        for name in ATTENTION.values():
            layers[f"attention.{name}"] = (f"Generator/attention/{name}", False)
    return layers, others, norms


def outputs_or_flat(value: Tensor) -> Tensor:
    """A matrix transposed, all else as a vector."""
    return value.float().mT if value.ndim == 2 and min(value.shape) > 1 else value.float().flatten()


def _statistics(
    values: Mapping[str, Tensor], spare: list[str], norms: Mapping[str, str], where: str
) -> dict[str, Tensor]:
    """Rows by structure: under each norm's scope, variables whose last name says mean or var, one
    [truncations, channels] or one [channels] for each truncation in the order of their numbers."""
    left, parts, without = set(spare), {}, []
    for norm, scope in norms.items():
        own = [name for name in spare if name.startswith(f"{scope}/")]
        for kind, pattern in KINDS.items():
            found = sorted(
                (n for n in own if pattern.search(n.removeprefix(scope))), key=_with_numbers
            )
            if not found:
                without.append(scope)
                continue
            rows = [values[name].float() for name in found]
            left -= set(found)
            try:
                parts[f"{norm}.{kind}"] = rows[0] if rows[0].ndim == 2 else torch.stack(rows)
            except RuntimeError:
                raise CheckpointError(f"{where}: the shapes of {listed(found)} differ") from None
    if without:
        raise CheckpointError(
            f"{where}: no batch norm statistics among its variables for "
            f"{listed(list(dict.fromkeys(without)))}; they may stand in the module's graph, which "
            "is not run: import HuggingFace's files of the same model (huggingface-biggan)"
        )
    require_names((), values, sorted(left), where, WHAT)
    return parts


def _with_numbers(name: str) -> list[tuple[int, str]]:
    """Sorts x_2 before x_10."""
    return [
        (int(part[:9]), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    ]


def _shape(parts: Mapping[str, Tensor], num_blocks: int, has_attention: bool) -> DeepShape:
    """Sizes from shapes; which blocks double, and where attention stands, from the rule."""
    blocks = []
    for i in range(num_blocks):
        first, last = parts[f"blocks.{i}.conv_0.weight"], parts[f"blocks.{i}.conv_3.weight"]
        blocks.append(((i + 1) % DEPTH == 0, first.shape[1], last.shape[0]))
    inputs, shared = parts["first.weight"].shape[1], parts["embeddings.weight"].shape[0]
    attention = ATTENTION_BEFORE if has_attention else None
    return DeepShape(inputs - shared, tuple(blocks), attention, EPS)
