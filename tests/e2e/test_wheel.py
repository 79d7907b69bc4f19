"""The wheel and the source archive, built, and the wheel installed in an environment of its own."""

import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def said(*words: object, **named) -> str:
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=False, **named
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("dist")
    said(sys.executable, "-m", "hatchling", "build", "-d", place, cwd=ROOT)
    return place


def test_the_archives_hold_types_licences_and_the_digits(built: Path):
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    assert "limner/py.typed" in names
    assert {Path(name).name for name in names if "licenses" in name} == {"LICENSE", "NOTICE"}
    assert not [name for name in names if name.startswith(("tests/", "docs/", "benchmarks/"))]
    packaged = {name for name in names if name.startswith("limner/")}
    own = {p for p in (ROOT / "src" / "limner").rglob("*") if p.is_file() and p.suffix != ".pyc"}
    assert packaged == {str(path.relative_to(ROOT / "src")) for path in own}
    with tarfile.open(source) as archive:
        kept = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "NOTICE", "src/limner/py.typed"} <= kept


def test_the_installed_wheel_works(built: Path, tmp_path: Path):
    """Beside the libraries of this environment, without the checkout that is installed there."""
    place = tmp_path / "own"
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    install = ("-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet")
    said(sys.executable, *install, wheel, cwd=tmp_path)
    packages = said(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])")
    Path(packages.strip(), "others.pth").write_text(sysconfig.get_paths()["purelib"])
    env = {"PATH": str(place / "bin"), "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    found = said(python, "-c", "import limner; print(limner.__file__)", cwd=tmp_path, env=env)
    assert Path(found.strip()).is_relative_to(place)
    assert "photos" in said(place / "bin" / "limner", "presets", cwd=tmp_path, env=env)
    shown = said(place / "bin" / "limner", "data", "report", "digits", cwd=tmp_path, env=env)
    assert "1797 pictures (all gray), 10 classes" in shown
    words = (
        "sample",
        "digits-demo",
        "--num",
        "4",
        "--grid",
        "--out",
        "sheet.png",
        "--device",
        "cpu",
    )
    assert "4 images" in said(place / "bin" / "limner", *words, cwd=tmp_path, env=env)
