"""How a pair of networks grows: level of detail, batch, rates and ticks as functions of the clock.

The level of detail (lod) counts halvings: 0 is full resolution, 1 half of it; 1.25 is a quarter of
the way from half resolution to a quarter, seen while the half fades in. These are the rules of
tkarras/progressive_growing_of_gans (Karras et al. 2018, appendix A).
"""

import math

from limner.core.config import Config
from limner.core.errors import ConfigError
from limner.core.ranges import NonNegative, Positive, PositiveInt
from limner.core.schedules import check_rising

# ((resolution, value), ...) in rising order: what applies at a resolution, where it differs from
# the usual.
Sizes = tuple[tuple[PositiveInt, PositiveInt], ...]
Rates = tuple[tuple[PositiveInt, Positive], ...]

TICKS: Rates = (
    (4, 160.0),
    (8, 140.0),
    (16, 120.0),
    (32, 100.0),
    (64, 80.0),
    (128, 60.0),
    (256, 40.0),
    (512, 20.0),
    (1024, 10.0),
)


class GrowthSchedule(Config, frozen=True, kw_only=True):
    """Each resolution is trained, then the next one is faded in; what depends on it is looked up.

    "Resolution" is the larger side in pixels, `full` that of the data. A resolution counts from the
    moment at which it begins to fade in.

    Attributes:
        initial_resolution: where growth begins; the full one or more means no growth.
        training_kimg, transition_kimg: thousands of real images for which a resolution is trained,
            and for which the next one fades in.
        batch_sizes: real images a micro-batch, over all processes; elsewhere the run's own.
        most_per_process: the most that one process takes of them.
        num_processes: the number of processes that the schedule is made for: its batches are cut
            down to a multiple of it and to what so many take. None: those that run. So the
            figures of a schedule for 8 hold on 1 process too, as far as they divide.
        g_rates, d_rates: learning rates; elsewhere those of the players' optimizers.
        tick_kimg: thousands of real images a tick, the interval of sheets and states.
        usual_tick_kimg: the same at other resolutions.
    """

    initial_resolution: PositiveInt = 4
    training_kimg: NonNegative = 600.0
    transition_kimg: NonNegative = 600.0
    batch_sizes: Sizes = ()
    most_per_process: Sizes = ()
    num_processes: PositiveInt | None = None
    g_rates: Rates = ()
    d_rates: Rates = ()
    tick_kimg: Rates = TICKS
    usual_tick_kimg: Positive = 160.0

    def __post_init__(self) -> None:
        for name in ("batch_sizes", "most_per_process", "g_rates", "d_rates", "tick_kimg"):
            check_rising(name, getattr(self, name))

    def initial_lod(self, full: int) -> int:
        """Doublings from the initial resolution to the full one; 0 if there is nothing to grow.
        Raises ConfigError where doubling never makes the full one of it."""
        if not self.reaches(full):
            odd = full // (full & -full)
            possible = [odd << k for k in range((full & -full).bit_length())]
            raise ConfigError(
                f"initial_resolution: {self.initial_resolution} does not become {full} by "
                f"doubling; give one of {', '.join(map(str, possible))}"
            )
        return self._doublings(full)

    def reaches(self, full: int) -> bool:
        """Whether doublings make the full resolution of the initial one, or none is needed."""
        initial = self.initial_resolution
        return full <= initial or initial << self._doublings(full) == full

    def _doublings(self, full: int) -> int:
        return max(full // self.initial_resolution, 1).bit_length() - 1

    def lod(self, nimg: int, full: int) -> float:
        """The level of detail after `nimg` real images, between 0 and `initial_lod(full)`."""
        kimg = nimg / 1000.0
        length = self.training_kimg + self.transition_kimg
        phase = math.floor(kimg / length) if length > 0 else 0
        lod = float(self.initial_lod(full)) - phase
        if self.transition_kimg > 0:
            fading = kimg - phase * length - self.training_kimg
            lod -= max(fading, 0.0) / self.transition_kimg
        return max(lod, 0.0)

    def resolution(self, lod: float, full: int) -> int:
        """The largest resolution that takes part at a level of detail."""
        return full >> math.floor(lod)

    def batch_size(self, resolution: int, usual: int, num_processes: int = 1) -> int:
        """Real images a micro-batch, over all processes, a multiple of the `num_processes` that
        run; `usual` is for resolutions without an entry. Raises ConfigError for fewer images than
        processes."""
        planned = self.num_processes or num_processes
        size = dict(self.batch_sizes).get(resolution, usual)
        size -= size % planned
        most = dict(self.most_per_process).get(resolution)
        if most is not None:
            size = min(size, most * planned)
        size -= size % num_processes
        if size < 1:
            raise ConfigError(
                f"batch_sizes: the batch at {resolution} px is too small for "
                f"{max(planned, num_processes)} processes; give a larger one, or start fewer"
            )
        return size

    def learning_rate(self, player: str, resolution: int, usual: float) -> float:
        """A player's learning rate at a resolution; `usual` where none is given."""
        rates = self.g_rates if player == "g" else self.d_rates
        return dict(rates).get(resolution, usual)

    def tick_nimg(self, resolution: int) -> float:
        """Real images in a tick."""
        return dict(self.tick_kimg).get(resolution, self.usual_tick_kimg) * 1000
