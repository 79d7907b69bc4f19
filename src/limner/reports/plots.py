"""All charts, as SVG texts that stand inside an HTML page. The one module that uses matplotlib."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from limner.core.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Records = Sequence[Mapping[str, Any]]
Points = tuple[np.ndarray, np.ndarray]

BLUE, ORANGE, GREEN, VIOLET, RED, GRAY = (
    "#1f6feb", "#d9650b", "#2a8f4d", "#8250df", "#c93c50", "#6b7280",
)  # fmt: skip
COLORS = (BLUE, ORANGE, GREEN, VIOLET, RED, GRAY)
MOST_POINTS = 300
MOST_MARKED = 60  # more dots than these hide the line and its band
MOST_OF_A_LAYER = 100  # where dozens of layers share a chart
LOG_SCALE_FROM = 50.0  # a positive curve that spans more than this factor gets a logarithmic axis

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "limner",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.edgecolor": "#9ca3af",
    "axes.labelcolor": "#374151",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "text.color": "#1f2937",
    "xtick.color": "#4b5563",
    "ytick.color": "#4b5563",
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#cdd2d9",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
}


@dataclass(frozen=True)
class Chart:
    """A drawing and the words around it."""

    title: str
    note: str
    svg: str


@dataclass(frozen=True)
class Curve:
    """One line: values over steps, with an optional spread drawn as a band."""

    name: str
    points: Points
    color: str
    spread: np.ndarray | None = None


@dataclass(frozen=True)
class Panel:
    """One pair of axes; `level` is a dashed horizontal line with its words. Without bands, that
    is among dozens of curves, those without a name are thin."""

    curves: list[Curve]
    label: str = ""
    level: tuple[float, str] | None = None
    from_zero: bool = False
    markers: bool = False
    most_points: int = MOST_POINTS
    bands: bool = True
    other: dict[str, Any] = field(default_factory=dict)


def training_charts(log: Records) -> list[Chart]:
    """The charts of log.jsonl; one whose figures are missing is left out."""
    charts = [
        _lines(
            log,
            "Losses",
            "What each player minimizes. Steady is good; a loss that runs away is not.",
            {"loss_d": "discriminator", "loss_g": "generator"},
        ),
        _lines(
            log,
            "The discriminator's answers",
            "Mean output for real and for generated pictures. The closer the lines, the less it "
            "can tell them apart.",
            {"real_logits": "real pictures", "fake_logits": "generated pictures"},
        ),
        _lines(
            log,
            "Gradient norms",
            "The length of each player's gradient, before its step.",
            {"grad_norm_d": "discriminator", "grad_norm_g": "generator"},
            may_be_logarithmic=True,
        ),
        _speed(log),
        _terms(log),
        _learning_rates(log),
    ]
    return [chart for chart in charts if chart is not None]


def health_charts(log: Records, spectra: Records = ()) -> list[Chart]:
    """The charts of the health figures, which not every record has, and of spectra.jsonl."""
    charts = [
        _lines(
            log,
            "Right answers of the discriminator",
            "Share of its answers that bear the right sign: above zero for real pictures, below "
            "for generated ones. Both near 1 for long: it wins, and the generator learns little.",
            {"signs_real": "real pictures", "signs_fake": "generated pictures"},
        ),
        _lines(
            log,
            "Diversity",
            "How much generated pictures differ from each other, as a share of how much real ones "
            "do. Near 1 is good; near 0 the generator has collapsed.",
            {"diversity": "all pairs", "diversity_within": "pairs of one class"},
        ),
        *(
            _spectra(spectra, player, name) or _singular_values(log, player, name)
            for player, name in (("g", "generator"), ("d", "discriminator"))
        ),
    ]
    return [chart for chart in charts if chart is not None]


def score_charts(scores: Records) -> list[Chart]:
    """One chart a score of scores.jsonl, with its floor dashed."""
    found: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for record in scores:
        for result in record.get("results", []):
            if _number(result.get("value")) is not None:
                found.setdefault(str(result.get("name")), []).append((record["step"], result))
    return [_score(name, results) for name, results in found.items()]


# --- single charts ----------------------------------------------------------


def _lines(
    log: Records, title: str, note: str, names: Mapping[str, str], may_be_logarithmic: bool = False
) -> Chart | None:
    curves = []
    for (key, name), color in zip(names.items(), COLORS, strict=False):
        points = series(log, key)
        if len(points[0]):
            curves.append(Curve(name, points, color))
    if not curves:
        return None
    values = np.concatenate([curve.points[1] for curve in curves])
    spans = may_be_logarithmic and values.min() > 0 and values.max() / values.min() > LOG_SCALE_FROM
    return draw(title, note, [Panel(curves, other={"yscale": "log"} if spans else {})])


def _speed(log: Records) -> Chart | None:
    panels = []
    for key, label, color in (
        ("images_per_second", "images/s", GREEN),
        ("memory_mb", "memory, MB", VIOLET),
    ):
        points = series(log, key)
        if len(points[0]):
            panels.append(Panel([Curve("", points, color)], label, from_zero=True))
    note = "Real images shown a second, and the most memory that the process has used."
    return draw("Speed and memory", note, panels) if panels else None


def _terms(log: Records) -> Chart | None:
    """Only where a player's loss has several parts: alone, a part is the loss drawn above."""
    keys = list(dict.fromkeys(key for record in log for key in record if key.startswith("term.")))
    players = [key.split(".")[1] for key in keys]
    several = [key for key, player in zip(keys, players, strict=True) if players.count(player) > 1]
    names = {key: key.removeprefix("term.").replace(".", ": ", 1) for key in several[: len(COLORS)]}
    return _lines(log, "Parts of the losses", "Each term of each player, weighted.", names)


