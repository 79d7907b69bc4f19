"""The benchmarks by name: recipe, reals, judge, and what counts as reached."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from limner.engine import RunConfig
from limner.engine.trainer import Trainer
from limner.metrics.arrays import ArrayData
from limner.metrics.features import Classifier, classifier_of
from limner.metrics.features.base import images_at
from quality import candidates, judging, pictures, recipes
from quality.bench import Bench, Idx, Judged, Setting, both_weights, picture
from quality.judging import Figures
from quality.reals import (
    MIXTURES,
    EmptyReals,
    PictureReals,
    TripleReals,
    digits,
    split,
)
from quality.recipes import Mixture

# --- digits ----------------------------------------------------------------------------


def conditional_setting(config: RunConfig, idx: Idx | None) -> Setting:
    """10 classes, trained on all but 2,000 digits."""
    data = digits(idx)
    train, _ = split(data)
    reals = PictureReals(train, config.batch_size, config.seed)
    return Setting(((1, 28, 28), 10), reals, partial(judge_conditional, data))


def judge_conditional(data: ArrayData, trainer: Trainer, seed: int, run: Path) -> Judged:
    """2,000 samples, 200 a class, against the 2,000 digits that were held out."""
    classifier = classifier_of(data)  # pyright: ignore[reportArgumentType]
    train, held_out = split(data)
    y = torch.arange(len(held_out)) % 10
    of_both = []
    for generator in both_weights(trainer):
        images = judging.sampled(generator, len(y), seed, y)
        of_both.append(judging.of_classes(images, y, held_out, classifier))
        if len(of_both) == 1:
            picture(run / "samples.png", images[:100])
    places = torch.arange(len(held_out))
    reals = images_at(train, places), torch.from_numpy(train.labels[: len(places)])
    floor = judging.of_classes(*reals, held_out, classifier)
    floor["accuracy"] = classifier.held_out_accuracy
    return Judged(of_both[0], of_both[1], floor, hashes(data, classifier))


def stacked_setting(config: RunConfig, idx: Idx | None, num: int, batch_moments: bool) -> Setting:
    """Triples drawn on the fly."""
    data = digits(idx)
    reals = TripleReals(data, config.batch_size, config.seed)
    judge = partial(judge_stacked, data, num, batch_moments)
    return Setting(((3, 28, 28), 0), reals, judge)


def judge_stacked(
    data: ArrayData, num: int, batch_moments: bool, trainer: Trainer, seed: int, run: Path
) -> Judged:
    """`num` samples; the raw weights' too where they are others."""
    classifier = classifier_of(data)  # pyright: ignore[reportArgumentType]
    of_both: list[Figures] = []
    for generator in dict.fromkeys(both_weights(trainer)):
        images = judging.sampled(generator, num, seed, None, batch_moments)
        of_both.append(judging.of_stacked(images, data, classifier))
        if len(of_both) == 1:
            picture(run / "samples.png", images[:100])
    floor = judging.floor_of_stacked(data, classifier, num)
    return Judged(of_both[0], of_both[-1], floor, hashes(data, classifier))


def hashes(data: ArrayData, classifier: Classifier) -> dict[str, str]:
    """Which digits, and which judge."""
    return {"data_sha256": data.sha256, "classifier_sha256": str(classifier.weights_sha256)}


# --- points ----------------------------------------------------------------------------


def mixture_setting(name: str, num: int, config: RunConfig, idx: Idx | None) -> Setting:
    """Points of a mixture; no files are needed."""
    return Setting(((2, 1, 1), 0), EmptyReals(config.batch_size), partial(judge_points, name, num))


def judge_points(name: str, num: int, trainer: Trainer, seed: int, run: Path) -> Judged:
    """`num` points of the sampled and of the raw weights, and as many of the mixture itself."""
    mixture = MIXTURES[name]()
    sampled, raw = (
        judging.of_points(judging.sampled_points(generator, num, seed), mixture)
        for generator in both_weights(trainer)
    )
    real = mixture.draw(num, torch.Generator().manual_seed(seed))
    return Judged(sampled, raw, judging.of_points(real, mixture), {})


