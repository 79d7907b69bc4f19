"""The logs of BigGAN-PyTorch, as those of a run: logs/EXPERIMENT with one NAME.log a figure, and
its tests in EXPERIMENT_log.jsonl beside it."""

import json
import math
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from limner.checkpoints import RunDirectory
from limner.core.errors import CheckpointError

TESTS = ("IS_mean", "FID")
ENDING = "_log.jsonl"
LOSSES = {"G_loss": "loss_g", "D_loss_real": "term.d.real", "D_loss_fake": "term.d.fake"}
LARGEST = re.compile(r"([GD])_(.+)_sv0")
LINE = re.compile(r"(\d+): (-?\d\S*|-?nan|-?inf)")
NO_FID = 9999.0  # what it writes where it was told to compute none

Rows = dict[int, dict[str, Any]]


def are_biggan_logs(path: Path) -> bool:
    """Whether a name is that of a folder of such logs, or of the file of its tests."""
    if path.is_dir():
        return (path / "G_loss.log").is_file()
    return path.suffix == ".jsonl" and path.is_file()


def write_as_run(path: Path, folder: Path) -> RunDirectory:
    """Write the logs into an empty folder as a run's.

    Raises:
        CheckpointError: a line that is none of theirs; names file and line.
    """
    by_tests = not path.is_dir()
    name = path.name.removesuffix(ENDING).removesuffix(".jsonl") if by_tests else path.name
    figures = path.with_name(name) if by_tests else path
    tests = path if by_tests else path.with_name(name + ENDING)
    run = RunDirectory(folder)
    run.config.write_text(json.dumps({"name": name}), encoding="utf-8")
    log, spectra = _figures(figures)
    for file, rows in ((run.log, log), (run.spectra, spectra)):
        _write(file, [{"step": step, **rows[step]} for step in sorted(rows)])
    _write(run.scores, _tests(tests) if tests.is_file() else [])
    return run


def _write(file: Path, records: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def _figures(folder: Path) -> tuple[Rows, Rows]:
    """Losses, and the largest singular value of each layer, by iteration; a line that is told again
    after a resume replaces the first."""
    log: Rows = defaultdict(dict)
    spectra: Rows = defaultdict(dict)
    for file in sorted(folder.glob("*.log")):
        layer = LARGEST.fullmatch(file.stem)
        if layer is None and file.stem not in LOSSES:
            continue
        rows, key = (log, LOSSES[file.stem]) if layer is None else (spectra, _key(layer))
        for number, line in enumerate(_lines(file), 1):
            match = LINE.fullmatch(line.strip())
            if match is None:
                raise _foreign(file, number, "ITERATION: NUMBER")
            rows[int(match[1])][key] = float(match[2])
    for row in log.values():
        parts = [row[key] for key in ("term.d.real", "term.d.fake") if key in row]
        if len(parts) == 2:
            row["loss_d"] = sum(parts)
    return log, spectra


def _key(layer: re.Match[str]) -> str:
    return f"{layer[1].lower()}.{layer[2]}"


def _lines(file: Path) -> list[str]:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):  # a process that died while writing it
        lines.pop()
    return lines


def _tests(file: Path) -> list[dict[str, Any]]:
    found = []
    for number, line in enumerate(_lines(file), 1):
        try:
            record = json.loads(line)
            step, values = int(record["itr"]), [float(record[key]) for key in TESTS]
        except (ValueError, KeyError, TypeError):
            raise _foreign(file, number, '{"itr", "IS_mean", "IS_std", "FID"}') from None
        std = record.get("IS_std")
        results = [
            {"metric": "is", "name": "is", "value": values[0], "std": std},
            {"metric": "fid", "name": "fid", "value": values[1]},
        ]
        kept = [
            each for each in results if math.isfinite(each["value"]) and each["value"] != NO_FID
        ]
        found.append({"step": step, "results": kept})
    return found


def _foreign(file: Path, number: int, form: str) -> CheckpointError:
    return CheckpointError(f"{file}: line {number} is not {form}, as BigGAN-PyTorch writes it")
