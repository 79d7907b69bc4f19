"""The house rules that a linter cannot hold: sizes, names in the engine, what help may import.

Each scanner has a control beside it: a planted fault that it must find.
"""

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from limner.cli.main import COMMANDS
from limner.engine.controllers import CONTROLLERS
from limner.models import ARCHITECTURES, NETWORKS
from limner.objectives import DIRECTS, TERMS

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "limner"
SOURCES = sorted(SOURCE.rglob("*.py"))

# --- the engine names no algorithm -------------------------------------------

ENGINE = sorted(
    path
    for pattern in (
        "engine/finite.py",
        "engine/frozen.py",
        "engine/naming.py",
        "engine/noise.py",
        "engine/optimizers.py",
        "engine/passes.py",
        "engine/progress.py",
        "engine/reals.py",
        "engine/state.py",
        "engine/trainer.py",
        "engine/update.py",
        "engine/watch.py",
        "engine/augment/base.py",
        "engine/controllers/base.py",
        "objectives/base.py",
        "core/schedules.py",
    )
    for path in SOURCE.glob(pattern)
)

# Families of losses, penalties, architectures and data sets, also those of later rooms.
ALGORITHM_WORDS = (  # noqa: SIM905 - lines of words are read at a glance
    "hinge wasserstein saturating non_saturating wgan lsgan relativistic least_squares "
    "gradient_penalty r1 r2 zero_centered path_length consistency_regularization orthogonal "
    "biggan dcgan pggan sngan sagan acgan stylegan progan progressive "
    "self_attention ada diffaugment lecam "
    "digits cifar cifar10 mnist celeba imagenet"
).split()


def class_names() -> set[str]:
    """Names of every class in the tables of parts."""
    parts = [*TERMS.values(), *DIRECTS.values(), *CONTROLLERS.values(), *NETWORKS.values()]
    parts += [config for pair in ARCHITECTURES.values() for config in pair]
    return {part.__name__ for part in parts}


def algorithms_named(text: str) -> set[str]:
    """Algorithm words and part classes that a source text names, in code or in prose."""
    classes = {name for name in class_names() if re.search(rf"\b{name}\b", text)}
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)  # HingeD is also read as "Hinge D"
    flat = " ".join(re.findall(r"[a-z0-9]+", f"{text} {split}".lower()))
    words = {word for word in ALGORITHM_WORDS if f" {word.replace('_', ' ')} " in f" {flat} "}
    return classes | words


def test_the_engine_has_its_files():
    names = {path.relative_to(SOURCE).as_posix() for path in ENGINE}
    assert {"engine/trainer.py", "engine/passes.py", "objectives/base.py"} <= names


@pytest.mark.parametrize("path", ENGINE, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_the_engine_names_no_algorithm(path: Path):
    assert algorithms_named(path.read_text()) == set()


@pytest.mark.parametrize(
    ("planted", "found"),
    [
        ("from limner.objectives import HingeD", {"HingeD", "hinge"}),
        ("if term.name == 'r1':", {"r1"}),
        ("def wasserstein_loss(x): ...", {"wasserstein"}),
        ("# as in BigGAN", {"biggan"}),
        ("# the least-squares loss", {"least_squares"}),
        ('name = "biggan"', {"biggan"}),
    ],
)
def test_the_scanner_finds_a_planted_name(planted: str, found: set[str]):
    source = "loss = sum(term(batch, memory) for term in update.terms)\n"
    assert algorithms_named(source) == set()
    assert found <= algorithms_named(source + planted + "\n")


def test_every_part_is_found_by_its_own_name():
    missed = {name for name in class_names() if name not in algorithms_named(f"part = {name}()")}
    assert len(class_names()) >= 10
    assert missed == set()


def test_the_trainer_stays_small():
    assert len((SOURCE / "engine" / "trainer.py").read_text().splitlines()) <= 300


# --- rooms -------------------------------------------------------------------


def test_commands_are_forbidden_every_room_but_the_api_and_core():
    """A new room must be added to the contract that import-linter holds."""
    rooms = {f"limner.{path.parent.name}" for path in SOURCE.glob("*/__init__.py")}
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (held,) = (c for c in contracts["contracts"] if "limner.cli" in c.get("source_modules", ()))
    above = {"limner.cli", "limner.studio", "limner.api", "limner.core"}
    assert set(held["forbidden_modules"]) == rooms - above


# --- sizes -------------------------------------------------------------------

MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 450
MAX_CLASS_DEPTH = 2  # steps of inheritance inside limner


def long_functions(text: str) -> list[str]:
    """Functions longer than allowed, decorators not counted."""
    return [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES
    ]


def class_depth(cls: type) -> int:
    """Steps of inheritance above a class that lead through limner's own classes."""
    above = [base for base in cls.__bases__ if base.__module__.partition(".")[0] == "limner"]
    return max((1 + class_depth(base) for base in above), default=0)


def all_classes() -> set[type]:
    """Every class that a module of limner defines."""
    names = [
        ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in SOURCES
        if path.name != "__main__.py"
    ]
    return {
        value
        for name in names
        for value in vars(importlib.import_module(name)).values()
        if isinstance(value, type) and value.__module__.partition(".")[0] == "limner"
    }


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_files_and_functions_are_short(path: Path):
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    assert long_functions(text) == []


def test_classes_are_shallow():
    classes = all_classes()
    assert {*TERMS.values(), *NETWORKS.values()} <= classes
    assert [cls for cls in classes if class_depth(cls) > MAX_CLASS_DEPTH] == []


def test_the_size_scanners_find_planted_faults():
    def function(num_lines: int) -> str:
        return "def planted():\n" + "    x = 1\n" * (num_lines - 1)

    assert long_functions(function(60)) == []
    assert long_functions(function(61)) == ["planted: 61 lines"]
    own = {"__module__": "limner.planted"}
    shallow = type("C", (type("B", (type("A", (), own),), own), dict), own)
    assert class_depth(shallow) == 2
    assert class_depth(type("D", (shallow,), own)) == 3


# --- what every source file has, and has not ---------------------------------


def broad_handlers(text: str) -> list[int]:
    """Lines of handlers that catch everything: bare, Exception or BaseException."""
    broad = {"Exception", "BaseException"}
    lines = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ExceptHandler):
            caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            if any(kind is None or ast.unparse(kind) in broad for kind in caught):
                lines.append(node.lineno)
    return lines


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_files_have_a_docstring_and_catch_nothing_broad(path: Path):
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "give the file a docstring"
    assert broad_handlers(text) == []


