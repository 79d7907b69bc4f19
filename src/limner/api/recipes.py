"""What a picture says of itself, read back: the options that make it again."""

import dataclasses
import json
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from PIL import Image, UnidentifiedImageError

from limner.api.samples import SampleOptions
from limner.core.errors import LimnerError
from limner.core.protocols import NoiseMode
from limner.layers.packing import Precision
from limner.sampling.latents import TruncationMode
from limner.sampling.sheets import DESCRIPTION

MIXED = "mixed: "


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a picture was made.

    Attributes:
        model_sha256: of the model that made it.
        options: what makes it again with that model.
    """

    model_sha256: str
    options: SampleOptions


def read_text(path: str | Path) -> dict[str, str]:
    """The text that `save_png` put into a picture; {} for a picture without.

    Raises:
        LimnerError: no picture.
    """
    try:
        with Image.open(path) as picture:
            picture.load()  # chunks may stand behind the pixels
            found: Any = picture.info
            if DESCRIPTION in picture.getexif():
                found = json.loads(picture.getexif()[DESCRIPTION])
    except (UnidentifiedImageError, SyntaxError, ValueError, OSError) as error:
        raise LimnerError(f"{Path(path).name}: no picture ({error})") from None
    if not isinstance(found, dict):
        return {}
    return {str(key): value for key, value in found.items() if isinstance(value, str)}


def read_recipe(path: str | Path) -> Recipe:
    """How a picture of `save_samples` was made, from its text.

    Raises:
        LimnerError: no picture, one that says nothing, or what it says is no recipe.

    Examples:
        >>> options = limner.SampleOptions(seed=7, classes="3", truncation=0.5)
        >>> plan = limner.save_samples("runs/digits", "seven.png", options)
        >>> limner.read_recipe("seven.png").options.seeds
        '7'
    """
    text, name = read_text(path), Path(path).name
    seeds = text.get("seed") or text.get("seeds")
    if seeds is None or "model_sha256" not in text:
        raise LimnerError(f"{name}: it does not say by which model and seed it was made")
    if "standing" in text:
        raise LimnerError(
            f"{name}: made with standing statistics {text['standing']}; "
            "limner sample --standing makes it again"
        )
    label = text.get("label", "")
    mixed = label.startswith(MIXED)
    try:
        truncation = text.get("truncation", "none")
        options = SampleOptions(
            seed=int(seeds.partition("-")[0]) if "grid" in text else None,
            seeds=None if "grid" in text else seeds,
            grid=text.get("grid"),
            classes=None if mixed else text.get("classes", text.get("class_name")),
            y=_rows(label, seeds) if mixed else None,
            truncation=None if truncation == "none" else float(truncation),
            truncation_mode=cast(
                "TruncationMode", _one_of(text, "truncation_mode", TruncationMode)
            ),
            truncation_cutoff=int(text["truncation_cutoff"])
            if "truncation_cutoff" in text
            else None,
            noise=cast("NoiseMode", _one_of(text, "noise", NoiseMode)),
            precision=cast("Precision", _one_of(text, "precision", Precision)),
        )
    except ValueError as error:
        raise LimnerError(f"{name}: its recipe cannot be read: {error}") from None
    return Recipe(text["model_sha256"], options)


def _one_of(text: dict[str, str], key: str, kind: Any) -> str | None:
    if text.get(key) not in (None, *get_args(kind)):
        raise ValueError(f"{key} '{text[key]}'")
    return text.get(key)


def _rows(label: str, seeds: str) -> np.ndarray:
    """float32 [n, classes]: the row that all images of a mixture have."""
    from limner.core.chosen import parse_seeds

    row = np.array(label.removeprefix(MIXED).split(), np.float32)
    return np.tile(row, (len(parse_seeds(seeds)), 1))
