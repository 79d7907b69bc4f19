"""Protocols of published figures, as NVlabs/stylegan3 names them: numbers, extractor and real
images are part of the name, so that a figure cannot be of others.

Generated images: 50,000 of whole latents, labels in equal shares. Real images: all that there are
(of KID at most 1,000,000, of precision and recall 200,000; without "full" 50,000), neither
mirrored nor chosen.
"""

from collections.abc import Mapping
from typing import TypeVar

from limner.core.errors import LimnerError
from limner.metrics.base import Fixed, Metric
from limner.metrics.features import Extractor
from limner.metrics.frechet import Fid
from limner.metrics.inception_score import InceptionScore
from limner.metrics.kernel import Kid
from limner.metrics.neighbours import Prdc
from limner.metrics.path_length import Ppl

Features = TypeVar("Features", bound=str | Extractor | None)

NUM = 50_000
INCEPTION = Fixed(NUM, "inception")
VGG = Fixed(NUM, "torchvision:vgg16")
NUM_KID_REAL, NUM_PR_REAL = 1_000_000, 200_000


class Fid50kFull(Fid):
    """fid50k_full."""

    fixed = INCEPTION
    num_real_max = None
    takes_moments = False


class Kid50kFull(Kid):
    """kid50k_full."""

    fixed = INCEPTION
    num_real_max = NUM_KID_REAL


class Fid50k(Fid):
    """fid50k."""

    fixed = INCEPTION
    num_real_max = NUM
    takes_moments = False


class Kid50k(Kid):
    """kid50k."""

    fixed = INCEPTION
    num_real_max = NUM


class Is50k(InceptionScore):
    """is50k."""

    fixed = INCEPTION


class Pr50k3Full(Prdc):
    """pr50k3_full, by the features of torchvision's VGG16; the original's are of another copy of
    that network, in half precision."""

    figures = ("precision", "recall")
    fixed = VGG
    num_max = None
    num_real_max = NUM_PR_REAL
    equal_numbers = False
    named_by_features = True


class Pr50k3(Prdc):
    """pr50k3, with pr50k3_full's features."""

    figures = ("precision", "recall")
    fixed = VGG
    num_max = None
    num_real_max = NUM
    equal_numbers = False
    named_by_features = True


class Ppl2Wend(Ppl):
    """ppl2_wend: 50,000 ways at their ends, in w, without a crop; in Inception's features, where
    the original has LPIPS, so that its values are of another scale."""

    figures = ("ppl-w-end",)
    fixed = INCEPTION
    num_max = NUM
    where = ("end",)
    spaces = ("w",)


PROTOCOLS: dict[str, type[Metric]] = {
    "fid50k-full": Fid50kFull,
    "kid50k-full": Kid50kFull,
    "fid50k": Fid50k,
    "kid50k": Kid50k,
    "is50k": Is50k,
    "pr50k3-full": Pr50k3Full,
    "pr50k3": Pr50k3,
    "ppl2-wend": Ppl2Wend,
}


def settings_of(
    found: Mapping[str, Metric], num: int | None, features: Features
) -> tuple[int | None, Features | str]:
    """Number and features that the protocols among the metrics fix; those given without any.

    Raises:
        LimnerError: other ones are given, or not all metrics fix the same.
    """
    fixed = {name: metric.fixed for name, metric in found.items()}
    if not any(fixed.values()):
        return num, features
    (first, own), *others = sorted(fixed.items(), key=lambda item: item[1] is None)
    assert own is not None
    for name, other in others:
        if other != own:
            raise LimnerError(
                f"metric '{first}' fixes {own.num} images and features '{own.features}', and "
                f"'{name}' does not; ask for one of them at a time"
            )
    for what, given, wanted in (("num", num, own.num), ("features", features, own.features)):
        if given is not None and given != wanted:
            raise LimnerError(
                f"metric '{first}' fixes --{what} {wanted}, not {given}; leave it out"
            )
    return own


def num_reals(found: Mapping[str, Metric]) -> int | None:
    """How many real images are compared with at most; None: all."""
    most = [metric.num_real_max for metric in found.values()]
    return None if None in most or not most else max(filter(None, most))
