"""`limner presets`: the list, one preset's whole config with its sizes, or which one to take."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from limner.api.configs import list_presets, preset_config
from limner.cli.parsing import Arg, parse
from limner.core.errors import LimnerError

if TYPE_CHECKING:
    from limner.api import Sizes
    from limner.api.choosing import Listed

EXAMPLE = "limner presets --for photos/"
YEAR, MOST_YEARS = 365 * 86_400, 20
HEADINGS = ("", "px", "labels", "weights", "memory", "time here")


@dataclasses.dataclass(frozen=True)
class Presets:
    """List the presets; pick one for your pictures; show one: its config as keys for --set,
    parameter counts, memory; or compare two.

    With --json one preset is printed as the CONFIG.json that `limner train` takes.
    """

    name: Annotated[str | None, Arg("NAME", positional=True)] = None
    """Preset to show; without it they are listed."""

    for_: Annotated[str | None, Arg("DATA", name="for")] = None
    """Print the command that trains on these pictures, with its reasons."""

    diff: Annotated[str | None, Arg("PRESET|RUN")] = None
    """Show in which keys another preset, CONFIG.json or run differs from NAME."""

    all: bool = False
    """List the ablations of the papers, too."""

    json: bool = False
    """Print the list, the preset's config, the advice or the differences as JSON on stdout."""


def main(argv: Sequence[str]) -> int:
    """List, show, advise or compare; 0."""
    options = parse(Presets, argv, "presets", EXAMPLE)
    if options.for_ is not None:
        if options.name is not None or options.diff is not None:
            raise LimnerError("--for DATA picks the preset: leave NAME and --diff out")
        return _advise(options.for_, options.json)
    if options.diff is not None:
        if options.name is None:
            raise LimnerError(f"--diff {options.diff}: from which preset? write it before --diff")
        return _compare(options.name, options.diff, options.json)
    if options.name is None:
        return _list(options.all, options.json)
    return _show(options.name, options.json)


def _list(everything: bool, as_json: bool) -> int:
    from limner.api.choosing import listed

    rows, kind = listed(everything)
    if as_json:
        print(json.dumps({"device": kind, "presets": [_plain(row) for row in rows]}))
        return 0
    cells = [(f"  {row.name}", *_figures(row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(HEADINGS, *cells, strict=True)]
    group = ""
    for row, texts in zip(rows, cells, strict=True):
        if row.group != group:
            print(_line((row.group, *HEADINGS[1:]) if not group else (row.group,), widths))
            group = row.group
        print(_line(texts, widths))
        print(f"      {row.summary}")
    print(
        "\nweights: parameters of both networks, all begin untrained and nothing is downloaded; "
        f"memory: on one device;\ntime here: rough, by the speed of `photos` on this {kind}.\n"
        "limner presets --for DATA picks one for your pictures, NAME shows one"
        + ("." if everything else ", --all lists ablations too.")
    )
    return 0


def _line(texts: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = texts
    aligned = (f"{text:>{width}}" for text, width in zip(others, widths[1:], strict=False))
    return "  ".join([f"{first:<{widths[0]}}", *aligned]).rstrip()


def _figures(row: "Listed") -> tuple[str, ...]:
    cost = row.cost
    if cost is None or row.seconds is None:
        return ("",) * (len(HEADINGS) - 1)
    return (
        str(cost.side),
        cost.labels,
        f"{float(f'{cost.num_parameters / 1e6:.3g}'):,g} M",
        memory_text(cost.memory),
        rough_time(row.seconds),
    )


def _plain(row: "Listed") -> dict[str, Any]:
    cost = {} if row.cost is None else row.cost._asdict()
    told = {"name": row.name, "group": row.group, "summary": row.summary, **cost}
    return {**told, "seconds_here": row.seconds}


def memory_text(gib: float) -> str:
    """ "57 MiB", "4.9 GiB"."""
    return f"{gib * 1024:,.0f} MiB" if gib < 1 else f"{gib:,.1f} GiB"


def rough_time(seconds: float) -> str:
    """ "~7 min", "~1.6 h", "~30 days" or "~4 years": two figures at most, and no more than are of
    use."""
    if seconds > MOST_YEARS * YEAR:
        return f"> {MOST_YEARS} years"
    units = ((5400, 60, "min"), (48 * 3600, 3600, "h"), (2 * YEAR, 86_400, "days"))
    size, unit = next(((s, u) for limit, s, u in units if seconds < limit), (YEAR, "years"))
    value = max(float(f"{seconds / size:.2g}"), 1)
    return f"~{value:,.0f} {unit}" if value >= 10 else f"~{value:g} {unit}"


def _advise(data: str, as_json: bool) -> int:
    from limner.api.choosing import advise

    advice = advise(data, here=True)
    print(json.dumps(advice._asdict()) if as_json else "\n".join(advice.lines()))
    return 0


def _compare(first: str, second: str, as_json: bool) -> int:
    from limner.api.choosing import compared, value_text
    from limner.core.config import encode

    found = compared(first, second)
    if as_json:
        entries = [{"key": key, "from": encode(old), "to": encode(new)} for key, old, new in found]
        print(json.dumps({"differences": entries}))
        return 0
    width = max((len(key) for key, _, _ in found), default=0)
    for key, old, new in found:
        print(f"{key:<{width}}  {value_text(old)} -> {value_text(new)}")
    if not found:
        print(f"{first} and {second} are the same")
    return 0


def _show(name: str, as_json: bool) -> int:
    config = preset_config(name)

    from limner.core.config import encode, to_json

    if as_json:
        print(to_json(config), end="")
        return 0

    from limner.api.sizes import sizes_of

    lines = [list_presets()[name], ""]
    lines += [f"{key} = {json.dumps(value)}" for key, value in leaves(encode(config))]
    print("\n".join([*lines, "", *sizes_text(sizes_of(config)), *_cost_text(name)]))
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


def _cost_text(name: str) -> list[str]:
    """What its whole training takes here, where that was counted."""
    from limner.api.choosing import listed_one

    row, kind = listed_one(name)
    if row.cost is None or row.seconds is None:
        return []
    return [
        f"{'with them:':<15}{memory_text(row.cost.memory):>15} on one device",
        f"{'time:':<15}{rough_time(row.seconds):>15} for all of it: rough, by the speed of "
        f"`photos` on this {kind}",
    ]
