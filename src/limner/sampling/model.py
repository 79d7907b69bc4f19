"""A loaded model: what `limner.load(...)` returns, ready to sample."""

import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor, nn

from limner.checkpoints import ModelConfig, ModelRecord, check_fit, check_standing, fill, find_model
from limner.core import distributed
from limner.core.chosen import numbered_class, parse_classes
from limner.core.config import tag_of
from limner.core.errors import LimnerError
from limner.core.images import to_uint8
from limner.core.memory import keep_freed_memory
from limner.core.protocols import NetworkConfig, NoiseMode, mean_style_of, z_dim_of
from limner.core.undrawn import undrawn, without_memory
from limner.layers.packing import Precision
from limner.sampling.generate import generate_batches, styles_of
from limner.sampling.latents import TruncationMode, latents_from_seeds
from limner.sampling.looks import Look, Space, has_styles, look_for, words_of
from limner.sampling.moving import transform_of
from limner.sampling.plans import (
    Classes,
    SamplePlan,
    Seeds,
    chosen_seeds,
    given_labels,
    given_latents,
    given_styles,
)
from limner.sampling.showing import html_of, line_of
from limner.sampling.standing import (
    StandingPlan,
    StandingSets,
    Statistics,
    put_statistics,
    standing_statistics,
)


