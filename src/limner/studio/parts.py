"""What the tabs share: lines that tell how work goes, and what a model has to choose from."""

import shlex
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr

from limner.api import Model
from limner.api.samples import TruncationMode
from limner.api.shelf import Shelf

NUM_IMAGENET = 1000
Outputs = tuple[Any, ...]  # of a job's step, a value for each part of the page that it fills
WORK = "work"  # jobs of this name run one after the other
QUIET: dict[str, Any] = {
    "api_visibility": "private",
    "concurrency_id": WORK,
    "concurrency_limit": 1,
}
LIGHT: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def told(text: str, done: int = 0, total: int = 0) -> str:
    """A line for the status, with a bar where there is a total."""
    bar = (
        f'<progress max="{total}" value="{done}" aria-label="progress"></progress>' if total else ""
    )
    return f'<p role="status">{bar}{escape(text)}</p>'


def refused(error: Exception) -> str:
    """An error as a line."""
    return f'<p role="alert">{escape(" ".join(str(error).split()))}</p>'


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder for the files of one job; gradio keeps its own copies of what it shows."""
    with tempfile.TemporaryDirectory(prefix="limner-studio-") as folder:
        yield Path(folder)


def command_line(words: list[str]) -> str:
    """The words of a command as they are typed."""
    return shlex.join(["limner", *words])


@cache
def imagenet_names() -> list[str]:
    """Names of ImageNet's 1,000 classes in their usual order."""
    text = files("limner.studio").joinpath("imagenet_classes.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


def is_imagenet(model: Model) -> bool:
    """Whether its classes are ImageNet's, as far as their number tells."""
    return model.num_classes == NUM_IMAGENET


def class_choices(model: Model) -> list[tuple[str, int]]:
    """(what is shown, index) of every class."""
    names = model.class_names or (imagenet_names() if is_imagenet(model) else ())
    if not names:
        return [(f"{index}", index) for index in range(model.num_classes)]
    return [
        (name if name == str(index) else f"{index}: {name}", index)
        for index, name in enumerate(names)
    ]


def modes_of(model: Model) -> list[TruncationMode]:
    """Truncation modes that the model has, the usual one first."""
    if model.has_styles:
        return ["w", "resample"]
    return [*(["statistics"] if model.standing is not None else []), "resample", "scale"]


class Stops:
    """Ends jobs between two of their steps. After gradio's own cancelling its queue waits now and
    then for the job that was cancelled (6.31)."""

    def __init__(self) -> None:
        self._asked: set[str | None] = set()  # sessions

    def clear(self, request: gr.Request) -> None:
        """Of the session: whatever it starts now goes on."""
        self._asked.discard(request.session_hash)

    def ask(self, request: gr.Request) -> None:
        """Of the session: what it has started ends."""
        self._asked.add(request.session_hash)

    def watched(self, work: Callable[..., Generator[Outputs]]) -> Callable[..., Iterator[Outputs]]:
        """The job that ends when it is asked to; its first output is the status."""

        def run(request: gr.Request, *fields: Any) -> Iterator[Outputs]:
            with closing(work(*fields)) as steps:
                for outputs in steps:
                    if request.session_hash in self._asked:
                        stopped = told("stopped; what is there stays")
                        yield stopped, *[gr.skip()] * (len(outputs) - 1)
                        return
                    yield outputs

        return run

    def wire(self, stop: gr.Button, starts: Sequence[Callable[..., Any]]) -> None:
        """`starts`: what begins jobs, such as a button's `click`."""
        for start in starts:
            start(self.clear, None, None, queue=False, **LIGHT)
        stop.click(self.ask, None, None, queue=False, **LIGHT)


def default_model(shelf: Shelf) -> str | None:
    """The first name, or none."""
    names = shelf.models()
    return names[0] if names else None
