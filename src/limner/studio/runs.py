"""The tab Runs: how runs go, two beside each other, refreshed while they train."""

import dataclasses
import re
from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from limner.api.shelf import Shelf
from limner.api.watching import RunView, differences, stamp_of, view_run
from limner.core.errors import LimnerError
from limner.studio.parts import LIGHT, refused

SECONDS = 5.0  # between two looks at the runs
NONE = "none"
CHARTS = ("training_charts", "score_charts", "health_charts")
SCORES = ("name", "value", "floor", "ratio", "best", "step", "num", "features")
WATCH: dict[str, Any] = {**LIGHT, "concurrency_id": "watch", "concurrency_limit": 4}


@dataclasses.dataclass(frozen=True)
class Shown:
    """What a browser has: the runs' names and stamps, the step of the slider, and its last one."""

    names: tuple[str, ...] = ()
    stamps: tuple[Any, ...] = ()
    step: int = -1
    newest: int = -1


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Texts as an HTML table."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in headings)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows
    )
    return (
        '<div class="scroll" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def words_of(view: RunView, name: str) -> str:
    """Status, alarms, facts and scores of a run."""
    figures = view.figures
    parts = [f"<h2>{escape(name)}: {escape(figures['status'])}</h2>"]
    for event in figures["alarms"][-5:]:
        text = f"{event['kind']} at step {event['step']}: {event['message']}"
        parts.append(f'<p class="alarm">{escape(text)}</p>')
    if figures["verdict"]:
        parts.append(f"<p>{escape(figures['verdict'])}</p>")
    facts = [f"{name} <strong>{escape(value)}</strong>" for name, value, _ in figures["facts"]]
    parts.append(f"<p>{' · '.join(facts)}</p>")
    if figures["score_rows"]:
        rows = [[row[key] for key in SCORES] for row in figures["score_rows"]]
        parts.append(table(SCORES, rows))
    return f'<div class="run">{"".join(parts)}</div>'


def charts_of(view: RunView, side: str) -> str:
    """The charts of a run; ids in them begin with the side, for the page has two."""
    found = [chart for kind in CHARTS for chart in view.figures[kind]]
    drawn = []
    for chart in found:
        svg = re.sub(r'\bid="', f'id="{side}-', chart.svg)
        svg = re.sub(r'(url\(|href=")#', rf"\1#{side}-", svg)
        note = escape(chart.note)
        drawn.append(f'<div class="chart"><h3>{escape(chart.title)}</h3><p>{note}</p>{svg}</div>')
    return f'<div class="charts">{"".join(drawn)}</div>'


def sheet_at(view: RunView, step: float) -> list[tuple[str, str]]:
    """The last sheet up to a step, or the first."""
    if not view.sheets:
        return []
    steps = sorted(view.sheets)
    at = max((each for each in steps if each <= step), default=steps[0])
    return [(save_file_to_cache(view.sheets[at], get_upload_folder()), f"step {at:,}")]


class Runs:
    """What happens in the tab."""

    def __init__(self, shelf: Shelf):
        self.shelf = shelf

    def names(self, known: list[str] | None, first: Any, second: Any) -> tuple[Any, Any, Any]:
        """(the names of the runs as they are now, both lists), skipped where they are the known
        ones: who chooses from a list is not disturbed."""
        runs = list(self.shelf.runs())
        if known is not None and sorted(runs) == sorted(known):
            return known, gr.skip(), gr.skip()
        first = first if first in runs else next(iter(runs), None)
        second = second if second in runs else NONE
        others = gr.update(choices=[NONE, *runs], value=second)
        return runs, gr.update(choices=runs, value=first), others

    def look(self, first: Any, second: Any, step: Any, shown: Shown | None) -> tuple[Any, ...]:
        """(shown, slider, differences, then words, sheet and charts of both sides), skipped where
        nothing changed."""
        runs = self.shelf.runs()
        names = tuple(name for name in (first, second) if name in runs)
        if not names:
            return (shown, *[gr.skip()] * 8)
        stamps = tuple(stamp_of(runs[name].path) for name in names)
        shown = shown or Shown()
        wanted = int(step) if isinstance(step, (int, float)) and step == step else -1
        now = Shown(names, stamps, wanted, shown.newest)
        if now == shown:
            return (shown, *[gr.skip()] * 8)
        try:
            views = [view_run(runs[name].path) for name in names]
            told = ""
            if len(names) == 2:
                rows = differences(*(runs[name].path for name in names))
                words = f"{len(rows)} differences of their configs"
                listed = table(("key", *names), rows)
                told = f"<details><summary>{words}</summary>{listed}</details>"
        except LimnerError as error:
            return (now, gr.skip(), refused(error), *[gr.skip()] * 6)
        slider, wanted, newest = _slider(views, wanted, shown)
        now = dataclasses.replace(now, step=wanted, newest=newest)
        sides: list[Any] = []
        for place in range(2):
            there = place < len(views)
            view = views[place] if there else RunView({}, {})
            sides += [
                gr.update(value=words_of(view, names[place]) if there else "", visible=there),
                gr.update(value=sheet_at(view, wanted), visible=bool(view.sheets)),
                gr.update(value=charts_of(view, "ab"[place]) if there else "", visible=there),
            ]
        return (now, slider, told, *sides)


def _slider(views: Sequence[RunView], wanted: int, shown: Shown) -> tuple[Any, int, int]:
    """The slider over all steps that have a sheet, its step, which follows the newest while it is
    that, and the newest."""
    steps = sorted({step for view in views for step in view.sheets})
    if not steps:
        return gr.update(visible=False), wanted, shown.newest
    followed = wanted < 0 or wanted >= shown.newest
    value = steps[-1] if followed else max(wanted, steps[0])
    first, last = steps[0], max(steps[-1], steps[0] + 1)
    update = gr.update(minimum=first, maximum=last, value=value, visible=True)
    return update, value, steps[-1]


def tab(shelf: Shelf, page: gr.Blocks) -> None:
    """Lay the tab out."""
    work = Runs(shelf)
    with gr.Row():
        first = gr.Dropdown([], label="Run", elem_id="run-a", min_width=160)
        second = gr.Dropdown([NONE], value=NONE, label="Beside it", elem_id="run-b", min_width=160)
        step = gr.Slider(0, 1, 0, step=1, label="Sheet at step", elem_id="step", min_width=200)
    shown, known = gr.State(None), gr.State(None)
    told = gr.HTML(elem_id="differences")
    sides: list[Any] = []
    with gr.Row():
        for side in "ab":
            with gr.Column(min_width=320):
                words = gr.HTML(elem_id=f"words-{side}", visible=side == "a")
                sheet = gr.Gallery(
                    label="Samples",
                    show_label=False,
                    columns=1,
                    height="auto",
                    buttons=["download", "fullscreen"],
                    interactive=False,
                    elem_id=f"sheet-{side}",
                    elem_classes="whole",
                    visible=side == "a",
                )
                sides += [words, sheet, gr.HTML(visible=side == "a")]
    inputs, outputs = [first, second, step, shown], [shown, step, told, *sides]
    timer = gr.Timer(SECONDS)
    gr.on([timer.tick, step.release], work.look, inputs, outputs, **WATCH)
    gr.on([first.change, second.change], work.look, inputs, outputs, **WATCH)
    names = [known, first, second]
    gr.on([page.load, timer.tick], work.names, names, names, **WATCH)