class Model:
    """A generator with its description; a loaded one is in eval mode and wants no gradient.

    Attributes:
        num_classes: 0 for a model without classes; class_names has one name a class, or is empty.
        image_shape: (C, H, W).
        standing: batch norm statistics for several truncations.

    Examples:
        >>> model = limner.load("runs/digits")
        >>> model.image_shape, model.num_classes
        ((1, 8, 8), 10)
        >>> model.sample(seeds="0-2", classes=[3, 7]).shape
        (6, 8, 8, 1)
    """

    def __init__(
        self,
        config: ModelConfig,
        generator: nn.Module,
        discriminator: nn.Module | None = None,
        sha256: str | None = None,
        standing: StandingSets | None = None,
    ):
        self.config = config
        self.standing = standing
        self._sha256 = sha256
        self.generator = generator  # as it is: it may be a live one that trains on
        self.discriminator = discriminator
        self.num_classes: int = config.num_classes
        self.class_names: tuple[str, ...] = tuple(config.class_names)
        self.image_shape: tuple[int, int, int] = config.image_shape
        self.z_dim: int = z_dim_of(generator)

    @classmethod
    def from_record(cls, record: ModelRecord, device: str = "auto") -> "Model":
        """Build the networks that the record describes and fill in its weights.

        Raises:
            CheckpointError: the weights do not fit the described network (names the tensors).
        """
        target = distributed.local_device(device)
        config = record.config
        generator = _filled("generator", config.generator, config, record.generator)
        discriminator = None
        if config.discriminator is not None and record.discriminator is not None:
            discriminator = _filled(
                "discriminator", config.discriminator, config, record.discriminator
            )
            discriminator = discriminator.to(target)
        check_standing(record, "standing statistics")
        standing = None
        if record.standing is not None:
            rule = config.statistics_rule
            standing = StandingSets(config.truncations, record.standing, rule)
        return cls(config, generator.to(target), discriminator, record.sha256, standing)

    def __repr__(self) -> str:
        return f"Model({line_of(self)})"

    def _repr_html_(self) -> str:
        return html_of(self)

    @property
    def device(self) -> torch.device:
        """Where the generator's parameters are."""
        return next((p.device for p in self.generator.parameters()), torch.device("cpu"))

    @cached_property
    def sha256(self) -> str:
        """Of model.safetensors, in hexadecimal digits, or of what that file would be."""
        if self._sha256 is not None:
            return self._sha256
        other = None if self.discriminator is None else self.discriminator.state_dict()
        record = ModelRecord(self.config, self.generator.state_dict(), discriminator=other)
        return record.sha256

    def class_name(self, index: int) -> str:
        """The name of a class, or its number where the model has no names."""
        return self.class_names[index] if self.class_names else str(index)

    # --- planning ----------------------------------------------------------

    @property
    def has_styles(self) -> bool:
        """Whether the generator makes styles of latents, and images of styles."""
        return has_styles(self.generator)

    @property
    def mean_style(self) -> Tensor:
        """The running mean [w] of a generator's styles."""
        return mean_style_of(self.generator)

    def move(self, x: float = 0.0, y: float = 0.0, degrees: float = 0.0) -> None:
        """From now on all images are turned counterclockwise and then moved to the right and down,
        by shares of their side: in the input of a StyleGAN3, so that nothing enters from outside.

        Raises:
            LimnerError: the generator has no such input.
        """
        transform = transform_of(self.generator)
        turn = math.radians(degrees)
        cos, sin = math.cos(turn), math.sin(turn)
        there = torch.tensor([[cos, sin, x], [-sin, cos, y], [0, 0, 1]], dtype=torch.float64)
        with torch.no_grad():
            transform.copy_(torch.linalg.inv(there))

    def look(
        self,
        truncation: float | None = None,
        truncation_mode: TruncationMode | None = None,
        truncation_cutoff: int | None = None,
        noise: NoiseMode | None = None,
        precision: Precision | None = None,
    ) -> Look:
        """What `sample` with the same arguments makes of styles and noise; see `look_for`."""
        cut = truncation, truncation_mode, truncation_cutoff
        return look_for(self.generator, *cut, noise, precision)

    def space(self, asked: Space | None = None, slerp: bool = False) -> Space:
        """Where walks go: as asked, else in w where the model has styles and no circle is asked.

        Raises:
            LimnerError: another space, w of a model without styles, circles in w.
        """
        if asked not in (None, *get_args(Space)):
            raise LimnerError(f"space '{asked}' is unknown; take z or w")
        if asked == "w" and not self.has_styles:
            raise LimnerError("space 'w': this model has no styles; take z")
        if asked == "w" and slerp:
            raise LimnerError("slerp walks latents on circles; leave it out, or take the space z")
        return asked or ("w" if self.has_styles and not slerp else "z")

    def plan(
        self,
        *,
        num: int | None = None,
        seeds: Seeds | None = None,
        classes: Classes | None = None,
        truncation: float | None = None,
        truncation_mode: TruncationMode | None = None,
        truncation_cutoff: int | None = None,
        noise: NoiseMode | None = None,
        precision: Precision | None = None,
        seed: int = 0,
        z: np.ndarray | Tensor | None = None,
        y: np.ndarray | Tensor | None = None,
        styles: np.ndarray | Tensor | None = None,
    ) -> SamplePlan:
        """What `sample` with the same arguments makes, before it is made."""
        if y is not None and classes is not None:
            raise LimnerError("give either y or classes, not both")
        labels = None if y is None else given_labels(y, self.num_classes)
        look = self.look(truncation, truncation_mode, truncation_cutoff, noise, precision)
        if look.mode == "statistics":
            self._statistics(truncation)
        if styles is not None:
            self._styles_alone(look, num, seeds, classes, z, y)
            return SamplePlan(given_styles(styles, self._styles_shape), None, None, look)
        if z is not None:
            cuts = truncation is not None and look.mode not in ("statistics", "w")
            if num is not None or seeds is not None or cuts:
                raise LimnerError("z is used as it is: leave out num, seeds and truncation")
            latents, chosen = given_latents(z, self.z_dim), None
        else:
            chosen = chosen_seeds(num, seeds, seed, len(labels) if labels is not None else None)
            latents = latents_from_seeds(chosen, self.z_dim, truncation, look.mode)
        if labels is None and self.num_classes:
            places = chosen if chosen is not None else list(range(len(latents)))
            latents, labels, chosen = self._with_classes(latents, chosen, classes, places)
        elif labels is None and classes is not None:
            raise LimnerError(f"classes {classes}: this model has no classes; leave them out")
        if labels is not None and len(labels) != len(latents):
            raise LimnerError(
                f"y has {len(labels)} rows but there are {len(latents)} latents; give one for each"
            )
        return SamplePlan(latents, labels, chosen, look)

    def _with_classes(
        self, z: Tensor, seeds: list[int] | None, classes: Classes | None, places: list[int]
    ) -> tuple[Tensor, Tensor, list[int] | None]:
        """Labels for latents: class-major over the asked classes, else each place's own class."""
        if classes is None:
            return z, torch.tensor([place % self.num_classes for place in places]), seeds
        indices = self.class_indices(classes)
        labels = torch.tensor(indices).repeat_interleave(len(z))
        repeated = None if seeds is None else seeds * len(indices)
        return z.repeat(len(indices), 1), labels, repeated

    def class_indices(self, classes: Classes) -> list[int]:
        """Indices for a class, several, names, or a text such as "3,7" or "all"; a number is an
        index, but where classes are called by numbers it is such a name."""
        if isinstance(classes, str):
            return parse_classes(classes, self.num_classes, self.class_names)
        given = [classes] if isinstance(classes, (int, np.integer)) else list(classes)
        if not given:
            raise LimnerError("classes is empty; name at least one, or leave it out")
        if self.num_classes == 0:
            raise LimnerError(f"classes {given}: this model has no classes; leave them out")
        indices: list[int] = []
        for item in given:
            if isinstance(item, str):
                indices.extend(parse_classes(item, self.num_classes, self.class_names))
            else:
                indices.append(numbered_class(int(item), self.num_classes, self.class_names))
        return indices

    def _styles_alone(self, look: Look, *others: object) -> None:
        """Refuse styles beside anything else that says what an image is of."""
        if not self.has_styles:
            raise LimnerError("styles were given, but this model has none; leave them out")
        if look.mode != "w" or any(given is not None for given in others):
            raise LimnerError(
                "styles are used as they are, with their classes: leave out num, seeds, classes, "
                "z, y and truncation modes other than w"
            )

    @cached_property
    def _styles_shape(self) -> torch.Size:
        y = torch.zeros(1, dtype=torch.int64) if self.num_classes else None
        return styles_of(self.generator, torch.ones(1, self.z_dim), y).shape[1:]

    # --- sampling ----------------------------------------------------------

    def _statistics(self, truncation: float | None) -> Statistics:
        if self.standing is None:
            raise LimnerError(
                "truncation mode 'statistics': this model holds no statistics for truncations; "
                "store some by limner statistics, or use resample or scale with any T > 0"
            )
        return self.standing.at(truncation)

    def accumulate(
        self,
        plan: StandingPlan,
        truncation: float | None = None,
        truncation_mode: TruncationMode | None = None,
    ) -> None:
        """Replace the running statistics by standing statistics at a truncation, for good.

        Raises:
            LimnerError: the mode "statistics", which brings statistics of its own; a generator
                without batch norm.
        """
        mode = self.look(truncation, truncation_mode).mode
        if mode == "statistics":
            raise LimnerError(
                "truncation mode 'statistics' uses the model's stored statistics; accumulate "
                "standing statistics with resample or scale"
            )
        statistics = standing_statistics(self.generator, plan, self.num_classes, truncation, mode)
        put_statistics(self.generator, statistics)

    def batches(self, plan: SamplePlan, batch_size: int = 64) -> Iterator[Tensor]:
        """The network's output for the plan, float32 [n, C, H, W] on its device, not clipped.

        Between two batches the generator is as it was.
        """
        statistics: Statistics = {}
        if plan.look.mode == "statistics":
            statistics = self._statistics(plan.look.truncation)
        yield from generate_batches(
            self.generator,
            plan.z,
            plan.y,
            batch_size,
            look=plan.look,
            seeds=plan.seeds,
            statistics=statistics,
        )

    def styles(self, plan: SamplePlan, batch_size: int = 64) -> np.ndarray:
        """Styles float32 [N, layers, w] of the plan's latents and labels, not truncated: what
        `sample` takes as `styles`.

        Raises:
            LimnerError: the model has no styles.
        """
        if not self.has_styles:
            raise LimnerError("this model has no styles")
        return styles_of(self.generator, plan.z, plan.y, batch_size).float().numpy()

    def draw(self, plan: SamplePlan, batch_size: int = 64) -> np.ndarray:
        """The plan's images, uint8 [N, H, W, C]."""
        batches = self.batches(plan, batch_size)
        pieces = [to_uint8(images).permute(0, 2, 3, 1).cpu().numpy() for images in batches]
        return np.ascontiguousarray(np.concatenate(pieces))

    def draw_float(self, plan: SamplePlan, batch_size: int = 64) -> np.ndarray:
        """The plan's images, float32 [N, C, H, W]: the network's output, not clipped."""
        pieces = [images.cpu().numpy() for images in self.batches(plan, batch_size)]
        return np.ascontiguousarray(np.concatenate(pieces))

    def sample(
        self,
        num: int | None = None,
        seeds: Seeds | None = None,
        classes: Classes | None = None,
        truncation: float | None = None,
        truncation_mode: TruncationMode | None = None,
        seed: int = 0,
        z: np.ndarray | Tensor | None = None,
        y: np.ndarray | Tensor | None = None,
        batch_size: int = 64,
        as_float: bool = False,
        *,
        truncation_cutoff: int | None = None,
        noise: NoiseMode | None = None,
        precision: Precision | None = None,
        styles: np.ndarray | Tensor | None = None,
    ) -> np.ndarray:
        """Make images: uint8 [N, H, W, C], or with `as_float` the network's float32 [N, C, H, W].

        One image per (class, seed), class-major: all seeds of the first class, then the next. The
        same seed gives the same latent in any batch.

        Args:
            num: seeds seed .. seed + num - 1 (default 16, or as many as y has rows).
            seeds: these instead, as one or several integers or a text such as "0-63,70".
            classes: an index, a name, several, or "all". Without it each seed s of a model with
                classes shows the class s % num_classes, so that num = num_classes shows each once.
            truncation, truncation_mode: see `latents_from_seeds`, and `Look` for "w", the default
                of a model with styles; "resample" is that of others. With z "statistics" only
                chooses the statistics, and z is the caller's to scale.
            seed: the first seed that `num` counts from.
            z: latents [N, z_dim] used as they are; without classes and y, row i takes class
                i % num_classes.
            y: labels, one a latent: integers [N], or numbers [N, classes] that may mix classes.
            batch_size: images a forward pass; floats agree within 1e-5 between batch sizes.
            truncation_cutoff, noise, precision: see `Look`; the first two of a model with styles.
            styles: [N, w] or [N, layers, w] in the place of seeds and classes.

        Raises:
            LimnerError: a class out of range or unknown, labels for a model without classes, z or
                y of a wrong shape, arguments that exclude each other.
        """
        if batch_size < 1:
            raise LimnerError(f"batch_size {batch_size} is less than 1")
        plan = self.plan(
            num=num,
            seeds=seeds,
            classes=classes,
            truncation=truncation,
            truncation_mode=truncation_mode,
            truncation_cutoff=truncation_cutoff,
            noise=noise,
            precision=precision,
            seed=seed,
            z=z,
            y=y,
            styles=styles,
        )
        return self.draw_float(plan, batch_size) if as_float else self.draw(plan, batch_size)

    def describe(self, plan: SamplePlan, index: int) -> dict[str, str]:
        """What a PNG of the plan's image says of itself: seed, look, label, model hash."""
        text = {"Software": "limner", "model_sha256": self.sha256}
        if plan.seeds is not None:
            text["seed"] = str(plan.seeds[index])
        if plan.seeds is not None or self.has_styles:
            text |= words_of(plan.look, self.generator)
        if plan.y is not None and plan.y.is_floating_point():
            row = plan.y[index].float().numpy()  # shortest digits that give the same number again
            text["label"] = "mixed: " + " ".join(str(value).removesuffix(".0") for value in row)
        elif plan.y is not None:
            label = int(plan.y[index])
            text["label"] = str(label)
            text["class_name"] = self.class_name(label)
        return text


