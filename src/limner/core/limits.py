"""Sizes beyond which a file is damaged or means harm. Nothing here imports torch."""

MAX_PIXELS = 50_000_000  # of a picture; more is refused before it is decoded
