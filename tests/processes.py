"""Forked processes: what torchrun starts without importing torch again, and work on both cores."""

import json
import os
import signal
import socket
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def in_processes(count: int, work: Callable[[int], Any]) -> list[int]:
    """Fork `count` processes with torchrun's environment; each one's exit code, 70 if it raised."""
    port, children = free_port(), []
    for rank in range(count):
        child = os.fork()
        if not child:
            code = 70
            try:
                environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count}
                environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
                os.environ.update({key: str(value) for key, value in environment.items()})
                os.environ["GLOO_SOCKET_IFNAME"] = "lo"
                torch.manual_seed(rank)
                code = work(rank) or 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        children.append(child)
    return [exit_code(child) for child in children]


def exit_code(child: int, seconds: float = 60.0) -> int:
    """A child that hangs is ended, and counts as -9."""
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)


def side_by_side(work: Callable[[Any], Any], items: Iterable[Any], count: int = 2) -> list[Any]:
    """`work(item)` for every item by forked processes, which take the next one when they are free.

    Returns:
        the results in the order of the items; they go through JSON.

    Raises:
        AssertionError: a process failed; its traceback is on stderr.
    """
    items = list(items)
    queue, filling = os.pipe()
    os.write(filling, b"".join(struct.pack("H", number) for number in range(len(items))))
    os.close(filling)
    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory, str(name)) for name in range(count)]
        children = [_worker(work, items, queue, path) for path in paths]
        os.close(queue)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert not any(codes), f"a process failed: {codes}"
        lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    return [result for _, result in sorted(lines, key=lambda line: line[0])]


def _worker(work: Callable[[Any], Any], items: list[Any], queue: int, path: Path) -> int:
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        with open(path, "w") as file:
            while taken := os.read(queue, 2):
                (number,) = struct.unpack("H", taken)
                file.write(json.dumps([number, work(items[number])]) + "\n")
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