@pytest.mark.parametrize(
    ("handler", "num"),
    [
        ("except:", 1),
        ("except Exception:", 1),
        ("except (OSError, BaseException) as error:", 1),
        ("except (OSError, ValueError):", 0),
    ],
)
def test_the_handler_scanner_finds_a_planted_fault(handler: str, num: int):
    assert len(broad_handlers(f"try:\n    pass\n{handler}\n    pass\n")) == num


# --- no file knows the machine it was written on -----------------------------

TEXT_PLACES = (
    "src", "tests", "docs", "examples", "benchmarks", ".ci",
    "Makefile", "NOTICE", "README.md", "CHANGELOG.md", "pyproject.toml", ".gitignore",
)  # fmt: skip
TEXT_ENDINGS = {
    "",
    ".py",
    ".md",
    ".toml",
    ".json",
    ".txt",
    ".html",
    ".j2",
    ".css",
    ".js",
    ".cfg",
    ".yml",
}

# Written in pieces, so that this file is free of what it forbids.
MACHINE_PATTERNS = [
    r"(?<![\w.$}])/(?:"
    + "|".join(("work", "tmp", "root", "home", "Users", "mnt", "scratch"))
    + r")/\w",
    r"\b[A-Z]:\\\\?Users",
    r"\b(?:"
    + "|".join(("pypi", "npmjs", "pythonhosted", "conda", "anaconda"))
    + r")\.(?:org|com)\b",
    r"//(?:index|registry|proxy|mirror|artifactory|nexus)\.[\w-]+\.[a-z]{2,}\b",
    r"\b(?:10|172\.(?:1[6-9]|2\d|3[01])|192\.168)\.\d{1,3}\.\d{1,3}(?:\.\d{1,3})?:\d{2,5}\b",
]


def machine_traces(text: str) -> list[str]:
    """Absolute paths of one machine and hosts of package registries."""
    return [match[0] for pattern in MACHINE_PATTERNS for match in re.finditer(pattern, text)]


def text_files() -> Iterator[Path]:
    for place in TEXT_PLACES:
        path = ROOT / place
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and file.suffix in TEXT_ENDINGS and "__pycache__" not in file.parts:
                yield file


def test_no_file_names_this_machine_or_a_registry():
    found = {
        file.relative_to(ROOT).as_posix(): traces
        for file in text_files()
        if (traces := machine_traces(file.read_text(encoding="utf-8", errors="replace")))
    }
    assert len(list(text_files())) > 40
    assert found == {}


@pytest.mark.parametrize(
    "planted",
    [
        'open("/' + 'work/data.npz")',
        "see /" + "tmp/x",
        "cd /" + "home/ann/limner",
        "--index-url https://py" + "pi.org/simple",
        "https://registry" + ".example.com/limner",
        "http://10.1" + ".2.3:3128",
    ],
)
def test_the_machine_scanner_finds_a_planted_trace(planted: str):
    assert machine_traces(planted)
    assert not machine_traces("runs/tmp/x, ../work/y, $HOME/home/z, torch 2.10.0, data/pypi")


# --- help answers, and without torch -----------------------------------------


def help_of(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "importtime", "-m", "limner", *words, "--help"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def imported_modules(importtime: str) -> set[str]:
    """Names of all modules in the report of `python -X importtime`."""
    rows = (line.split("|") for line in importtime.splitlines() if line.startswith("import time:"))
    return {row[-1].strip() for row in rows}


@pytest.mark.parametrize("name", ["", *sorted(COMMANDS), "data prepare", "data report"])
def test_help_answers_without_torch(name: str):
    answer = help_of(*name.split())
    assert answer.returncode == 0, answer.stderr[-500:]
    assert "usage" in answer.stdout.lower()
    assert "limner" in answer.stdout  # an example line, or the program's name
    imported = imported_modules(answer.stderr)
    assert "limner.cli.main" in imported
    assert "torch" not in imported


def test_general_help_names_every_command():
    answer = help_of().stdout
    assert [name for name in COMMANDS if name.split()[0] not in answer] == []


def test_the_import_scanner_sees_torch(tmp_path: Path):
    (tmp_path / "torch.py").write_text("")
    report = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import torch"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "torch" in imported_modules(report.stderr)
