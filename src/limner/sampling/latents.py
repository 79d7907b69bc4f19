"""Latents that belong to their seed alone, and the texts by which users name seeds and classes."""

import math
import re
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float32
from torch import Tensor

from limner.core.config import nearest
from limner.core.errors import LimnerError
from limner.core.streams import stream

TruncationMode = Literal["resample", "scale", "statistics", "w"]
HUB_BOUND = 2.0  # where the TF-Hub demo cuts the normal that it scales
MOST_SEEDS = 10_000_000


def latents_from_seeds(
    seeds: Sequence[int],
    z_dim: int,
    truncation: float | None = None,
    mode: TruncationMode = "resample",
) -> Float32[Tensor, "n {z_dim}"]:
    """Standard normal latents on the CPU; row i depends on seeds[i] alone.

    So image 7 has the same latent bit for bit in any batch and on any device.

    Args:
        seeds: integers >= 0, in any order, repeats allowed.
        truncation: None, or a threshold > 0.
        mode: "resample" draws the values beyond +-truncation again until they are inside (Brock et
            al. 2018, section 3.1) and leaves the others as they were; "scale" multiplies all of z;
            "statistics" multiplies a normal cut at +-2 (drawn again beyond), as the TF-Hub modules
            want it, whose batch norm statistics are then to be those of the truncation; "w" leaves
            latents as they are, for it changes the styles that are made of them.

    Raises:
        LimnerError: a negative seed, or see `check_truncation`.
    """
    check_truncation(truncation, mode)
    rows = [_row(int(seed), z_dim, truncation, mode) for seed in seeds]
    return torch.stack(rows) if rows else torch.empty(0, z_dim)


def check_truncation(truncation: float | None, mode: TruncationMode) -> None:
    """Raise a LimnerError for an unknown mode, or a truncation that is not a finite number > 0; in
    the mode "w" any finite one will do: 0 gives the mean style, -1 the opposite one."""
    if mode not in get_args(TruncationMode):
        raise LimnerError(
            f"truncation mode '{mode}' is unknown{nearest(mode, get_args(TruncationMode))}"
        )
    if truncation is None or (math.isfinite(truncation) and (truncation > 0 or mode == "w")):
        return
    above = "" if mode == "w" else " > 0"
    raise LimnerError(f"truncation {truncation} is not a finite number{above}; give one, or none")


def _row(seed: int, z_dim: int, truncation: float | None, mode: TruncationMode) -> Tensor:
    if seed < 0:
        raise LimnerError(f"seed {seed} is negative; give an integer >= 0")
    generator = stream("latent", seed)
    # Double precision avoids torch's CPU-dependent vector path for float32 normals.
    z = torch.randn(z_dim, generator=generator, dtype=torch.float64)
    if truncation is None or mode == "w":
        return z.float()
    if mode == "scale":
        return (z * truncation).float()
    bound = HUB_BOUND if mode == "statistics" else truncation
    # Drawing until inside has exactly the law of the normal cut at +-bound; its inverse
    # distribution function gives one draw of that law directly, so that any bound > 0 ends at once.
    uniform = torch.rand(z_dim, generator=generator, dtype=torch.float64) * 2 - 1
    inside = math.sqrt(2) * torch.erfinv(uniform * math.erf(bound / math.sqrt(2)))
    z = torch.where(z.abs() > bound, inside, z).clamp(-bound, bound)
    return (z * truncation if mode == "statistics" else z).float()


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
