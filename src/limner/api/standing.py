"""A model with standing statistics in the place of its own, or stored beside them."""

import dataclasses
from collections.abc import Sequence

import torch

from limner.checkpoints import ModelRecord
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
