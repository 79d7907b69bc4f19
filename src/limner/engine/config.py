"""A whole run as one frozen tree: what a preset returns and config.json holds."""

from typing import Annotated, Literal

from msgspec import Meta

from limner.core.config import Config
from limner.core.errors import ConfigError
from limner.core.grids import grid_size
from limner.core.protocols import NetworkConfig
from limner.core.ranges import BelowOne, NonNegative, NonNegativeInt, Positive, PositiveInt
from limner.data.config import DataConfig
from limner.engine.augment.base import Augment
from limner.engine.controllers.base import Controller
from limner.engine.precision import Precision
from limner.engine.update import Update


class Adam(Config, frozen=True, kw_only=True):
    """Adam (Kingma & Ba 2015), without weight decay."""

    lr: NonNegative
    betas: tuple[BelowOne, BelowOne] = (0.0, 0.99)
    eps: NonNegative = 1e-8

    def corrected(self, every: int) -> "Adam":
        """For a player with a lazy update at each `every`-th step, which makes one step more of
        `every` (Karras et al. 2020, StyleGAN2, appendix B)."""
        share = every / (every + 1)
        first, second = self.betas
        return self.replace(lr=self.lr * share, betas=(first**share, second**share))


class Players(Config, frozen=True, kw_only=True):
    """One optimizer for each player."""

    g: Adam
    d: Adam


class Intervals(Config, frozen=True, kw_only=True):
    """Steps between events; 0 switches one off. They never change what is learned.

    The figures of `health` stand in the first log line at or after each multiple of it. The
    largest singular value of every normalized layer goes to spectra.jsonl at each multiple of
    `singular_values`. Where a controller counts ticks (growing networks), `sample`, `save` and
    `evaluate` have a twin in ticks; what is due by either happens. Until the first sheet that is
    due so, one comes after `sample_seconds` of training, twice, four times, ... as many, however
    long a step takes.
    """

    log: NonNegativeInt = 50
    health: NonNegativeInt = 50
    singular_values: NonNegativeInt = 10
    sample: NonNegativeInt = 500
    sample_seconds: NonNegative = 30.0
    save: NonNegativeInt = 1000
    evaluate: NonNegativeInt = 0
    milestone: NonNegativeInt = 0
    sample_ticks: NonNegativeInt = 0
    save_ticks: NonNegativeInt = 0
    evaluate_ticks: NonNegativeInt = 0


class Sheet(Config, frozen=True, kw_only=True):
    """How reals.png and the sheets of fixed samples are laid out.

    Attributes:
        grid: None: a column a class, eight rows, each small picture enlarged. "1080p", "4k" or
            "COLUMNSxROWS": pictures side by side without gaps, as PGGAN's.
        layout: of such a grid: labels as the real pictures in their places have them ("random"),
            or a class a row.
    """

    grid: str | None = None
    layout: Literal["random", "row_per_class"] = "random"

    def __post_init__(self) -> None:
        if self.grid is not None:
            grid_size(self.grid, 1, 1)


