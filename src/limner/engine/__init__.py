"""The engine: a run is data, a step is a pass over a list of updates."""

from limner.engine.config import Adam, Intervals, Players, RunConfig, Sheet
from limner.engine.update import Update

__all__ = ["Adam", "Intervals", "Players", "RunConfig", "Sheet", "Update"]
