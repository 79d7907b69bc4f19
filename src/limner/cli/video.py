"""`limner video`: drifting through a model's latents, or how a run's samples changed."""

import dataclasses
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from limner.api.early import check_model
from limner.cli.loading import load_model
from limner.cli.parsing import Arg, parse
from limner.core.errors import LimnerError
from limner.core.outputs import named_after

EXAMPLE = "limner video runs/digits --out drift.mp4 --grid 4x3 --seconds 20"


@dataclasses.dataclass(frozen=True)
class Video:
    """A loop of smoothly drifting samples, or with --training a run's sample sheets over time."""

    model: Annotated[str, Arg("MODEL|RUN", positional=True)]
    """Run, RUN@best-fid, model folder; with --training a run directory."""

    out: Annotated[Path | None, Arg("FILE")] = None
    """FILE.mp4 (H.264, needs the extra video), FILE.gif, FILE.webp or animated FILE.png. By default
    RUN-drift.mp4 here (or .gif, without the extra); with --training RUN-training."""

    training: bool = False
    """The run's sample sheets over time, with step, time, kimg and lod."""

    seconds: float | None = None
    """Length; 60 by default, 20 with --training."""

    fps: float = 30.0
    """Frames a second; at most 50 for FILE.gif."""

    bitrate: Annotated[float, Arg(rare=True)] = 16.0
    """Millions of bits a second of FILE.mp4."""

    time_warp: Annotated[float, Arg(rare=True)] = 1.5
    """With --training: above 1 shows the beginning more slowly."""

    smoothing: float = 1.0
    """Seconds over which latents are smoothed; more is slower."""

    grid: Annotated[str, Arg("SIZE")] = "1x1"
    """COLUMNSxROWS, 1080p or 4k."""

    shrink: Annotated[int, Arg(rare=True)] = 1
    """Divide each picture's side by this."""

    zoom: Annotated[int, Arg(rare=True)] = 1
    """Multiply each picture's side by this."""

    seed: int = 1000
    """Of the drifting latents."""

    classes: Annotated[str | None, Arg("A,B")] = None
    """Classes of the cells by index or name, one after the other; all by default."""

    truncation: float | None = None
    """Multiply the latents by this; or take styles at this share of the way from their mean."""

    truncation_cutoff: Annotated[int | None, Arg(rare=True)] = None
    """Of the styles of so many first layers only."""

    noise: Literal["const", "random", "none"] | None = None
    """Of a model with styles: one for all, by default; each cell's own; none."""

    space: Annotated[Literal["z", "w"] | None, Arg(rare=True)] = None
    """Drift through latents (z), or on curves through styles (w, the default where there are)."""

    batch_size: Annotated[int, Arg(rare=True)] = 64
    """Images a forward pass."""

    device: Annotated[str, Arg("DEVICE")] = "auto"
    """auto, cpu, cuda or mps."""

    module: Annotated[tuple[str, ...], Arg("MODULE", rare=True)] = ()
    """Module or FILE.py with classes of your own that the model names; may be repeated."""

    json: bool = False
    """Print what was written as one JSON object on stdout."""


def main(argv: Sequence[str]) -> int:
    """Make the video; 0."""
    options = parse(Video, argv, "video", EXAMPLE)
    if options.seconds is not None and options.seconds <= 0:
        raise LimnerError(f"--seconds {options.seconds:g}: give a number above 0")
    if options.bitrate <= 0:
        raise LimnerError(f"--bitrate {options.bitrate:g}: give a number above 0")
    out = options.out or default_out(options)
    if not options.training:
        check_model(options.model, options.classes)
    num = (_training if options.training else _drift)(options, out)
    facts = {"out": str(out), "num_frames": num, "seconds": num / options.fps}
    print(json.dumps(facts) if options.json else f"{num} frames: {out}")
    return 0


def default_out(options: Video) -> Path:
    """A free name for the film."""
    suffix = ".gif" if importlib.util.find_spec("av") is None else ".mp4"
    kind = "training" if options.training else "drift"
    return named_after(options.model, f"{kind}{suffix}")


def _drift(options: Video, out: Path) -> int:
    from limner.api.videos import Drift, check_video, save_drift
    from limner.cli.progress import Counter

    check_video(out, options.fps)  # before the model is loaded
    model = load_model(options.model, options.device, options.module, "video")
    drift = Drift(
        seconds=60.0 if options.seconds is None else options.seconds,
        frames_per_second=options.fps,
        smoothing=options.smoothing,
        grid=options.grid,
        shrink=options.shrink,
        zoom=options.zoom,
        seed=options.seed,
        classes=() if options.classes is None else model.class_indices(options.classes),
        truncation=options.truncation,
        truncation_cutoff=options.truncation_cutoff,
        noise=options.noise,
        space=options.space,
        batch_size=options.batch_size,
    )
    with Counter("drawing", quiet=options.json, unit="frames") as counter:
        return save_drift(model, out, drift, round(options.bitrate * 1e6), counter)


def _training(options: Video, out: Path) -> int:
    from limner.api.videos import save_training_video
    from limner.cli.progress import Counter

    with Counter("drawing", quiet=options.json, unit="frames") as counter:
        return save_training_video(
            options.model,
            out,
            20.0 if options.seconds is None else options.seconds,
            options.fps,
            options.time_warp,
            round(options.bitrate * 1e6),
            counter,
        )
