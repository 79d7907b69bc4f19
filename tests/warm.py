"""The public command from outside: its arguments, exit code and words, and what is on the disk.

At full size every command is an interpreter of its own. At fast size one fresh interpreter, which
knows nothing of the tests, imports limner and torch and forks for every command; the fork runs what
`python -m limner` runs. Interpreters of their own are started at both sizes by the tests that use
`commands.PYTHON`.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Any

from commands import environment
from sizes import FULL

TESTS = Path(__file__).resolve().parent
MOST = 2  # commands at a time

SERVER = """
import json, os, runpy, sys, traceback
import torch, torch._dynamo, torch.utils.tensorboard, matplotlib.pyplot
import limner.api.training, limner.metrics, limner.reports, limner.cli.train, limner.cli.display

torch.set_num_threads(1)

def run(order):
    os.setsid()
    os.chdir(order["directory"])
    for number in (1, 2):
        os.dup2(os.open(order["streams"][number - 1], os.O_CREAT | os.O_WRONLY, 0o600), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = open(0)
    sys.argv = ["limner", *order["words"]]
    code = 1
    try:
        runpy.run_module("limner", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

for line in sys.stdin:
    order = json.loads(line)
    if "words" in order:
        child = os.fork()
        if not child:
            run(order)
        answer = child
    else:
        answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
    print(answer, flush=True)
"""


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


class Warm:
    """Runs commands, MOST at a time; `start` and `end` by a name of the caller's."""

    def __init__(self, directory: Path):
        self._directory, self._count = directory, 0
        self._running: dict[str, tuple[Callable[[], int], list[Path]]] = {}
        self._ended: dict[str, Ended] = {}
        path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._environment = environment(
            PYTHONPATH=path
        )  # the tests' own modules: configs name them
        self._server = None
        if not FULL:
            with open(self._directory / "server", "w") as said:
                self._server = self._popen("-c", SERVER, stdin=PIPE, stdout=PIPE, stderr=said)

    def _popen(self, *words: str, **streams: Any) -> subprocess.Popen[str]:
        command = [sys.executable, *words]
        return subprocess.Popen(
            command, env=self._environment, cwd=self._directory, text=True, **streams
        )

    def _ask(self, **order: object) -> int:
        assert self._server is not None
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        code, said = self._server.poll(), self._directory / "server"
        assert code is None, f"the server ended with {code}: {said.read_text()}"
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def _begin(self, words: list[str], streams: list[Path]) -> Callable[[], int]:
        """Start a command; what waits for it and returns its exit code."""
        if self._server is None:
            with open(streams[0], "w") as out, open(streams[1], "w") as err:
                return self._popen("-m", "limner", *words, stdout=out, stderr=err).wait
        told = [str(path) for path in streams]
        child = self._ask(words=words, streams=told, directory=str(self._directory))
        return lambda: self._ask(wait=child)

    def start(self, name: str, words: list[str]) -> None:
        """`limner WORDS` in its own process; waits for another where MOST run already."""
        while len(self._running) >= MOST:
            self._finish(next(iter(self._running)))
        self._count += 1
        streams = [self._directory / f"{kind}-{self._count}" for kind in ("out", "err")]
        self._running[name] = (self._begin(words, streams), streams)

    def _finish(self, name: str) -> None:
        wait, streams = self._running.pop(name)
        code = wait()
        out, err = (path.read_text() for path in streams)
        self._ended[name] = Ended(code, out, err)

    def end(self, name: str) -> Ended:
        """Wait for a command and say how it ended."""
        if name in self._running:
            self._finish(name)
        return self._ended.pop(name)

    def __call__(self, words: list[str]) -> Ended:
        self.start("alone", words)
        return self.end("alone")

    def close(self) -> None:
        if self._server is None:
            return
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(timeout=60)
        self._server.stdout.close()


@contextlib.contextmanager
def warmed(directory: Path) -> Iterator[Warm]:
    warm = Warm(directory)
    try:
        yield warm
    finally:
        warm.close()
