"""The README.md of a model folder: what the model is, of which pictures, with which scores, and how
it is loaded; as model hubs show it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from limner.checkpoints.model_place import CARD_NAME, CONFIG_NAME, SHEET_NAME, WEIGHTS_NAME
from limner.checkpoints.run_directory import RunDirectory
from limner.core.errors import LimnerError
from limner.core.files import read_json, sha256_of, write_atomically

MARK = "<!-- Written by limner, which replaces it; without this line it stays as you write it. -->"
LICENCE = re.compile(r"(?m)^license: .*$")
UNKNOWN = "unknown"  # a licence of the hub's list
MOST_CLASSES = 10  # of the sheet
NUM_A_SIDE, LARGE = 8, 128  # pictures; pixels, beyond which they are half as many

HEAD = """---
license: {licence}
library_name: limner
pipeline_tag: unconditional-image-generation
tags:
- gan
---
{mark}

# {name}

![samples](sheet.png)

{what}
"""

LOADING = """## How to load it

```sh
pip install limner
limner sample {place} --num 16 --grid --out sheet.png
```

```python
import limner

images = limner.load("{place}").sample(num=16)  # uint8, N x height x width x channels
```
"""


def write_card(
    model: str | Path,
    run: RunDirectory | None = None,
    sheet: Path | None = None,
    licence: str | None = None,
    name: str | None = None,
) -> Path:
    """Write README.md and sheet.png into a model folder. A README.md of the user's own stays, and
    without a run one that is of these weights, but for a licence that is given.

    Args:
        run: that the model is of: it says which pictures, and has scores.
        sheet: a picture of samples; without it the sheet is drawn.
        licence: as the hub names it, for example cc-by-4.0.
        name: how the model is loaded, hf:USER/NAME for example; by default that of the run or
            folder.

    Raises:
        CheckpointError: no model there.
    """
    folder = Path(model)
    path, picture = folder / CARD_NAME, folder / SHEET_NAME
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    # of the user's own, or of these weights, perhaps with scores that nothing else here knows
    is_own = bool(old) and MARK not in old
    is_of_these = run is None and sha256_of(folder / WEIGHTS_NAME) in old
    stays = is_own or is_of_these
    if sheet is not None:
        write_atomically(picture, sheet.read_bytes())
    elif not (stays and picture.exists()):
        _draw_sheet(folder, picture)
    if stays:
        text = old if licence is None else _with_licence(old, licence, path)
        write_atomically(path, text if is_own or name is None else _loaded_as(name, text))
        return path
    known = LICENCE.search(old)
    given = licence or (known[0].partition(": ")[2] if known else UNKNOWN)
    write_atomically(path, _text(folder, run, given, name))
    return path


def _loaded_as(name: str, text: str) -> str:
    """The card with another name to load the model by."""
    for before, after in (("limner sample ", " --num"), ('limner.load("', '")')):
        text = re.sub(f"({re.escape(before)}).+?({re.escape(after)})", rf"\1{name}\2", text)
    return text


def _with_licence(text: str, licence: str, path: Path) -> str:
    if not LICENCE.search(text):
        raise LimnerError(f"{path}: no line 'license: NAME' to write {licence} into; add one")
    return LICENCE.sub(f"license: {licence}", text, count=1)


def _draw_sheet(folder: Path, path: Path) -> None:
    from limner.sampling import load, save_png, sheet

    model = load(folder, "cpu")
    side = NUM_A_SIDE if max(model.image_shape[1:]) <= LARGE else NUM_A_SIDE // 2
    names = [model.class_name(index) for index in range(min(model.num_classes, MOST_CLASSES))]
    if names:  # a class a row
        images = model.sample(num=side, classes=range(len(names)))
    else:
        images = model.sample(num=side * side)
    save_png(sheet(images, side, row_headings=names or None), path, {"Software": "limner"})


def _text(folder: Path, run: RunDirectory | None, licence: str, name: str | None) -> str:
    config = read_json(folder / CONFIG_NAME, {"image_shape": tuple[int, int, int]})
    name = name or (folder if run is None else run.path).resolve().name
    title = name.rpartition("/")[2]
    parts = [
        HEAD.format(licence=licence, mark=MARK, name=title, what=_what(config)),
        "\n".join(["## Where it comes from", "", *_origin(config, run, folder), ""]),
        *_scores(config, run),
        LOADING.format(place=name),
        "\n".join(["## Licence", "", *_about_licence(licence), ""]),
    ]
    return "\n".join(parts)


def _what(config: Mapping[str, Any]) -> str:
    channels, height, width = config["image_shape"]
    classes, names = config.get("num_classes", 0), config.get("class_names", [])
    lines = [
        f"A generator of pictures of {width}x{height} with {channels} "
        f"channel{'s' * (channels != 1)}: {config['generator']['type']}, "
        + (f"{classes:,} classes" if classes else "no classes")
    ]
    shown = ", ".join(names[:MOST_CLASSES])
    more = ", ..." if len(names) > MOST_CLASSES else ""
    return f"{lines[0]} ({shown}{more})." if names else f"{lines[0]}."


def _origin(config: Mapping[str, Any], run: RunDirectory | None, folder: Path) -> Iterator[str]:
    origin = config.get("origin", {})
    if run is not None:
        data = run.read_data("name", "num_images", "sha256")
        yield (
            f"- learned from: {data['num_images']:,} pictures, `{Path(data['name']).name}` "
            f"(sha256 of the prepared pictures {data['sha256']})"
        )
    if origin.get("kind") == "run":
        yield (
            f"- trained by limner: {origin['name']}, {origin['step']:,} steps, "
            f"{origin['nimg']:,} real pictures shown"
        )
    else:
        for key, value in origin.items():
            if key not in ("kind", "weights_sha256") and value:
                text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
                yield f"- {key.replace('_', ' ')}: {text}"
    yield f"- sha256 of {WEIGHTS_NAME}: {sha256_of(folder / WEIGHTS_NAME)}"


def _scores(config: Mapping[str, Any], run: RunDirectory | None) -> Iterator[str]:
    step = config.get("origin", {}).get("step")
    lines = [] if run is None else [x for x in run.read_log("scores") if x["step"] == step]
    if not lines:
        yield "## Scores\n\nNone were measured of these weights.\n"
        return
    from limner.reports import verdict

    yield "\n".join(["## Scores", "", *([said, ""] if (said := verdict(lines[-1])) else [])])
    yield "\n".join(["| score | value | floor | better | images |", "|---|---|---|---|---|"])
    yield "\n".join(_row(result) for result in lines[-1]["results"])
    yield "\nFloor: what real pictures get against other real pictures.\n"


def _row(result: Mapping[str, Any]) -> str:
    higher = result.get("higher_is_better")
    better = "" if higher is None else "higher" if higher else "lower"
    figures = (_figure(result.get("value")), _figure(result.get("floor")))
    num = "" if result.get("num") is None else f"{result['num']:,}"
    return f"| {result['name']} | {' | '.join(figures)} | {better} | {num} |"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _about_licence(licence: str) -> Sequence[str]:
    if licence != UNKNOWN:
        return [f"{licence}."]
    return [
        "Not given: write it into the first lines, and here which use of the pictures it allows."
    ]
