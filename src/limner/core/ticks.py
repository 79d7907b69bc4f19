"""How long something takes, in words, and a log record as one line: PGGAN's at each tick."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any


def duration(seconds: float) -> str:
    """42.3 -> "42 s", 222 -> "3 min 42 s", 9000 -> "2 h 30 min", 10 ** 6 -> "11 d 13 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    if whole < 2 * 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400:,} d {whole % 86400 // 3600} h"


def end_time(seconds: float, now: datetime | None = None) -> str:
    """The moment in so many seconds: "15:12" of today, else "2026-03-01 15:12"; "never" where no
    calendar has it."""
    now = now or datetime.now()
    try:
        end = now + timedelta(seconds=seconds)
    except OverflowError:
        return "never"
    return end.strftime("%H:%M" if end.date() == now.date() else "%Y-%m-%d %H:%M")


def rate_words(images_per_second: float) -> str:
    """312.4 -> "312 images/s", 0.0312 -> "0.031 images/s"."""
    rate = images_per_second
    return f"{rate:,.0f} images/s" if rate >= 100 else f"{rate:.2g} images/s"


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
