"""The report of a run: gathers what its directory holds and fills the page's template."""

import base64
import contextlib
import json
import math
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from limner.checkpoints import RunDirectory
from limner.checkpoints.scored import higher_is_better
from limner.core.errors import CheckpointError, MissingExtra
from limner.core.files import write_atomically
from limner.core.ticks import duration
from limner.reports.biggan_logs import are_biggan_logs, write_as_run
from limner.reports.plots import (
    Records,
    health_charts,
    score_charts,
    short_number,
    training_charts,
)
from limner.reports.verdict import verdict

MOST_SHEETS = 8
MOST_EVENTS = 200
WIDEST_NEWEST = 1600  # pixels; a wider sheet is shrunk for the page, the file stays as it is
WIDEST_EARLIER = 640
NONE = "-"
ALARMS = ("alarm", "rolled back", "warn", "error", "diverge", "refused", "non-finite")


@dataclass(frozen=True)
class Sheet:
    """A picture inside the page."""

    caption: str
    source: str
    width: int
    height: int


def write_report(run: str | Path, out: str | Path | None = None) -> Path:
    """Write one HTML file about a run that needs nothing else: no other file, no network.

    Works for a run at any stage; what is not there yet is left out.

    Args:
        run: its directory, or logs of BigGAN-PyTorch: logs/EXPERIMENT, or EXPERIMENT_log.jsonl.
        out: the file, which is written whole or not at all; None takes RUN/report.html.

    Raises:
        CheckpointError: no run there, or a file of it that cannot be read.
        MissingExtra: matplotlib or jinja2 is not installed.

    Examples:
        >>> limner.write_report("runs/digits").name
        'report.html'
    """
    path = Path(run)
    beside = path.with_suffix(".html") if path.is_file() else RunDirectory(path).report
    out = Path(out) if out is not None else beside
    with as_run(path) as directory:
        write_page("report.html.j2", gather(directory), out)
    return out


@contextlib.contextmanager
def as_run(path: Path) -> Iterator[RunDirectory]:
    """A run, or a temporary one of another program's logs; a CheckpointError for anything else."""
    if are_biggan_logs(path):
        with tempfile.TemporaryDirectory() as folder:
            yield write_as_run(path, Path(folder))
        return
    directory = RunDirectory(path)
    if not directory.exists():
        raise CheckpointError(
            f"{path}: no run here (config.json is missing); name a run directory, or "
            "BigGAN-PyTorch's logs/EXPERIMENT or EXPERIMENT_log.jsonl"
        )
    yield directory


def write_page(template: str, words: Mapping[str, Any], out: Path) -> None:
    """Fill a template of this folder, and write it whole or not at all."""
    try:
        import jinja2
    except ImportError:
        raise MissingExtra("jinja2", "report", "writing a report") from None
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FunctionLoader(_template),
    )
    write_atomically(out, environment.get_template(template).render(words))


def _template(name: str) -> str:
    return files("limner.reports").joinpath(name).read_text(encoding="utf-8")


def gather(directory: RunDirectory) -> dict[str, Any]:
    """Everything that the template shows, in words and SVG."""
    newest, earlier = _sheets(directory.samples, monotonic(directory.read_log("log")))
    reals = _picture(directory.samples / "reals.png", "", WIDEST_NEWEST)
    return {**gather_figures(directory), "newest": newest, "reals": reals, "earlier": earlier}


def gather_figures(directory: RunDirectory) -> dict[str, Any]:
    """What the template shows, without the pictures."""
    config = directory.read_config()
    data = directory.read_data() if directory.data.exists() else {}
    log = monotonic(directory.read_log("log"))
    scores = monotonic(directory.read_log("scores"))
    event_log = directory.read_log("events")
    events = _events(event_log)
    return {
        "title": str(config.get("name") or Path(directory.path).resolve().name),
        "status": _status(config, log, event_log),
        "facts": _facts(config, data, log),
        "verdict": verdict(scores[-1]) if scores else None,
        "training_charts": training_charts(log),
        "health_charts": health_charts(log, monotonic(directory.read_log("spectra"))),
        "score_charts": score_charts(scores),
        "score_rows": _score_rows(scores),
        "score_notes": _notes(scores),
        "history": _history(scores),
        "alarms": [event for event in events if event["alarm"]],
        "events": events[-MOST_EVENTS:],
        "config": json.dumps(config, indent=2, ensure_ascii=False),
        "data": json.dumps(data, indent=2, ensure_ascii=False) if data else "",
    }


