"""One self-contained page about a run: curves, samples over time, scores, config."""

from limner.reports.page import write_report

__all__ = ["write_report"]
