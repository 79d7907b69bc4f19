"""How long something took, and a log record as one line: what PGGAN prints at each tick."""

from collections.abc import Mapping
from typing import Any


def format_time(seconds: float) -> str:
    """ "42s", "3m 07s", "2h 05m 00s" or "4d 06h 30m": whole seconds below a day, then minutes."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if days:
        return f"{days}d {hours_left:02d}h {minutes_left:02d}m"
    if hours:
        return f"{hours}h {minutes_left:02d}m {rest:02d}s"
    return f"{minutes}m {rest:02d}s" if minutes else f"{whole}s"


def tick_line(record: Mapping[str, Any]) -> str:
    """The figures of PGGAN's tick line that a log record holds, in its order.

    Read are `tick`, `nimg`, `lod`, `batch_size`, `seconds` (since the run began),
    `seconds_per_tick`, `seconds_per_kimg` and `maintenance` (seconds of pictures, saves, scores).
    """
    figures = (
        ("tick", "tick", "{}"),
        ("kimg", "nimg", "{:.1f}"),
        ("lod", "lod", "{:.2f}"),
        ("minibatch", "batch_size", "{}"),
        ("time", "seconds", "{}"),
        ("sec/tick", "seconds_per_tick", "{:.1f}"),
        ("sec/kimg", "seconds_per_kimg", "{:.2f}"),
        ("maintenance", "maintenance", "{:.1f}"),
    )
    values = {key: record[key] for _, key, _ in figures if record.get(key) is not None}
    if "nimg" in values:
        values["nimg"] /= 1000
    if "seconds" in values:
        values["seconds"] = format_time(values["seconds"])
    return "  ".join(
        f"{name} {form.format(values[key])}" for name, key, form in figures if key in values
    )
