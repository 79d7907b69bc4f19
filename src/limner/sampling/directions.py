"""Directions in a latent space along which images change most, read off the weights."""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from limner.core.errors import LimnerError
from limner.core.protocols import StyleGenerator, z_dim_of
from limner.sampling.generate import evaluating
from limner.sampling.looks import has_styles


def principal_directions(generator: nn.Module, num_classes: int, num: int) -> Float[Tensor, "k d"]:
    """Unit rows in z, or in w for a generator of styles, the strongest first: the eigenvectors of
    A^T A, where A is the first layer that reads z, or all layers that read styles (Shen and Zhou
    2021, closed-form factorization). Those that A does not see are left out.

    Raises:
        LimnerError: no layer of the generator reads its latents.
    """
    with evaluating(generator), torch.inference_mode():
        layers = _readers_of_styles if has_styles(generator) else _reader_of_latents
        matrix = layers(generator, num_classes).double().cpu()
    values, vectors = torch.linalg.eigh(matrix.T @ matrix)
    kept = [i for i in reversed(range(len(values))) if values[i] > 1e-9 * values[-1]][:num]
    rows = vectors.T[kept]
    signs = rows.gather(1, rows.abs().argmax(1, keepdim=True)).sign()  # eigenvectors have none
    return (rows * signs).float()


class _FoundError(Exception):
    """Ends a forward pass."""


def _basis(width: int, generator: nn.Module) -> Tensor:
    """Zero, then the unit vectors."""
    like = next(generator.parameters())
    return torch.cat([torch.zeros(1, width), torch.eye(width)]).to(like)


def _leaves(generator: nn.Module) -> list[nn.Module]:
    leaves = [m for m in generator.modules() if next(m.children(), None) is None]
    return [m for m in leaves if next(m.parameters(), None) is not None]


def _reader_of_latents(generator: nn.Module, num_classes: int) -> Float[Tensor, "out z"]:
    """What the first layer with weights makes of each unit latent."""
    basis = _basis(z_dim_of(generator), generator)
    labels = torch.zeros(len(basis), dtype=torch.int64, device=basis.device)
    found: list[Tensor] = []

    def look(layer: nn.Module, given: object, made: object) -> None:
        if isinstance(made, Tensor) and len(made) == len(basis) and (made != made[:1]).any():
            found.append((made[1:] - made[:1]).flatten(1).T)
            raise _FoundError

    handles = [layer.register_forward_hook(look) for layer in _leaves(generator)]
    try:
        generator(basis, labels if num_classes else None)
    except _FoundError:
        return found[0]
    finally:
        for handle in handles:
            handle.remove()
    raise LimnerError("this model has no layer that reads latents")


def _readers_of_styles(generator: nn.Module, num_classes: int) -> Float[Tensor, "out w"]:
    """What all layers that are given a style make of each unit style."""
    halves = cast("StyleGenerator", generator)
    z = torch.ones(1, z_dim_of(generator)).to(next(generator.parameters()))
    y = torch.zeros(1, dtype=torch.int64, device=z.device) if num_classes else None
    styles = halves.mapping(z, y, update_statistics=False)
    readers: list[nn.Module] = []

    def look(layer: nn.Module, given: tuple[object, ...], made: object) -> None:
        style = given[0] if given else None
        if isinstance(style, Tensor) and style.shape == styles[:, 0].shape:
            readers.append(layer)

    handles = [layer.register_forward_hook(look) for layer in _leaves(generator)]
    try:
        halves.synthesis(styles, update_statistics=False, noise="const")
    finally:
        for handle in handles:
            handle.remove()
    if not readers:
        raise LimnerError("this model has no layer that reads styles")
    basis = _basis(styles.shape[2], generator)
    made = [layer(basis) for layer in readers]
    return torch.cat([out[1:] - out[:1] for out in made], dim=1).T
