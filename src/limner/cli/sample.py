"""`limner sample`: images of a trained model as a PNG, a sheet, an .npz or a folder."""

import dataclasses
import json
import re
from collections import Counter as Counts
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from limner.cli.loading import load_model
from limner.cli.parsing import parse
from limner.cli.progress import Counter
from limner.core.errors import LimnerError
from limner.core.grids import grid_size, is_grid

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from limner.sampling import Model, SamplePlan, StandingPlan

EXAMPLE = "limner sample runs/digits --seeds 0-7 --classes all --grid --out sheet.png"
MOST_SHEET_PIXELS = 89_000_000  # beyond it Pillow warns, or refuses, when the file is opened
MOST_COLUMNS = 20
SHEET = "sheet"  # of --grid without a size


@dataclasses.dataclass(frozen=True)
class Sample:
    """Images of a trained model: one image per (class, seed), all seeds of a class together.

    Without --classes the image of seed s has the class s modulo the number of classes.
    """

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """Run, RUN@best-fid, RUN@step-N, RUN:raw (weights without averaging), or a model folder."""

    out: str
    """FILE.png (one image, or several as a sheet), FILE.npz, or a folder: one png an image."""

    num: int | None = None
    """Seeds 0 to N-1; 16 by default, or as many as --y has rows."""

    seeds: str | None = None
    """These seeds instead, for example 0-63,70."""

    classes: str | None = None
    """Class indices or names, for example 3,7 or 0-4 or all."""

    truncation: float | None = None
    """Threshold of the latents' values; smaller is cleaner and less varied."""

    truncation_mode: Literal["resample", "scale", "statistics"] = "resample"
    """Draw values beyond it again; multiply all by it; or that with stored statistics."""

    standing: str | None = None
    """Accumulate standing statistics first: PASSES or PASSESxBATCH, for example 16x64."""

    z: Path | None = None
    """Latents to use as they are: .npy [N, z_dim], or an .npz that holds z."""

    y: Path | None = None
    """Labels to use as they are: .npy of integers [N] or numbers [N, classes], or an .npz."""

    grid: str | None = None
    """Alone: a sheet even of one image. With 1080p, 4k or COLUMNSxROWS: so many images side by
    side without gaps, with --classes a class a row. Only for FILE.png."""

    npz_layout: Literal["limner", "float", "biggan-pytorch"] = "limner"
    """What FILE.npz holds: images, y, z; float (or just --float) adds the network's unclipped
    output; biggan-pytorch: x [N, C, H, W] and y, as its samples.npz."""

    batch_size: int = 64
    """Images a forward pass."""

    device: str = "auto"
    """auto, cpu, cuda or mps."""

    module: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Module or FILE.py with classes of your own that the model names; may be repeated."""

    json: bool = False
    """Print what was written as one JSON object on stdout."""


def main(argv: Sequence[str]) -> int:
    """Make the images and write them; 0."""
    options = parse(Sample, with_grid_value(with_layout_value(argv)), "sample", EXAMPLE)
    kind = kind_of_output(options)
    standing = None if options.standing is None else parsed_standing(options.standing)

    model = load_model(options.model, options.device, options.module, "sample")
    plan = plan_of(options, model)
    if standing is not None:
        model.accumulate(standing, options.truncation, options.truncation_mode)
    with Counter("sampling", quiet=options.json) as counter:
        write = {"png": _write_png, "npz": _write_npz, "folder": _write_folder}[kind]
        write(options, model, plan, counter)
    print(as_json(options, model, plan) if options.json else f"{len(plan)} images: {options.out}")
    return 0


def with_layout_value(argv: Sequence[str]) -> list[str]:
    """--float, which takes no value, as the layout that it is short for."""
    short = {"--float": ["--npz-layout", "float"]}
    return [part for word in argv for part in short.get(word, [word])]


def with_grid_value(argv: Sequence[str]) -> list[str]:
    """--grid may stand alone: then it gets its value."""
    words: list[str] = []
    for i, word in enumerate(argv):
        words.append(word)
        if word == "--grid" and not (i + 1 < len(argv) and is_grid(argv[i + 1])):
            words.append(SHEET)
    return words


def plan_of(options: Sample, model: "Model") -> "SamplePlan":
    """Which images the options ask for.

    Raises:
        LimnerError: see Model.plan; a wall of pictures with a number of its own.
    """
    truncated = {"truncation": options.truncation, "truncation_mode": options.truncation_mode}
    if not _is_wall(options):
        return model.plan(
            num=options.num,
            seeds=options.seeds,
            classes=options.classes,
            z=None if options.z is None else load_array(options.z, "z"),
            y=None if options.y is None else load_array(options.y, "y"),
            **truncated,
        )
    if any(given is not None for given in (options.num, options.seeds, options.z, options.y)):
        raise LimnerError(
            f"--grid {options.grid} shows seeds 0, 1, ...: give no images of your own"
        )
    _, height, width = model.image_shape
    columns, rows = grid_size(options.grid or "", height, width)
    plan = model.plan(num=columns * rows, **truncated)
    if options.classes is None:
        return plan
    import torch

    classes = torch.tensor(model.class_indices(options.classes))
    labels = classes[torch.arange(rows) % len(classes)].repeat_interleave(columns)
    return dataclasses.replace(plan, y=labels)


def _is_wall(options: Sample) -> bool:
    return options.grid is not None and options.grid != SHEET


def kind_of_output(options: Sample) -> str:
    """What --out asks for, "png", "npz" or "folder", checked before anything is loaded.

    Raises:
        LimnerError: a suffix that is not written, or options that do not fit it.
    """
    if options.batch_size < 1:
        raise LimnerError(f"--batch-size {options.batch_size}: give 1 or more")
    path = Path(options.out)
    suffix = path.suffix.lower()
    if path.is_dir() or options.out.endswith("/") or not suffix:
        if path.exists() and not path.is_dir():
            raise LimnerError(f"--out {path}: it is a file; give a folder, FILE.png or FILE.npz")
        kind = "folder"
    elif suffix in (".png", ".npz"):
        kind = suffix[1:]
    else:
        raise LimnerError(
            f"--out {path}: '{suffix}' is not written; give FILE.png, FILE.npz or a folder "
            "(a folder's name has no suffix, or ends in /)"
        )
    if _is_wall(options):
        grid_size(options.grid or "", 1, 1)
    if options.grid and kind != "png":
        raise LimnerError(f"--grid makes a sheet, but --out is {path}; give FILE.png")
    if options.npz_layout != "limner" and kind != "npz":
        is_float = options.npz_layout == "float"
        words = "--float stores numbers" if is_float else "--npz-layout is that of an .npz"
        raise LimnerError(f"{words}, but --out is {path}; give FILE.npz")
    return kind


def parsed_standing(text: str) -> "StandingPlan":
    """The plan of --standing.

    Raises:
        LimnerError: another text.
    """
    from limner.sampling import StandingPlan

    return StandingPlan.parse(text)


def load_array(path: Path, key: str) -> "np.ndarray":
    """Numbers from an .npy file, or those named `key` of an .npz; pickles are never read.

    Raises:
        LimnerError: no such file, another format, or values that are not real numbers.
    """
    from limner.api.arrays import read_array

    return read_array(path, key)


# --- images ----------------------------------------------------------------


def _batches(
    options: Sample, model: "Model", plan: "SamplePlan", counter: Counter
) -> Iterator[tuple["Tensor", "np.ndarray"]]:
    """The network's output on the CPU and its uint8 [n, H, W, C], batch after batch."""
    from limner.core.images import to_uint8

    done = 0
    for images in model.batches(plan, options.batch_size):
        done += len(images)
        counter(done, len(plan))
        yield images.cpu(), to_uint8(images).permute(0, 2, 3, 1).cpu().numpy()


