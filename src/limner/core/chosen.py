"""The texts by which users name seeds and classes, the same for every command."""

import re
from collections.abc import Sequence

from limner.core.errors import LimnerError, nearest

MOST_SEEDS = 10_000_000


def parse_seeds(text: str) -> list[int]:
    """Seeds from "0-63,70": single integers and closed ranges, in the order written.

    Raises:
        LimnerError: names the piece that is no seed or range, or more than ten million seeds.
    """
    seeds: list[int] = []
    for piece in text.split(","):
        match = re.fullmatch(r"\s*([0-9]+)\s*(?:-\s*([0-9]+)\s*)?", piece)
        if match is None:
            raise LimnerError(
                f"seeds '{text}': '{piece.strip()}' is no seed or range; write for example 0-63,70"
            )
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first:
            raise LimnerError(
                f"seeds '{text}': the range {first}-{last} runs backwards; swap its ends"
            )
        if len(seeds) + last - first + 1 > MOST_SEEDS:
            raise LimnerError(f"seeds '{text}': more than {MOST_SEEDS} seeds; sample in parts")
        seeds.extend(range(first, last + 1))
    return seeds


def parse_classes(text: str, num_classes: int, class_names: Sequence[str] = ()) -> list[int]:
    """Class indices from "all", "3,7", "0-4" or names, in the order written.

    A number is an index, see `numbered_class`. A name that holds commas may be written whole.

    Raises:
        LimnerError: the model has no classes; a class that is out of range or of unknown name.
    """
    if num_classes == 0:
        raise LimnerError(f"classes '{text}': this model has no classes; leave them out")
    if text.strip() == "all":
        return list(range(num_classes))
    places = {name: index for index, name in reversed(list(enumerate(class_names)))}
    if text.strip() in places:
        return [places[text.strip()]]
    found: list[int] = []
    for piece in (piece.strip() for piece in text.split(",")):
        match = re.fullmatch(r"(-?[0-9]+)(?:\s*-\s*([0-9]+))?", piece)
        if piece in places:
            found.append(places[piece])
        elif match is not None:
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first:
                raise LimnerError(f"classes '{text}': '{piece}' runs backwards; swap its ends")
            if last - first >= num_classes:
                check_classes([first, last], num_classes)
            numbers = range(first, last + 1)
            found.extend(numbered_class(number, num_classes, class_names) for number in numbers)
        else:
            hint = nearest(piece, list(class_names)[:1000]) if class_names else ""
            raise LimnerError(
                f"classes '{text}': '{piece}' is no class; give an index 0-{num_classes - 1}, "
                f"a name or 'all'{hint}"
            )
    return found


def numbered_class(number: int, num_classes: int, class_names: Sequence[str] = ()) -> int:
    """The index that a number means: that of the class whose name it is, where classes are called
    by numbers, else the number itself; never that of a class called by another number.

    Raises:
        LimnerError: no class has that number.
    """
    called = {int(name): i for i, name in enumerate(class_names) if is_number(name)}
    if number in called:
        return called[number]
    if 0 <= number < len(class_names) and is_number(class_names[number]):
        listed = ", ".join(map(str, list(called)[:10])) + (" ..." if len(called) > 10 else "")
        raise LimnerError(f"class {number}: no class is called so; these are: {listed}")
    check_classes([number], num_classes)
    return number


def is_number(name: str) -> bool:
    """Whether a class is called by an integer."""
    return re.fullmatch(r"-?[0-9]{1,18}", name) is not None


def check_classes(classes: Sequence[int], num_classes: int) -> None:
    """Raise a LimnerError that names the first class outside 0..num_classes - 1."""
    for index in classes:
        if not 0 <= index < num_classes:
            raise LimnerError(
                f"class {index} is out of range: this model has the classes 0-{num_classes - 1}"
            )