def _filled(
    role: str, network: NetworkConfig, config: ModelConfig, tensors: dict[str, Tensor]
) -> nn.Module:
    with undrawn(), torch.random.fork_rng([]):  # what draws by other ways disturbs nobody
        if ":" not in tag_of(type(network)):  # limner's own are first built without any memory
            with without_memory():
                shadow = network.build(config.image_shape, config.num_classes)
            check_fit(shadow, tensors, role)
        module = network.build(config.image_shape, config.num_classes)
    fill(module, tensors, role)
    return module.eval().requires_grad_(False)


def load(spec: str | Path, device: str = "auto", import_modules: bool = False) -> Model:
    """Load a model from a run ("RUN", "RUN@best-fid", "RUN@step-400:raw") or a model folder.

    Args:
        device: "auto" (cuda, mps or cpu), or a torch device.
        import_modules: also import the module of the user's own that the file names; leave it off
            for files of others.

    Raises:
        CheckpointError: nothing loadable there; ConfigError: a config that cannot be built.

    Examples:
        >>> limner.load("runs/digits", device="cpu")
        Model(BigGanGenerator, 1x8x8, 10 classes, ... parameters, on cpu)
        >>> limner.load("runs/digits@step-2:raw").z_dim
        32
    """
    keep_freed_memory()  # the file's bytes make room for the weights, and these for prepared ones
    return Model.from_record(find_model(spec, import_modules=import_modules), device)
