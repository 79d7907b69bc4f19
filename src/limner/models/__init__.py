"""Architectures: each a generator config and a discriminator config."""

import itertools

from limner.core.parts import table
from limner.core.protocols import NetworkConfig
from limner.models.biggan import BigGanDiscriminator, BigGanGenerator
from limner.models.biggan_deep import BigGanDeepDiscriminator, BigGanDeepGenerator
from limner.models.dcgan import DcganDiscriminator, DcganGenerator
from limner.models.fastgan import FastGanGenerator
from limner.models.lsgan import LsganDiscriminator, LsganGenerator
from limner.models.pggan import PgganDiscriminator, PgganGenerator
from limner.models.projected import ProjectedDiscriminator
from limner.models.r3gan import R3ganDiscriminator, R3ganGenerator
from limner.models.sagan import SaganDiscriminator, SaganGenerator
from limner.models.sngan import SnganDiscriminator, SnganGenerator
from limner.models.stylegan2 import StyleGan2Generator
from limner.models.stylegan2_discriminator import StyleGan2Discriminator
from limner.models.stylegan3 import StyleGan3Generator
from limner.models.wgan_gp import WganGpDiscriminator, WganGpGenerator

# Which generator and discriminator belong together; configs name each by its class.
ARCHITECTURES: dict[str, tuple[type[NetworkConfig], type[NetworkConfig]]] = {
    "dcgan": (DcganGenerator, DcganDiscriminator),
    "wgan-gp": (WganGpGenerator, WganGpDiscriminator),
    "lsgan": (LsganGenerator, LsganDiscriminator),
    "sngan": (SnganGenerator, SnganDiscriminator),
    "sagan": (SaganGenerator, SaganDiscriminator),
    "biggan": (BigGanGenerator, BigGanDiscriminator),
    "biggan-deep": (BigGanDeepGenerator, BigGanDeepDiscriminator),
    "pggan": (PgganGenerator, PgganDiscriminator),
    "r3gan": (R3ganGenerator, R3ganDiscriminator),
    "stylegan2": (StyleGan2Generator, StyleGan2Discriminator),
    "stylegan3": (StyleGan3Generator, StyleGan2Discriminator),
    "projected": (FastGanGenerator, ProjectedDiscriminator),
}

NETWORKS = table(*itertools.chain(*ARCHITECTURES.values()))

__all__ = [
    "ARCHITECTURES",
    "NETWORKS",
    "BigGanDeepDiscriminator",
    "BigGanDeepGenerator",
    "BigGanDiscriminator",
    "BigGanGenerator",
    "DcganDiscriminator",
    "DcganGenerator",
    "FastGanGenerator",
    "LsganDiscriminator",
    "LsganGenerator",
    "PgganDiscriminator",
    "PgganGenerator",
    "ProjectedDiscriminator",
    "R3ganDiscriminator",
    "R3ganGenerator",
    "SaganDiscriminator",
    "SaganGenerator",
    "SnganDiscriminator",
    "SnganGenerator",
    "StyleGan2Discriminator",
    "StyleGan2Generator",
    "StyleGan3Generator",
    "WganGpDiscriminator",
    "WganGpGenerator",
]