def _all_pixels(
    options: Sample, model: "Model", plan: "SamplePlan", counter: Counter
) -> "np.ndarray":
    import numpy as np

    pieces = [pixels for _, pixels in _batches(options, model, plan, counter)]
    return np.ascontiguousarray(np.concatenate(pieces))


def _write_npz(options: Sample, model: "Model", plan: "SamplePlan", counter: Counter) -> None:
    from limner.sampling import NpzWriter

    floats = options.npz_layout == "float"
    layout = "limner" if options.npz_layout == "float" else options.npz_layout
    with NpzWriter(options.out, len(plan), model.image_shape, floats, layout) as file:
        for output, images in _batches(options, model, plan, counter):
            file.add(images, output.numpy() if floats else None)
        file.finish(None if plan.y is None else plan.y.numpy(), plan.z.numpy())


def _write_png(options: Sample, model: "Model", plan: "SamplePlan", counter: Counter) -> None:
    from limner.sampling import save_png

    _, height, width = model.image_shape
    if len(plan) * height * width > MOST_SHEET_PIXELS:
        raise LimnerError(
            f"--out {options.out}: {len(plan)} images of {width}x{height} are too many for one "
            "picture; give a folder or FILE.npz"
        )
    images = _all_pixels(options, model, plan, counter)
    if len(images) == 1 and options.grid is None:
        save_png(images[0], Path(options.out), model.describe(plan, 0))
        return
    text = {key: value for key, value in model.describe(plan, 0).items() if _is_common(key)}
    if plan.seeds is not None:
        text["seeds"] = options.seeds or f"0-{len(set(plan.seeds)) - 1}"
    if options.classes is not None:
        text["classes"] = options.classes
    if options.standing is not None:
        text["standing"] = options.standing
    save_png(_sheet(options, model, plan, images), Path(options.out), text)


