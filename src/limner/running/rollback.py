"""What a run does after a divergence: stop, or go back to a checkpoint and try otherwise.

Going back alone would meet the same fault: order and noise are functions of the seed. So each
rollback gives the run another seed (not its weights) and half the learning rates. How often it
went back is part of the state, and so is everything that follows from it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from limner.checkpoints import RunDirectory, newest_verified
from limner.core import distributed
from limner.core.errors import CheckpointError

OnDivergence = Literal["stop", "rollback"]
MOST_ROLLBACKS = 2


def newest_for_all(checkpoints: Path, warn: Callable[[str], None]) -> Path | None:
    """The newest checkpoint that verifies, or None; the same one on all processes, which call it.
    Raises CheckpointError where they see different ones, so that their weights would never be equal
    again."""
    path = newest_verified(checkpoints, warn)
    step = -1 if path is None else int(path.name.removeprefix("step-"))
    newest, oldest = distributed.largest(step), -distributed.largest(-step)
    if newest != oldest:
        shown = " and ".join("none" if k < 0 else f"step {k}" for k in (oldest, newest))
        raise CheckpointError(
            f"{checkpoints}: the processes see different checkpoints ({shown}); give a --run on a "
            "file system that all of them share, then run the same command again"
        )
    return path


def forget_after(run: RunDirectory, step: int) -> None:
    """Drop what a run said and drew after a step: it is about to do that anew, and otherwise."""
    run.truncate_logs(step)
    for path in run.samples.glob("step-*.png"):
        number = path.stem.removeprefix("step-")
        if number.isdecimal() and int(number) > step:
            path.unlink()
