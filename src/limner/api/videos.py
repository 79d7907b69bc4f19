"""Videos in files: a model's drifting samples, or how a run's sheets changed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from limner.api.notebooks import counter
from limner.checkpoints import RunDirectory
from limner.core.counting import Progress
from limner.core.errors import LimnerError
from limner.sampling import Drift, Model, check_video, load, progress_frames, write_video


def save_drift(
    model: Model | str | Path,
    out: str | Path,
    drift: Drift | None = None,
    bit_rate: int = 16_000_000,
    progress: Progress | None = None,
) -> int:
    """Write a loop of drifting samples, as `limner video MODEL` does; the number of its frames.

    Args:
        out: FILE.mp4, FILE.gif, FILE.webp or animated FILE.png.
        drift: a minute of one picture by default.
        bit_rate: of an .mp4, in bits a second.
        progress: called with (frames drawn, their number).

    Raises:
        LimnerError: see `check_video` and `Drift`; MissingExtra: .mp4 without PyAV.

    Examples:
        >>> drift = limner.Drift(seconds=1, frames_per_second=5, grid="4x2")
        >>> limner.save_drift("runs/digits", "drift.gif", drift)
        5
    """
    drift, out = drift or Drift(), Path(out)
    check_video(out, drift.frames_per_second)
    loaded = model if isinstance(model, Model) else load(model)
    frames = _counted(drift.frames(loaded), drift.num_frames, progress)
    return write_video(frames, out, drift.frames_per_second, bit_rate)


def save_training_video(
    run: str | Path,
    out: str | Path,
    seconds: float = 20.0,
    frames_per_second: float = 30.0,
    time_warp: float = 1.5,
    bit_rate: int = 16_000_000,
    progress: Progress | None = None,
) -> int:
    """Write a run's sample sheets over time, as `limner video RUN --training` does; the number of
    frames.

    Args:
        seconds, frames_per_second, time_warp: see `progress_frames`.
        out, bit_rate, progress: see `save_drift`.

    Raises:
        LimnerError: no run, no sheets in it, or see `check_video`.

    Examples:
        >>> limner.save_training_video("runs/digits", "training.gif", 1, frames_per_second=5)
        5
    """
    out, directory = Path(out), RunDirectory(run)
    check_video(out, frames_per_second)
    if not directory.exists():
        raise LimnerError(
            f"{run}: no run here; --training draws the sheets that a run saved as it "
            "trained, so give its directory; a model folder alone has none (leave --training out)"
        )
    frames = progress_frames(directory, seconds, frames_per_second, time_warp)
    total = round(seconds * frames_per_second)
    return write_video(_counted(frames, total, progress), out, frames_per_second, bit_rate)


def _counted(
    frames: Iterator[np.ndarray], total: int, progress: Progress | None
) -> Iterator[np.ndarray]:
    progress = progress or counter("drawing")
    for done, frame in enumerate(frames, start=1):
        progress(done, total)
        yield frame