def _singular_values(log: Records, player: str, name: str) -> Chart | None:
    """First and last layer and, between them, the layers whose values moved most."""
    prefix = f"sv.{player}."
    keys = list(dict.fromkeys(key for record in log for key in record if key.startswith(prefix)))
    if len(keys) > len(COLORS):
        moved = {key: np.ptp(series(log, key)[1]) for key in keys[1:-1]}
        most = sorted(moved, key=lambda key: -moved[key])[: len(COLORS) - 2]
        keys = [key for key in keys if key in {keys[0], keys[-1], *most}]
    return _lines(
        log,
        f"Largest singular values, {name}",
        "Of weights, by layer, before any normalization. A sudden rise often comes before a "
        "collapse.",
        {key: key.removeprefix(prefix) for key in keys},
        may_be_logarithmic=True,
    )


def _spectra(spectra: Records, player: str, name: str) -> Chart | None:
    """A line a layer in colors from the first to the last; those that stand out are named."""
    prefix = f"{player}."
    keys = list(dict.fromkeys(key for line in spectra for key in line if key.startswith(prefix)))
    found = {key.removeprefix(prefix): series(spectra, key) for key in keys}
    found = {layer: points for layer, points in found.items() if len(points[0])}
    if not found:
        return None
    named = _outstanding({layer: points[1] for layer, points in found.items()})
    curves = [
        Curve(layer if layer in named else "", points, color)
        for (layer, points), color in zip(found.items(), _ramp(len(found)), strict=True)
    ]
    values = np.concatenate([points[1] for points in found.values()])
    spans = values.min() > 0 and values.max() / values.min() > LOG_SCALE_FROM
    return draw(
        f"Singular values, {name}",
        f"The largest of each of the {len(found)} normalized layers, before the normalization: "
        "light the first layer, dark the last. A sudden rise often comes before a collapse.",
        [
            Panel(
                curves,
                other={"yscale": "log"} if spans else {},
                most_points=MOST_OF_A_LAYER,
                bands=False,
            )
        ],
    )


def _outstanding(values: Mapping[str, np.ndarray]) -> set[str]:
    """First and last layer, and those that are largest, smallest and moved most."""
    if len(values) <= len(COLORS):
        return set(values)
    layers = list(values)
    last = {layer: series_[-1] for layer, series_ in values.items()}
    moved = {layer: np.ptp(series_) for layer, series_ in values.items()}
    return {
        layers[0], layers[-1], max(last, key=last.__getitem__), min(last, key=last.__getitem__),
        max(moved, key=moved.__getitem__),
    }  # fmt: skip


def _ramp(num: int) -> list[str]:
    """Colors from light blue over violet to dark red."""
    stops = np.array(
        [[0x8C, 0xC4, 0xF7], [0x1F, 0x6F, 0xEB], [0x82, 0x50, 0xDF], [0x7A, 0x10, 0x30]]
    )
    places = np.linspace(0, len(stops) - 1, num)
    channels = [np.interp(places, np.arange(len(stops)), stops[:, c]) for c in range(3)]
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in np.round(channels).astype(int).T.tolist()]


