"""A video of how a run's sample sheets changed while it trained."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from limner.checkpoints import RunDirectory
from limner.core.errors import LimnerError
from limner.core.ticks import format_time

LARGEST = (1920, 1080)
SMALLEST_WIDTH = 480  # so that the text fits
PAPER, INK = (24, 24, 24), (235, 235, 235)


class Snapshot(NamedTuple):
    """A sheet, and what the log says of its step; `lod` is None where none was logged."""

    path: Path
    step: int
    seconds: float
    nimg: float
    lod: float | None


def snapshots(run: RunDirectory) -> list[Snapshot]:
    """The run's sheets of fixed samples in their order.

    A step between two log lines has figures between theirs. Without a log a step counts as a
    second.

    Raises:
        LimnerError: no sheet.
    """
    found = []
    for path in run.samples.glob("step-*.png"):
        match = re.fullmatch(r"step-([0-9]+)\.png", path.name)
        if match is not None:
            found.append((int(match[1]), path))
    if not found:
        raise LimnerError(
            f"{run.path}: no sample sheets in {run.samples.name}/; train with intervals.sample > 0 "
            "(a growing run: intervals.sample_ticks > 0)"
        )
    records = run.read_log("log")
    return [
        Snapshot(
            path,
            step,
            _at(step, records, "seconds", 0.0, float(step)),
            _at(step, records, "nimg", 0.0, 0.0),
            None if not any(_is_number(r.get("lod")) for r in records) else _lod(step, records),
        )
        for step, path in sorted(found)
    ]


def _at(step: int, records: list[dict[str, Any]], key: str, first: float, without: float) -> float:
    """A logged figure at a step, on the line between its neighbours; `first` stands at step 0."""
    known = [(0, first)]
    known += [(r["step"], r[key]) for r in records if _is_number(r.get(key)) and r["step"] > 0]
    if len(known) == 1:
        return without
    steps, values = zip(*known, strict=True)
    return float(np.interp(step, steps, values))


def _lod(step: int, records: list[dict[str, Any]]) -> float:
    known = [(r["step"], r["lod"]) for r in records if _is_number(r.get("lod"))]
    steps, values = zip(*known, strict=True)
    return float(np.interp(step, steps, values))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def progress_frames(
    run: RunDirectory,
    seconds: float = 20.0,
    frames_per_second: float = 30.0,
    time_warp: float = 1.5,
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Frames of a video in which training takes `seconds`; step, time, thousands of images and,
    where it was logged, lod stand below the picture.

    At the share s of the video the share s ** time_warp of the run's time has passed, so the
    beginning is shown more slowly; the last frame shows the last sheet. Sheets are halved while
    they exceed 1920 x 1080. The values are those of PGGAN's training video.

    Raises:
        LimnerError: no sheets, or lengths that make no video.
    """
    num = round(seconds * frames_per_second)
    if num < 1 or time_warp <= 0:
        raise LimnerError(
            f"{seconds:g} seconds at {frames_per_second:g} frames and a time warp of {time_warp:g} "
            "make no video; give more than 0"
        )
    sheets = snapshots(run)
    times = [sheet.seconds for sheet in sheets]
    size = _fitted(sheets[-1].path).size
    shown, picture = -1, Image.new("RGB", size)
    for frame in range(num):
        share = frame / (num - 1) if num > 1 else 1.0
        now = times[0] + share**time_warp * (times[-1] - times[0])
        place = len(sheets) - 1 if frame == num - 1 else max(bisect_right(times, now) - 1, 0)
        if place != shown:
            shown, picture = place, _placed(_fitted(sheets[place].path), size)
        yield _labelled(picture, sheets[place], now)


def _fitted(path: Path) -> Image.Image:
    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
    except OSError as error:
        raise LimnerError(f"{path}: not a readable picture ({error}); delete it") from None
    while picture.width > LARGEST[0] or picture.height > LARGEST[1]:
        picture = picture.reduce(2)
    return picture


def _placed(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """In the middle of a paper of the size, for a run whose sheets changed theirs."""
    width = max(size[0], SMALLEST_WIDTH)
    paper = Image.new("RGB", (width, size[1]), PAPER)
    if picture.width > width or picture.height > size[1]:
        picture.thumbnail((width, size[1]))
    paper.paste(picture, ((width - picture.width) // 2, (size[1] - picture.height) // 2))
    return paper


def _labelled(picture: Image.Image, sheet: Snapshot, now: float) -> UInt8[np.ndarray, "h w 3"]:
    text_size = max(16, picture.height // 40)
    bar = 2 * text_size
    paper = Image.new("RGB", (picture.width, picture.height + bar), PAPER)
    paper.paste(picture, (0, 0))
    font = ImageFont.load_default(text_size)
    left = f"step {sheet.step:,}" + ("" if sheet.lod is None else f"   lod {sheet.lod:.2f}")
    kimg = sheet.nimg / 1000
    texts = (left, format_time(now), f"{kimg:.0f} kimg" if kimg >= 100 else f"{kimg:.1f} kimg")
    places = ((text_size, "lm"), (picture.width // 2, "mm"), (picture.width - text_size, "rm"))
    draw = ImageDraw.Draw(paper)
    for text, (x, anchor) in zip(texts, places, strict=True):
        draw.text((x, picture.height + bar // 2), text, fill=INK, font=font, anchor=anchor)
    return np.asarray(paper)
