"""`limner presets`: the list, or one preset's whole config with its sizes."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from limner.api.configs import list_presets, preset_config
from limner.cli.parsing import Arg, parse

if TYPE_CHECKING:
    from limner.api import Sizes

EXAMPLE = "limner presets digits --json > mine.json; limner train mine.json"


@dataclasses.dataclass(frozen=True)
class Presets:
    """List the presets, or show one: its config as keys for --set, parameter counts, memory.

    With --json one preset is printed as the CONFIG.json that `limner train` takes.
    """

    name: Annotated[str | None, Arg("NAME", positional=True)] = None
    """Preset to show; without it all are listed."""

    json: bool = False
    """Print the list, or the preset's config, as JSON on stdout."""


def main(argv: Sequence[str]) -> int:
    """List or show; 0."""
    options = parse(Presets, argv, "presets", EXAMPLE)
    summaries = list_presets()
    if options.name is None:
        if options.json:
            listed = [{"name": name, "summary": text} for name, text in summaries.items()]
            print(json.dumps({"presets": listed}))
        else:
            width = max(map(len, summaries))
            print("\n".join(f"{name:<{width}}  {text}" for name, text in summaries.items()))
        return 0
    config = preset_config(options.name)

    from limner.core.config import encode, to_json

    if options.json:
        print(to_json(config), end="")
        return 0

    from limner.api.sizes import sizes_of

    lines = [summaries[options.name], ""]
    lines += [f"{key} = {json.dumps(value)}" for key, value in leaves(encode(config))]
    print("\n".join([*lines, "", *sizes_text(sizes_of(config))]))
    return 0


def leaves(plain: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of a plain tree, as --set takes them; lists of values stay whole."""
    if isinstance(plain, list) and not any(isinstance(item, (dict, list)) for item in plain):
        yield path, plain
    elif isinstance(plain, (dict, list)) and plain:
        items = plain.items() if isinstance(plain, dict) else enumerate(plain)
        for key, value in items:
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, plain


def sizes_text(sizes: "Sizes") -> list[str]:
    """Parameter counts of both players and the memory that training them holds."""
    counts = {"generator": sizes.num_generator, "discriminator": sizes.num_discriminator}
    lines = [f"{player + ':':<15}{count:>14,} parameters" for player, count in counts.items()]
    lines.append(
        f"{'memory:':<15}{sizes.memory / 2**20:>11,.1f} MiB for weights, gradients, Adam and "
        "averages; activations come on top"
    )
    if sizes.assumed:
        lines.append(f"counted for {' and '.join(sizes.assumed)}: the data decide")
    return lines
