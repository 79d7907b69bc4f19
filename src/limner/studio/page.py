"""The page: its tabs, its looks, and how it is served."""

import os
import tempfile
from collections.abc import Sequence
from typing import Any

import gradio as gr

from limner.api.shelf import Shelf
from limner.core.errors import LimnerError
from limner.studio import explore, generate, interpolate, runs
from limner.studio.guard import LOOPBACK, guards
from limner.studio.parts import LIGHT, default_model, refused, told

MOST_WAITING = 256  # jobs in the queue; the next one is told to come later
MOST_UPLOAD = "64mb"
CACHE_SECONDS = (600, 3600)  # how often copies of pictures are looked through, and how old they get
ALONE: dict[str, Any] = {  # of launch: nothing leaves this machine, nothing is kept
    "share": False,
    "prevent_thread_lock": True,
    "quiet": True,
    "footer_links": [],
    "run_history": False,
    "enable_monitoring": False,
    "ssr_mode": False,
    "mcp_server": False,
    "pwa": False,
    "max_file_size": MOST_UPLOAD,
}
FONTS = (
    "system-ui",
    "-apple-system",
    "Segoe UI",
    "Roboto",
    "Helvetica Neue",
    "Arial",
    "sans-serif",
)
MONOSPACE = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
CSS = """
.gradio-container { max-width: 1500px !important; margin: 0 auto; }
.gradio-container .main, .gradio-container .contain { min-width: 0; max-width: 100vw; }
#pictures .grid-container, #around .grid-container {
  grid-template-columns: repeat(auto-fill, minmax(min(110px, 28vw), 1fr)) !important;
}
.gradio-container button[role=tab].selected { color: #1d4ed8; }
.dark .gradio-container button[role=tab].selected { color: #93c5fd; }
.gradio-container .run h2 { font-size: 1.2rem; margin: .4rem 0; }
.gradio-container .chart h3 { font-size: 1rem; margin: 0; }
progress { width: 12em; vertical-align: middle; margin-right: .6em; }
[role=alert] { color: var(--error-text-color); font-weight: 600; }
#pictures .grid-wrap, .whole .grid-wrap { max-height: none; overflow: visible; }
.whole .fixed-height, #pictures .fixed-height { min-height: 0; max-height: none; }
.whole .thumbnail-item { aspect-ratio: auto !important; height: auto !important; }
.whole img { object-fit: contain !important; height: auto !important; width: 100%; }
#pictures img, .whole img { image-rendering: pixelated; }
.scroll { overflow-x: auto; }
.scroll table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
.scroll th, .scroll td { padding: .3rem .7rem; text-align: left; }
.scroll tr { border-bottom: 1px solid var(--border-color-primary); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(280px, 1fr)); gap: 1rem; }
.chart svg { display: block; width: 100%; height: auto; }
.chart p { font-size: .88rem; }
.dark .chart svg { filter: invert(1) hue-rotate(180deg); }
.alarm { color: var(--error-text-color); border-left: 3px solid; padding-left: .6rem; }
"""


def theme() -> gr.themes.Base:
    """System fonts, and colours whose contrast reaches WCAG AA in both schemes."""
    return gr.themes.Base(
        primary_hue="blue", neutral_hue="slate", font=FONTS, font_mono=MONOSPACE
    ).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        error_text_color="#b42318",
        error_text_color_dark="#ff9b8f",
    )


def build(shelf: Shelf, batch_size: int) -> gr.Blocks:
    """The page, not served yet."""
    with gr.Blocks(
        title="limner studio", analytics_enabled=False, delete_cache=CACHE_SECONDS
    ) as page:
        gr.Markdown("# limner studio")
        name = gr.Dropdown(
            shelf.models(), value=default_model(shelf), label="Model", elem_id="model"
        )
        facts = gr.HTML(elem_id="facts")
        with gr.Tabs():
            with gr.Tab("Generate"):
                fields = generate.tab(shelf, batch_size, name)
            with gr.Tab("Interpolate"):
                fields += interpolate.tab(shelf, name)
            with gr.Tab("Explore"):
                fields += explore.tab(shelf, name)
            with gr.Tab("Runs"):
                runs.tab(shelf, page)

        def chosen(which: str | None) -> list[Any]:
            try:
                model = shelf.model(which)
            except LimnerError as error:
                return [refused(error), *[gr.skip()] * len(fields)]
            line = told(repr(model).removeprefix("Model(").removesuffix(")"))
            tabs = (generate, interpolate, explore)
            return [line, *(update for tab in tabs for update in tab.fields_for(model))]

        gr.on([page.load, name.change], chosen, name, [facts, *fields], **LIGHT)
    return page


def ask_without_proxy(address: str) -> None:
    """Let gradio's first request, to the page that it serves, go round a proxy of the user's."""
    for name in ("no_proxy", "NO_PROXY"):
        places = [place for place in os.environ.get(name, "").split(",") if place]
        mine = [place for place in (*LOOPBACK, address) if place not in places]
        os.environ[name] = ",".join([*places, *mine])


def serve(
    shelf: Shelf,
    batch_size: int,
    address: str = "127.0.0.1",
    port: int | None = None,
    hosts: Sequence[str] = (),
    browser: bool = False,
) -> gr.Blocks:
    """Serve the page from a thread.

    Args:
        address: where to listen; 127.0.0.1 is this machine alone.
        port: the first free one from 7860 on where it is None.
        hosts: more names that browsers may call the page by.

    Raises:
        LimnerError: the port is taken.
    """
    cache = tempfile.TemporaryDirectory(prefix="limner-studio-")  # until the process ends
    os.environ["GRADIO_TEMP_DIR"] = cache.name
    ask_without_proxy(address)
    page = build(shelf, batch_size)
    page.cache_of_the_studio = cache  # type: ignore[attr-defined]
    page.queue(api_open=False, max_size=MOST_WAITING)
    try:
        page.launch(
            server_name=address,
            server_port=port,
            app_kwargs={"middleware": guards([*LOOPBACK, *hosts])},
            theme=theme(),
            css=CSS,
            inbrowser=browser,
            **ALONE,
        )
    except OSError as error:
        raise LimnerError(f"--port {port} of {address}: {error}") from None
    return page
