"""The tab Generate: pictures of seeds and classes, as they are ready, with their recipe in them."""

import dataclasses
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from limner.api import Model, SampleOptions, save_png
from limner.api.drawing import pieces
from limner.api.recipes import read_recipe
from limner.api.samples import plan_of, save_picture
from limner.api.shelf import Shelf
from limner.core.errors import LimnerError
from limner.studio import checks
from limner.studio.parts import (
    LIGHT,
    QUIET,
    Outputs,
    Stops,
    class_choices,
    command_line,
    is_imagenet,
    modes_of,
    own_folder,
    refused,
    told,
)

MOST_PICTURES = 4096
MOST_SHOWN = 200  # of them in the gallery; the sheet has all
SHEETS = ["about square", "1080p", "4k", "8x4", "16x9"]
HUB_NUM, HUB_TRUNCATION, HUB_CLASS = 10, 0.4, 933  # the defaults of TF-Hub's BigGAN demo
USUAL_TRUNCATION = 0.7


@dataclasses.dataclass(frozen=True)
class Form:
    """What the fields hold, in their order; anything may have been sent."""

    number: Any
    seed: Any
    seeds: Any
    classes: Any
    mix: Any
    shares: Any
    truncate: Any
    truncation: Any
    mode: Any
    noise: Any
    sheet: Any

    def options(self, model: Model, batch_size: int) -> SampleOptions:
        """Those of `limner sample`; a LimnerError for a value that no plan takes."""
        grid = str(self.sheet or SHEETS[0])
        wall = None if grid == SHEETS[0] else grid
        classes = [checks.whole("Classes", c, 0, model.num_classes - 1) for c in self.classes or ()]
        seeds = str(self.seeds or "").strip() or None
        number = None
        if wall is None and seeds is None:
            number = checks.whole("Pictures", self.number, 1, MOST_PICTURES)
        if wall is not None and (seeds is not None or self.mix):
            raise LimnerError(
                f"Sheet {wall}: it shows seeds from the first one on; take about square"
            )
        options = SampleOptions(
            num=number,
            seed=None if seeds else checks.seed("First seed", self.seed),
            seeds=seeds,
            classes=[_as_named(model, index) for index in classes] or None,
            truncation=checks.finite("Truncation", self.truncation) if self.truncate else None,
            truncation_mode=self.mode if self.truncate else None,
            noise=self.noise if model.has_styles else None,
            grid=wall,
            batch_size=batch_size,
        )
        if not self.mix or not classes:
            return options
        row = np.zeros(model.num_classes, np.float32)
        row[classes] = checks.weights(str(self.shares or ""), len(classes))
        num = len(plan_of(model, dataclasses.replace(options, classes=None)))
        return dataclasses.replace(options, classes=None, y=np.tile(row, (num, 1)))


def _as_named(model: Model, index: int) -> int | str:
    """A class by what `limner sample` takes for it."""
    return model.class_names[index] if model.class_names else index


def words_of(name: str, options: SampleOptions) -> str:
    """The command that makes the same pictures."""
    words = ["sample", name]
    given = {
        "num": options.num,
        "seed": options.seed,
        "seeds": options.seeds,
        "classes": ",".join(map(str, options.classes)) if options.classes else None,  # type: ignore[arg-type]
        "truncation": options.truncation,
        "truncation-mode": options.truncation_mode,
        "noise": options.noise,
        "y": "ROWS.npy" if options.y is not None else None,
        "grid": options.grid,
        "batch-size": options.batch_size,
    }
    for key, value in given.items():
        if value is not None:
            words += [f"--{key}", f"{value}"]
    return command_line([*words, "--out", "sheet.png"])


