"""The best checkpoint by each figure is that of its metric's direction, also of lines without one."""

from pathlib import Path

import pytest

from limner.checkpoints import RunDirectory, save_state
from limner.metrics import METRICS

FIGURES = [(kind, figure) for kind, metric in METRICS.items() for figure in metric.figures]


@pytest.mark.parametrize("is_old", [False, True], ids=["its own direction", "an older line"])
@pytest.mark.parametrize(("kind", "figure"), FIGURES, ids=lambda name: str(name))
def test_the_best_checkpoint_is_the_best_by_the_metrics_own_direction(
    tmp_path: Path, kind: str, figure: str, is_old: bool
):
    metric = METRICS[kind]
    name = f"{figure}-classifier" if metric.named_by_features else figure
    direction = {} if is_old else {"higher_is_better": metric.higher_is_better}
    run = RunDirectory(tmp_path)
    run.create()
    for step, value in ((100, 0.2), (200, 0.9), (300, 0.5)):
        save_state(run.checkpoints, step, {"progress": {"step": step}})
        results = [{"metric": kind, "name": name, "value": value, **direction}]
        run.append("scores", {"step": step, "nimg": step, "results": results})
    best = "step-00000200" if metric.higher_is_better else "step-00000100"
    assert run.select(f"best-{name}").name == best
    assert run.select(f"best-{kind}").name == best
    run.prune(keep_newest=1, keep_best=1)
    assert {path.name for path in run.checkpoints.glob("step-*")} == {best, "step-00000300"}
