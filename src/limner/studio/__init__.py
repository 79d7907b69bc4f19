"""The studio: a page in the browser that generates, mixes and compares, and watches runs.

Made with gradio; `limner.studio.page` holds it together, a tab is a file. What is computed is that
of limner.api.
"""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from limner.api.shelf import Shelf
from limner.core.errors import MissingExtra

if TYPE_CHECKING:
    import gradio as gr

BATCH_SIZE = 8  # pictures that appear at a time


def launch(
    *models: str | Path,
    data: str | Path | None = None,
    device: str = "auto",
    batch_size: int = BATCH_SIZE,
    port: int | None = None,
    address: str = "127.0.0.1",
    hosts: Sequence[str] = (),
    browser: bool = False,
) -> "gr.Blocks":
    """Serve the studio's page from a thread; in a notebook it appears under the cell.

    Args:
        models: each a model, a run, or a folder of them.
        data: real pictures in which the nearest ones are looked for; by default each run's own.
        batch_size: images a forward pass.
        port: by default the first free one from 7860 on.
        address: where to listen; 127.0.0.1 is this machine alone, at another everybody who reaches
            it can use the models, with no password and no encryption.
        hosts: names that browsers call the page by, beside 127.0.0.1 and localhost.
        browser: open it in this machine's browser.

    Raises:
        MissingExtra: gradio is not installed; CheckpointError: no such model; DataError: no
            such data; LimnerError: the port is taken.
    """
    shelf = Shelf([str(model) for model in models], device, data)
    if importlib.util.find_spec("gradio") is None:
        raise MissingExtra("gradio", "studio", "the studio")

    from limner.studio.quicker import import_gradio, no_garbage

    with no_garbage():
        import_gradio()
        from limner.studio.page import serve

        return serve(shelf, batch_size, address, port, hosts, browser)


def launch_in_space(model: str | Path) -> None:
    """What app.py of `limner export --format space` does: serve to the name that Hugging Face gives
    a Space, else to this machine alone, until it is interrupted."""
    host = os.environ.get("SPACE_HOST")
    where = {"address": "0.0.0.0", "port": 7860, "hosts": [host]} if host else {}
    page = launch(model, **where)
    print(f"limner studio: {page.local_url}", flush=True)  # noqa: T201
    page.block_thread()