class Generate:
    """The tab's fields and what happens in it."""

    def __init__(self, shelf: Shelf, batch_size: int):
        self.shelf, self.batch_size = shelf, batch_size

    def draw(self, name: str, *fields: Any) -> Generator[Outputs]:
        """(status, gallery, sheet, command) again and again, until all pictures are there."""
        try:
            model = self.shelf.model(name)
            options = Form(*fields).options(model, self.batch_size)
            plan = plan_of(model, options)
            if len(plan) > MOST_PICTURES:
                raise LimnerError(f"{len(plan):,} pictures: at most {MOST_PICTURES:,} at once")
            with own_folder() as folder:
                yield from self._drawn(name, model, options, folder)
        except LimnerError as error:
            yield refused(error), gr.skip(), gr.skip(), gr.skip()

    def _drawn(
        self, name: str, model: Model, options: SampleOptions, folder: Path
    ) -> Iterator[tuple[Any, ...]]:
        plan, command = plan_of(model, options), words_of(name, options)
        total, note = len(plan), ""
        yield told("drawing", 0, total), [], None, command
        images: list[np.ndarray] = []
        shown: list[tuple[str, str]] = []
        for piece in pieces(model, plan, options.batch_size):
            if piece.batch_size < options.batch_size:
                note = f" (memory ran out: {piece.batch_size} at a time now)"
            for image in piece.images[: max(MOST_SHOWN - len(shown), 0)]:
                place = len(shown)
                text = model.describe(plan, place)
                path = folder / f"{place:04d}-seed-{text['seed']}.png"
                save_png(image, path, text)
                shown.append((str(path), _caption(text)))
            images.extend(piece.images)
            line = f"{len(images)} of {total} pictures{note}"
            yield told(line, len(images), total), shown, gr.skip(), gr.skip()
        sheet = folder / "sheet.png"
        save_picture(model, plan, np.stack(images), sheet, options)
        more = f", {MOST_SHOWN} of them below, all in the sheet" if total > MOST_SHOWN else ""
        yield told(f"{total} pictures{more}{note}"), shown, str(sheet), gr.skip()

    def draw_restored(self, is_restored: bool, name: str, *fields: Any) -> Generator[Outputs]:
        """`draw`, or nothing, so that what was refused stays to be read."""
        if is_restored:
            yield from self.draw(name, *fields)
        else:
            yield (gr.skip(),) * 4

    def restore(self, path: str | None, name: str) -> tuple[Any, ...]:
        """(status, whether it is restored, then the fields) of a picture that was dropped."""
        kept = [gr.skip()] * len(dataclasses.fields(Form))
        if path is None:
            return (gr.skip(), False, *kept)
        try:
            recipe, model = read_recipe(path), self.shelf.model(name)
            if recipe.model_sha256 != model.sha256:
                raise LimnerError(
                    f"the picture is of another model ({recipe.model_sha256[:12]}), this one is "
                    f"{model.sha256[:12]}: choose that model, and drop it again"
                )
            if recipe.options.precision is not None:
                raise LimnerError(
                    f"the picture is of {recipe.options.precision}, the page draws in float32: "
                    "limner sample --precision makes it again"
                )
            return told("restored"), True, *dataclasses.astuple(_form_of(model, recipe.options))
        except LimnerError as error:
            return (refused(error), False, *kept)


def _caption(text: dict[str, str]) -> str:
    name = text.get("class_name")
    return f"seed {text['seed']}" + (f" · {name}" if name else "")


def _form_of(model: Model, options: SampleOptions) -> Form:
    """The fields that ask for what the options do."""
    classes: list[int] = []
    shares = ""
    if options.classes is not None:
        classes = model.class_indices(options.classes)
    if isinstance(options.y, np.ndarray):
        row = options.y[0]
        classes = [int(index) for index in row.nonzero()[0]]
        shares = ", ".join(str(row[index]) for index in classes)
    return Form(
        number=None if options.grid else len(plan_of(model, options)),
        seed=options.seed or 0,
        seeds=options.seeds or "",
        classes=classes,
        mix=bool(shares),
        shares=shares,
        truncate=options.truncation is not None,
        truncation=USUAL_TRUNCATION if options.truncation is None else options.truncation,
        mode=options.truncation_mode or modes_of(model)[0],
        noise=options.noise or "const",
        sheet=options.grid or SHEETS[0],
    )


