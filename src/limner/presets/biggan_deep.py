"""BigGAN-deep (Brock et al. 2019, appendix B) by BigGAN-PyTorch's launch script."""

from limner.engine import RunConfig
from limner.models.biggan_deep import BigGanDeepDiscriminator, BigGanDeepGenerator
from limner.presets.biggan import biggan_imagenet128_bs256x8


def biggan_deep_imagenet128() -> RunConfig:
    """launch_BigGAN_deep.sh: depth 2, 128 channels, the whole latent vector in every layer.

    Everything else is BigGAN's bs256x8; the number of steps too, for none is recorded.
    """
    config = biggan_imagenet128_bs256x8()
    return config.replace(
        name="biggan-deep-imagenet128",
        generator=BigGanDeepGenerator(
            width=128,
            z_dim=128,
            shared_dim=128,
            depth=2,
            attention=(64,),
            init="orthogonal",
            batch_norm_eps=1e-5,
            spectral_norm_eps=1e-6,
        ),
        discriminator=BigGanDeepDiscriminator(
            width=128, depth=2, attention=(64,), init="orthogonal", spectral_norm_eps=1e-6
        ),
        data=config.data.replace(in_memory=False),
        intervals=config.intervals.replace(sample=500, save=500),
    )