def monotonic(records: Records) -> list[Mapping[str, Any]]:
    """Without the records that a resumed run overtook: a later line replaces its step on."""
    kept: list[Mapping[str, Any]] = []
    for record in records:
        if not isinstance(record.get("step"), int):
            continue
        while kept and kept[-1]["step"] >= record["step"]:
            kept.pop()
        kept.append(record)
    return kept


# --- headline ------------------------------------------------------------------


def _status(config: Mapping[str, Any], log: Records, events: Records) -> str:
    if not log:
        return "not begun, or nothing logged yet"
    # the last steps of a run need not be a multiple of those between two lines of the log
    last = events[-1] if events else {}
    if last.get("event") == "finished" and last.get("step", 0) >= log[-1]["step"]:
        return "finished"
    step, steps, kimg = log[-1]["step"], config.get("steps"), config.get("kimg")
    if steps:
        return "finished" if step >= steps else f"step {step:,} of {steps:,}"
    if kimg:
        nimg = log[-1].get("nimg", 0)
        return "finished" if nimg >= kimg * 1000 else f"{nimg / 1000:,.1f} of {kimg:,g} kimg"
    return f"step {step:,}"


def _facts(
    config: Mapping[str, Any], data: Mapping[str, Any], log: Records
) -> list[tuple[str, str, str]]:
    """(what, figure, small print) for the head of the page."""
    facts = []
    if config.get("name"):
        facts.append(("Preset", str(config["name"]), f"seed {config.get('seed', 0)}"))
    if data:
        facts.append(("Data", str(data.get("name") or data.get("path") or "?"), _data_words(data)))
    if log:
        facts.extend(_progress_facts(config, data, log))
    return facts


def _data_words(data: Mapping[str, Any]) -> str:
    words = []
    if isinstance(data.get("num_images"), int):
        words.append(f"{data['num_images']:,} images")
    if data.get("num_classes"):
        words.append(f"{data['num_classes']:,} classes")
    shape = data.get("image_shape")
    if isinstance(shape, list) and len(shape) == 3:
        words.append(f"{shape[2]}x{shape[1]}, {shape[0]} channel{'s' * (shape[0] != 1)}")
    return ", ".join(words)


def _progress_facts(
    config: Mapping[str, Any], data: Mapping[str, Any], log: Records
) -> list[tuple[str, str, str]]:
    last = log[-1]
    facts = [("Steps", f"{last['step']:,}", f"batch of {config.get('batch_size', '?')}")]
    if last.get("nimg") is not None:
        passes = last["nimg"] / data["num_images"] if data.get("num_images") else None
        print_ = "" if passes is None else f"{passes:,.1f} passes over the data"
        facts.append(("Images seen", _rounded(last["nimg"]), print_))
    if last.get("seconds") is not None:
        facts.append(("Time", duration(last["seconds"]), "resumes included"))
    rates = [r["images_per_second"] for r in log if r.get("images_per_second") is not None]
    if rates:
        waits = [r["data_wait_share"] for r in log if r.get("data_wait_share") is not None]
        print_ = f"{statistics.median(waits):.1%} waiting for data" if waits else ""
        facts.append(("Images/s", f"{statistics.median(rates):,.0f}", print_))
    memory = [r["memory_mb"] for r in log if r.get("memory_mb") is not None]
    if memory:
        facts.append(("Peak memory", f"{max(memory):,.0f} MB", ""))
    return facts


def _rounded(count: float) -> str:
    return f"{count:,.0f}" if count < 1_000_000 else short_number(float(f"{count:.3g}"))


# --- pictures ------------------------------------------------------------------


def _sheets(folder: Path, log: Records) -> tuple[Sheet | None, list[Sheet]]:
    """The newest sample sheet, and up to eight evenly chosen ones that end with it."""
    found = sheets_in(folder)
    if not found:
        return None, []
    seen = {record["step"]: record.get("nimg") for record in log}
    num = min(MOST_SHEETS, len(found))
    places = [round(i * (len(found) - 1) / max(1, num - 1)) for i in range(num)]
    chosen = [found[-1]] if num == 1 else [found[place] for place in places]
    sheets = []
    for step, path in chosen:
        nimg = seen.get(step)
        caption = f"step {step:,}" + (f" · {_rounded(nimg)} images" if nimg else "")
        sheets.append(_picture(path, caption, WIDEST_EARLIER))
    step, path = found[-1]
    newest = _picture(path, f"step {step:,}", WIDEST_NEWEST)
    return newest, [sheet for sheet in sheets if sheet is not None]


