"""TensorBoard, where its package is installed; log.jsonl is always written."""

from pathlib import Path
from typing import Any

from limner.core.errors import MissingExtra


class TensorBoard:
    """Writes log records and scores as scalars. A run that was resumed (at a step, or 0), or goes
    back, overwrites what came after."""

    def __init__(self, directory: Path, resumed_at: int):
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError:
            raise MissingExtra("tensorboard", "track", "writing TensorBoard files") from None
        self._begun = lambda step: SummaryWriter(str(directory), purge_step=step)
        self._writer, self._newest = self._begun(resumed_at + 1), resumed_at

    def on_log(self, record: dict[str, Any]) -> None:
        """One record of log.jsonl."""
        self._reach(record["step"], self._newest + 1)
        for name, value in record.items():
            if name not in ("step", "nimg"):
                self._writer.add_scalar(name.replace("term.", "terms/"), value, record["step"])

    def on_scores(self, line: dict[str, Any]) -> None:
        """One line of scores.jsonl."""
        self._reach(line["step"], self._newest)
        for result in line["results"]:
            self._writer.add_scalar(f"scores/{result['name']}", result["value"], line["step"])

    def _reach(self, step: int, expected: int) -> None:
        if step < expected:
            self.close()
            self._writer = self._begun(step)
        self._newest = step

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()
