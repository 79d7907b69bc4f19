"""One self-contained page about a run: curves, samples over time, scores, config."""

from limner.reports.comparison import write_comparison
from limner.reports.page import write_report
from limner.reports.verdict import verdict

__all__ = ["verdict", "write_comparison", "write_report"]
