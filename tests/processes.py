"""Forked process groups: what torchrun starts, without importing torch again."""

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
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
