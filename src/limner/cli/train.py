"""`limner train`: compose a config, train or resume it, say where the results are."""

import dataclasses
import difflib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from limner.api.configs import check_config, composed, is_fitted, load_config, named_data
from limner.api.early import check_model, check_origin, check_there, check_tracker
from limner.api.starting import RunLock, default_run, early_lock, own_data
from limner.cli.parsing import Arg, parse
from limner.cli.starting import plain_signals
from limner.core.config import encode, load_module
from limner.core.errors import ConfigError, LimnerError

if TYPE_CHECKING:
    from limner.api import RunConfig, TrainedRun
    from limner.api.fitting import Choice

MOST_KEYS = 3  # of the config, named for an unknown option

EXAMPLE = "limner train photos --data photos/ --run runs/photos"


@dataclasses.dataclass(frozen=True)
class Train:
    """Train a GAN. The same command again in the same --run resumes by itself.

    Ctrl-C or SIGTERM saves at the next step and exits with 130 or 143; a second one exits at once.
    """

    preset: Annotated[str | None, Arg("PRESET", positional=True)] = None
    """Preset (see `limner presets`), CONFIG.json, or FILE.py:FUNCTION returning a RunConfig; may be
    left out with --init, whose recipe is taken then."""

    data: Annotated[str | None, Arg("DATA")] = None
    """The pictures: a folder, zip, npz, HDF5, CIFAR folder, prepared directory or another source.
    The digits presets have their own."""

    run: Annotated[Path | None, Arg("FOLDER")] = None
    """Run directory; runs/NAME by default."""

    set: Annotated[tuple[str, ...], Arg("KEY=VALUE")] = ()
    """Change a key of the config, for example optim.g.lr=2e-4; may be repeated."""

    batch_size: int | None = None
    """Real images a step: the key batch_size."""

    resolution: Annotated[str | None, Arg("N|HxW")] = None
    """Size of the images in pixels: the key data.resolution."""

    lr: float | None = None
    """Learning rate of the generator, and in the preset's ratio of the discriminator: the keys
    optim.g.lr and optim.d.lr."""

    steps: int | None = None
    """Length as passes over the list of updates: the key steps."""

    kimg: float | None = None
    """Length as thousands of real images shown: the key kimg."""

    epochs: float | None = None
    """Length as how often all pictures are shown: the key kimg, by their number."""

    seed: int | None = None
    """Seed of weights, order and noise: the key seed."""

    gpus: int | None = None
    """Start so many processes that share the work, one a GPU (with --device cpu: on the CPU)."""

    device: Annotated[str, Arg("DEVICE")] = "auto"
    """auto, cpu, cuda or mps."""

    init: Annotated[str | None, Arg("MODEL")] = None
    """Model whose weights the run starts from; with other classes, what is theirs is made anew."""

    from_: Annotated[str | None, Arg("RUN", name="from")] = None
    """Continue another run's whole state here: RUN, RUN@best-fid or RUN@step-N."""

    fresh: bool = False
    """Start over; what --run holds is moved aside to RUN.replaced-TIME."""

    total_batch: Annotated[int | None, Arg(rare=True)] = None
    """Real images whose gradients make one step, split into as few micro-batches as fit into
    memory: the keys batch_size and updates.N.accumulate."""

    track: Annotated[tuple[str, ...], Arg("NAME", rare=True)] = ()
    """Show the run in wandb, mlflow or trackio, too, or in a tracker of your own, MODULE:CLASS; may
    be repeated. TensorBoard's files are written where it is installed."""

    workers: Annotated[int, Arg(rare=True)] = 0
    """Loader processes; the result does not depend on it."""

    worker_timeout: Annotated[float, Arg("SECONDS", rare=True)] = 60.0
    """Seconds without a batch after which one of them counts as hung, and is replaced."""

    process_timeout: Annotated[float, Arg("SECONDS", rare=True)] = 1800.0
    """Seconds after which a process that does not come to the sum of a step counts as stopped, and
    the others end."""

    on_divergence: Annotated[Literal["stop", "rollback"], Arg(rare=True)] = "stop"
    """What follows a number that is not finite: an error, or (at most twice) the newest
    checkpoint again with another seed and half the learning rates."""

    module: Annotated[tuple[str, ...], Arg("MODULE", rare=True)] = ()
    """Module or FILE.py with classes of your own that the config names; may be repeated."""

    json: Annotated[bool, Arg(rare=True)] = False
    """Print the result as one JSON object on stdout."""


