"""Every command line of the documentation runs, page by page: on small data, for a few steps. What
no small machine can run is read by the command's own parser, and its config is composed."""

import importlib
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs_commands import (
    PAGES,
    ROOT,
    Command,
    block_lines,
    commands_of,
    phrases_of,
    python_blocks,
)
from limner import presets
from limner.api.configs import composed
from limner.checkpoints import list_states
from limner.cli import parsing
from limner.cli.main import COMMANDS, main
from workplace import furnish_all

OWN_TEST = {"first-gan.md"}  # tests/e2e/test_first_gan.py
PYTHON_ELSEWHERE = {"architecture.md", "configuration.md"}  # tests/contracts/test_docs.py
TEXTS = {page: page.read_text() for page in PAGES}
WITH_COMMANDS = [
    page
    for page, text in TEXTS.items()
    if page.name not in OWN_TEST
    and (commands_of(text) or (python_blocks(text) and page.name not in PYTHON_ELSEWHERE))
]


@pytest.fixture(scope="module")
def furnished(tiny_run, tmp_path_factory) -> Path:
    return furnish_all(tmp_path_factory.mktemp("furnished"), tiny_run)


@pytest.fixture
def workplace(furnished, tmp_path, monkeypatch) -> Iterator[Path]:
    """A copy for one page; the preset digits is narrow and short there."""
    place = tmp_path / "workplace"
    shutil.copytree(furnished, place)
    monkeypatch.chdir(place)
    monkeypatch.setitem(presets.PRESETS, "digits", "workplace:narrow_digits")
    known = set(sys.modules)
    yield place
    for name in set(sys.modules) - known:  # the page's own files
        if str(place) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


# `photos` that has trained on one page need not do so on another, where such a run stands already.
TRAINED: set[tuple[str, ...]] = set()


class Parsed(Exception):  # noqa: N818 - it ends a command that was only to be read
    """The options of a command."""


def parsed(words: list[str], monkeypatch: pytest.MonkeyPatch):
    """What the command's own parser makes of the words."""

    def stop(*given, **named):
        raise Parsed(parsing.parse(*given, **named))

    module = importlib.import_module(COMMANDS[words[0]][0])
    with monkeypatch.context() as patch:
        patch.setattr(module, "parse", stop)
        with pytest.raises(Parsed) as caught:
            main(words)
    return caught.value.args[0]


def run(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    words = [_with_a_state(word) for word in command.small]
    if tuple(words) in TRAINED and Path(words[words.index("--run") + 1]).exists():
        return
    capsys.readouterr()
    try:
        code = main(words)
    except SystemExit as end:  # --help
        code = end.code
    said = capsys.readouterr()
    assert code == 0, f"{command.line}\n  as: limner {' '.join(words)}\n  {said.err}"
    if words[:2] == ["train", "photos"]:
        TRAINED.add(tuple(words))
    if command.into is not None:
        Path(command.into).write_text(said.out)


def _with_a_state(word: str) -> str:
    """RUN@step-N of a step that the run here has."""
    path, _, selector = word.partition("@")
    if not selector.startswith("step-"):
        return word
    step = list_states(Path(path) / "checkpoints")[-1][0]
    return f"{path}@step-{step}"


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_commands_of_a_page(page: Path, workplace: Path, monkeypatch, capsys):
    scope: dict[str, object] = {"__name__": page.stem}
    for number, block in enumerate(python_blocks(TEXTS[page])):
        named = re.match(r"# (\w+\.py)\n", block)
        if named:
            (workplace / named[1]).write_text(block)
            monkeypatch.syspath_prepend(str(workplace))
        elif page.name not in PYTHON_ELSEWHERE:
            exec(compile(block, f"{page.name}, block {number}", "exec"), scope)
    for command in commands_of(TEXTS[page]):
        if command.runs_here:
            run(command, capsys)
            continue
        options = parsed(command.small, monkeypatch)
        if command.words[0] == "train" and options.preset not in (None, *presets.FITTED):
            composed(options.preset, options.set, options.steps, options.kimg, options.seed)


def test_commands_in_sentences_have_the_options_that_they_name(capsys):
    helps: dict[tuple[str, ...], str] = {}
    for page, text in TEXTS.items():
        if page.name == "log.md" or page.parent.name == "decisions":  # what was true then
            continue
        for words in phrases_of(text):
            assert words[0] in {*COMMANDS, "COMMAND"}, f"{page.name}: limner {words[0]}"
            name = tuple(words[:2] if words[0] in ("data", "import") else words[:1])
            for option in re.findall(r"--[a-z][a-z-]+", " ".join(words)):
                if name not in helps and words[0] != "COMMAND":
                    with pytest.raises(SystemExit):
                        main([*(["import"] if words[0] == "import" else name), "--help"])
                    helps[name] = capsys.readouterr().out
                assert option in helps.get(name, option), f"{page.name}: {' '.join(words)}"


def test_other_programs_that_pages_call_are_there():
    """`make TARGET`, scripts of this repository, and what pip installs."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for page, text in TEXTS.items():
        for line in block_lines(text):
            words = line.split()
            if words[0] == "make":
                assert words[1] in targets, f"{page.name}: {line}"
            elif words[0] == "python" and not words[1].startswith("-"):
                assert (ROOT / words[1]).exists(), f"{page.name}: {line}"
            for names in re.findall(r"pip install.*'(?:limner|\.)\[([a-z,]+)\]'", line):
                assert set(names.split(",")) <= set(extras["optional-dependencies"]), line


def test_a_wrong_command_is_found(monkeypatch, capsys):
    wrong = commands_of("    limner sample runs/none --grid 3  no such run\n")[0]
    assert wrong.words == ("sample", "runs/none", "--grid", "3")
    with pytest.raises(AssertionError, match="no such run"):
        run(wrong, capsys)
    unknown = commands_of("```sh\nlimner train biggan-cifar10 --set optim.q.lr=1\n```\n")[0]
    options = parsed(unknown.small, monkeypatch)
    with pytest.raises(ValueError, match=r"optim\.q"):
        composed(options.preset, options.set)
    with pytest.raises(SystemExit):
        parsed(["train", "biggan-cifar10", "--no-such-option"], monkeypatch)
