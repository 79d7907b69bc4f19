"""`limner studio`: the local web page."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated

from limner.cli.parsing import Arg, parse
from limner.core.config import load_module
from limner.core.errors import LimnerError
from limner.studio import BATCH_SIZE, launch

EXAMPLE = "limner studio runs/digits"
THIS_MACHINE = ("127.0.0.1", "localhost")


@dataclasses.dataclass(frozen=True)
class Studio:
    """A page in the browser that generates pictures of models, walks between them, and shows runs
    while they train. It is served to this machine alone, and asks nothing of the network."""

    models: Annotated[tuple[str, ...], Arg("MODEL|RUN|DIR", positional=True)]
    """Models, runs, or folders of them; several may be given."""

    data: Annotated[str | None, Arg("DATA")] = None
    """Real pictures, among which Explore finds the nearest; by default those of the model's run."""

    port: int | None = None
    """Of the address; by default the first free one from 7860 on."""

    browser: bool = False
    """Open the page in this machine's browser."""

    listen: Annotated[str, Arg("ADDRESS")] = "127.0.0.1"
    """Another address, such as 0.0.0.0: everybody who reaches this machine there can then use its
    models, with no password and no encryption."""

    host: Annotated[tuple[str, ...], Arg("NAME")] = ()
    """With --listen: a name or address that browsers call the page by; may be repeated."""

    batch_size: int = BATCH_SIZE
    """Images a forward pass: so many appear at a time."""

    device: Annotated[str, Arg("DEVICE")] = "auto"
    """auto, cpu, cuda or mps."""

    module: Annotated[tuple[str, ...], Arg("MODULE", rare=True)] = ()
    """Module or FILE.py with classes of your own that models name; may be repeated."""


def main(argv: Sequence[str]) -> int:
    """Serve the page until it is interrupted; 0."""
    options = parse(Studio, argv, "studio", EXAMPLE)
    if options.port is not None and not 1 <= options.port <= 65535:
        raise LimnerError(f"--port {options.port}: give a number from 1 to 65535")
    if options.batch_size < 1:
        raise LimnerError(f"--batch-size {options.batch_size}: give 1 or more")
    outside = options.listen not in THIS_MACHINE
    if options.host and not outside:
        raise LimnerError("--host names an address for other machines: give --listen too")
    for name in options.module:
        load_module(name)
    if outside:
        print(
            f"--listen {options.listen}: everybody who reaches this machine there can use these "
            "models and see these runs; there is no password, and nothing is encrypted"
        )
    page = launch(
        *options.models,
        data=options.data,
        device=options.device,
        batch_size=options.batch_size,
        port=options.port,
        address=options.listen,
        hosts=[options.listen, *options.host] if outside else [],
        browser=options.browser,
    )
    print(f"limner studio: {page.local_url} (Ctrl-C ends it)", flush=True)
    page.block_thread()
    return 0
