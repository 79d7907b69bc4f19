"""A run whose processes kill themselves: a preset for `limner train tests/mortal.py:config`.

$LIMNER_TEST_KILLS holds a JSON list; its i-th entry is what happens after torchrun's i-th restart:
{"rank": 1, "kind": "step" | "save" | "barrier", "step": 7, "at": 2}. The kill is SIGKILL in step 7 or
later: `at` milliseconds into it, at the `at`-th flush of a file of a save, or in front of the
`at`-th collective, while the other process waits in it. Nothing is planted without the variable.
"""

import importlib.util
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from limner.api import screen
from limner.core import distributed
from limner.engine import Intervals, RunConfig
from limner.engine.trainer import Trainer
from runs import eventful_config

STEPS, SAVE_EVERY = 18, 4
KILLS, MARKS = "LIMNER_TEST_KILLS", "LIMNER_TEST_MARKS"


def config() -> RunConfig:
    """Batch norm, dropout, memories, lazy terms: two pictures a process and step."""
    return eventful_config(
        steps=STEPS, intervals=Intervals(log=1, sample=0, save=SAVE_EVERY, milestone=0)
    )


class Plan:
    """Kills this process at the planned moment, and leaves a mark that says so."""

    def __init__(self, kill: dict[str, Any], restart: int):
        self.kill, self.restart = kill, restart
        self.armed, self.passed = False, 0

    def die(self) -> None:
        (Path(os.environ[MARKS]) / f"killed-{self.restart}").write_text(json.dumps(self.kill))
        os.kill(os.getpid(), signal.SIGKILL)

    def passes(self, kind: str) -> bool:
        """Whether this is the `at`-th moment of its kind."""
        if not self.armed or self.kill["kind"] != kind:
            return False
        self.passed += 1
        return self.passed == self.kill["at"]

    def install(self) -> None:
        step, fsync, reduce = Trainer.step, os.fsync, distributed.largest

        def stepping(trainer: Trainer) -> None:
            if not self.armed and trainer.progress.step >= self.kill["step"]:
                self.armed = True
                if self.kill["kind"] == "step":
                    threading.Timer(self.kill["at"] / 1000, self.die).start()
            step(trainer)

        def flushing(descriptor: int) -> None:
            if ".tmp-step" in os.readlink(f"/proc/self/fd/{descriptor}") and self.passes("save"):
                self.die()
            fsync(descriptor)

        def reducing(number: int, **how: Any) -> int:
            if self.passes("barrier"):
                time.sleep(0.2)  # the other is in it now
                self.die()
            return reduce(number, **how)

        Trainer.step, os.fsync, distributed.largest = stepping, flushing, reducing
        screen.timed = lambda *_: None  # no kill among its steps, of which nothing is kept


def _install() -> None:
    restart = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    kills = json.loads(os.environ.get(KILLS, "[]"))
    if restart < len(kills) and kills[restart]["rank"] == int(os.environ.get("RANK", "0")):
        Plan(kills[restart], restart).install()


def _without_extras() -> None:
    """No report and no TensorBoard: they are slow to import and not what is asked here."""
    find = importlib.util.find_spec
    extras = ("matplotlib", "tensorboard")
    importlib.util.find_spec = lambda name, *more: None if name in extras else find(name, *more)


if "TORCHELASTIC_RUN_ID" in os.environ:
    _without_extras()
    _install()
