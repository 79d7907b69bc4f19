"""The words of `limner studio`, and the folder that starts it by itself."""

import importlib.util
import os
import site
import subprocess
import sys
import urllib.request
from pathlib import Path

from studio_place import free_port, need, wait_for

import limner as package


def test_without_gradio_one_line_says_what_to_type(limner, tiny_run, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "gradio" else find_spec(name, *more),
    )
    answer = limner("studio", tiny_run)
    assert answer.code == 1
    assert "pip install 'limner[studio]'" in answer.err
    assert answer.err.count("\n") == 1


def test_an_exported_space_starts_by_itself_without_the_network(limner, tiny_run, tmp_path):
    need("gradio", importlib.util.find_spec("gradio") is not None)
    space = tmp_path / "digits"
    assert limner("export", tiny_run, "--format", "space", "--out", space).code == 0
    card = (space / "README.md").read_text()
    assert card.startswith('---\ntitle: "digits"\nsdk: gradio\n')
    assert (space / "requirements.txt").read_text() == f"limner[studio]>={package.__version__}\n"
    assert not any("discriminator." in name for name in tensors(space / "model"))
    # a fresh environment that has what requirements.txt names
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    places = [str(Path(package.__file__).parents[1]), *site.getsitepackages()]
    shared = [*places, *(line for p in places for line in linked(Path(p)))]
    (packages / "shared.pth").write_text("\n".join(shared) + "\n")
    port, nowhere = free_port(), "http://127.0.0.1:9"
    left_out = ("PYTHONPATH", "CI", "NO_PROXY", "no_proxy")
    environment = {k: v for k, v in os.environ.items() if k not in left_out}
    environment |= {"GRADIO_SERVER_PORT": f"{port}", "http_proxy": nowhere, "https_proxy": nowhere}
    process = subprocess.Popen(
        [tmp_path / "venv" / "bin" / "python", "app.py"],
        cwd=space, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}", process)
        assert process.stdout.readline() == f"limner studio: http://127.0.0.1:{port}/\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/config", timeout=60) as answer:
            assert b'"generate"' in answer.read()
    finally:
        process.terminate()
        process.communicate(timeout=60)


def tensors(folder: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as file:
        return list(file.keys())


def linked(packages: Path) -> list[str]:
    """Other folders of packages that an environment names."""
    lines = [line for file in packages.glob("*.pth") for line in file.read_text().splitlines()]
    return [line for line in lines if Path(line).is_dir()]
