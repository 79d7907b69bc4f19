"""Architectures: each a generator config and a discriminator config."""

from limner.models.biggan import BigGanDiscriminator, BigGanGenerator
from limner.models.biggan_deep import BigGanDeepDiscriminator, BigGanDeepGenerator
from limner.models.dcgan import DcganDiscriminator, DcganGenerator
from limner.models.pggan import PgganDiscriminator, PgganGenerator
from limner.models.sagan import SaganDiscriminator, SaganGenerator
from limner.models.sngan import SnganDiscriminator, SnganGenerator

ARCHITECTURES: dict[str, tuple[type, type]] = {
    "dcgan": (DcganGenerator, DcganDiscriminator),
    "sngan": (SnganGenerator, SnganDiscriminator),
    "sagan": (SaganGenerator, SaganDiscriminator),
    "biggan": (BigGanGenerator, BigGanDiscriminator),
    "biggan-deep": (BigGanDeepGenerator, BigGanDeepDiscriminator),
    "pggan": (PgganGenerator, PgganDiscriminator),
}

NETWORKS: dict[str, type] = {cls.__name__: cls for pair in ARCHITECTURES.values() for cls in pair}

__all__ = [
    "ARCHITECTURES",
    "NETWORKS",
    "BigGanDeepDiscriminator",
    "BigGanDeepGenerator",
    "BigGanDiscriminator",
    "BigGanGenerator",
    "DcganDiscriminator",
    "DcganGenerator",
    "PgganDiscriminator",
    "PgganGenerator",
    "SaganDiscriminator",
    "SaganGenerator",
    "SnganDiscriminator",
    "SnganGenerator",
]