def _is_common(key: str) -> bool:
    return key not in ("seed", "label", "class_name")


def _sheet(options: Sample, model: "Model", plan: "SamplePlan", images: "np.ndarray"):
    """One column a class where the order of the images allows it."""
    from limner.sampling import class_sheet, sheet, wall

    if _is_wall(options):
        return wall(images, grid_size(options.grid or "", *model.image_shape[1:])[0])
    if options.classes is not None:
        classes = model.class_indices(options.classes)
        if len(classes) <= MOST_COLUMNS:
            return class_sheet(images, classes, model.class_names)
        num_seeds = len(images) // len(classes)
        if num_seeds == 1 or num_seeds > MOST_COLUMNS:
            return sheet(images)
        names = [model.class_name(index) for index in classes]
        return sheet(images, columns=num_seeds, row_headings=names)
    num_classes = model.num_classes
    if plan.y is None or plan.y.ndim != 1 or not 1 < num_classes <= min(MOST_COLUMNS, len(images)):
        return sheet(images)
    labels = plan.y.tolist()
    if any(label != labels[i % num_classes] for i, label in enumerate(labels)):
        return sheet(images)
    headings = [model.class_name(label) for label in labels[:num_classes]]
    return sheet(images, columns=num_classes, headings=headings)


# --- a folder --------------------------------------------------------------


def _write_folder(options: Sample, model: "Model", plan: "SamplePlan", counter: Counter) -> None:
    from limner.sampling import save_png

    names = picture_names(model, plan)
    done = 0
    for _, images in _batches(options, model, plan, counter):
        for image in images:
            save_png(image, Path(options.out) / names[done], model.describe(plan, done))
            done += 1


def picture_names(model: "Model", plan: "SamplePlan") -> list[str]:
    """CLASS/seed-00000007.png for each image, without classes seed-00000007.png, with given
    latents image-00000000.png in their order; a repeated one gets a number. So the folder can be
    used as data with the model's classes."""
    folders = class_folders(model) if plan.y is not None and plan.y.ndim == 1 else None
    names: list[str] = []
    seen: Counts[str] = Counts()
    for i in range(len(plan)):
        name = f"image-{i:08d}" if plan.seeds is None else f"seed-{plan.seeds[i]:08d}"
        if folders is not None and plan.y is not None:
            name = f"{folders[int(plan.y[i])]}/{name}"
        seen[name] += 1
        names.append(f"{name}.png" if seen[name] == 1 else f"{name}-{seen[name]}.png")
    return names


def class_folders(model: "Model") -> list[str]:
    """One folder name a class; sorted they stand in the order of the classes."""
    width = len(str(model.num_classes - 1))
    names = [
        re.sub(r"[^\w .+-]+", "_", model.class_name(i)).strip(" .")[:80]
        for i in range(model.num_classes)
    ]
    if names == sorted(set(names)) and all(names):
        return names
    return [
        f"{i:0{width}d}" if name in ("", str(i)) else f"{i:0{width}d}-{name}"
        for i, name in enumerate(names)
    ]


def as_json(options: Sample, model: "Model", plan: "SamplePlan") -> str:
    """What was written."""
    return json.dumps(
        {
            "out": options.out,
            "num_images": len(plan),
            "image_shape": list(model.image_shape),
            "num_classes": model.num_classes,
            "model_sha256": model.sha256,
        }
    )
