"""Samples of a model in files: a PNG, a sheet or wall of them, an .npz or a folder."""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image

from limner.api.arrays import read_array
from limner.api.notebooks import counter
from limner.core.counting import Progress
from limner.core.errors import LimnerError
from limner.core.grids import grid_size
from limner.core.outputs import kind_of_output
from limner.core.protocols import NoiseMode
from limner.layers.packing import Precision
from limner.sampling import (
    Model,
    SamplePlan,
    StandingPlan,
    class_sheet,
    load,
    save_png,
    sheet,
)
from limner.sampling.latents import TruncationMode
from limner.sampling.plans import Classes, Seeds
from limner.sampling.writing import drawn, write_folder, write_npz

Given = np.ndarray | torch.Tensor | str | Path

MOST_SHEET_PIXELS = 89_000_000  # beyond it Pillow warns, or refuses, when the file is opened
MOST_COLUMNS = 20
AMOUNT = 3.0  # along a direction: latents have deviation 1
SHEET = "sheet"  # the grid that is no wall
LOOKS = ("truncation", "truncation_mode", "truncation_cutoff", "noise")  # of Model.look


@dataclasses.dataclass(frozen=True)
class SampleOptions:
    """Which images are made, and how they lie in the file.

    Attributes:
        num, seed, seeds, classes, truncation, truncation_mode, truncation_cutoff, noise,
            precision: see `Model.sample`; `seed` alone is that one image.
        z, y, styles: as for `Model.sample`, or an .npy or .npz file that holds them.
        standing: standing statistics that the model accumulates first, and keeps; a text is
            "PASSES" or "PASSESxBATCH".
        grid: "sheet" lays out even one image; "1080p", "4k" or "COLUMNSxROWS" shows so many side
            by side without gaps, with `classes` a class a row. Only for pictures.
        npz_layout: see NpzWriter; "float" is "limner" with floats.
        batch_size: images a forward pass.
        move, turn: see `Model.move`; a move is "X,Y".
        direction, amount: latents, or styles, are moved so far along the direction of this number,
            1 the strongest (`principal_directions`); 3 by default.

    Examples:
        >>> options = limner.SampleOptions(seeds="0-7", classes="all", grid="sheet")
        >>> options.is_wall
        False
    """

    num: int | None = None
    seeds: Seeds | None = None
    classes: Classes | None = None
    truncation: float | None = None
    truncation_mode: TruncationMode | None = None
    truncation_cutoff: int | None = None
    noise: NoiseMode | None = None
    precision: Precision | None = None
    z: Given | None = None
    y: Given | None = None
    styles: Given | None = None
    standing: StandingPlan | str | None = None
    grid: str | None = None
    npz_layout: Literal["limner", "float", "biggan-pytorch"] = "limner"
    batch_size: int = 64
    seed: int | None = None
    move: str | None = None
    turn: float | None = None
    direction: int | None = None
    amount: float | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise LimnerError(f"--batch-size {self.batch_size}: give 1 or more")
        if self.seed is not None and self.seeds is not None:
            raise LimnerError("give either --seed or --seeds, not both")
        moved_by(self.move or "0,0")
        if self.direction is None and self.amount is not None:
            raise LimnerError(f"--amount {self.amount:g}: say along which --direction")
        if self.direction is not None and self.direction < 1:
            raise LimnerError(f"--direction {self.direction}: 1 is the strongest")
        if isinstance(self.standing, str):
            StandingPlan.parse(self.standing)
        if not self.is_wall:
            return
        grid_size(self.grid or "", 1, 1)
        if any(given is not None for given in (self.num, self.seeds, self.z, self.y, self.styles)):
            raise LimnerError(
                f"--grid {self.grid} shows seeds 0, 1, ...: give no images of your own"
            )

    @property
    def is_wall(self) -> bool:
        """Whether the grid says how many images there are."""
        return self.grid not in (None, SHEET)


def save_samples(
    model: Model | str | Path,
    out: str | Path,
    options: SampleOptions | None = None,
    progress: Progress | None = None,
) -> SamplePlan:
    """Make images and write them, as `limner sample` does; what was written, in its order.

    Args:
        out: FILE.png, .jpg or .webp (one image, or several as a sheet), FILE.npz, or a folder (a
            name without suffix) that gets CLASS/seed-00000007.png and so on.
        progress: called with (images made, their number).

    Raises:
        LimnerError: see `kind_of_output` and `Model.sample`.

    Examples:
        >>> plan = limner.save_samples("runs/digits", "samples.npz", limner.SampleOptions(num=5))
        >>> plan.seeds
        [0, 1, 2, 3, 4]
    """
    options, progress = options or SampleOptions(), progress or counter("sampling")
    kind = kind_of_output(out, options.grid, options.npz_layout)
    loaded = model if isinstance(model, Model) else load(model)
    if options.move is not None or options.turn is not None:
        loaded.move(*moved_by(options.move or "0,0"), options.turn or 0.0)
    plan = plan_of(loaded, options)
    if options.direction is not None:
        amount = AMOUNT if options.amount is None else options.amount
        plan = _moved_along(loaded, plan, options.direction, amount)
    if options.standing is not None:
        given = options.standing
        standing = StandingPlan.parse(given) if isinstance(given, str) else given
        loaded.accumulate(standing, options.truncation, options.truncation_mode)
    if kind == "folder":
        write_folder(loaded, plan, Path(out), options.batch_size, progress)
    elif kind == "npz":
        floats = options.npz_layout == "float"
        layout = "limner" if options.npz_layout == "float" else options.npz_layout
        write_npz(loaded, plan, Path(out), layout, floats, options.batch_size, progress)
    else:
        _write_picture(loaded, plan, Path(out), options, progress)
    return plan