def fields_for(model: Model) -> list[Any]:
    """What the fields offer for a model, in the order of Form."""
    hub, styled, classes = is_imagenet(model), model.has_styles, class_choices(model)
    truncation = HUB_TRUNCATION if hub else USUAL_TRUNCATION
    return [
        gr.update(value=HUB_NUM if hub else 16),
        gr.update(value=0),
        gr.update(value=""),
        gr.update(choices=classes, value=[HUB_CLASS] if hub else [], visible=bool(classes)),
        gr.update(value=False, visible=bool(classes)),
        gr.update(value="", visible=bool(classes)),
        gr.update(value=hub),
        gr.update(value=truncation, minimum=-1 if styled else 0.02),
        gr.update(choices=modes_of(model), value=modes_of(model)[0]),
        gr.update(value="const", visible=styled),
        gr.update(value=SHEETS[0]),
    ]


def tab(shelf: Shelf, batch_size: int, name: gr.Dropdown) -> list[Any]:
    """Lay the tab out; its fields, which `fields_for` changes."""
    work = Generate(shelf, batch_size)
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            fields = _fields()
            with gr.Row():
                go = gr.Button("Generate", variant="primary", elem_id="generate", min_width=120)
                stop = gr.Button("Stop", elem_id="generate-stop", min_width=90)
            dropped = gr.File(
                label="Restore: drop a picture made by limner",
                file_types=[".png", ".webp", ".jpg", ".jpeg"],
                height=150,
                elem_id="restore",
            )
        with gr.Column(scale=3, min_width=320):
            status = gr.HTML(told("ready"), elem_id="generate-status")
            gallery = gr.Gallery(
                label="Pictures",
                show_label=False,
                columns=5,
                height="auto",
                object_fit="contain",
                buttons=["download", "fullscreen"],
                interactive=False,
                elem_id="pictures",
            )
            sheet = gr.File(label="Sheet", interactive=False, height=90, elem_id="sheet")
            command = gr.Textbox(
                label="The same on the command line", interactive=False, elem_id="command"
            )
    outputs = [status, gallery, sheet, command]
    shown = {**QUIET, "show_progress_on": status, "show_progress": "minimal"}
    stops = Stops()
    stops.wire(stop, [go.click, dropped.upload])
    go.click(stops.watched(work.draw), [name, *fields], outputs, **shown)
    found = gr.State(False)
    restored = dropped.upload(work.restore, [dropped, name], [status, found, *fields], **LIGHT)
    again = stops.watched(work.draw_restored)
    restored.success(again, [found, name, *fields], outputs, **shown)
    return fields


def _fields() -> list[Any]:
    """One field a member of Form."""
    with gr.Row():
        number = gr.Number(16, label="Pictures", min_width=120)
        seed = gr.Number(0, label="First seed", min_width=120)
    classes = gr.Dropdown(
        [],
        label="Classes",
        info="Type to search. None: each seed its own.",
        multiselect=True,
        elem_id="classes",
    )
    with gr.Row():
        mix = gr.Checkbox(False, label="Mix them", min_width=120)
        shares = gr.Textbox("", label="Shares", placeholder="equal", min_width=120)
    truncate = gr.Checkbox(False, label="Truncate")
    truncation = gr.Slider(0.02, 2, USUAL_TRUNCATION, step=0.02, label="Truncation")
    mode = gr.Radio(["resample"], value="resample", label="Truncation mode")
    noise = gr.Radio(["const", "random", "none"], value="const", label="Noise", visible=False)
    with gr.Accordion("More", open=False):
        seeds = gr.Textbox("", label="Seeds instead", placeholder="0-63,70")
        sheet = gr.Dropdown(
            SHEETS,
            value=SHEETS[0],
            label="Sheet",
            info="Or COLUMNSxROWS: without gaps, its number of pictures.",
            allow_custom_value=True,
        )
    return [number, seed, seeds, classes, mix, shares, truncate, truncation, mode, noise, sheet]