def _learning_rates(log: Records) -> Chart | None:
    names = {
        key: name
        for key, name in (("lr_d", "discriminator"), ("lr_g", "generator"))
        if len(np.unique(series(log, key)[1])) > 1
    }
    return _lines(log, "Learning rates", "As the schedule set them.", names)


def _score(name: str, results: list[tuple[int, Mapping[str, Any]]]) -> Chart:
    steps = np.array([step for step, _ in results], float)
    values = np.array([_number(result["value"]) for _, result in results], float)
    stds = np.array([_number(result.get("std")) or 0.0 for _, result in results])
    curve = Curve("", (steps, values), BLUE, stds if stds.any() else None)
    floor = _number(results[-1][1].get("floor"))
    level = None if floor is None else (floor, "real pictures")
    note = "Band: one standard deviation." if stds.any() else ""
    markers = len(steps) <= MOST_MARKED
    return draw(name, note, [Panel([curve], level=level, markers=markers)])


# --- data --------------------------------------------------------------------


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and np.isfinite(value) else None


def series(records: Records, key: str) -> Points:
    """Steps and values of a key, without the records where it is missing or not finite."""
    pairs = [(record["step"], _number(record.get(key))) for record in records]
    kept = [(step, value) for step, value in pairs if value is not None]
    steps, values = zip(*kept, strict=True) if kept else ((), ())
    return np.array(steps, float), np.array(values, float)


def thin(points: Points, most: int = MOST_POINTS) -> tuple[np.ndarray, ...]:
    """At most `most` points as (steps, means, lowest, highest) of neighbouring groups."""
    steps, values = points
    if len(steps) <= most:
        return steps, values, values, values
    groups = np.array_split(np.arange(len(steps)), most)
    means = np.array([values[group].mean() for group in groups])
    lowest = np.array([values[group].min() for group in groups])
    highest = np.array([values[group].max() for group in groups])
    return np.array([steps[group].mean() for group in groups]), means, lowest, highest


# --- drawing -----------------------------------------------------------------


def draw(title: str, note: str, panels: list[Panel]) -> Chart:
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", "report", "drawing a report's charts") from None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 2.9), layout="constrained")
        FigureCanvasAgg(figure)
        figure.patch.set_alpha(0)
        all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, panel in zip(all_axes, panels, strict=True):
            _draw(axes, panel)
        all_axes[-1].set_xlabel("step")
        return Chart(title, note, _svg(figure, title))


def _draw(axes: "Axes", panel: Panel) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.patch.set_alpha(0)
    for curve in panel.curves:
        steps, means, lowest, highest = thin(curve.points, panel.most_points)
        if curve.spread is not None:
            spread = thin((curve.points[0], curve.spread), panel.most_points)[1]
            lowest, highest = means - spread, means + spread
        if panel.bands and (lowest < highest).any():
            axes.fill_between(steps, lowest, highest, color=curve.color, alpha=0.18, linewidth=0)
        marker = "o" if panel.markers or len(steps) < 3 else None
        width = None if curve.name or panel.bands else 0.8
        axes.plot(
            steps, means, color=curve.color, label=curve.name, marker=marker, markersize=4.5,
            linewidth=width,
        )  # fmt: skip
    if panel.level is not None:
        value, words = panel.level
        axes.axhline(value, color=GRAY, linestyle=(0, (4, 3)), linewidth=1.2)
        axes.annotate(
            words, (0.01, value), xycoords=("axes fraction", "data"), xytext=(0, 3),
            textcoords="offset points", ha="left", va="bottom", color=GRAY, fontsize=9,
        )  # fmt: skip
    if any(curve.name for curve in panel.curves):
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, borderaxespad=0.2)
    axes.set(ylabel=panel.label, **panel.other)
    if panel.from_zero:
        axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    if "yscale" not in panel.other:
        axes.yaxis.set_major_locator(MaxNLocator(3 if panel.label else 5))
        axes.margins(y=0.08)


def short_number(value: float) -> str:
    """1500 -> "1.5k", 2000000 -> "2M"."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _svg(figure: "Figure", title: str) -> str:
    """The figure as an <svg> element whose ids no other chart of the page shares."""
    buffer = StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]  # an HTML page takes no XML declaration or DOCTYPE
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    prefix = re.sub(r"[^a-z0-9]+", "-", title.lower()) + "-"
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r'(url\(|href=")#', rf"\1#{prefix}", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
