"""Videos written frame by frame: only the frame at hand is in memory."""

import itertools
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from limner.core.errors import LimnerError, MissingExtra
from limner.core.files import whole_file

Frame = UInt8[np.ndarray, "h w 3"]

FORMATS = (".mp4", ".gif", ".webp", ".png")
MOST_BYTES_IN_MEMORY = 1 << 30  # Pillow keeps all frames of the formats other than .mp4


def check_video(path: Path, frames_per_second: float = 30.0) -> None:
    """Refuse what cannot be written, before any frame is made.

    Raises:
        LimnerError: another suffix, or a rate that the format cannot hold; MissingExtra: .mp4
            without PyAV.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise LimnerError(f"{path}: '{suffix}' is no animation; use .mp4, .gif, .webp or .png")
    most = 50.0 if suffix == ".gif" else 1000.0  # hundredths of a second, and thousandths
    if not 0 < frames_per_second <= most:
        raise LimnerError(f"--fps {frames_per_second:g}: give a number above 0, at most {most:g}")
    if suffix == ".mp4":
        _av()


def write_video(
    frames: Iterable[Frame], path: Path, frames_per_second: float, bit_rate: int | None = None
) -> int:
    """Write frames of one size as .mp4 (H.264), .gif, .webp or animated .png, whole or not at all;
    their number.

    An .mp4 is written as the frames come. The others are held in memory until the last one, at
    most a gigabyte, and repeat for ever.

    Args:
        bit_rate: of the .mp4, in bits a second; None keeps the quality (CRF 18) instead.

    Raises:
        LimnerError: see `check_video`; no frame; too many for another format than .mp4.
    """
    path = Path(path)
    check_video(path, frames_per_second)
    with whole_file(path) as temporary:
        if path.suffix.lower() == ".mp4":
            num = _write_mp4(frames, temporary, frames_per_second, bit_rate)
        else:
            num = _write_pillow(frames, temporary, path, frames_per_second)
    return num


def _first(frames: Iterable[Frame]) -> tuple[Frame, Iterable[Frame]]:
    rest = iter(frames)
    first = next(rest, None)
    if first is None:
        raise LimnerError("a video of no frames; make it longer")
    return first, itertools.chain([first], rest)


def _write_pillow(frames: Iterable[Frame], out: Path, path: Path, rate: float) -> int:
    first, frames = _first(frames)
    most = max(MOST_BYTES_IN_MEMORY // first.nbytes, 1)
    pictures = [Image.fromarray(frame) for frame in itertools.islice(frames, most + 1)]
    if len(pictures) > most:
        raise LimnerError(
            f"{path}: more than {most} frames of {first.shape[1]}x{first.shape[0]} are too many "
            "for this format; give FILE.mp4, or fewer or smaller frames"
        )
    kind = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG"}[path.suffix.lower()]
    options: dict[str, Any] = {"quality": 90} if kind == "WEBP" else {}
    pictures[0].save(
        out,
        kind,
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 / rate),
        loop=0,
        **options,
    )
    return len(pictures)


def _av() -> Any:
    try:
        import av  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise MissingExtra("av", "video", "writing .mp4") from None
    return av


def _write_mp4(frames: Iterable[Frame], out: Path, rate: float, bit_rate: int | None) -> int:
    av = _av()
    first, frames = _first(frames)
    height, width = (side + side % 2 for side in first.shape[:2])  # yuv420p halves both sides
    pad = ((0, height - first.shape[0]), (0, width - first.shape[1]), (0, 0))
    num = 0
    with av.open(str(out), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000))
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        if bit_rate is None:
            video.options = {"crf": "18"}
        else:
            video.bit_rate = bit_rate
        for frame in frames:
            pixels = np.pad(frame, pad, mode="edge")
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            num += 1
        container.mux(video.encode())
    return num
