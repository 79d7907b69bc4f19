"""The studio as a person meets it: a process that serves a page, and Chromium to look at it with."""

import contextlib
import importlib.util
import os
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from commands import PYTHON, start

STARTS = 240.0  # seconds, on a machine that does much else


class Place(NamedTuple):
    """A studio that runs."""

    address: str
    model: str  # its first name
    process: int


def need(what: str, there: bool) -> None:
    """Skip without it, but not where the suite is held to be whole."""
    if there:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serving(*words: str, cwd: Path | None = None) -> Iterator[tuple[str, int]]:
    """The address and the number of a process of `limner studio WORDS`."""
    need("gradio", importlib.util.find_spec("gradio") is not None)
    port = free_port()
    process = start([*PYTHON, "studio", *words, "--port", f"{port}", "--device", "cpu"], cwd=cwd)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address, process)
        yield address, process.pid
    finally:
        process.terminate()
        process.communicate(timeout=60)


def wait_for(address: str, process) -> None:
    deadline = time.monotonic() + STARTS
    while True:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "the studio does not answer"
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(address, timeout=20).close()
            return
        time.sleep(0.2)


@contextlib.contextmanager
def chromium() -> Iterator:
    """The system's browser."""
    need("chromium", shutil.which("chromium") is not None)
    need("playwright", importlib.util.find_spec("playwright") is not None)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield browser
        browser.close()
