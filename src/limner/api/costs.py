"""What a config costs: memory and operations, counted on networks without memory and never run;
and how many of these this machine does in a second."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from limner import presets
from limner.api.sizes import Sizes, sizes_of
from limner.core import distributed
from limner.core.facts import Kind, Machine
from limner.core.growth import GrowthSchedule
from limner.core.protocols import NetworkConfig, z_dim_of
from limner.core.undrawn import without_memory
from limner.data import Batch
from limner.engine import RunConfig, Update
from limner.engine.controllers import Growth
from limner.engine.trainer import Trainer
from limner.objectives import GradientPenalty
from limner.presets.costs import COSTS, Cost
from limner.presets.fitted import USUAL_PICTURES

NUM_FEW, NUM_MANY = 2, 4  # images; what grows between them belongs to the images
NUM_TIMES = 200  # at which a growing pair is looked at
MOST_TIMED = 16  # steps
PATIENCE = 3.0  # seconds
TIMED_ON_A_CPU = 8  # images a step, where only the speed is asked for
BACKWARD = 2  # forwards that a backward costs: one to the inputs, one to the weights


class Forward(NamedTuple):
    """Of one image: operations, bytes that its backward needs, bytes read and written; and calls of
    kernels, however many images there are."""

    operations: float
    bytes: float
    traffic: float
    calls: int


class Pair(NamedTuple):
    """Both networks' forwards."""

    g: Forward
    d: Forward


def cost_of(config: RunConfig, labels: str | None = None) -> Cost:
    """Count a config, on one device, as it stands.

    Where data decide channels or classes, see `sizes_of`. Networks alone are counted: no
    augmentation, optimizer, scores or sheets.

    Args:
        labels: instead of the config's own words on them.
    """
    sizes = sizes_of(config)
    whole = _pair(config, sizes, sizes.image_shape[1])
    schedule = _schedule(config)
    side, batch = sizes.image_shape[1], config.batch_size
    if schedule is not None:
        batch = schedule.batch_size(side, batch)
    activations = max(_bytes(update, whole, batch) for update in config.updates)
    return Cost(
        side=side,
        labels=labels or config.data.prepared_labels,
        num_parameters=sizes.num_generator + sizes.num_discriminator,
        memory=round((sizes.memory + activations) / 2**30, 3),
        petaflops=float(f"{_operations(config, sizes, whole, schedule) / 1e15:.4g}"),
    )


class Traffic(NamedTuple):
    """What a device does beside multiplying, without fusing: bytes that kernels read and write for
    an image, in float32, over all updates on average, and kernels that a step starts."""

    bytes: float
    kernels: float


def traffic_of(config: RunConfig) -> Traffic:
    """Count it, at the largest resolution, of networks alone (see `cost_of`)."""
    sizes = sizes_of(config)
    pair = _pair(config, sizes, sizes.image_shape[1])
    return Traffic(
        bytes=_of_updates(config, pair.g.traffic, pair.d.traffic),
        kernels=_of_updates(config, pair.g.calls, pair.d.calls),
    )


def _schedule(config: RunConfig) -> GrowthSchedule | None:
    found = [part.schedule for part in config.controllers if isinstance(part, Growth)]
    return found[0] if found else None


def _operations(
    config: RunConfig, sizes: Sizes, whole: Pair, schedule: GrowthSchedule | None
) -> float:
    """Of the whole training."""
    if schedule is None or config.kimg is None:
        images = _images(config)
        return images * _multiplied(config, whole)
    side, total = sizes.image_shape[1], config.kimg * 1000
    pairs: dict[int, Pair] = {}
    summed = 0.0
    for part in range(NUM_TIMES):
        nimg = round((part + 0.5) / NUM_TIMES * total)
        at = schedule.resolution(schedule.lod(nimg, side), side)
        if at not in pairs:
            pairs[at] = _pair(config, sizes, at)
        summed += _multiplied(config, pairs[at])
    return summed / NUM_TIMES * total * config.batch_size / config.images_per_step()


def _multiplied(config: RunConfig, pair: Pair) -> float:
    """Operations for an image, of all updates."""
    return _of_updates(config, pair.g.operations, pair.d.operations)


def _of_updates(config: RunConfig, g: float, d: float) -> float:
    return sum(_an_image(update, g, d) for update in config.updates)


def _images(config: RunConfig) -> float:
    """How often an update without repeats, accumulation or rests sees an image."""
    if config.steps is not None:
        return config.steps * config.batch_size
    assert config.kimg is not None
    return config.kimg * 1000 * config.batch_size / config.images_per_step()


def _shares(update: Update) -> tuple[bool, bool, int, int, bool]:
    """Whether it looks at reals and at fakes, whose images it differentiates by, mixes."""
    terms = update.terms
    return (
        any("real" in term.reads for term in terms),
        any({"fake", "styles"} & set(term.reads) for term in terms),
        int(any(term.real_grad for term in terms)),
        int(any(term.fake_grad for term in terms)),
        any(isinstance(term, GradientPenalty) for term in terms),
    )


