"""Fine-tuning without a preset: networks, size, channels of a model, the recipe of its family."""

import os
from collections.abc import Sequence
from pathlib import Path

from limner import presets
from limner.api.configs import composed
from limner.api.fitting import begun, machine_of
from limner.checkpoints import ModelRecord, RunDirectory, find_model
from limner.core.config import tag_of
from limner.core.errors import ConfigError
from limner.core.facts import Machine, Pictures
from limner.data import DataConfig, PreparedData
from limner.data.facts import facts_of, settings_of
from limner.data.survey import resolved
from limner.engine import Intervals, Players, RunConfig
from limner.engine.augment import Augment, Blur
from limner.engine.controllers import Ema, Growth
from limner.presets.fitted import Choice

NAME = "finetuned"
OURS = ("data.resolution", "data.channels")  # what the model decides, whatever is prepared
BY_STEPS = Intervals(log=20, sample=200, save=500, evaluate=1000)  # of what counted ticks


def finetuned(
    init: str,
    data: str | os.PathLike[str],
    run: str | Path | None = None,
    assignments: Sequence[str] = (),
    steps: int | None = None,
    kimg: float | None = None,
    seed: int | None = None,
    device: str = "auto",
    fresh: bool = False,
) -> tuple[RunConfig, list[Choice]]:
    """The config of a run that starts from a model, and what it takes from where.

    A run has its own recipe; a model folder that of the preset of its networks' family, with short
    intervals. Growing networks are there as a whole. A run that has begun goes on as it began,
    unless `fresh`.

    Args:
        init: see `find_model`.
        data, run, assignments, steps, kimg, seed: see `fitted`.

    Raises:
        LimnerError: no such model, no recipe for its networks, pictures that cannot be read, or
            were prepared at another size.
    """
    changes = (assignments, steps, kimg, seed)
    config = None if fresh else begun(RunDirectory(run or Path("runs") / NAME), NAME)
    if config is not None:
        return composed(NAME, *changes, config), []
    record, machine = find_model(init), machine_of(device)
    pictures = facts_of(data)
    channels, height, width = record.config.image_shape
    _check_prepared(data, init, record.config.image_shape)
    recipe, origin = _recipe(init, record, pictures, machine)
    config = recipe.replace(
        name=NAME,
        generator=record.config.generator,
        discriminator=record.config.discriminator or recipe.discriminator,
        data=recipe.data.replace(
            resolution=height if height == width else (height, width),
            channels=channels,
            labels="classes" if record.config.num_classes and _num(pictures) > 1 else "none",
            source=None,
        ),
        num_classes=None,
    )
    config = _grown(config, max(height, width))
    own = [change for change in settings_of(data) if not change.startswith(OURS)]
    config = composed(NAME, [*own, *assignments], steps, kimg, seed, config)
    return config, _told(init, record, pictures, config, origin)


def _num(pictures: Pictures) -> int:
    return len(pictures.class_counts)


def _check_prepared(
    data: str | os.PathLike[str], init: str, image_shape: tuple[int, int, int]
) -> None:
    found = resolved(data)
    if isinstance(found, PreparedData) and found.image_shape != image_shape:
        theirs, ours = ("x".join(map(str, shape)) for shape in (found.image_shape, image_shape))
        size = "x".join(map(str, dict.fromkeys(image_shape[1:])))  # a square has one number
        raise ConfigError(
            f"{data}: prepared as {theirs}, and {init} makes {ours}; give the pictures themselves, "
            f"or prepare them with --resolution {size} --channels {image_shape[0]}"
        )


# --- the recipe --------------------------------------------------------------


def _recipe(
    init: str, record: ModelRecord, pictures: Pictures, machine: Machine
) -> tuple[RunConfig, str]:
    """A config whose networks do not count, and whose it is."""
    path = init if Path(init).is_dir() else init.removesuffix(":raw").partition("@")[0]
    run = RunDirectory(path)
    if run.exists() and run.checkpoints.is_dir():
        return run.config_as(RunConfig, import_modules=True), f"{path}, its own"
    family = _family(init, record)
    side = min(record.config.image_shape[1:])
    facts = Pictures(pictures.num, side, pictures.class_counts, True, pictures.mirrors)
    usual, _ = presets.fit("photos", facts, machine)
    if family == "photos":
        return usual, "photos, whose networks are of that kind"
    if family in presets.FITTED:
        base, _ = presets.fit(family, facts, machine)
    else:
        base = presets.get(family)()
    return _shortened(
        base, usual
    ), f"{family}, the family of {tag_of(type(record.config.generator))}"


