"""A run that starts from a model's weights: with the same classes, other ones, or none."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from limner.checkpoints import ModelRecord, fill, find_model, refill
from limner.checkpoints.filling import Anew
from limner.core.errors import CheckpointError
from limner.core.protocols import NetworkConfig
from limner.core.undrawn import without_memory
from limner.engine.trainer import Trainer

DECLARED = "what changes with them is what layers declare as `per_class`, see docs/finetuning.md"


class _Job(NamedTuple):
    """A network to fill, a state for it, and the config of the network that the state fits."""

    role: str
    network: nn.Module
    state: Mapping[str, Tensor]
    source: NetworkConfig


def initialize(
    trainer: Trainer,
    image_shape: tuple[int, int, int],
    spec: str,
    note: Callable[[str, str], None],
) -> None:
    """Fill a new run's networks from a model: a transfer to other data, classes or losses.

    With another number of classes, what belongs to them (embeddings, tables of gains and biases,
    the projection) keeps the new network's own initialization. The generator's average starts as
    the model's average, what is made anew as the generator's copy.

    Args:
        trainer: at its first step.
        spec: see checkpoints.find_model.
        note: gets (event, message): what was taken, and each tensor that was made anew.

    Raises:
        CheckpointError: there is no such model, or something else does not fit.
    """
    record = find_model(spec)
    note("initialized", f"from {spec}{_missing(record)}")
    for job in _jobs(record, trainer):
        anew = _fill(job, record, trainer.num_classes, image_shape, spec)
        if anew and job.network is not trainer.generator_ema:
            note("made anew", _sentence(job.role, record, trainer.num_classes, anew))


def _jobs(record: ModelRecord, trainer: Trainer) -> Iterator[_Job]:
    config, networks = record.config, trainer.networks
    raw = record.generator_raw or record.generator
    yield _Job("generator", networks["g"], raw, config.generator)
    if trainer.generator_ema is not None:
        yield _Job("generator", trainer.generator_ema, record.generator, config.generator)
    if record.discriminator is not None and config.discriminator is not None:
        yield _Job("discriminator", networks["d"], record.discriminator, config.discriminator)


def _fill(
    job: _Job,
    record: ModelRecord,
    num_classes: int,
    image_shape: tuple[int, int, int],
    spec: str,
) -> list[Anew]:
    before = record.config.num_classes
    where = f"--init {spec}: the {job.role} does not fit"
    try:
        if before == num_classes:
            fill(job.network, job.state, where)
            return []
        with without_memory():
            source = job.source.build(record.config.image_shape, before)
        return refill(job.network, job.state, source, where, bool(before and num_classes))
    except CheckpointError as error:
        hints = []
        if record.config.image_shape != image_shape:
            hints.append(
                f"the model's pictures are {list(record.config.image_shape)}, the run's "
                f"{list(image_shape)}: data.resolution and data.channels set them"
            )
        if before != num_classes:
            hints.append(f"the model has {before} classes, the data {num_classes}; {DECLARED}")
        raise CheckpointError("; ".join([str(error), *hints])) from None


def _sentence(role: str, record: ModelRecord, num_classes: int, anew: list[Anew]) -> str:
    return f"{record.config.num_classes} -> {num_classes} classes, of the {role}: " + ", ".join(
        map(str, anew)
    )


def _missing(record: ModelRecord) -> str:
    if record.discriminator is None:
        return "; it has no discriminator, so that one begins untrained"
    return ""