def _moved_along(model: Model, plan: SamplePlan, direction: int, amount: float) -> SamplePlan:
    from limner.api.exploring import directions_of, moved_plan

    num = len(directions_of(model))
    if direction > num:
        raise LimnerError(f"--direction {direction}: this model has {num}")
    return moved_plan(model, plan, [*[0.0] * (direction - 1), amount])


def moved_by(text: str) -> tuple[float, float]:
    """Shares of the side to the right and down, of "0.1,-0.2"."""
    try:
        right, down = (float(part) for part in text.split(","))
    except ValueError:
        raise LimnerError(
            f"--move {text}: give shares of the side to the right and down, as in 0.1,-0.2"
        ) from None
    return right, down


def plan_of(model: Model, options: SampleOptions) -> SamplePlan:
    """Which images the options ask for."""
    looks = {name: getattr(options, name) for name in (*LOOKS, "precision")}
    if not options.is_wall:
        alone = options.num is None and options.y is None
        return model.plan(
            num=options.num,
            seeds=options.seed if alone and options.seed is not None else options.seeds,
            seed=options.seed or 0,
            classes=options.classes,
            z=_array(options.z, "z"),
            y=_array(options.y, "y"),
            styles=_array(options.styles, "styles"),
            **looks,
        )
    _, height, width = model.image_shape
    columns, rows = grid_size(options.grid or "", height, width)
    plan = model.plan(num=columns * rows, seed=options.seed or 0, **looks)
    if options.classes is None:
        return plan
    classes = torch.tensor(model.class_indices(options.classes))
    labels = classes[torch.arange(rows) % len(classes)].repeat_interleave(columns)
    return dataclasses.replace(plan, y=labels)


def _array(given: Given | None, key: str) -> np.ndarray | torch.Tensor | None:
    return read_array(given, key) if isinstance(given, (str, Path)) else given


# --- one picture -------------------------------------------------------------


def _write_picture(
    model: Model, plan: SamplePlan, out: Path, options: SampleOptions, progress: Progress
) -> None:
    _, height, width = model.image_shape
    if len(plan) * height * width > MOST_SHEET_PIXELS:
        raise LimnerError(
            f"--out {out}: {len(plan)} images of {width}x{height} are too many for one "
            "picture; give a folder or FILE.npz"
        )
    pieces = [pixels for _, pixels in drawn(model, plan, options.batch_size, progress)]
    save_picture(model, plan, np.ascontiguousarray(np.concatenate(pieces)), out, options)


def save_picture(
    model: Model, plan: SamplePlan, images: np.ndarray, out: Path, options: SampleOptions
) -> None:
    """The plan's images as the picture that `save_samples` makes of them, with its text."""
    if len(images) == 1 and options.grid is None:
        save_png(images[0], out, model.describe(plan, 0))
        return
    mixed = plan.y is not None and plan.y.is_floating_point() and bool((plan.y == plan.y[0]).all())
    own = ("seed", "class_name") if mixed else ("seed", "label", "class_name")  # of the first alone
    text = {key: value for key, value in model.describe(plan, 0).items() if key not in own}
    if plan.seeds is not None:
        text["seeds"] = _as_text(options.seeds) or f"{min(plan.seeds)}-{max(plan.seeds)}"
    if options.classes is not None:
        text["classes"] = _as_text(options.classes)
    if options.is_wall:
        text["grid"] = options.grid or ""
    if options.standing is not None:
        text["standing"] = str(options.standing)
    save_png(_sheet(model, plan, images, options), out, text)


def _as_text(given: Seeds | Classes | None) -> str:
    """Seeds or classes as the texts that name them: "0-2", "3,7"."""
    if given is None or isinstance(given, str):
        return given or ""
    return str(given) if isinstance(given, int) else ",".join(map(str, given))


def _sheet(
    model: Model, plan: SamplePlan, images: np.ndarray, options: SampleOptions
) -> Image.Image:
    """One column a class where the order of the images allows it."""
    if options.is_wall:
        from limner.sampling import wall

        return wall(images, grid_size(options.grid or "", *model.image_shape[1:])[0])
    if options.classes is not None:
        classes = model.class_indices(options.classes)
        if len(classes) == 1:
            return sheet(images)
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
