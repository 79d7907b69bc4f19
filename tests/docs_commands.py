"""Command lines of the documentation: found in its pages, and made small enough for a test."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])

# What a page writes in capitals, or of a size that no test has -> what stands in the workplace.
PLACES = {
    "MODEL": "runs/digits",
    "RUN": "runs/digits",
    "DATA": "digits",
    "DIR": "photos",
    "PRESET": "digits-tiny",
    "NAME": "digits-tiny",
    "FORMAT": "biggan-pytorch",
    "SOURCE": "weights/EXPERIMENT",
    "CIFAR_FOLDER": "cifar",
    "prepared/": "ready",
}
ABSENT = (
    *("mnist/", "img_align_celeba/", "bedroom_train_lmdb/", "faces/", "faces128/"),
    "inception",  # its weights
    "hf:",  # a hub
    "web",  # npm; tests/e2e/test_web_page.py
    "s3://",
)
STYLED = {"--truncation-cutoff", "--noise", "--space"}  # of models with styles alone
SHORT = {"--num": "16", "--seconds": "0.2", "--standing": "2x8", "--rows": "2", "--workers": "0"}
TINY = ("digits", "digits-tiny", "photos")  # presets that train here; others are composed alone
COMMANDS = {
    *("train", "sample", "interpolate", "video", "evaluate", "curve", "statistics", "data"),
    *("presets", "import", "export", "report"),
}


@dataclass(frozen=True)
class Command:
    """A command line of a page.

    Attributes:
        words: those after `limner`.
        into: the file that its output goes to.
    """

    line: str
    words: tuple[str, ...]
    into: str | None = None

    @property
    def runs_here(self) -> bool:
        """Whether a small machine can run it with what tests have; others are parsed."""
        if any(word.startswith(ABSENT) for word in self.words):
            return False
        if "--gpus" in self.words or self.words[0] not in COMMANDS:
            return False
        named = self.words[1] if len(self.words) > 1 else ""
        return self.words[0] != "train" or named in TINY or named.endswith((".json", ":small"))

    @property
    def small(self) -> list[str]:
        """The words with the workplace's names and lengths."""
        words = [PLACES.get(word, word) for word in self.words]
        if STYLED & set(words):
            words = ["models/styles" if word == PLACES["MODEL"] else word for word in words]
        for place, word in enumerate(words[:-1], start=1):
            if word in SHORT:
                words[place] = SHORT[word]
            elif word == "--truncations":
                words[place] = "0.5:1:0.5"
            elif word == "--classes" and re.fullmatch(r"\d+(,\d+)+", words[place]):
                words[place] = ",".join(str(int(n) % 10 % 2) for n in words[place].split(","))
        if words[0] == "train":
            return _short_training(words)
        if words[0] == "video" and "--seconds" not in words:
            words += ["--seconds", "0.2"]
        if words[0] == "curve" and "--truncations" not in words:
            words += ["--truncations", "0.5:1:0.5", "--num", "16"]
        if words[0] in ("evaluate", "curve") and "--features" not in words:
            words += ["--features", "classifier" if "digits" in words else "workplace:Thumbs"]
        return words


def _short_training(words: list[str]) -> list[str]:
    for option in ("--steps", "--kimg"):
        if option in words:
            place = words.index(option)
            words = words[:place] + words[place + 2 :]
    if words[1].startswith("runs/"):  # it goes on from step 3
        return [*words, "--steps", "4", "--device", "cpu"]
    settings = ["batch_size=4", "metrics=[]", "intervals.sample=0", "intervals.save=0"]
    if words[1] == "photos":
        settings += ["generator.width=4", "discriminator.width=4"]
    changes = [word for setting in settings for word in ("--set", setting)]
    fresh = [] if {"--fresh", "--from"} & set(words) else ["--fresh"]
    return [*words, "--steps", "2", "--device", "cpu", *changes, *fresh]


def commands_of(text: str) -> list[Command]:
    """The `limner` lines of a page's blocks, without what launches them (torchrun, srun) and without
    comments: after a #, or after two blanks."""
    return [made for line in block_lines(text) if (made := _command(line))]


def block_lines(text: str) -> list[str]:
    """Lines of shell blocks: fenced as sh or bash, or indented by four blanks."""
    fenced = re.findall(r"^```(?:sh|bash)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    indented = [line[4:] for line in prose(text).splitlines() if line.startswith("    ")]
    joined = "\n".join([*fenced, *indented]).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip()]


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def _command(line: str) -> Command | None:
    if line.split()[0] not in ("limner", "torchrun", "srun"):
        return None
    words = line[line.index("limner ") + 7 :]
    words = re.sub(r"  +(?![-'\"]).*$", "", re.sub(r" +(?=-)", " ", words))
    words = words.replace(" ...", " --data digits")  # what the page leaves out
    found = shlex.split(words, comments=True)
    into = found[found.index(">") + 1] if ">" in found else None
    return Command(line, tuple(found[: found.index(">")] if into else found), into)


def phrases_of(text: str) -> list[list[str]]:
    """The words after `limner` of the commands that stand in a page's sentences."""
    inside = re.findall(r"`limner ([^`]+)`", re.sub(r"\n *", " ", prose(text)))
    return [phrase.split() for phrase in inside]


def python_blocks(text: str) -> list[str]:
    """Blocks that are fenced as python."""
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
