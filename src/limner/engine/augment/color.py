"""Changes of color in the ADA pipe, as one affine map of colors for each image."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from limner.engine.augment.gates import Gates
from limner.engine.augment.transforms import Multipliers, Strengths

Images = Float[Tensor, "n c h w"]

GRAY = torch.full((3, 3), 1 / 3, dtype=torch.float64)  # projects a color onto its gray
RATHER = torch.eye(3, dtype=torch.float64) - GRAY  # and onto what is left
ACROSS = torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=torch.float64) / math.sqrt(3)


def recolored(images: Images, gates: Gates, of: Multipliers, to: Strengths) -> Images:
    """Images of one or three channels, brighter, of other contrast, with light and dark exchanged,
    and in color also of other hue and saturation.

    One after the other these are, for a color of gray g and rest r (Karras et al. 2020, appendix
    B, with the axis of hue (1, 1, 1) / sqrt 3): along (g + brightness) + across R(hue) r, where
    along = contrast * flip and across = contrast * saturation.
    """
    if not any((of.brightness, of.contrast, of.lumaflip, of.hue, of.saturation)):
        return images
    ones = images.new_ones(len(images))
    brightness, along, across = _grays(gates, of, to, ones)
    if images.shape[1] == 1:
        return (images + brightness[:, None, None, None]) * along[:, None, None, None]
    angle, saturation = _rests(gates, of, to, ones)
    across = across * saturation
    parts = torch.stack([along, across * angle.cos(), across * angle.sin()], 1)
    basis = torch.stack([GRAY, RATHER, ACROSS]).to(images)
    maps = torch.einsum("nk,kij->nij", parts, basis)
    offset = (along * brightness)[:, None, None]
    return torch.baddbmm(offset, maps, images.flatten(2)).view(images.shape)


def _grays(
    gates: Gates, of: Multipliers, to: Strengths, ones: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What is added to each image, and what its grays and the rest are then multiplied by."""
    brightness, contrast, flips = ones * 0.0, ones, ones
    if of.brightness:
        value = gates.normal("brightness") * to.brightness
        brightness = gates.passed("brightness", of.brightness * gates.p, value, 0.0)
    if of.contrast:
        value = torch.exp2(gates.normal("contrast") * to.contrast)
        contrast = gates.passed("contrast", of.contrast * gates.p, value, 1.0)
    if of.lumaflip:
        value = 1.0 - 2.0 * (gates.uniform("lumaflip") * 2).floor()
        flips = gates.passed("lumaflip", of.lumaflip * gates.p, value, 1.0)
    return brightness, contrast * flips, contrast


def _rests(gates: Gates, of: Multipliers, to: Strengths, ones: Tensor) -> tuple[Tensor, Tensor]:
    """Angle and factor of what is not gray in each image."""
    angle, saturation = ones * 0.0, ones
    if of.hue:
        value = (gates.uniform("hue") * 2 - 1) * (math.pi * to.hue)
        angle = gates.passed("hue", of.hue * gates.p, value, 0.0)
    if of.saturation:
        value = torch.exp2(gates.normal("saturation") * to.saturation)
        saturation = gates.passed("saturation", of.saturation * gates.p, value, 1.0)
    return angle, saturation
