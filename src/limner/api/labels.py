"""Scores that need classes leave where there are none, before any picture is decoded."""

from collections.abc import Callable, Sequence
from pathlib import Path

from limner.data import DataConfig
from limner.data.facts import num_classes_of
from limner.metrics import find_metric


def with_classes(
    names: Sequence[str],
    data: str | Path | None,
    config: DataConfig | None,
    model_classes: int | None,
    tell: Callable[[str], None],
) -> list[str]:
    """The metrics without those that need classes, if the pictures (by their listing alone) or the
    model have none; one line tells of these.

    Args:
        data: None where there are no pictures to look at.
        config: how they are read; None takes their classes.
        model_classes: None where there is no model.

    Raises:
        LimnerError: an unknown metric, or pictures that are not there.
    """
    needing = [name for name in names if find_metric(name).needs_classes]
    if not needing:
        return list(names)
    if model_classes is not None and model_classes < 2:
        why = "the model has none"
    elif data is not None and num_classes_of(data, config) < 2:
        why = "the pictures have none"
    else:
        return list(names)
    tell(f"left out: {', '.join(needing)}, which need classes, and {why}")
    return [name for name in names if name not in needing]
