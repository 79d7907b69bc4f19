"""What is refused before memory is asked for."""

MAX_PIXELS = 50_000_000  # of a picture; more is refused before it is decoded
