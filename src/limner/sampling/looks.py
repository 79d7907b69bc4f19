"""How a generator is asked for pictures: in one go, or by its styles where it has them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from limner.core.config import nearest
from limner.core.errors import LimnerError
from limner.core.protocols import Labels, NoiseMode, StyleGenerator, mean_style_of
from limner.core.streams import stream
from limner.layers.packing import Precision
from limner.sampling.latents import TruncationMode, check_truncation

Space = Literal["z", "w"]  # of latents, of styles


@dataclass(frozen=True)
class Look:
    """What decides over images beside latents and labels; `look_for` finds a generator's usual one.

    Attributes:
        truncation, mode: see `latents_from_seeds`; in the mode "w" a style becomes
            mean + truncation (style - mean) (Karras et al. 2019, appendix B).
        cutoff: the mode "w" changes the styles of so many first layers; None: of all.
        noise: what the layers of a style generator add. "const": the maps stored with them, "none":
            nothing, so that an image depends on its latent alone; "random": maps of the image's
            own seed.
        precision: of the forwards. "bfloat16" rounds what products take and give, so that images
            differ by a few parts in a thousand; faster where the processor has units for it.
    """

    truncation: float | None = None
    mode: TruncationMode = "resample"
    cutoff: int | None = None
    noise: NoiseMode = "const"
    precision: Precision = "float32"


USUAL = Look()


def has_styles(generator: nn.Module) -> bool:
    """Whether it works in two halves, so that its styles can be truncated, walked and given."""
    return isinstance(generator, StyleGenerator)


def look_for(
    generator: nn.Module,
    truncation: float | None = None,
    mode: TruncationMode | None = None,
    cutoff: int | None = None,
    noise: NoiseMode | None = None,
    precision: Precision | None = None,
) -> Look:
    """What was asked for; None takes the usual: the mode "w" with styles, else "resample"; noise
    "const"; precision "float32".

    Raises:
        LimnerError: what the generator does not have, or cannot use; a truncation out of range.
    """
    styled = has_styles(generator)
    mode = mode or ("w" if styled else "resample")
    check_truncation(truncation, mode)
    of_styles = {
        "truncation mode 'w'": mode == "w",
        f"truncation cutoff {cutoff}": cutoff is not None,
        f"noise '{noise}'": noise is not None,
    }
    for words, given in of_styles.items():
        if given and not styled:
            raise LimnerError(f"{words}: this model has no styles; leave it out")
    if styled and mode == "scale":
        raise LimnerError(
            "truncation mode 'scale': styles are made of a latent's direction, which scaling does "
            "not change; take w, or resample"
        )
    if noise is not None and noise not in get_args(NoiseMode):
        raise LimnerError(f"noise '{noise}' is unknown{nearest(noise, get_args(NoiseMode))}")
    if cutoff is not None and (cutoff < 1 or mode != "w" or truncation is None):
        raise LimnerError(
            f"truncation cutoff {cutoff}: give a number of layers, 1 or more, together with a "
            "truncation in the mode w"
        )
    if precision is not None and precision not in get_args(Precision):
        known = get_args(Precision)
        raise LimnerError(f"precision '{precision}' is unknown{nearest(precision, known)}")
    return Look(truncation, mode, cutoff, noise or "const", precision or "float32")


def words_of(look: Look, generator: nn.Module) -> Mapping[str, str]:
    """The look as text chunks of a PNG."""
    text = {"truncation": "none" if look.truncation is None else f"{look.truncation:.15g}"}
    if look.truncation is not None:
        text["truncation_mode"] = look.mode
    if look.cutoff is not None:
        text["truncation_cutoff"] = str(look.cutoff)
    if has_styles(generator):
        text["noise"] = look.noise
    if look.precision != USUAL.precision:
        text["precision"] = look.precision
    return text


def pictures(
    generator: nn.Module,
    latents: Float[Tensor, "n z"] | Float[Tensor, "n layers w_dim"],
    y: Labels | None,
    look: Look,
    seeds: Sequence[int],
) -> Float[Tensor, "n c h w"]:
    """Images of latents, or of styles in their place, in which the labels have their part already.

    Args:
        seeds: of the images' noise, where that is random.

    Raises:
        LimnerError: a cutoff beyond the layers.
    """
    if not has_styles(generator):
        return generator(latents, y)
    halves = cast("StyleGenerator", generator)
    styles = latents if latents.ndim == 3 else halves.mapping(latents, y)
    if look.mode == "w" and look.truncation is not None:
        styles = truncated(styles, mean_style_of(generator), look.truncation, look.cutoff)
    noise = noise_of(seeds, styles) if look.noise == "random" else look.noise
    return halves.synthesis(styles, noise=noise)


def truncated(
    styles: Float[Tensor, "n layers w_dim"],
    mean_style: Float[Tensor, " w_dim"],
    truncation: float,
    cutoff: int | None = None,
) -> Float[Tensor, "n layers w_dim"]:
    """Styles at the share `truncation` of the way from their mean, those of the first `cutoff`
    layers or all.

    Raises:
        LimnerError: a cutoff beyond the layers.
    """
    num_layers = styles.shape[1]
    if cutoff is not None and cutoff > num_layers:
        raise LimnerError(
            f"truncation cutoff {cutoff}: this model has {num_layers} layers of styles"
        )
    near = torch.lerp(mean_style, styles[:, :cutoff], truncation)
    return torch.cat([near, styles[:, near.shape[1] :]], dim=1)


def noise_of(
    seeds: Sequence[int], like: Tensor
) -> Callable[[tuple[int, int, int, int]], Float[Tensor, "n 1 h w"]]:
    """Normal maps of each image's own seed, for one pass: those of an image are the same in any
    batch and on any device."""
    streams = [stream("noise maps", seed) for seed in seeds]

    def maps(shape: tuple[int, int, int, int]) -> Tensor:
        assert shape[0] == len(streams), f"noise {shape} for {len(streams)} images"
        # double precision: see latents.py
        rows = [torch.randn(shape[1:], generator=s, dtype=torch.float64) for s in streams]
        return torch.stack(rows).to(like)

    return maps
