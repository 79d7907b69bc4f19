"""The command `limner`: finds the subcommand, runs it, turns errors into one line."""

import importlib
import io
import sys
from collections.abc import Sequence

from limner.core.errors import ConfigError, LimnerError, nearest
from limner.core.leaving import starting_again_is_useless

# name -> (module with `main(argv) -> exit code`, what it does)
COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("limner.cli.train", "train a preset or a config of your own; run again to resume"),
    "sample": ("limner.cli.sample", "images of a trained model: png, sheet or npz"),
    "interpolate": ("limner.cli.interpolate", "walk between two images: sheet, gif or mp4"),
    "video": ("limner.cli.video", "drifting samples, or a run's sheets over time, as mp4 or gif"),
    "mix": ("limner.cli.mix", "styles of some images in the layers of others, as a sheet"),
    "project": ("limner.cli.project", "the style whose image is nearest to a picture"),
    "evaluate": ("limner.cli.evaluate", "score a model or images against pictures"),
    "curve": ("limner.cli.curve", "scores along the truncation: csv, plot, strip of samples"),
    "statistics": ("limner.cli.statistics", "store batch norm statistics for truncations"),
    "data": ("limner.cli.data", "prepare pictures, put them into shards, or report on them"),
    "presets": ("limner.cli.presets", "list presets, or show one with its sizes"),
    "import": ("limner.cli.import_model", "turn a checkpoint of another system into a model"),
    "export": ("limner.cli.export", "write a model or run in another program's files"),
    "push": ("limner.cli.push", "a model with its card to the Hugging Face hub"),
    "report": ("limner.cli.report", "write a run's page again"),
    "studio": ("limner.cli.studio", "a local web page: generate, mix, compare, watch runs"),
}

USAGE = 2  # exit code

EXAMPLES = """examples:
  limner train digits --run runs/digits
  limner train photos --data photos/ --run runs/photos
  limner sample runs/digits --num 64 --grid --out sheet.png
  limner evaluate runs/digits --metrics fid,prdc
  limner COMMAND --help
"""


def overview() -> str:
    """The text of `limner --help`."""
    lines = ["usage: limner COMMAND [OPTIONS]", "", "commands:"]
    lines += [f"  {name:<12} {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join([*lines, "", EXAMPLES])


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Returns 0, 1 (the user's input; one line on stderr) or 2 (usage)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may be no text in its encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        from limner import __version__

        print(f"limner {__version__}")
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        print(f"limner: no command '{name}'{nearest(name, COMMANDS)}", file=sys.stderr)
        return 2
    module = importlib.import_module(COMMANDS[name][0])
    try:
        code = module.main(arguments[1:])
        if code == USAGE:
            starting_again_is_useless()
        return code
    except SystemExit as left:
        if left.code == USAGE:
            starting_again_is_useless()
        raise
    except (LimnerError, OSError) as error:
        text = str(error)
        if isinstance(error, OSError) and error.filename is not None and error.strerror:
            text = f"{error.filename}: {error.strerror.lower()}"
        print(f"limner {name}: {' '.join(text.split())}", file=sys.stderr, flush=True)
        if isinstance(error, ConfigError):
            starting_again_is_useless()
        return 1
    except KeyboardInterrupt:
        print(f"limner {name}: interrupted", file=sys.stderr)
        return 130
