"""The tab Interpolate: from one picture to another, as a strip and as a looping film."""

import importlib.util
from collections.abc import Generator
from typing import Any

import gradio as gr

from limner.api import Model, WalkOptions
from limner.api.exploring import crossed_images
from limner.api.shelf import Shelf
from limner.api.walks import walk_images, write_walk
from limner.core.errors import LimnerError
from limner.studio import checks
from limner.studio.parts import (
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

MOST_STEPS = 120
LAYERS = "layers"
MIXING = ("styles, layer by layer", LAYERS)
ALONG = [("both", "zy"), ("latent z", "z"), ("class y", "y")]
HUB_TRUNCATION, HUB_FROM, HUB_TO = 0.2, 207, 8  # golden retriever to hen: TF-Hub's BigGAN demo


class Interpolate:
    """What happens in the tab."""

    def __init__(self, shelf: Shelf):
        self.shelf = shelf

    def draw(self, name: str, *fields: Any) -> Generator[Outputs]:
        """(status, strip, film, files, command), first empty and then whole."""
        try:
            model = self.shelf.model(name)
            options = options_of(model, *fields)
            mixes = fields[5] == LAYERS
            words = "" if mixes else words_of(name, options)  # no command mixes styles
            yield told("walking"), None, None, None, words
            with own_folder() as folder:
                images = crossed_images(model, options) if mixes else walk_images(model, options)
                strip, film = folder / "walk.png", folder / "walk.gif"
                files = [strip, film]
                if importlib.util.find_spec("av") is not None:
                    files.append(folder / "walk.mp4")
                for path in files:
                    write_walk(model, images, path, options, LAYERS if mixes else "")
                paths = [str(path) for path in files]
                yield told(f"{len(images)} pictures"), paths[:1], paths[1:2], paths, gr.skip()
        except LimnerError as error:
            yield refused(error), *[gr.skip()] * 4


def options_of(
    model: Model,
    seed_a: Any,
    class_a: Any,
    seed_b: Any,
    class_b: Any,
    steps: Any,
    along: Any,
    slerp: Any,
    truncate: Any,
    truncation: Any,
    mode: Any,
    speed: Any,
) -> WalkOptions:
    """Those of `limner interpolate`; a LimnerError for a value that no walk takes."""
    ends = [_end(model, "A", seed_a, class_a), _end(model, "B", seed_b, class_b)]
    return WalkOptions(
        from_=ends[0],
        to=ends[1],
        steps=checks.whole("Steps", steps, 2, MOST_STEPS),
        along=along if model.num_classes and along != LAYERS else "z",
        slerp=bool(slerp),
        truncation=checks.finite("Truncation", truncation) if truncate else None,
        truncation_mode=mode if truncate else None,
        frames_per_second=checks.finite("Pictures a second", speed),
    )


def _end(model: Model, name: str, seed: Any, label: Any) -> str:
    number = checks.seed(f"{name}: seed", seed)
    if label is None or not model.num_classes:
        return f"{number}"
    index = checks.whole(f"{name}: class", label, 0, model.num_classes - 1)
    return f"{number}:{model.class_names[index] if model.class_names else index}"


def words_of(name: str, options: WalkOptions) -> str:
    """The command that makes the same walk."""
    words = ["interpolate", name, "--from", options.from_, "--to", f"{options.to}"]
    words += ["--num", f"{options.steps}", "--along", options.along]
    words += ["--slerp"] if options.slerp else []
    if options.truncation is not None:
        words += ["--truncation", f"{options.truncation}"]
        words += ["--truncation-mode", f"{options.truncation_mode}"]
    return command_line([*words, "--out", "walk.png"])


def fields_for(model: Model) -> list[Any]:
    """What the fields offer for a model."""
    hub, labels = is_imagenet(model), class_choices(model)
    seeds = (0, 0) if hub else (0, 1)
    first, last = (HUB_FROM, HUB_TO) if hub else (0, min(1, model.num_classes - 1))
    conditional = bool(labels)
    ways = [*(ALONG if conditional else ALONG[1:2]), *([MIXING] if model.has_styles else [])]
    return [
        gr.update(value=seeds[0]),
        gr.update(choices=labels, value=first if conditional else None, visible=conditional),
        gr.update(value=seeds[1]),
        gr.update(choices=labels, value=last if conditional else None, visible=conditional),
        gr.update(value=10),
        gr.update(choices=ways, value=ways[0][1], visible=len(ways) > 1),
        gr.update(value=False),
        gr.update(value=hub),
        gr.update(value=HUB_TRUNCATION if hub else 0.7, minimum=-1 if model.has_styles else 0.02),
        gr.update(choices=modes_of(model), value=modes_of(model)[0]),
        gr.update(value=10),
    ]


def tab(shelf: Shelf, name: gr.Dropdown) -> list[Any]:
    """Lay the tab out; its fields, which `fields_for` changes."""
    work = Interpolate(shelf)
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            fields = _fields()
            with gr.Row():
                go = gr.Button(
                    "Interpolate", variant="primary", elem_id="interpolate", min_width=120
                )
                stop = gr.Button("Stop", min_width=90)
        with gr.Column(scale=3, min_width=320):
            status = gr.HTML(told("ready"), elem_id="interpolate-status")
            shown: dict[str, Any] = {
                "buttons": ["download", "fullscreen"],
                "interactive": False,
                "show_label": False,
                "elem_classes": "whole",
            }
            strip = gr.Gallery(label="Strip", columns=1, height="auto", elem_id="strip", **shown)
            film = gr.Gallery(label="Film", columns=3, fit_columns=False, elem_id="film", **shown)
            files = gr.File(
                label="Files",
                interactive=False,
                file_count="multiple",
                height=200,
                elem_id="walk-files",
            )
            command = gr.Textbox(
                label="The same on the command line", interactive=False, elem_id="walk-command"
            )
    outputs = [status, strip, film, files, command]
    more: dict[str, Any] = {"show_progress_on": status, "show_progress": "minimal"}
    stops = Stops()
    stops.wire(stop, [go.click])
    go.click(stops.watched(work.draw), [name, *fields], outputs, **QUIET, **more)
    return fields


def _fields() -> list[Any]:
    """One field an argument of `options_of`."""
    fields: list[Any] = []
    for letter, seed in (("A", 0), ("B", 1)):
        with gr.Row():
            fields.append(gr.Number(seed, label=f"{letter}: seed", min_width=90))
            fields.append(gr.Dropdown([], label=f"{letter}: class", min_width=160))
    return [
        *fields,
        gr.Slider(2, 60, 10, step=1, label="Steps"),
        gr.Radio(ALONG, value="zy", label="Along"),
        gr.Checkbox(False, label="On the great circle (slerp)"),
        gr.Checkbox(False, label="Truncate"),
        gr.Slider(0.02, 2, 0.7, step=0.02, label="Truncation"),
        gr.Radio(["resample"], value="resample", label="Truncation mode"),
        gr.Slider(1, 50, 10, step=1, label="Pictures a second of the film"),
    ]
