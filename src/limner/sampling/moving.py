"""Generators whose input knows where it is, as StyleGAN3's: images move with it."""

import contextlib
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from limner.core.errors import LimnerError


def can_move(generator: nn.Module) -> bool:
    """Whether `transform_of` finds one."""
    return isinstance(_transform(generator), Tensor)


def transform_of(generator: nn.Module) -> Float[Tensor, "3 3"]:
    """The inverse transform of its input, in widths of the image, as it stands.

    Raises:
        LimnerError: the generator has no such input.
    """
    transform = _transform(generator)
    if not isinstance(transform, Tensor):
        raise LimnerError("only images of a StyleGAN3 can be moved and turned by its input")
    return transform


@contextlib.contextmanager
def moved_by(generator: nn.Module, inverse: Float[Tensor, "3 3"]) -> Iterator[None]:
    """The generator with this inverse transform meanwhile, in place of its own."""
    transform = transform_of(generator)
    before = transform.clone()
    with torch.no_grad():
        transform.copy_(inverse)
    try:
        yield
    finally:
        with torch.no_grad():
            transform.copy_(before)


def _transform(generator: nn.Module) -> object:
    return getattr(getattr(generator, "input", None), "transform", None)
