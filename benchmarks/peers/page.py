"""The table of benchmarks/README.md, made of results/peers.json."""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
RESULTS, PAGE = HERE / "results" / "peers.json", HERE / "README.md"
MARKS = "<!-- peers: begin -->\n", "<!-- peers: end -->"
HEAD = ("row", "peer", "limner computes in", "peer, s", "limner, s", "ratio", "goal", "n", "apart")


def write() -> None:
    """Put the table between the page's marks."""
    between(PAGE, MARKS, table())


def between(page: Path, marks: tuple[str, str], text: str) -> None:
    """Replace what stands between two marks of a page."""
    head, _, rest = page.read_text().partition(marks[0])
    _, _, tail = rest.partition(marks[1])
    page.write_text(head + marks[0] + text + marks[1] + tail)


def table() -> str:
    """A row a line of the results."""
    lines = [row(HEAD), row(["---"] * len(HEAD))]
    found = json.loads(RESULTS.read_text())
    lines += [row(cells(line)) for line in found]
    memories = [line for line in found if "memory_mb" in line]
    if memories:
        lines += [
            "",
            row(("memory above torch", "limner computes in", "peer, MB", "limner, MB", "ratio")),
            row(["---"] * 5),
        ]
        lines += [row(of_memory(line)) for line in memories]
    missed = [line for line in found if "where" in line]
    if missed:
        head = ("below its goal", "limner computes in", "products", "of the peak", "then")
        lines += ["", row(head), row(["---"] * len(head)), *(row(of_where(x)) for x in missed)]
    return "\n".join([*lines, ""])


def row(cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def cells(line: dict[str, Any]) -> list[str]:
    """Of one row in one precision; "-" where there is nothing."""
    peer = " ".join(filter(None, (line["peer"] or "pip's", line["commit"])))
    numbers = [line["peer_s"], line["limner_s"], line["ratio"], line["target"], line["n"]]
    apart = "-" if line["equal"] is None else f"{line['equal']:.0e}"
    shown = ["-" if number is None else f"{number:.3g}" for number in numbers]
    return [f"{line['row']}, a {line['unit']}", peer, line["precision"], *shown, apart]


def of_memory(line: dict[str, Any]) -> list[str]:
    peer, own = line["memory_mb"].get("peer"), line["memory_mb"][line["precision"]]
    shown = ["-", f"{own:.0f}", "-"]
    if peer is not None:
        shown = [f"{peer:.0f}", f"{own:.0f}", f"{own / peer:.2f}"]
    return [line["row"], line["precision"], *shown]


def of_where(line: dict[str, Any]) -> list[str]:
    where = line["where"]
    others = ", ".join(
        f"{name.removeprefix('aten::')} {share:.0%}" for name, share in where["others"].items()
    )
    return [
        line["row"],
        line["precision"],
        f"{where['products']:.0%}",
        f"{where['of_peak']:.0%}" if where["of_peak"] else "-",
        others,
    ]