def _an_image(update: Update, g: float, d: float) -> float:
    """What an update costs for each image of its batch, over all steps on average, where a forward
    of the networks costs `g` and `d`."""
    reals, fakes, by_reals, by_fakes, mixes = _shares(update)
    once = 1 + BACKWARD
    if update.player == "d":
        # A gradient by images is a half backward, and its own backward costs all of it twice.
        of_reals = reals * d * once * (1 + by_reals)
        of_fakes = fakes * (g + d * once * (1 + by_fakes))
        count = of_reals + of_fakes + mixes * 2 * d * once
    elif any("styles" in term.reads for term in update.terms):
        count = 2 * g * once  # the path length differentiates by styles
    else:
        count = fakes * (g * once + 2 * d) + reals * d
    share = update.latent_share if not reals else 1.0
    return count * share * update.repeats * update.accumulate / update.every


def _bytes(update: Update, pair: Pair, batch: int) -> float:
    """Held at once for the backward of one micro-batch."""
    reals, fakes, by_reals, by_fakes, mixes = _shares(update)
    num = update.num_latents or batch
    if update.player == "g":
        paths = any("styles" in term.reads for term in update.terms)
        judged = 0 if paths else pair.d.bytes
        return (pair.g.bytes * (1 + paths) + judged) * num * update.latent_share
    of_reals = reals * (1 + by_reals) * batch
    of_fakes = fakes * (1 + by_fakes) * num
    return pair.d.bytes * (of_reals + of_fakes + 2 * mixes * batch)


def _pair(config: RunConfig, sizes: Sizes, side: int) -> Pair:
    shape = (sizes.image_shape[0], side, side)
    return _counted(config.generator, config.discriminator, shape, sizes.num_classes)


@cache
def _counted(
    generator: NetworkConfig,
    discriminator: NetworkConfig,
    shape: tuple[int, int, int],
    num_classes: int,
) -> Pair:
    with without_memory():
        g, d = (part.build(shape, num_classes) for part in (generator, discriminator))
    z_dim = z_dim_of(g)

    def inputs(num: int) -> tuple[Tensor, Tensor | None]:
        y = torch.zeros(num, dtype=torch.int64, device="meta") if num_classes else None
        return torch.zeros(num, z_dim, device="meta"), y

    def judged(num: int) -> tuple[Tensor, Tensor | None]:
        images = torch.zeros(num, *shape, device="meta", requires_grad=True)
        return images, inputs(num)[1]

    return Pair(_forward(g, inputs), _forward(d, judged))


def _forward(network: nn.Module, inputs: Callable[[int], tuple[Any, ...]]) -> Forward:
    few, many = (_measured(network, inputs(num)) for num in (NUM_FEW, NUM_MANY))
    between = NUM_MANY - NUM_FEW
    slopes = ((b - a) / between for a, b in zip(few[:3], many[:3], strict=True))
    return Forward(*slopes, calls=many.calls)


def _measured(network: nn.Module, inputs: tuple[Any, ...]) -> Forward:
    with FlopCounterMode(display=False) as counter, _saved() as bytes_of, _Moved() as moved:
        network(*inputs)
    kept = sum(bytes_of.values())
    return Forward(counter.get_total_flops(), kept, moved.bytes, moved.calls)


class _Moved(TorchDispatchMode):
    """Counts what operations read and write within, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.calls = 0, 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = (each for each in tree_leaves((args, kwargs, found)) if torch.is_tensor(each))
            self.bytes += sum(each.numel() * each.element_size() for each in tensors)
            self.calls += 1
        return found


@contextmanager
def _saved() -> Iterator[dict[int, int]]:
    """Bytes of each storage that is kept for a backward within."""
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        found[storage._cdata] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found


# --- the speed of this machine ---------------------------------------------------


def seconds_a_step(
    config: RunConfig, num_classes: int, device: torch.device, patience: float = math.inf
) -> float:
    """How long a step takes on average, measured on noise over a whole round of lazy updates, or as
    many seconds of it."""
    num = min(max(update.every for update in config.updates), MOST_TIMED)
    shape = (config.data.channels or 3, *config.data.size)
    images = torch.randint(256, (config.batch_size, *shape), dtype=torch.uint8)
    places = torch.zeros(config.batch_size, dtype=torch.int64)
    batch = Batch(images, places, places)
    counts = [1] * num_classes or None
    trainer = Trainer(config, shape, num_classes, lambda: batch, device, label_counts=counts)
    trainer.step()
    began, done = time.perf_counter(), 0
    while done < num and (not done or time.perf_counter() - began < patience):
        trainer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        done += 1
    return (time.perf_counter() - began) / done


def measured_speed() -> tuple[str, float]:
    """This machine's kind of device, and its operations a second in steps of `photos` on noise."""
    device = distributed.local_device("auto")
    machine = Machine(cast(Kind, device.type))
    config, _ = presets.fit("photos", USUAL_PICTURES, machine)
    assert config.kimg is not None
    an_image = COSTS[f"photos on {machine.kind}"].petaflops * 1e15 / (config.kimg * 1000)
    if machine.kind == "cpu":
        config = config.replace(batch_size=TIMED_ON_A_CPU)
    return device.type, an_image * config.batch_size / seconds_a_step(config, 0, device, PATIENCE)
