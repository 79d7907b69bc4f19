"""BigGAN as the paper trains it (Brock et al. 2019, section 3, table 1, appendix C).

Large batches whose statistics are those of all processes, rates of 5e-5 and 2e-4 with two
discriminator steps, an average from the first step on, epsilons of 1e-4 in batch and spectral
norm, samples with standing statistics. The batch is one micro-batch over all processes: with
`accumulate` it costs less memory, and batch norm then sees less.

The ladder is table 1, a rung a preset, each the one before with one thing changed. All rungs may
take the million steps of the first ones; the paper stopped the later ones at their best, before
they collapsed: after 732, 295, 185, 152 and 165 thousand from batch 2048 on. The latent vector has
120 entries in every rung (in the paper 128 before skip-z) so that skip-z can cut it.
"""

from limner.core.config import override
from limner.data.config import DataConfig
from limner.engine import Adam, Intervals, Players, RunConfig, Update
from limner.engine.controllers import Ema
from limner.models.biggan import BigGanDiscriminator, BigGanGenerator
from limner.objectives import HingeD, HingeG, Orthogonal


def biggan_ladder_batch256() -> RunConfig:
    """Table 1, row 1: the SA-GAN baseline with the paper's optimizer, batch norm and average."""
    return RunConfig(
        name="biggan-ladder-batch256",
        generator=BigGanGenerator(
            width=64,
            z_dim=120,
            attention=(64,),
            norm="cross_replica",
            init="orthogonal",
            batch_norm_eps=1e-4,
            spectral_norm_eps=1e-4,
        ),
        discriminator=BigGanDiscriminator(
            width=64, attention=(64,), init="orthogonal", spectral_norm_eps=1e-4
        ),
        data=DataConfig(resolution=128, channels=3, filter="box", expected_classes=1000),
        updates=(
            Update(player="d", terms=(HingeD(),), repeats=2, forwards="joint"),
            Update(player="g", terms=(HingeG(),)),
        ),
        optim=Players(
            g=Adam(lr=5e-5, betas=(0.0, 0.999), eps=1e-8),
            d=Adam(lr=2e-4, betas=(0.0, 0.999), eps=1e-8),
        ),
        controllers=(Ema(decay=0.9999, start_step=0),),
        batch_size=256,
        steps=1_000_000,
        intervals=Intervals(singular_values=10, sample=1000, save=1000, evaluate=2000),
        metrics=("is", "fid"),
        num_evaluate=50_000,
        standing_passes=100,
    )


def biggan_ladder_batch512() -> RunConfig:
    """Table 1, row 2: a batch of 512."""
    return biggan_ladder_batch256().replace(name="biggan-ladder-batch512", batch_size=512)


def biggan_ladder_batch1024() -> RunConfig:
    """Table 1, row 3: a batch of 1024."""
    return biggan_ladder_batch512().replace(name="biggan-ladder-batch1024", batch_size=1024)


def biggan_ladder_batch2048() -> RunConfig:
    """Table 1, row 4: a batch of 2048."""
    return biggan_ladder_batch1024().replace(name="biggan-ladder-batch2048", batch_size=2048)


def biggan_ladder_width96() -> RunConfig:
    """Table 1, row 5: half as many channels again, in both networks."""
    config = biggan_ladder_batch2048().replace(name="biggan-ladder-width96")
    return override(config, ["generator.width=96", "discriminator.width=96"])


def biggan_ladder_shared() -> RunConfig:
    """Table 1, row 6: one class vector of 128 entries for all layers."""
    config = biggan_ladder_width96().replace(name="biggan-ladder-shared")
    return override(config, ["generator.shared_dim=128"])


def biggan_ladder_skip_z() -> RunConfig:
    """Table 1, row 7: a part of the latent vector for every block."""
    config = biggan_ladder_shared().replace(name="biggan-ladder-skip-z")
    return override(config, ["generator.skip_z=true"])


def biggan_ladder_ortho() -> RunConfig:
    """Table 1, row 8: orthogonal regularization of the generator, without the diagonal."""
    config = biggan_ladder_skip_z()
    d, g = config.updates
    regularization = Orthogonal(strength=1e-4, variant="modified", exclude=("shared",))
    return config.replace(
        name="biggan-ladder-ortho", updates=(d, g.replace(direct=(regularization,)))
    )


def biggan_paper_imagenet128() -> RunConfig:
    """The paper's BigGAN at 128 px: the ladder's last rung, for the 165,000 steps of the paper."""
    return biggan_ladder_ortho().replace(name="biggan-paper-imagenet128", steps=165_000)


def biggan_paper_imagenet256() -> RunConfig:
    """The paper's BigGAN at 256 px: 140 latent entries, attention at 128 px as in TF-Hub's.

    The paper gives no number of steps here; this is that of 128 px.
    """
    config = biggan_paper_imagenet128().replace(name="biggan-paper-imagenet256")
    return override(
        config,
        [
            "data.resolution=256",
            "generator.z_dim=140",
            "generator.attention=[128]",
            "discriminator.attention=[128]",
        ],
    )


def biggan_paper_imagenet512() -> RunConfig:
    """The paper's BigGAN at 512 px: 128 latent entries, attention at 64 px as in TF-Hub's.

    The paper gives no number of steps here; this is that of 128 px.
    """
    config = biggan_paper_imagenet128().replace(name="biggan-paper-imagenet512")
    return override(config, ["data.resolution=512", "generator.z_dim=128"])