# --- the table ---------------------------------------------------------------------------


def half_b(seed: int, steps: int) -> RunConfig:
    """D = 1/2 G."""
    return recipes.protocol_b(seed, steps, (4, 8, 16))


def quarter_b(seed: int, steps: int) -> RunConfig:
    """D = 1/4 G."""
    return recipes.protocol_b(seed, steps, (2, 4, 8))


RING_GOAL = {"modes": (">=", 8.0), "good": (">=", 0.90), "kl": ("<=", 0.02)}
GRID_GOAL = {"modes": (">=", 25.0), "good": (">=", 0.90), "kl": ("<=", 0.06)}
FREE = partial(stacked_setting, num=26_000, batch_moments=False)
OF_B = partial(stacked_setting, num=25_600, batch_moments=True)


def mixture_bench(
    kind: Mixture,
    recipe: Callable[[Mixture, int, int], RunConfig],
    steps: int,
    goal: dict[str, tuple[str, float]],
) -> Bench:
    """A 2-D mixture, judged by 2,500 points as PacGAN's are."""
    return Bench(
        config=partial(recipe, kind),
        setting=partial(mixture_setting, kind, 2500),
        steps=steps,
        goal=goal,
        family=kind,
        reals="points",
    )


def timed_benches() -> dict[str, Bench]:
    """Recipes for small sets, and families of networks, each in the same processor time."""
    sets = {
        "photographs": (64, True, partial(pictures.photographs, 64), 4.0, candidates.CANDIDATES),
        "few-digits": (32, False, pictures.few_digits, 2.5, candidates.CANDIDATES),
        "thumbnails": (32, True, pictures.thumbnails, 15.0, candidates.FAMILIES),
    }
    return {
        f"{name}-{candidate}": Bench(
            config=partial(candidates.of_seed, recipe, side, flip),
            setting=partial(pictures.setting, small),
            steps=1_000_000,
            goal={},
            family=name,
            reals=name,
            cpu_minutes=minutes,
        )
        for name, (side, flip, small, minutes, recipes_of) in sets.items()
        for candidate, recipe in recipes_of.items()
    }


BENCHES: dict[str, Bench] = {
    "conditional": Bench(
        config=recipes.conditional,
        setting=conditional_setting,
        steps=3000,
        goal={
            "accuracy": (">=", 0.96),
            "digit_distance": ("<=", 2.3),
            "cas_1nn": (">=", 0.86),
        },
        family="conditional",
    ),
    "ring": mixture_bench("ring", recipes.mixture, 3000, RING_GOAL),
    "ring-plain": mixture_bench("ring", recipes.mixture_plain, 3000, RING_GOAL),
    "grid": mixture_bench("grid", recipes.mixture, 10_000, GRID_GOAL),
    "grid-plain": mixture_bench("grid", recipes.mixture_plain, 10_000, GRID_GOAL),
    "stacked": Bench(
        config=recipes.stacked,
        setting=FREE,
        steps=18_000,
        goal={"modes": (">=", 1000.0), "kl": ("<=", 0.06)},
        family="free-10k",
    ),
    "stacked-relativistic": Bench(
        config=recipes.stacked_relativistic,
        setting=FREE,
        steps=9000,
        goal={"modes": (">=", 1000.0), "kl": ("<=", 0.06)},
        family="free-10k",
    ),
    **timed_benches(),
    "protocol-b-half": Bench(
        config=half_b,
        setting=OF_B,
        steps=60_000,
        goal={"modes": (">=", 487.7), "kl": ("<=", 2.24)},
        family="protocol-b-half",
    ),
    "protocol-b-quarter": Bench(
        config=quarter_b,
        setting=OF_B,
        steps=60_000,
        goal={"modes": (">=", 78.5), "kl": ("<=", 5.21)},
        family="protocol-b-quarter",
    ),
}