class RunConfig(Config, frozen=True, kw_only=True):
    """Everything that decides what a run learns.

    Attributes:
        name: what the run is called in reports.
        generator, discriminator: the networks' configs; image shape and classes come from the data.
        data: how pictures are brought to the networks' size.
        updates: the algorithm: one step is one pass over this list.
        optim: the players' optimizers.
        controllers: what changes over time.
        augments: what all images that the discriminator sees go through, in their order.
        frozen: modules or parameters that keep their weights, as "discriminator.blocks.0"; for
            fine-tuning.
        freeze_d: how many of the discriminator's first layers keep their weights too, in the order
            that it declares (Mo et al. 2020, Freeze-D; 10 or 13 of StyleGAN2's).
        batch_size: real images a micro-batch, over all processes, where no controller says
            otherwise.
        steps, kimg: the run's length, as steps or as thousands of real images; exactly one.
        num_classes: None takes the data's; another number than the data's is refused.
        seed: of weights, order, noise.
        precision: "float32", "float64", or "bfloat16" for the networks' forwards alone: weights,
            power iteration, statistics, losses and penalties stay float32.
        metrics: names of metrics to evaluate at the end and every `intervals.evaluate` steps.
        num_evaluate: generated images an evaluation.
        features: whose features they look at, as `limner evaluate --features` takes it; None takes
            what fits the pictures.
        standing_passes: passes of the sampled generator in training mode whose mean statistics
            replace the running ones while it is evaluated (Brock et al. 2019); 0 takes the running.
        keep_best: checkpoints kept for each metric besides the newest two.
        failed_saves: saves in a row that the disk may refuse before the run ends; 0: at the first.

    Examples:
        >>> config = limner.presets.digits()
        >>> longer = config.replace(name="digits-longer", steps=2 * config.steps)
        >>> config.steps, longer.steps
        (700, 1400)
    """

    name: str
    generator: NetworkConfig
    discriminator: NetworkConfig
    data: DataConfig
    updates: tuple[Update, ...]
    optim: Players
    controllers: tuple[Controller, ...] = ()
    augments: tuple[Augment, ...] = ()
    frozen: tuple[str, ...] = ()
    freeze_d: NonNegativeInt = 0
    batch_size: PositiveInt = 64
    steps: PositiveInt | None = None
    kimg: Positive | None = None
    num_classes: NonNegativeInt | None = None
    seed: int = 0
    precision: Precision = "float32"
    intervals: Intervals = Intervals()
    sheet: Sheet = Sheet()
    metrics: tuple[str, ...] = ()
    num_evaluate: Annotated[int, Meta(ge=2)] = 2000
    features: str | None = None
    standing_passes: NonNegativeInt = 0
    keep_best: NonNegativeInt = 1
    failed_saves: NonNegativeInt = 0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.kimg is None):
            raise ConfigError("give exactly one of steps and kimg")
        if not self.updates:
            raise ConfigError("updates is empty: give at least one Update")
        if not any(update.reads_real for update in self.updates):
            raise ConfigError("updates: no update reads real images, so nothing can be learned")
        if not any(update.draws_real and update.counts for update in self.updates):
            raise ConfigError("updates: no update draws real images that count, so no clock moves")
        for index, update in enumerate(self.updates):
            if update.reads_real and update.reals == "same":
                self._check_same_reals(index, update)

    def _check_same_reals(self, index: int, update: Update) -> None:
        """The update before it that draws is there in each of its steps, with as many batches."""
        drawing = [other for other in self.updates[:index] if other.draws_real]
        if not drawing or update.every % drawing[-1].every:
            raise ConfigError(
                f'updates.{index}.reals: "same" needs an update before it that draws real images '
                "in each of its steps; move it behind one, or give next"
            )
        if update.accumulate != drawing[-1].accumulate:
            raise ConfigError(
                f"updates.{index}.accumulate: {update.accumulate} micro-batches cannot be the same "
                f"as the {drawing[-1].accumulate} drawn before; give {drawing[-1].accumulate}"
            )

    def is_finished(self, step: int, nimg: int) -> bool:
        """Whether the run's length is reached."""
        done, total = self.length(step, nimg)
        return done >= total

    def length(self, step: int, nimg: int) -> tuple[float, float]:
        """(done, all) of the run's length, in steps or in images shown."""
        if self.steps is not None:
            return step, self.steps
        assert self.kimg is not None
        return nimg, self.kimg * 1000

    def images_in_all(self) -> float:
        """Real images that the whole run shows."""
        total = self.length(0, 0)[1]
        return total if self.steps is None else total * self.images_per_step()

    def images_per_step(self) -> float:
        """Real images that one step shows on average, as the clock counts them."""
        return sum(
            update.repeats * update.accumulate * self.batch_size / update.every
            for update in self.updates
            if update.draws_real and update.counts
        )


# What a resumed run may change: its length and what is only looked at.
CHANGEABLE = (
    "steps",
    "kimg",
    "name",
    "metrics",
    "num_evaluate",
    "features",
    "standing_passes",
    "keep_best",
    "failed_saves",
    "intervals",
    "sheet",
    "data.in_memory",
    "data.expected_classes",
)
