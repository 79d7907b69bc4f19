"""From the parts of a published BigGAN-deep generator to a record, whatever its file calls them.

Parts are in torch's layout, weights already divided by sigma. Their names: `embeddings.weight`
[inputs, classes], `first.*`, `blocks.I.conv_J.*`, `blocks.I.bn_J.scale.weight`, `.offset.weight`,
`.means` and `.variances` [truncations, channels], `attention.*`, `last.*`, `rgb.*`. The condition
is [z, y], and pixels of the first layer come height, width, channel, as in the modules.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from limner.checkpoints.importers.fitting import fitted
from limner.checkpoints.importers.folding import channels_first, condition_first, multiples
from limner.checkpoints.model_folder import MAX_TRUNCATIONS, ModelConfig, ModelRecord
from limner.core.errors import CheckpointError
from limner.models.biggan_deep import BigGanDeepGenerator

Parts = Mapping[str, Tensor]
Rule = Literal["linear", "huggingface"]
ATTENTION = {"query": "theta", "key": "phi", "value": "g", "output": "o_conv"}
NUM_NORMS = 4  # and convolutions, of a block
NUM_COLORS = 3  # of the last convolution's outputs, the others mean nothing


class DeepShape(NamedTuple):
    """Of a generator.

    blocks: (doubles, input channels, output channels) of each.
    attention: the number of the block that attention stands before; None without it.
    """

    z_dim: int
    blocks: tuple[tuple[bool, int, int], ...]
    attention: int | None
    eps: float


def record_of(parts: Parts, shape: DeepShape, rule: Rule, where: str) -> ModelRecord:
    """The generator with its statistics, those of the largest truncation being its own. Raises
    CheckpointError where the parts do not fit each other or limner's network."""
    embeddings = parts["embeddings.weight"]
    if embeddings.ndim != 2:
        raise CheckpointError(f"class vectors of shape {list(embeddings.shape)}")
    config = config_of(shape, len(embeddings), where)
    state, rows = {}, {}
    try:
        state, rows = _state(parts, shape, config)
    except (RuntimeError, IndexError, CheckpointError) as error:
        reason = str(error).splitlines()[0][:200]
        raise CheckpointError(f"{where}: its shapes fit no BigGAN-deep ({reason})") from None
    num_rows = {len(values) for values in rows.values()}
    if len(num_rows) != 1 or not 1 <= max(num_rows) <= MAX_TRUNCATIONS:
        raise CheckpointError(f"{where}: its norms have statistics of {sorted(num_rows)} rows")
    side = 4 << sum(doubles for doubles, _, _ in shape.blocks)
    num_classes = embeddings.shape[1]
    state |= {name: values[-1] for name, values in rows.items()}
    generator = fitted(state, config, (3, side, side), num_classes, where)
    last = max(num_rows) - 1
    return ModelRecord(
        config=ModelConfig(
            generator=config,
            image_shape=(3, side, side),
            num_classes=num_classes,
            truncations=tuple(i / last for i in range(last + 1)) if last else (),
            statistics_rule=rule,
        ),
        generator=generator,
        standing={name: values.contiguous() for name, values in rows.items()} if last else None,
    )


def config_of(shape: DeepShape, shared_dim: int, where: str) -> BigGanDeepGenerator:
    """The config of the same network; CheckpointError where limner's BigGAN-deep has no such
    form."""
    depth = next((i + 1 for i, (doubles, _, _) in enumerate(shape.blocks) if doubles), 0)
    tops = [shape.blocks[0][1]] if shape.blocks else []
    problem = "" if depth else "no block doubles the resolution"
    for i, (doubles, num_in, num_out) in enumerate(shape.blocks if depth else ()):
        is_last = (i + 1) % depth == 0
        halves = num_out * 2 == num_in and is_last
        if doubles != is_last or num_in != tops[-1] or not (num_in == num_out or halves):
            problem = f"block {i} ({'doubles, ' * doubles}{num_in} to {num_out} channels)"
        if is_last:
            tops.append(num_out)
    if not problem and len(shape.blocks) % depth:
        problem = "the last block does not double"
    at = shape.attention
    if not problem and at is not None and (at % depth or not 0 < at <= len(shape.blocks)):
        problem = f"attention before block {at}"
    if problem:
        raise CheckpointError(
            f"{where}: limner's BigGAN-deep has blocks of one depth a resolution, whose last one "
            f"doubles, keeps or halves the channels, and may end in attention; here: {problem}"
        )
    try:
        width, factors = multiples(tops[::-1])
    except CheckpointError as error:
        raise CheckpointError(f"{where}: {error}") from None
    return BigGanDeepGenerator(
        width=width,
        z_dim=shape.z_dim,
        shared_dim=shared_dim,
        depth=depth,
        multipliers=factors,
        attention=() if at is None else (4 << (at // depth),),
        spectral_norm=False,
        batch_norm_eps=shape.eps,
        output_norm_eps=shape.eps,
    )


def _state(
    parts: Parts, shape: DeepShape, config: BigGanDeepGenerator
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The generator's weights, and its statistics with a row for each truncation."""
    top = config.width * config.multipliers[-1]
    state = {
        "shared.weight": parts["embeddings.weight"].mT,
        "linear.weight": channels_first(condition_first(parts["first.weight"], shape.z_dim), top),
        "linear.bias": channels_first(parts["first.bias"], top),
        "output_norm.weight": parts["last.weight"],
        "output_norm.bias": parts["last.bias"],
        "output.weight": parts["rgb.weight"][:NUM_COLORS],
        "output.bias": parts["rgb.bias"][:NUM_COLORS],
    }
    rows = statistics(parts, "last", "output_norm")
    for i in range(len(shape.blocks)):
        for j in range(NUM_NORMS):
            theirs, ours = f"blocks.{i}.bn_{j}", f"blocks.{i}.norm{j + 1}"
            for mine, name in (("gain", "scale"), ("bias", "offset")):
                weight = parts[f"{theirs}.{name}.weight"]
                state[f"{ours}.{mine}.weight"] = condition_first(weight, shape.z_dim)
            rows |= statistics(parts, theirs, ours)
            for kind in ("weight", "bias"):
                state[f"blocks.{i}.conv{j + 1}.{kind}"] = parts[f"blocks.{i}.conv_{j}.{kind}"]
    if shape.attention is not None:
        ours = f"blocks.{shape.attention - 1}.attention"
        state[f"{ours}.gamma"] = parts["attention.gamma"].reshape(())
        for mine, name in ATTENTION.items():
            state[f"{ours}.{mine}.weight"] = parts[f"attention.{name}.weight"]
    return state, rows


def statistics(parts: Parts, theirs: str, ours: str) -> dict[str, Tensor]:
    """Rows of a norm."""
    means, variances = parts[f"{theirs}.means"], parts[f"{theirs}.variances"]
    if means.ndim != 2 or means.shape != variances.shape:
        raise CheckpointError(
            f"statistics of shapes {list(means.shape)} and {list(variances.shape)}"
        )
    return {
        f"{ours}.running_mean": means.to(torch.float32),
        f"{ours}.running_var": variances.to(torch.float32),
    }
