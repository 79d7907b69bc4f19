"""TensorBoard, where its package is installed; log.jsonl is always written."""

from pathlib import Path
from typing import Any

from limner.core.errors import MissingExtra


class TensorBoard:
    """Writes log records and scores as scalars. A resumed run overwrites what came after."""

    def __init__(self, directory: Path, resumed_at: int):
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError:
            raise MissingExtra("tensorboard", "track", "writing TensorBoard files") from None
        self._writer = SummaryWriter(str(directory), purge_step=resumed_at or None)

    def on_log(self, record: dict[str, Any]) -> None:
        """One record of log.jsonl."""
        for name, value in record.items():
            if name not in ("step", "nimg"):
                self._writer.add_scalar(name.replace("term.", "terms/"), value, record["step"])

    def on_scores(self, line: dict[str, Any]) -> None:
        """One line of scores.jsonl."""
        for result in line["results"]:
            self._writer.add_scalar(f"scores/{result['name']}", result["value"], line["step"])

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()
