"""The one way from latents to images: PNG, demo, sample sheets and scores all come from here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from limner.core.protocols import Labels, StyleGenerator
from limner.layers.packing import fast_forwards
from limner.layers.prepared import NONE, prepared
from limner.sampling.looks import USUAL, Look, pictures
from limner.sampling.memory import halved


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards every submodule is back in the mode it had."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def generate_batches(
    generator: nn.Module,
    z: Float[Tensor, "n z"] | Float[Tensor, "n layers w_dim"],
    y: Labels | None = None,
    batch_size: int = 64,
    device: torch.device | str | None = None,
    look: Look = USUAL,
    seeds: Sequence[int] | None = None,
    statistics: Mapping[str, Tensor] = NONE,
) -> Iterator[Float32[Tensor, "batch c h w"]]:
    """Images of a generator in eval mode, one tensor a batch, in the order of z.

    Between batches the generator has its own modes back, so it may train while this is suspended.
    Its buffers and torch's random state stay as they are. What computes is the `prepared` network.

    Args:
        generator: forward(z, y) -> images, or a `StyleGenerator`; it is not moved.
        z: latents, or styles in their place, then without y.
        y: None without classes; rows may mix classes.
        device: where to compute; None takes the device of the generator's parameters.
        look: what styles and noise become; its truncation of latents has happened before.
        seeds: of the noise of each image, where it is random; None takes the places 0, 1, ...
        statistics: values in the place of those of the running buffers they name.

    Where memory runs out, the rest is made in batches of half as many, with a warning; floats agree
    within 1e-5 between batch sizes.

    Yields:
        On that device, the network's output as it is (nominally in [-1, 1], not clipped).
    """
    own = range(len(z)) if seeds is None else seeds
    assert len(own) == len(z), f"{len(own)} seeds for {len(z)} latents"

    def make(z_part: Tensor, y_part: Tensor | None, begin: int) -> Tensor:
        ready, seeds_part = prepared(generator, statistics), own[begin : begin + len(z_part)]
        with fast_forwards(ready, z_part.device, look.precision):
            return pictures(ready, z_part, y_part, look, seeds_part).float()

    yield from _in_batches(generator, z, y, batch_size, device, make)


def generate(
    generator: nn.Module,
    z: Float[Tensor, "n z"] | Float[Tensor, "n layers w_dim"],
    y: Labels | None = None,
    batch_size: int = 64,
    device: torch.device | str | None = None,
    look: Look = USUAL,
    seeds: Sequence[int] | None = None,
) -> Float32[Tensor, "n c h w"]:
    """All images of `generate_batches` as one tensor on the CPU; at least one latent."""
    assert len(z) > 0, "no latents"
    batches = generate_batches(generator, z, y, batch_size, device, look, seeds)
    return torch.cat([images.cpu() for images in batches])


def styles_of(
    generator: nn.Module, z: Float[Tensor, "n z"], y: Labels | None = None, batch_size: int = 64
) -> Float[Tensor, "n layers w_dim"]:
    """The styles of a `StyleGenerator`'s latents, not truncated, on the CPU; at least one."""

    def make(z_part: Tensor, y_part: Tensor | None, begin: int) -> Tensor:
        return cast("StyleGenerator", prepared(generator)).mapping(z_part, y_part)

    batches = _in_batches(generator, z, y, batch_size, None, make)
    return torch.cat([styles.cpu() for styles in batches])


def _in_batches(
    generator: nn.Module,
    z: Tensor,
    y: Tensor | None,
    batch_size: int,
    device: torch.device | str | None,
    make: Callable[[Tensor, Tensor | None, int], Tensor],
) -> Iterator[Tensor]:
    """make(latents, labels, number of the first) for each batch, in eval mode and undisturbed; in
    smaller ones where memory runs out."""
    assert batch_size > 0, f"batch_size {batch_size}"
    assert y is None or len(y) == len(z), f"{len(y)} labels for {len(z)} latents"
    like = next((p for p in generator.parameters() if p.is_floating_point()), z)
    target = torch.device(device) if device is not None else like.device
    start = 0
    while start < len(z):
        z_part = z[start : start + batch_size].to(target, like.dtype)
        y_part = None if y is None else _labels(y[start : start + batch_size], target, like.dtype)
        try:
            with random_state_kept(target), evaluating(generator), torch.inference_mode():
                made = make(z_part, y_part, start)
        except (RuntimeError, MemoryError) as error:
            batch_size = halved(batch_size, error)
            continue
        yield made.clone()  # made outside inference mode: an ordinary tensor
        start += len(made)


def _labels(y: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    return y.to(device, dtype if y.is_floating_point() else torch.int64)


@contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """A network that draws noise in eval mode must not move the stream that training reads."""
    mps_state = torch.mps.get_rng_state() if device.type == "mps" else None
    cuda_devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(cuda_devices):
        yield
    if mps_state is not None:
        torch.mps.set_rng_state(mps_state)
