"""The style whose image is nearest to a given picture."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from limner.api.notebooks import counter
from limner.core.counting import Progress
from limner.core.errors import LimnerError
from limner.core.images import to_uint8, to_unit_range
from limner.core.protocols import StyleGenerator
from limner.data.decoding import upright
from limner.data.pictures import DECODE_ERRORS, UnreadablePictureError, fitted, open_picture
from limner.layers.prepared import prepared
from limner.sampling import Model, load, save_png, sheet
from limner.sampling.generate import evaluating, random_state_kept, styles_of
from limner.sampling.latents import latents_from_seeds

NUM_STYLES = 10_000  # of which mean and deviation are taken
RATE, BETAS = 0.1, (0.9, 0.999)
RISE, FALL = 0.05, 0.25  # shares of the steps in which the rate rises, and falls
NOISE, NOISE_UNTIL = 0.05, 0.75  # of the styles' deviation; the share after which there is none
SMALLEST = 8  # pixels of the coarsest level at which pictures are compared


@dataclass(frozen=True)
class Projection:
    """Styles [1, layers, w] of one style for all layers, their image and the picture that it is of,
    uint8 [H, W, C], and the distance after each step."""

    styles: np.ndarray
    image: np.ndarray
    target: np.ndarray
    distances: list[float]


def project(
    model: Model | str | Path,
    picture: str | Path,
    steps: int = 1000,
    num_styles: int = NUM_STYLES,
    class_index: int = 0,
    progress: Progress | None = None,
) -> Projection:
    """Find the style nearest to a picture, from the mean style on (Karras et al. 2020, StyleGAN2,
    appendix D, by the projector of NVlabs/stylegan2-ada-pytorch), with stored noise.

    The distance is of pixels at all sizes down to 8, where the original compares in the features of
    a trained network; so colors and layout are found, not the finest likeness.

    Args:
        steps: 1000 in the original; 100 show on a CPU how far it goes.
        num_styles: of how many random latents mean and deviation are taken.
        class_index: of a model with classes.

    Raises:
        LimnerError: the model has no styles, or the picture cannot be read.
    """
    if steps < 1:
        raise LimnerError(f"--steps {steps}: give 1 or more")
    loaded = model if isinstance(model, Model) else load(model)
    if not loaded.has_styles:
        raise LimnerError("this model has no styles to look for; give one of StyleGAN2 or 3")
    pixels = read_picture(Path(picture), loaded.image_shape)
    target = to_unit_range(torch.tensor(pixels).permute(2, 0, 1)[None]).to(loaded.device)
    labels = torch.full((num_styles,), class_index) if loaded.num_classes else None
    latents = latents_from_seeds(range(num_styles), loaded.z_dim)
    styles = styles_of(loaded.generator, latents, labels, 1024)
    mean = styles[:, 0].double().mean(0)
    deviation = float((styles[:, 0].double() - mean).square().sum(1).mean().sqrt())
    with random_state_kept(loaded.device), evaluating(loaded.generator):
        ready = cast("StyleGenerator", prepared(loaded.generator))

        def make(w: Tensor) -> Tensor:
            return ready.synthesis(w[:, None].expand(-1, styles.shape[1], -1), noise="const")

        start = mean.float()[None].to(loaded.device)
        told = progress or counter("projecting")
        w, distances = descend(make, target, start, deviation, steps, told)
        with torch.no_grad():
            image = to_uint8(make(w))[0].permute(1, 2, 0).cpu().numpy()
    rows = w[:, None].expand(-1, styles.shape[1], -1).cpu().numpy().copy()
    return Projection(rows, image, pixels, distances)


def descend(
    make: Callable[[Tensor], Tensor],
    target: Float[Tensor, "1 c h w"],
    start: Float[Tensor, "1 w_dim"],
    deviation: float,
    steps: int,
    progress: Progress | None = None,
) -> tuple[Float[Tensor, "1 w_dim"], list[float]]:
    """Adam from a style on, with noise on it that fades; the last style, and all distances."""
    w = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([w], lr=RATE, betas=BETAS)
    draws = torch.Generator().manual_seed(0)
    distances = []
    for step in range(steps):
        t = step / steps
        for group in optimizer.param_groups:
            group["lr"] = RATE * rate_at(t)
        strength = deviation * NOISE * max(0.0, 1.0 - t / NOISE_UNTIL) ** 2
        noise = torch.randn(w.shape, generator=draws).to(w) * strength
        distance = distance_of(make(w + noise), target)
        (w.grad,) = torch.autograd.grad(distance, [w])
        optimizer.step()
        distances.append(float(distance.detach()))
        if progress is not None:
            progress(step + 1, steps)
    return w.detach(), distances


def rate_at(t: float) -> float:
    """Of the rate at a share of the steps: up in a line, at the end down along a cosine."""
    fall = min(1.0, (1.0 - t) / FALL)
    return (0.5 - 0.5 * math.cos(fall * math.pi)) * min(1.0, t / RISE)


def distance_of(images: Float[Tensor, "1 c h w"], target: Float[Tensor, "1 c h w"]) -> Tensor:
    """Mean squared difference, summed over all halvings that leave SMALLEST pixels."""
    total = F.mse_loss(images, target)
    while min(images.shape[2:]) >= 2 * SMALLEST:
        images, target = F.avg_pool2d(images, 2), F.avg_pool2d(target, 2)
        total = total + F.mse_loss(images, target)
    return total


def read_picture(path: Path, image_shape: tuple[int, int, int]) -> np.ndarray:
    """A picture file as uint8 [H, W, C] of a model's size, its largest part in the middle."""
    channels, height, width = image_shape
    if not path.exists():
        raise LimnerError(f"{path}: no such file")
    try:
        picture = upright(open_picture(path))
        wanted = picture.convert("L" if channels == 1 else "RGB")
        return fitted(wanted, (height, width), channels, "crop", "lanczos")
    except UnreadablePictureError as error:
        raise LimnerError(f"{path}: {error}") from None
    except DECODE_ERRORS as error:
        raise LimnerError(f"{path}: a damaged picture ({type(error).__name__})") from None


def save_projection(found: Projection, out: Path) -> list[Path]:
    """FILE.npz with `styles`, and beside it FILE.png: the picture, and what was found."""
    if out.suffix != ".npz":
        raise LimnerError(f"--out {out}: give FILE.npz; a FILE.png is written beside it")
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(out, styles=found.styles, distances=np.array(found.distances, np.float32))
    picture = out.with_suffix(".png")
    both = sheet(np.stack([found.target, found.image]), columns=2, headings=["given", "found"])
    save_png(both, picture, {"Software": "limner"})
    return [out, picture]
