"""How many pictures stand side by side, from the texts by which users name a grid."""

import re

from limner.core.errors import ConfigError

# name -> (width and height of the screen, fewest columns and rows); most are 32 of either
SCREENS = {"1080p": ((1920, 1080), (3, 2)), "4k": ((3840, 2160), (7, 4))}
MOST = 32


def is_grid(text: str) -> bool:
    """Whether a text names a grid: "1080p", "4k" or "WIDTHxHEIGHT"."""
    return text in SCREENS or re.fullmatch(r"[1-9][0-9]{0,3}x[1-9][0-9]{0,3}", text) is not None


def grid_size(text: str, height: int, width: int) -> tuple[int, int]:
    """Columns and rows of pictures [height, width] in a grid: "1080p" and "4k" fill a screen of
    that size, with 3 to 32 (7 to 32) columns and 2 to 32 (4 to 32) rows, as PGGAN's sample sheets
    do; "15x8" are 15 columns and 8 rows. ConfigError for another text."""
    if not is_grid(text):
        raise ConfigError(f"grid '{text}' is unknown; give 1080p, 4k or COLUMNSxROWS as in 15x8")
    if text not in SCREENS:
        columns, _, rows = text.partition("x")
        return int(columns), int(rows)
    (screen_width, screen_height), (columns, rows) = SCREENS[text]
    return (
        min(max(screen_width // width, columns), MOST),
        min(max(screen_height // height, rows), MOST),
    )