def sheets_in(folder: Path) -> list[tuple[int, Path]]:
    """(step, file) of the sample sheets of a run, in their order."""
    return sorted(
        (int(path.stem.removeprefix("step-")), path)
        for path in folder.glob("step-*.png")
        if path.stem.removeprefix("step-").isdecimal()
    )


def _picture(path: Path, caption: str, widest: int) -> Sheet | None:
    """A PNG for embedding; None where the file is missing or, in a live run, not a picture yet."""
    if not path.is_file():
        return None
    try:
        with Image.open(path) as opened:
            picture = opened.convert("L" if opened.mode in ("1", "L") else "RGB")
    except (OSError, SyntaxError):  # Pillow says SyntaxError for a broken PNG
        return None
    if picture.width > widest:
        height = max(1, round(picture.height * widest / picture.width))
        picture = picture.resize((widest, height), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Sheet(caption, source, picture.width, picture.height)


# --- scores and events -----------------------------------------------------------


def _score_rows(scores: Records) -> list[dict[str, str]]:
    """One row a score: newest value, what real pictures get, the best so far."""
    results: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for record in scores:
        for result in record.get("results", []):
            results.setdefault(str(result.get("name")), []).append((record["step"], result))
    rows = []
    for name, entries in results.items():
        step, newest = entries[-1]
        value, floor = newest.get("value"), newest.get("floor")
        higher = higher_is_better(newest)
        best = _best(entries, higher)
        sha256 = str(newest.get("weights_sha256") or "")[:8]
        rows.append(
            {
                "name": name,
                "better": "higher is better" if higher else "lower is better",
                "value": figure(value)
                + (f" ± {figure(newest['std'])}" if newest.get("std") else ""),
                "step": f"{step:,}",
                "floor": figure(floor),
                "ratio": f"{value / floor:.2f}" if value is not None and floor else NONE,
                "best": NONE if best is None else f"{figure(best[0])} at {best[1]:,}",
                "features": f"{newest.get('extractor') or NONE}"
                + (f" ({sha256})" if sha256 else ""),
                "num": figure(newest.get("num")),
            }
        )
    return rows


def _best(entries: list[tuple[int, Mapping[str, Any]]], higher: bool) -> tuple[float, int] | None:
    """Value and step that `RUN@best-NAME` takes: finite, of equals the newer."""
    values = [(result.get("value"), step) for step, result in entries]
    known = [(v, step) for v, step in values if isinstance(v, (int, float)) and math.isfinite(v)]
    sign = 1 if higher else -1
    return max(known, key=lambda pair: (sign * pair[0], pair[1]), default=None)


class _Counted(NamedTuple):
    metric: str
    num: int
    name: str
    value: float
    floor: float | None


def _notes(scores: Records) -> list[str]:
    """What the newest scores cannot be compared with."""
    from limner.metrics import METRICS, PROTOCOLS, notes

    newest = scores[-1].get("results", []) if scores else []
    names = {*METRICS, *PROTOCOLS}
    known = [r for r in newest if r.get("metric") in names and isinstance(r.get("num"), int)]
    return notes([_Counted(r["metric"], r["num"], str(r.get("name")), *_pair(r)) for r in known])


def _pair(result: Mapping[str, Any]) -> tuple[float, float | None]:
    """Value and floor, as far as they are numbers."""
    found = (result.get("value"), result.get("floor"))
    value, floor = (each if isinstance(each, (int, float)) else None for each in found)
    return math.nan if value is None else value, floor


def _history(scores: Records) -> dict[str, Any]:
    """All evaluations as a table: a row a step, a column a score; empty for fewer than two."""
    tables = [
        (record["step"], {str(r.get("name")): r.get("value") for r in record.get("results", [])})
        for record in scores
    ]
    names = list(dict.fromkeys(name for _, values in tables for name in values))
    rows = [(f"{step:,}", [figure(values.get(name)) for name in names]) for step, values in tables]
    return {"names": names, "rows": rows if len(rows) > 1 else []}


def figure(value: Any) -> str:
    """A number with four figures, whole numbers whole; a dash for none."""
    if value is None:
        return NONE
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return str(value)


def _events(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    events = []
    for record in records:
        kind, message = str(record.get("event", "")), str(record.get("message", ""))
        time, step = record.get("time"), record.get("step")
        if isinstance(time, (int, float)):
            time = datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        alarm = any(word in kind.lower() for word in ALARMS)
        shown = {"kind": kind, "message": message, "time": str(time or ""), "alarm": alarm}
        events.append({**shown, "step": figure(step)})
    return events
