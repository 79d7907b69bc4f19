"""The tab Explore: around one picture, along directions, truncation, levels, and real pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from limner.api import Model, save_png
from limner.api.exploring import (
    MOST_DIRECTIONS,
    directions_of,
    level_images,
    moved_plan,
    nearest_pictures,
)
from limner.api.shelf import Shelf
from limner.core.errors import LimnerError
from limner.studio import checks
from limner.studio.parts import (
    QUIET,
    class_choices,
    is_imagenet,
    modes_of,
    own_folder,
    refused,
    told,
)

FARTHEST = 20.0
STRIP = (0.04, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0)
STRIP_OF_STYLES = (-1.0, -0.5, 0.0, 0.25, 0.5, 0.7, 0.85, 1.0)
Shown = list[tuple[str, str]]


class Explore:
    """What happens in the tab."""

    def __init__(self, shelf: Shelf):
        self.shelf = shelf

    def draw(self, name: str, *fields: Any) -> Iterator[tuple[Any, ...]]:
        """(status, picture) of the seed, moved along the directions."""
        try:
            model = self.shelf.model(name)
            with own_folder() as folder:
                image = _image(model, fields)
                yield told("ready"), _saved(folder, [image], ["picture"])
        except LimnerError as error:
            yield refused(error), gr.skip()

    def strip(self, name: str, *fields: Any) -> Iterator[tuple[Any, ...]]:
        """(status, pictures) along the truncation."""
        try:
            model, seed, label = self._of(name, fields)
            steps = STRIP_OF_STYLES if model.has_styles else STRIP
            if modes_of(model)[0] == "statistics" and model.standing is not None:
                known = model.standing.truncations
                steps = [t for t in steps if min(known) <= t <= max(known)]
            images = []
            for step in steps:
                mode = modes_of(model)[0]
                plan = model.plan(seeds=seed, classes=label, truncation=step, truncation_mode=mode)
                images.append(model.draw(plan)[0])
            with own_folder() as folder:
                words = [f"truncation {step:g}" for step in steps]
                yield told("along the truncation"), _saved(folder, images, words)
        except LimnerError as error:
            yield refused(error), gr.skip()

    def levels(self, name: str, *fields: Any) -> Iterator[tuple[Any, ...]]:
        """(status, pictures) of each level of a network that grew."""
        try:
            model, seed, label = self._of(name, fields)
            images = level_images(model, model.plan(seeds=seed, classes=label))
            if not images:
                raise LimnerError("this model did not grow: it has one level")
            with own_folder() as folder:
                words = [f"level {level}" for level in range(len(images))]
                yield told("level by level"), _saved(folder, images, words)
        except LimnerError as error:
            yield refused(error), gr.skip()

    def nearest(self, name: str, *fields: Any) -> Iterator[tuple[Any, ...]]:
        """(status, real pictures) that are nearest to the picture."""
        try:
            image = _image(self.shelf.model(name), fields)
            images = nearest_pictures(self.shelf.pictures(name), image)
            with own_folder() as folder:
                words = [f"nearest {place}" for place in range(1, len(images) + 1)]
                yield told("nearest training pictures, by pixels"), _saved(folder, images, words)
        except LimnerError as error:
            yield refused(error), gr.skip()

    def _of(self, name: str, fields: tuple[Any, ...]) -> tuple[Model, int, list[int | str] | None]:
        model = self.shelf.model(name)
        return model, checks.seed("Seed", fields[0]), _class(model, fields[1])


def _class(model: Model, label: Any) -> list[int | str] | None:
    if label is None or not model.num_classes:
        return None
    index = checks.whole("Class", label, 0, model.num_classes - 1)
    return [model.class_names[index] if model.class_names else index]


def _image(model: Model, fields: tuple[Any, ...]) -> np.ndarray:
    """The picture that the fields ask for."""
    seed, label, truncate, truncation, *distances = fields
    steps = [checks.finite(f"Direction {i}", value) for i, value in enumerate(distances, 1)]
    if any(abs(step) > FARTHEST for step in steps):
        raise LimnerError(f"directions: give -{FARTHEST:g} to {FARTHEST:g}")
    plan = model.plan(
        seeds=checks.seed("Seed", seed),
        classes=_class(model, label),
        truncation=checks.finite("Truncation", truncation) if truncate else None,
        truncation_mode=modes_of(model)[0] if truncate else None,
    )
    return model.draw(moved_plan(model, plan, steps[: len(directions_of(model))]))[0]


def _saved(folder: Path, images: list[np.ndarray], words: list[str]) -> Shown:
    paths = [folder / f"{place}-{word.replace(' ', '-')}.png" for place, word in enumerate(words)]
    for image, path in zip(images, paths, strict=True):
        save_png(image, path)
    return [(str(path), word) for path, word in zip(paths, words, strict=True)]


def fields_for(model: Model) -> list[Any]:
    """What the fields offer for a model."""
    hub, labels = is_imagenet(model), class_choices(model)
    return [
        gr.update(value=0),
        gr.update(choices=labels, value=0 if labels else None, visible=bool(labels)),
        gr.update(value=hub or model.has_styles),
        gr.update(value=0.4 if hub else 0.7, minimum=-1 if model.has_styles else 0.02),
        *[gr.update(value=0)] * MOST_DIRECTIONS,
    ]


def tab(shelf: Shelf, name: gr.Dropdown) -> list[Any]:
    """Lay the tab out; its fields, which `fields_for` changes."""
    work = Explore(shelf)
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            with gr.Row():
                seed = gr.Number(0, label="Seed", min_width=90)
                label = gr.Dropdown([], label="Class", min_width=160)
            truncate = gr.Checkbox(False, label="Truncate")
            truncation = gr.Slider(0.02, 2, 0.7, step=0.02, label="Truncation")
            sliders = [
                gr.Slider(-10, 10, 0, step=0.1, label=f"Direction {i}", elem_id=f"direction-{i}")
                for i in range(1, MOST_DIRECTIONS + 1)
            ]
            go = gr.Button("Show", variant="primary", elem_id="explore")
        with gr.Column(scale=3, min_width=320):
            status = gr.HTML(told("ready"), elem_id="explore-status")
            shown: dict[str, Any] = {
                "show_label": False,
                "buttons": ["download", "fullscreen"],
                "interactive": False,
            }
            picture = gr.Gallery(
                label="Picture", columns=2, fit_columns=False, elem_classes="whole",
                elem_id="explored", **shown,
            )  # fmt: skip
            with gr.Row():
                strip = gr.Button("Along the truncation", elem_id="strip-of-truncation")
                levels = gr.Button("Level by level", elem_id="levels")
                nearest = gr.Button("Nearest training pictures", elem_id="nearest")
            others = gr.Gallery(
                label="Around it", columns=5, elem_classes="whole", elem_id="around", **shown
            )
    fields = [seed, label, truncate, truncation, *sliders]
    more: dict[str, Any] = {**QUIET, "show_progress_on": status, "show_progress": "minimal"}
    triggers = [go.click, truncation.release, *(slider.release for slider in sliders)]
    gr.on(
        triggers, work.draw, [name, *fields], [status, picture], trigger_mode="always_last", **more
    )
    for button, what in ((strip, work.strip), (levels, work.levels), (nearest, work.nearest)):
        button.click(what, [name, *fields], [status, others], **more)
    return fields
