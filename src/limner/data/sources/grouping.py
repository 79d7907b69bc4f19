"""How the names of picture files become classes: by first-level folder."""

import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import takewhile

from limner.core.errors import DataError
from limner.data.findings import Finding, examples
from limner.data.labels import Label

PICTURE_SUFFIXES = frozenset((
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".avif",
))  # fmt: skip
MAX_CLASSES = 100_000
# How people call the parts that they split a set into, such as val2017, seg_test, training_set.
TRAIN = re.compile(r"(?:[a-z0-9]+[_ -])?train(?:ing)?(?:[_ -]?(?:set|data|images|[ab]|\d+))?")
HELD_BACK = re.compile(
    r"(?:[a-z0-9]+[_ -])?(?:test(?:ing)?|val(?:id(?:ation)?)?|dev|eval|holdout|pred(?:iction)?)"
    r"(?:[_ -]?(?:set|data|images|[ab]|\d+))?"
)
# StyleGAN's 00000/img00000000.png, and FFHQ's 01000/01234.png.
SHARD, NUMBERED = re.compile(r"\d{5}"), re.compile(r"(?:img)?(\d{5,8})\.[a-z]+")
PER_SHARD = 1000


@dataclass
class Grouping:
    """Names that stay, each with its label (None: no classes), and what was left out."""

    labelled: list[tuple[str, Label]]
    class_names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)


def is_picture_name(name: str) -> bool:
    """Whether a file's suffix is one of a picture, in any case."""
    return "." + name.rpartition(".")[2].lower() in PICTURE_SUFFIXES


def unlabelled(names: list[str], *warnings: Finding) -> Grouping:
    """All names, as one set without classes."""
    return Grouping([(name, None) for name in names], warnings=list(warnings))


def in_order(names: set[str]) -> list[str]:
    """Class names by their value where all are integers, else as text."""
    if all(re.fullmatch(r"-?[0-9]{1,18}", name) for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def group_by_folder(names: list[str], root: str = "", splits: bool = True) -> Grouping:
    """The first-level folders as classes, in the order of their names.

    A folder around all others is looked through. A single folder of pictures is no class: then, and
    for a flat set, they have no classes. Pictures beside class folders are refused, because they
    belong to none. Of parts such as train and test only the training pictures are taken.

    Args:
        root: what all names begin with and what does not count: "" or "folder/".
        splits: whether parts are looked for.
    """
    root = _within(names, root)
    inner = [name[len(root) :] for name in names]
    folders = {name.split("/", 1)[0] for name in inner if "/" in name}
    if folders and _are_shards(inner):
        grouping = unlabelled(names)
        text = f"the folders {examples(sorted(folders))} number the pictures and are no classes"
        grouping.notes += [text] if len(folders) > 1 else []
        return grouping
    if len(folders) <= 1:
        return unlabelled(names, *_single(folders))
    part = _training_part(folders) if splits else None
    if part is not None:
        return _of_part(names, root, part, folders - {part})
    return _classes(names, root, in_order(folders))


def _within(names: list[str], root: str) -> str:
    """The root, and the folders in it that lie around everything and hold folders."""
    ends = zip(min(names, default=""), max(names, default=""), strict=False)
    common = "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], ends))
    deepest = common[: common.rfind("/") + 1]
    if not any("/" in name[len(deepest) :] for name in names):
        deepest = deepest[: deepest.rfind("/", 0, -1) + 1]
    return max(root, deepest, key=len)


def _classes(names: list[str], root: str, folders: list[str]) -> Grouping:
    number = {folder: i for i, folder in enumerate(folders)}
    grouping = Grouping([], class_names=folders)
    grouping.warnings += _split_folders(folders) or _nested(
        [name[len(root) :].split("/") for name in names]
    )
    for name in names:
        folder, slash, _ = name[len(root) :].partition("/")
        if slash:
            grouping.labelled.append((name, number[folder]))
        else:
            grouping.refused.append((name, "lies beside the class folders, in none of them"))
    return grouping


def _single(folders: set[str]) -> list[Finding]:
    if not folders:
        return []
    text = (
        f"one subfolder ('{next(iter(folders))}') only: it is not a class, the pictures are read "
        "without labels; put each class into its own folder, or say data.labels=none"
    )
    return [Finding("one_class", text)]


def _training_part(folders: set[str]) -> str | None:
    """The one folder of training pictures, where all others are parts that are held back."""
    train = [folder for folder in folders if TRAIN.fullmatch(folder.casefold())]
    held = [folder for folder in folders if HELD_BACK.fullmatch(folder.casefold())]
    return train[0] if len(train) == 1 and len(train) + len(held) == len(folders) else None


def _of_part(names: list[str], root: str, part: str, others: set[str]) -> Grouping:
    begin = f"{root}{part}/"
    taken = [name for name in names if name.startswith(begin)]
    beside = [name for name in names if "/" not in name[len(root) :]]
    num_left = len(names) - len(taken) - len(beside)
    grouping = group_by_folder(taken, begin, splits=False)
    grouping.refused += [(name, "lies beside the folders, in none of them") for name in beside]
    listed = ", ".join(sorted(others))
    grouping.skipped[f"in {listed}"] = num_left
    text = (
        f"the folders {', '.join(sorted({part, *others}))} are parts of a split, not classes: "
        f"{part} alone is read, {num_left} pictures of {listed} are left out; give the path of "
        "another part to read that, or --labels none (data.labels=none) for all without classes"
    )
    grouping.warnings.insert(0, Finding("splits", text))
    return grouping


def _split_folders(folders: list[str]) -> list[Finding]:
    held = [folder for folder in folders if HELD_BACK.fullmatch(folder.casefold())]
    train = [folder for folder in folders if TRAIN.fullmatch(folder.casefold())]
    if len(held) + len(train) < 2:
        return []
    text = (
        f"the folders {', '.join(train + held)} are taken as classes and look like parts of a "
        "split; give the path of one of them"
    )
    return [Finding("splits", text)]


def _nested(parts: list[list[str]]) -> list[Finding]:
    deep = [part for part in parts if len(part) > 2]
    if not deep:
        return []
    inner = Counter(outer_inner for outer_inner in {(part[0], part[1]) for part in deep})
    repeated = Counter(name for _, name in inner)
    shared = sorted(name for name, count in repeated.items() if count > 1)
    text = f"{len(deep)} pictures lie in folders inside the class folders, such as "
    text += "/".join(deep[0][:-1])
    if shared and not any(TRAIN.fullmatch(name.casefold()) for name in shared):
        outer = ", ".join(sorted({outer for outer, _ in inner})[:4])
        text += f"; '{shared[0]}' occurs in several ({outer}): give one of these as the source"
    else:
        text += "; only the first level counts as the class"
    return [Finding("nested_folders", text)]


def _are_shards(names: list[str]) -> bool:
    """Whether folders only number pictures, a thousand in each."""
    for name in names:
        folder, _, file = name.partition("/")
        number = NUMBERED.fullmatch(file.lower())
        if number is None or SHARD.fullmatch(folder) is None:
            return False
        if int(number[1]) // PER_SHARD not in (int(folder), int(folder) / PER_SHARD):
            return False
    return True


def check_classes(smallest: int, largest: int, where: str) -> None:
    """Raises DataError for labels that cannot be class numbers."""
    if smallest < 0 or largest >= MAX_CLASSES:
        raise DataError(
            f"{where}: labels run from {smallest} to {largest}; "
            f"classes are numbered from 0 and below {MAX_CLASSES}"
        )
