"""Count what every preset costs (`limner.api.costs`), and with --write put the rows into
src/limner/presets/costs.py. Takes minutes, and no memory for weights.

    python benchmarks/preset_costs.py [--write] [NAME ...]
"""

import sys
from pathlib import Path
from typing import get_args

from limner import presets
from limner.api.costs import cost_of
from limner.core.facts import Kind, Machine
from limner.presets import costs
from limner.presets.fitted import USUAL_PICTURES


def rows(names: list[str]) -> dict[str, costs.Cost]:
    """Of these presets; one that fits itself to the machine has a row for each kind of device where
    these differ."""
    found = {}
    for name in names:
        if name not in presets.FITTED:
            found[name] = cost_of(presets.get(name)())
            continue
        configs = {
            kind: presets.fit(name, USUAL_PICTURES, Machine(kind))[0] for kind in get_args(Kind)
        }
        if len(set(configs.values())) == 1:
            found[name] = cost_of(configs["cpu"])
            continue
        for kind, config in configs.items():
            found[f"{name} on {kind}"] = cost_of(config, labels="if given")
    return found


def main(words: list[str]) -> None:
    named = [word for word in words if word != "--write"]
    found = rows(named or list(presets.PRESETS))
    if named:  # the other rows stand
        found = costs.COSTS | found
    lines = [
        f'    "{name}": Cost{tuple(cost)!r},'.replace("'", '"') for name, cost in found.items()
    ]
    print("\n".join(lines))
    if "--write" in words:
        file = Path(costs.__file__)
        head = file.read_text().partition("COSTS: ")[0]
        file.write_text("\n".join([head + "COSTS: dict[str, Cost] = {", *lines, "}\n"]))


if __name__ == "__main__":
    main(sys.argv[1:])
