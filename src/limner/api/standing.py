"""A model with standing statistics in the place of its own, or stored beside them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from limner.api.cards import write_card
from limner.checkpoints import ModelRecord, find_model, write_model
from limner.core.errors import LimnerError
from limner.sampling import Model, StandingPlan, standing_statistics


def with_standing_statistics(
    record: ModelRecord,
    plan: StandingPlan,
    truncations: Sequence[float] = (),
    device: str = "auto",
) -> ModelRecord:
    """The record with a set of statistics for each truncation.

    Each is accumulated over the latents of the mode "statistics", which is to use it. Without
    truncations the statistics of whole normal latents replace the running ones; sets that are
    there stay.

    Raises:
        LimnerError: a generator without batch norm.
    """
    model = Model.from_record(record, device)
    generator, num_classes = model.generator, model.num_classes
    if not truncations:
        found = standing_statistics(generator, plan, num_classes)
        state = {**record.generator, **{name: rows.cpu() for name, rows in found.items()}}
        return dataclasses.replace(record, generator=state, file_sha256="")
    sets = [
        standing_statistics(generator, plan, num_classes, truncation, "statistics")
        for truncation in truncations
    ]
    return dataclasses.replace(
        record,
        config=record.config.replace(truncations=tuple(truncations), statistics_rule="linear"),
        standing={name: torch.stack([rows[name].cpu() for rows in sets]) for name in sets[0]},
        file_sha256="",
    )


def store_statistics(
    model: str | Path,
    out: str | Path,
    plan: StandingPlan,
    truncations: Sequence[float] = (),
    device: str = "auto",
) -> ModelRecord:
    """Write a model with `with_standing_statistics` to a folder: all that `limner statistics` does.

    Args:
        out: the model folder to write; one that holds a model is replaced.
        truncations: above 0, in rising order.

    Raises:
        LimnerError: truncations of another kind, another thing at `out`, a generator without batch
            norm; CheckpointError: no model there.

    Examples:
        >>> plan = limner.StandingPlan(num_passes=2, batch_size=8)
        >>> record = limner.store_statistics("runs/digits", "models/digits", plan, [0.5, 1.0])
        >>> record.config.truncations
        (0.5, 1.0)
    """
    given, out = list(truncations), Path(out)
    words = ",".join(f"{truncation:g}" for truncation in given)
    if any(truncation <= 0 for truncation in given):
        raise LimnerError(f"--truncations {words}: give numbers above 0")
    if given != sorted(set(given)):
        raise LimnerError(f"--truncations {words}: give each once, in rising order")
    is_model = (out / "model.safetensors").exists()  # now, not after all passes
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not is_model):
        raise LimnerError(f"--out {out}: it exists and is not a model folder; give another path")
    made = with_standing_statistics(find_model(model), plan, given, device)
    write_model(out, made)
    write_card(out)
    return made