def main(argv: Sequence[str]) -> int:
    """Train as the options say; 0, or 128 + the signal that stopped the run."""
    options = parse(Train, argv, "train", EXAMPLE, lambda option: key_hint(option, argv))
    if options.preset is not None:
        check_config(options.preset)
    if options.gpus is not None:
        from limner.api.launching import is_launched, launch

        if not is_launched():
            return launch(options.gpus, options.device, ["train", *argv])
    try:
        data = data_of(options)
    except ConfigError as error:
        print(f"limner train: {error}", file=sys.stderr)
        return 2
    check_there(data)
    for name in options.track:
        check_tracker(name)
    if options.init is not None:
        check_model(options.init)
    if options.from_ is not None:
        check_origin(options.from_)
    with plain_signals(), early_lock(_place(options), options.preset or "", options.set) as lock:
        return run(options, data, lock)


def _place(options: Train) -> Path | None:
    """The run directory, where it is known before the config is."""
    if options.preset is None:
        return options.run or Path("runs/finetuned")
    return options.run


def data_of(options: Train) -> str:
    """--data, else the pictures of the run that goes on, else those that the preset has itself.

    Raises:
        ConfigError: none are named.
    """
    if options.preset is None and options.init is None:
        raise ConfigError(
            "which preset? `limner presets` lists them, and photos is for your own pictures; "
            "--init MODEL alone fine-tunes a model"
        )
    if options.data is not None:
        return options.data
    run = _place(options) or default_run(options.preset or "", options.set)
    if run is not None and not options.fresh and (known := own_data(str(run))):
        return known
    return str(named_data(options.preset or f"--init {options.init}", None))


def run(options: Train, data: str, lock: RunLock | None) -> int:
    """`main` with the signals answered, and the run directory held where it can be by then."""
    config, choices, lines = compose(options, data, lock.run if lock else options.run)

    from limner.api import TrainOptions, train
    from limner.cli.display import Display

    with Display(config, quiet=options.json) as display:
        display.say(lines)
        result = train(
            config,
            data,
            lock.run if lock else options.run,
            TrainOptions(
                device=options.device,
                num_workers=options.workers,
                on_divergence=options.on_divergence,
                worker_timeout=options.worker_timeout,
                process_timeout=options.process_timeout,
                fresh=options.fresh,
                origin=options.from_,
                init=options.init,
                lock=lock,
                trackers=options.track,
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


def compose(
    options: Train, data: str, run: Path | None
) -> "tuple[RunConfig, list[Choice], list[str]]":
    """The config that the options ask for, what its preset picked by itself, and what the
    shorthands came to."""
    for name in options.module:
        load_module(name)

    from limner.api.shorthands import Shorthands

    short = Shorthands(
        options.batch_size, options.resolution, options.lr, options.epochs, options.total_batch
    )
    kimg = short.kimg(data, options.steps, options.kimg)
    changes = ([*short.before(), *options.set], options.steps, kimg, options.seed)
    choices: list[Choice] = []
    if options.preset is None:
        from limner.api.finetuning import finetuned

        words = (str(options.init), data, run)
        config, choices = finetuned(*words, *changes, device=options.device, fresh=options.fresh)
    elif is_fitted(options.preset):
        from limner.api.fitting import fitted

        words = (options.preset, data, run)
        config, choices = fitted(*words, *changes, device=options.device, fresh=options.fresh)
    else:
        config = composed(options.preset, *changes)
    config = short.with_rates(config, options.set)
    config = short.with_total_batch(config, options.device, run)
    return config, choices, short.said


def key_hint(option: str, argv: Sequence[str]) -> str:
    """The answer to an unknown option that is near a key of the config, else ""."""
    from limner.cli.presets import leaves

    try:
        known = dict(leaves(encode(load_config(argv[0]))))
    except LimnerError:
        return ""
    word = option.removeprefix("--").replace("-", "_")
    lasts = {key.rpartition(".")[2] for key in known}
    near = [word] if word in lasts else difflib.get_close_matches(word, lasts, n=1, cutoff=0.75)
    keys = [key for key in known if key == word or key.rpartition(".")[2] in near][:MOST_KEYS]
    lines = [f"--set {key}=VALUE (now {json.dumps(known[key])})" for key in keys]
    return f"no option {option}; of the config's keys: {' or '.join(lines)}" if keys else ""


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
