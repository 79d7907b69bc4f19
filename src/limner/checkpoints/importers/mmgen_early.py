"""MMGeneration's DCGAN, LSGAN and WGAN-GP as limner's, whose tensors tell all of them."""

import math
import re
from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from limner.checkpoints.importers import mmgen_dcgan
from limner.checkpoints.importers.mmgen_names import State, num_entries
from limner.checkpoints.importers.mmgen_recipes import Said
from limner.checkpoints.importers.network_pickles import Built, checked_config
from limner.models import (
    LsganDiscriminator,
    LsganGenerator,
    WganGpDiscriminator,
    WganGpGenerator,
)

ImageShape = tuple[int, int, int]
Role = Literal["generator", "discriminator"]
RENAMED = {
    "noise2feat.linear": "first",
    "noise2feat_head.0": "first",
    "noise2feat_tail.0": "norm",
    "noise2feat": "",
    "from_rgb.conv": "first",
    "to_rgb.conv": "output",
    "decision.conv": "last",
    "decision.linear": "output",
    "decision.0": "output",
}
WGAN_BOTTOM = 4  # pixels on a side where WGAN-GP's generator begins


def dcgan_generator(state: Mapping[str, Tensor], said: Said, where: str) -> Built:
    config, shape = mmgen_dcgan.generator_config(state)
    return Built(config, shape, 0, mmgen_dcgan.rename_generator(state))


def dcgan_discriminator(
    state: Mapping[str, Tensor], said: Said, where: str, image_shape: ImageShape
) -> Built:
    config = mmgen_dcgan.discriminator_config(state, image_shape)
    return Built(config, image_shape, 0, mmgen_dcgan.rename_discriminator(state))


def renamed(role: Role, state: Mapping[str, Tensor]) -> State:
    """LSGAN's and WGAN-GP's names as limner's; WGAN-GP's lists also count the layers between the
    convolutions that double or halve, LSGAN's generator the last one."""
    is_lsgan = any(key.startswith(("noise2feat_head.", "decision.0.")) for key in state)
    last = num_entries("conv_blocks", state) - 1 if is_lsgan and role == "generator" else None
    found = {}
    for key, value in state.items():
        name = re.sub(r"\.(bn|GN|LN2d)\.", ".norm.", key)
        old = next((old for old in RENAMED if name.startswith(f"{old}.")), None)
        number = re.match(r"conv_blocks\.(\d{1,3})\.", name)
        if old is not None:
            name = f"{RENAMED[old]}.{name.removeprefix(f'{old}.')}".removeprefix(".")
        elif number is not None:
            place, rest = int(number[1]), name[number.end() :]
            between = 0 if is_lsgan else (place + (role == "generator")) // 3
            is_last = place == last
            name = (
                rest.replace("conv.", "output.") if is_last else f"blocks.{place - between}.{rest}"
            )
        found[name] = value.flatten() if name == "bias" else value
    return found


def lsgan_generator(state: Mapping[str, Tensor], said: Said, where: str) -> Built:
    found = renamed("generator", state)
    widest = found["norm.weight"].numel()
    rows, z_dim = found["first.weight"].shape
    side = math.isqrt(rows // widest)
    config = checked_config(
        LsganGenerator, {"width": widest // 4, "z_dim": z_dim, "first_side": side}, where
    )
    doublings = num_entries("blocks", found) // 2 + 1
    shape = found["output.weight"].shape[1], side << doublings, side << doublings
    return Built(config, shape, 0, found)


def lsgan_discriminator(
    state: Mapping[str, Tensor], said: Said, where: str, image_shape: ImageShape
) -> Built:
    found = renamed("discriminator", state)
    num = num_entries("blocks", found)
    side = image_shape[1] >> num
    width = found["blocks.0.conv.weight"].shape[0]
    config = checked_config(LsganDiscriminator, {"width": width, "first_side": side}, where)
    return Built(config, image_shape, 0, found)


def wgan_generator(state: Mapping[str, Tensor], said: Said, where: str) -> Built:
    found = renamed("generator", state)
    num_colors, width = found["output.weight"].shape[:2]
    fields = {
        "width": width,
        "z_dim": found["first.weight"].shape[1],
        "max_channels": found["norm.weight"].numel(),
    }
    side = WGAN_BOTTOM << (num_entries("blocks", found) - 1) // 2
    config = checked_config(WganGpGenerator, fields, where)
    return Built(config, (num_colors, side, side), 0, found)


def wgan_discriminator(
    state: Mapping[str, Tensor], said: Said, where: str, image_shape: ImageShape
) -> Built:
    found = renamed("discriminator", state)
    by_group = found["blocks.0.norm.weight"].ndim == 1
    fields = {
        "width": found["first.weight"].shape[0],
        "max_channels": found["last.conv.weight"].shape[0],
        "norm": "group" if by_group else "layer",
    }
    return Built(checked_config(WganGpDiscriminator, fields, where), image_shape, 0, found)
