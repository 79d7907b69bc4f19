"""One self-contained page about a run: curves, samples over time, scores, config."""

from limner.reports.page import write_report
from limner.reports.verdict import verdict

__all__ = ["verdict", "write_report"]
