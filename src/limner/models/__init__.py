"""Architectures: each a generator config and a discriminator config."""

import itertools

from limner.core.parts import table
from limner.core.protocols import NetworkConfig
from limner.models.biggan import BigGanDiscriminator, BigGanGenerator
from limner.models.biggan_deep import BigGanDeepDiscriminator, BigGanDeepGenerator
from limner.models.dcgan import DcganDiscriminator, DcganGenerator
from limner.models.fastgan import FastGanGenerator
from limner.models.pggan import PgganDiscriminator, PgganGenerator
from limner.models.projected import ProjectedDiscriminator
from limner.models.sagan import SaganDiscriminator, SaganGenerator
from limner.models.sngan import SnganDiscriminator, SnganGenerator

# Which generator and discriminator belong together; configs name each by its class.
ARCHITECTURES: dict[str, tuple[type[NetworkConfig], type[NetworkConfig]]] = {
    "dcgan": (DcganGenerator, DcganDiscriminator),
    "sngan": (SnganGenerator, SnganDiscriminator),
    "sagan": (SaganGenerator, SaganDiscriminator),
    "biggan": (BigGanGenerator, BigGanDiscriminator),
    "biggan-deep": (BigGanDeepGenerator, BigGanDeepDiscriminator),
    "pggan": (PgganGenerator, PgganDiscriminator),
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
    "PgganDiscriminator",
    "PgganGenerator",
    "ProjectedDiscriminator",
    "SaganDiscriminator",
    "SaganGenerator",
    "SnganDiscriminator",
    "SnganGenerator",
]
