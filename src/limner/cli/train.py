"""`limner train`: compose a config, train or resume it, say where the results are."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from limner.api.configs import check_config, composed, is_fitted, named_data
from limner.api.starting import RunLock, early_lock
from limner.cli.parsing import parse
from limner.cli.starting import plain_signals
from limner.core.config import load_module
from limner.core.errors import ConfigError

if TYPE_CHECKING:
    from limner.api import RunConfig, TrainedRun
    from limner.api.fitting import Choice

EXAMPLE = "limner train digits --run runs/digits --set optim.g.lr=5e-4"


@dataclasses.dataclass(frozen=True)
class Train:
    """Train a GAN. The same command again in the same --run resumes by itself.

    Ctrl-C or SIGTERM saves at the next step and exits with 130 or 143; a second one exits at once.
    """

    preset: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[PRESET]")] = None
    """Preset (see `limner presets`), CONFIG.json, or FILE.py:FUNCTION returning a RunConfig; may be
    left out with --init, whose recipe is taken then."""

    data: str | None = None
    """Built-in name, prepared directory, or any source: folder, zip, npz, HDF5, CIFAR folder. Only
    presets of the built-in digits need none."""

    run: Path | None = None
    """Run directory; runs/NAME by default."""

    set: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="KEY=VALUE")
    ] = ()
    """Override a key of the config, for example optim.g.lr=2e-4; may be repeated."""

    steps: int | None = None
    """Length as passes over the update list."""

    kimg: float | None = None
    """Length as thousands of real images shown."""

    seed: int | None = None
    """Seed of weights, order and noise."""

    device: str = "auto"
    """auto, cpu, cuda or mps."""

    workers: int = 0
    """Loader processes; the result does not depend on it."""

    worker_timeout: float = 60.0
    """Seconds without a batch after which one of them counts as hung, and is replaced."""

    on_divergence: Literal["stop", "rollback"] = "stop"
    """What follows a number that is not finite: an error, or (at most twice) the newest
    checkpoint again with another seed and half the learning rates."""

    init: str | None = None
    """Model whose weights the run starts from; with other classes, what is theirs is made anew."""

    from_: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """Continue another run's whole state here: RUN, RUN@best-fid or RUN@step-N."""

    fresh: bool = False
    """Start over; what --run holds is moved aside to RUN.replaced-TIME."""

    module: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Module or FILE.py with classes of your own that the config names; may be repeated."""

    json: bool = False
    """Print the result as one JSON object on stdout."""


def main(argv: Sequence[str]) -> int:
    """Train as the options say; 0, or 128 + the signal that stopped the run."""
    options = parse(Train, argv, "train", EXAMPLE)
    if options.preset is not None:
        check_config(options.preset)
    try:
        options = dataclasses.replace(options, data=_data_of(options))
    except ConfigError as error:
        print(f"limner train: {error}", file=sys.stderr)
        return 2
    place = options.run or (None if options.preset else Path("runs/finetuned"))
    with plain_signals(), early_lock(place, options.preset or "", options.set) as lock:
        return run(options, lock)


def _data_of(options: Train) -> str:
    if options.preset is not None:
        return str(named_data(options.preset, options.data))
    if options.init is None:
        raise ConfigError(
            "which preset? `limner presets` lists them, and photos is for your own pictures; "
            "--init MODEL alone fine-tunes a model"
        )
    return str(named_data(f"--init {options.init}", options.data))


def run(options: Train, lock: RunLock | None) -> int:
    """`main` with the signals answered, and the run directory held where it can be by then."""
    config, choices = compose(options, lock.run if lock else options.run)

    from limner.api import TrainOptions, train
    from limner.cli.display import Display

    with Display(config, quiet=options.json) as display:
        result = train(
            config,
            options.data,
            lock.run if lock else options.run,
            TrainOptions(
                device=options.device,
                num_workers=options.workers,
                on_divergence=options.on_divergence,
                worker_timeout=options.worker_timeout,
                fresh=options.fresh,
                origin=options.from_,
                init=options.init,
                lock=lock,
                choices=choices,
                on_step=display.on_step,
                on_glance=display.on_glance,
                on_scores=display.on_scores,
                on_event=display.on_event,
                on_prepare=display.on_prepare,
            ),
        )
    if display.is_main:
        print(as_json(result) if options.json else describe(result))
    return 128 + result.outcome.signal if result.outcome.signal else 0


def compose(options: Train, run: Path | None) -> "tuple[RunConfig, list[Choice]]":
    """The config that the options ask for, and what its preset picked by itself."""
    for name in options.module:
        load_module(name)
    changes = (options.set, options.steps, options.kimg, options.seed)
    assert options.data is not None  # see `main`
    if options.preset is None:
        from limner.api.finetuning import finetuned

        assert options.init is not None
        words = (options.init, options.data, run)
        return finetuned(*words, *changes, device=options.device, fresh=options.fresh)
    if not is_fitted(options.preset):
        return composed(options.preset, *changes), []

    from limner.api.fitting import fitted

    words = (options.preset, options.data, run)
    return fitted(*words, *changes, device=options.device, fresh=options.fresh)


def describe(result: "TrainedRun") -> str:
    """The closing lines: what happened, and where the pictures are."""
    outcome = result.outcome
    if outcome.signal:
        first = f"stopped at step {outcome.step} and saved; the same command goes on from there"
    elif result.was_finished:
        first = f"this run was finished already, at step {outcome.step}; nothing was trained"
    else:
        first = f"finished at step {outcome.step}, {outcome.nimg:,} images seen"
    lines = [first] if result.verdict is None else [first, result.verdict]
    places = (("sheet", result.sheet), ("report", result.report), ("model", result.model))
    lines += [f"  {name:<7} {path}" for name, path in places if path is not None]
    return "\n".join(lines)


def as_json(result: "TrainedRun") -> str:
    """The same as JSON."""
    outcome = result.outcome
    return json.dumps(
        {
            "run": str(result.path),
            "step": outcome.step,
            "nimg": outcome.nimg,
            "signal": outcome.signal,
            "was_finished": result.was_finished,
            "sheet": str(result.sheet) if result.sheet else None,
            "report": str(result.report) if result.report else None,
            "model": str(result.model) if result.model else None,
            "verdict": result.verdict,
        }
    )
