"""What a training says before its first step: of the pictures, of what it makes of them, and of the
time that it takes. The lines are events of the run, too."""

import statistics
from collections.abc import Iterator, Mapping, Sequence

from torch import nn

from limner.api.choosing import lines_of
from limner.api.sizes import num_parameters
from limner.core import distributed
from limner.core.errors import ConfigError
from limner.core.ticks import duration, end_time, rate_words
from limner.data import PreparedData, told
from limner.engine import RunConfig
from limner.presets import FITTED
from limner.presets.fitted import Choice
from limner.running.fit import Fit
from limner.running.timing import Timing, timed

Line = tuple[str, str]  # an event and its message
DAY = 86_400.0
MANY_LINES = 10  # of the log, whose median speed a run that goes on is expected to have
SMALLEST = 16  # pixels of a resolution that is named as smaller
FITS = {
    "crop": "the largest centred square",
    "squash": "squashed to the shape",
    "pad": "black bars",
    "keep": "squares anywhere along the long side",
}


def tell(fit: Fit, data: PreparedData, choices: Sequence[Choice]) -> None:
    """What the pictures are, what the run makes of them, and how long it takes; a run that goes on
    says only the last. All processes call it."""
    config, progress = fit.config, fit.trainer.progress
    if config.is_finished(progress.step, progress.nimg):
        return
    with fit.book.pace.standing_still():
        if not any(line.get("event") == "setting" for line in fit.run.read_log("events")):
            for event, line in opening(config, data, fit.trainer.networks, choices):
                fit.note(event, line)
        timing = _known(fit) or timed(config, data, fit.trainer.device)
        if timing is not None:
            done, total = config.length(progress.step, progress.nimg)
            device = f"{distributed.world_size()} x {fit.trainer.device.type}"
            for event, line in time_lines(timing, config, data, done / total, device):
                fit.note(event, line)


def _known(fit: Fit) -> Timing | None:
    """What a run that goes on takes, by its newest log lines."""
    lines = fit.run.read_log("log")[-MANY_LINES:]
    rate = statistics.median(line["images_per_second"] for line in lines) if lines else 0
    return Timing(rate, fit.config.images_in_all() / rate) if rate else None


def opening(
    config: RunConfig,
    data: PreparedData,
    networks: Mapping[str, nn.Module],
    choices: Sequence[Choice] = (),
) -> Iterator[Line]:
    """The pictures with the report's warnings, and what the run makes of them.

    Args:
        config: the run, resolved against the data.
        choices: what its preset picked by itself, and why.
    """
    for line in told(data):
        yield "data", line
    for line in lines_of(_settings(config, data, networks, choices)):
        yield "setting", line


def _settings(
    config: RunConfig,
    data: PreparedData,
    networks: Mapping[str, nn.Module],
    choices: Sequence[Choice],
) -> list[Choice]:
    """What every run has, with the reasons of a preset that fits itself, and what that picked."""
    channels, height, width = data.image_shape
    colors = {1: "gray", 3: "color"}.get(channels, f"{channels} channels")
    labels = f"{data.num_classes} classes" if data.num_classes else "none"
    if data.label_rows is not None:
        labels = f"rows of {data.num_classes} numbers"
    counts = [sum(p.numel() for p in networks[player].parameters()) for player in ("g", "d")]
    named = zip((config.generator, config.discriminator), counts, strict=True)
    weights = [f"{type(network).__name__} with {count:,} weights" for network, count in named]
    flip = config.data.flip
    rows = [
        Choice("resolution", f"{height}x{width} px, {colors}", "", f"--resolution {2 * height}"),
        Choice("fit", FITS[config.data.prepared_fit], "", "--set data.fit=pad"),
        Choice("labels", labels, "", "--set data.labels=none" if data.num_classes else ""),
        Choice(
            "mirrored",
            "half of the pictures" if flip else "none",
            "",
            f"--set data.flip={'false' if flip else 'true'}",
        ),
        Choice("networks", ", ".join(weights), "", ""),
        Choice("batch", f"{config.batch_size}", "", f"--batch-size {config.batch_size // 2}"),
    ]
    own = {choice.what: choice for choice in choices}
    merged = [_with_reason(row, own.pop(row.what, None)) for row in rows]
    return [*merged, *own.values(), _length(config, len(data))]


def _with_reason(row: Choice, picked: Choice | None) -> Choice:
    return row if picked is None else row._replace(why=picked.why, change=picked.change)


def _length(config: RunConfig, num_pictures: int) -> Choice:
    often = config.images_in_all() / num_pictures
    epochs = f"{f'{often:,.0f}' if often >= 100 else f'{often:.3g}'} times all pictures"
    if config.kimg is None:
        return Choice("length", f"{config.steps:,} steps", epochs, "--steps N")
    return Choice("length", f"{config.kimg:g} thousand images shown", epochs, "--kimg N")


def time_lines(
    timing: Timing, config: RunConfig, data: PreparedData, done: float, device: str
) -> Iterator[Line]:
    """How fast the run is, how long what is left takes, and when it ends; beyond a day a warning
    that names what is smaller.

    Args:
        done: the share of its length that lies behind it.
        device: "1 x cpu".
    """
    seconds = timing.seconds * (1 - done)
    length = f"{config.steps:,} steps" if config.kimg is None else f"{config.kimg:g} kimg"
    about = "at least" if timing.is_least else "about"
    yield (
        "speed",
        f"{rate_words(timing.images_per_second)} on {device} by the first steps: {length} take "
        f"{about} {duration(seconds)}, until {end_time(seconds)}, beside scores and pictures",
    )
    if seconds > DAY:
        smaller = ", ".join(_smaller(config, data, DAY / timing.seconds))
        yield "warning", f"training takes more than a day on {device}; smaller are {smaller}"


def _smaller(config: RunConfig, data: PreparedData, share: float) -> Iterator[str]:
    """Options that train for less time; `share` of the length takes a day."""
    channels, height, width = data.image_shape
    half = (channels, height // 2, width // 2)
    if min(half[1:]) >= SMALLEST:
        try:
            for network in (config.generator, config.discriminator):
                num_parameters(network, half, config.num_classes or 0)
        except ConfigError:
            pass  # these networks have no such size
        else:
            size = f"{half[1]}" if half[1] == half[2] else f"{half[1]}x{half[2]}"
            yield f"--resolution {size} (about a quarter of the time)"
    if config.kimg is None:
        yield f"--steps {max(int((config.steps or 0) * share), 1)} (what a day holds)"
    else:
        yield f"--kimg {config.kimg * share:.3g} (what a day holds)"
    if config.name not in FITTED:
        yield "the preset photos, which fits itself to the pictures and the machine"