def _family(init: str, record: ModelRecord) -> str:
    """The preset whose recipe suits a model's networks."""
    config = record.config
    kind, side = tag_of(type(config.generator)), min(config.image_shape[1:])
    if kind == "BigGanGenerator" and not getattr(config.discriminator, "spectral_norm", True):
        return "photos"
    if kind == "R3ganGenerator":  # the penalty depends on the size
        return f"r3gan-{'cifar10' if side <= 32 else 'ffhq64' if side <= 64 else 'ffhq256'}"
    if kind not in presets.FAMILIES:
        raise ConfigError(
            f"--init {init}: no recipe is known for {kind}; name a CONFIG.json with these, too: "
            f"limner train CONFIG.json --init {init} --data DATA"
        )
    return presets.FAMILIES[kind]


def _grown(config: RunConfig, side: int) -> RunConfig:
    """Of a recipe that grows, what it does at the full size; without growth there are no ticks."""
    for part in config.controllers:
        if isinstance(part, Growth):
            optim, rate = config.optim, part.schedule.learning_rate
            return config.replace(
                controllers=tuple(other for other in config.controllers if other is not part),
                batch_size=part.schedule.batch_size(side, config.batch_size),
                optim=Players(
                    g=optim.g.replace(lr=rate("g", side, optim.g.lr)),
                    d=optim.d.replace(lr=rate("d", side, optim.d.lr)),
                ),
                intervals=BY_STEPS,
            )
    return config


def _shortened(base: RunConfig, usual: RunConfig) -> RunConfig:
    """A reproduction's algorithm in the length, intervals, batch and average of `usual`, one's own
    pictures': 2048 images a step and an average over 10,000 steps are for the whole training."""
    batch = base.batch_size
    for update in base.updates:
        batch = min(batch, usual.batch_size) if update.accumulate > 1 else batch
    averages = [part for part in base.controllers if isinstance(part, Ema)]
    kept = [part for part in base.controllers if not (isinstance(part, Ema) and part.decay)]
    added = [] if any(part in kept for part in averages) else list(usual.controllers)
    return base.replace(
        updates=tuple(update.replace(accumulate=1) for update in base.updates),
        batch_size=min(batch, 2 * usual.batch_size),
        controllers=(*kept, *added),
        augments=_augments(base) or usual.augments,
        data=DataConfig(resolution=usual.data.resolution, flip=usual.data.flip),
        steps=None,
        kimg=usual.kimg,
        intervals=usual.intervals,
        sheet=usual.sheet,
        seed=usual.seed,
        metrics=usual.metrics,
        num_evaluate=usual.num_evaluate,
        keep_best=usual.keep_best,
        standing_passes=0,
    )


def _augments(base: RunConfig) -> tuple[Augment, ...]:
    """Without the blur, which is for networks that know nothing yet."""
    return tuple(part for part in base.augments if not isinstance(part, Blur))


# --- what is said of it --------------------------------------------------------


def _told(
    init: str, record: ModelRecord, pictures: Pictures, config: RunConfig, origin: str
) -> list[Choice]:
    channels, height, width = record.config.image_shape
    lines = [
        Choice("start", init, f"networks, {channels}x{height}x{width} and weights", "--init MODEL"),
        Choice("recipe", origin, "", "limner train PRESET --init MODEL"),
    ]
    if pictures.is_gray and channels > 1:
        lines.append(Choice("channels", "gray to color", "each is read as equal channels", ""))
    if not pictures.is_gray and channels == 1:
        lines.append(Choice("channels", "color to gray", "the model has one channel", ""))
    side = min(height, width)
    if pictures.side < side:
        lines.append(Choice("size", f"{pictures.side} px enlarged to {side}", "the model's", ""))
    return [*lines, *_classes(record, pictures, config)]


def _classes(record: ModelRecord, pictures: Pictures, config: RunConfig) -> list[Choice]:
    before, after = record.config.num_classes, _num(pictures)
    if config.data.labels == "none":
        if before:
            why = "the pictures have none; what belongs to them is made anew without"
            return [Choice("classes", f"{before} -> none", why, "")]
        if after > 1:
            why = f"as in the model; the {after} of the pictures are one set"
            return [Choice("classes", "none", why, "--set data.labels=classes")]
        return []
    if before != after:
        why = "what belongs to them is made anew"
        return [Choice("classes", f"{before} -> {after}", why, "--set data.labels=none")]
    return [Choice("classes", f"{before}", "as many as the model has, taken as they are", "")]
