"""TensorBoard's scalars after a resume and after a run has gone back: each step once."""

import pytest

from limner.running.trackers import TensorBoard


def scalars(directory) -> dict[str, list[tuple[int, float]]]:
    accumulation = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulation.EventAccumulator(str(directory))
    events.Reload()
    return {
        tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def logged(board: TensorBoard, *steps: int, loss: float) -> None:
    for step in steps:
        board.on_log({"step": step, "nimg": 8 * step, "loss_d": loss})


def scored(board: TensorBoard, step: int, value: float) -> None:
    board.on_scores({"step": step, "results": [{"name": "fd", "value": value}]})


def test_what_a_run_takes_back_is_overwritten(tmp_path):
    pytest.importorskip("torch.utils.tensorboard")
    board = TensorBoard(tmp_path, 0)
    logged(board, 10, 20, loss=1.0)
    scored(board, 20, 5.0)
    logged(board, 30, 40, loss=1.0)
    scored(board, 40, 6.0)
    logged(board, 30, loss=2.0)  # a rollback to step 25
    scored(board, 40, 7.0)
    board.close()
    assert scalars(tmp_path) == {
        "loss_d": [(10, 1.0), (20, 1.0), (30, 2.0)],
        "scores/fd": [(20, 5.0), (40, 7.0)],
    }
    board = TensorBoard(tmp_path, 30)  # the state of step 30, whose line stays
    logged(board, 40, loss=3.0)
    board.close()
    assert scalars(tmp_path)["loss_d"] == [(10, 1.0), (20, 1.0), (30, 2.0), (40, 3.0)]
    board = TensorBoard(tmp_path, 40)
    scored(board, 40, 8.0)  # an evaluation that a kill prevented
    scored(board, 35, 9.0)  # a rollback that a score is the first to show
    board.close()
    assert scalars(tmp_path)["scores/fd"] == [(20, 5.0), (35, 9.0)]
