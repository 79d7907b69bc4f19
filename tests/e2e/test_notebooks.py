"""The notebooks of examples/ run from top to bottom, and hold no outputs in the repository."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOTEBOOKS = {path.stem: path for path in sorted(EXAMPLES.glob("*.ipynb"))}


def executed(name: str, folder: Path):
    """The cells' outputs, as a kernel in the folder gives them."""
    notebook = nbformat.read(NOTEBOOKS[name], as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=280, resources=resources).execute()
    return [cell.get("outputs", []) for cell in notebook.cells]


def shown(outputs: list, kind: str) -> list[str]:
    """What the cells show of a kind, such as "text/html"."""
    return [o.data[kind] for cell in outputs for o in cell if kind in o.get("data", {})]


def test_there_are_three():
    assert set(NOTEBOOKS) == {"own_photographs", "old_checkpoint", "own_loss"}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_cells_are_clean(name: str):
    notebook = nbformat.read(NOTEBOOKS[name], as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


@pytest.mark.full
def test_own_photographs(folder: Path):
    outputs = executed("own_photographs", folder)
    html = shown(outputs, "text/html")
    assert any("finished at step 60" in text for text in shown(outputs, "text/plain"))
    assert any("data:image/jpeg" in text for text in html)
    assert any("recall" in text for text in html)
    assert len(shown(outputs, "image/png")) == 2  # the report's sheet, and samples


@pytest.mark.full
def test_old_checkpoint(folder: Path):
    outputs = executed("old_checkpoint", folder)
    assert shown(outputs, "text/plain")[-1] == "True"
    assert any(
        "BigGanGenerator, 3x32x32, 10 classes" in text for text in shown(outputs, "text/html")
    )


def test_own_loss(folder: Path):
    outputs = executed("own_loss", folder)
    assert any("finished at step 150" in text for text in shown(outputs, "text/plain"))
    (frame,) = [text for text in shown(outputs, "text/html") if "loss_d" in text and "<td>" in text]
    assert "140" in frame
    assert (folder / "runs/soft-hinge/model/model.safetensors").exists()
