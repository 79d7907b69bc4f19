"""`limner presets`: the list, or one preset's whole config with its sizes."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from limner import presets
from limner.cli.parsing import parse

if TYPE_CHECKING:
    from limner.engine import RunConfig

EXAMPLE = "limner presets digits --json > mine.json; limner train mine.json"
USUAL_CHANNELS = 3  # sizes are shown for these where the data decide


@dataclasses.dataclass(frozen=True)
class Presets:
    """List the presets, or show one: its config as keys for --set, parameter counts, memory.

    With --json one preset is printed as the CONFIG.json that `limner train` takes.
    """

    name: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[NAME]")] = None
    """Preset to show; without it all are listed."""

    json: bool = False
    """Print the list, or the preset's config, as JSON on stdout."""


def main(argv: Sequence[str]) -> int:
    """List or show; 0."""
    options = parse(Presets, argv, "presets", EXAMPLE)
    if options.name is None:
        summaries = {name: presets.summary(name) for name in presets.PRESETS}
        if options.json:
            listed = [{"name": name, "summary": text} for name, text in summaries.items()]
            print(json.dumps({"presets": listed}))
        else:
            width = max(map(len, summaries))
            print("\n".join(f"{name:<{width}}  {text}" for name, text in summaries.items()))
        return 0
    config = presets.get(options.name)()

    from limner.core.config import encode, to_json

    if options.json:
        print(to_json(config), end="")
        return 0
    lines = [presets.summary(options.name), ""]
    lines += [f"{key} = {json.dumps(value)}" for key, value in leaves(encode(config))]
    usual_classes = presets.usual_classes(options.name)
    print("\n".join([*lines, "", *sizes_text(config, usual_classes)]))
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


def sizes_text(config: "RunConfig", usual_classes: int) -> list[str]:
    """Parameter counts of both players and the memory that training them holds, with so many
    classes where the data decide."""
    channels = config.data.channels or USUAL_CHANNELS
    num_classes = config.num_classes
    if num_classes is None:
        num_classes = 0 if config.data.labels == "none" else usual_classes
        if config.data.max_label_size is not None:
            num_classes = min(num_classes, config.data.max_label_size)
    shape = (channels, config.data.resolution, config.data.resolution)
    counts = {
        "generator": num_parameters(config.generator, shape, num_classes),
        "discriminator": num_parameters(config.discriminator, shape, num_classes),
    }
    assumed = []
    if config.data.channels is None:
        assumed.append(f"{channels} channels")
    if config.num_classes is None and num_classes > 1:
        assumed.append(f"{num_classes:,} classes")
    lines = [f"{player + ':':<15}{count:>14,} parameters" for player, count in counts.items()]
    held = memory_bytes(config, counts["generator"], counts["discriminator"])
    lines.append(
        f"{'memory:':<15}{held / 2**20:>11,.1f} MiB for weights, gradients, Adam and averages; "
        "activations come on top"
    )
    if assumed:
        lines.append(f"counted for {' and '.join(assumed)}: the data decide")
    return lines


def num_parameters(network: Any, image_shape: tuple[int, int, int], num_classes: int) -> int:
    """Of a network config, built without memory for its weights."""
    import torch

    with torch.device("meta"):
        module = network.build(image_shape, num_classes)
    return sum(parameter.numel() for parameter in module.parameters())


def memory_bytes(config: "RunConfig", num_generator: int, num_discriminator: int) -> int:
    """Weights, gradients and Adam's two moments of both players, and the generator's average."""
    from limner.engine.controllers import Ema

    averages = sum(isinstance(part, Ema) for part in config.controllers)
    bytes_each = 8 if config.precision == "float64" else 4
    return bytes_each * (4 * (num_generator + num_discriminator) + averages * num_generator)
