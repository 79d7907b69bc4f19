"""Architectures: each a generator config and a discriminator config."""

from limner.models.dcgan import DcganDiscriminator, DcganGenerator
from limner.models.residual import ResidualDiscriminator, ResidualGenerator

ARCHITECTURES: dict[str, tuple[type, type]] = {
    "dcgan": (DcganGenerator, DcganDiscriminator),
    "residual": (ResidualGenerator, ResidualDiscriminator),
}

NETWORKS: dict[str, type] = {cls.__name__: cls for pair in ARCHITECTURES.values() for cls in pair}

__all__ = [
    "ARCHITECTURES",
    "NETWORKS",
    "DcganDiscriminator",
    "DcganGenerator",
    "ResidualDiscriminator",
    "ResidualGenerator",
]
