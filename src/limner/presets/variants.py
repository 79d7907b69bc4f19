"""Presets that are another one with some settings changed, each as `--set` takes it.

What else there is to say of one stands above it. Nothing here imports torch.
"""

from typing import NamedTuple


class Variant(NamedTuple):
    """The preset that is changed, one line about the result, and what is changed, in this order."""

    base: str
    summary: str
    changes: tuple[str, ...] = ()


def variant(base: str, summary: str, *changes: str) -> Variant:
    """A Variant as a row of a table."""
    return Variant(base, summary, changes)


DCGAN = {
    "dcgan-mnist": variant(
        "dcgan-celeba64",
        "MMGeneration's dcgan_mnist-64_b128x1_Glr4e-4_Dlr1e-4_5k: one channel, unlabelled.",
        "data.channels=1",
        "optim.g.lr=4e-4",
        "optim.d.lr=1e-4",
        "steps=5000",
        "intervals.sample=100",
        "intervals.save=500",
    ),
}

# MMGeneration's LSGAN (Mao et al. 2017) and GGAN (Lim & Ye 2017) on DCGAN's networks: least squares
# and hinge, one step of either player, no average. Those at 128 px go to 4x4 in the discriminator.
LEAST_SQUARES = (
    'updates.0.terms=[{"type": "LeastSquaresD"}]',
    'updates.1.terms=[{"type": "LeastSquaresG"}]',
)
HINGE = ('updates.0.terms=[{"type": "HingeD"}]', 'updates.1.terms=[{"type": "HingeG"}]')


def _dcgan(rate: str, steps: int) -> tuple[str, ...]:
    return (
        *(f"optim.{player}.{field}" for player in "gd" for field in (f"lr={rate}", BETAS)),
        f"steps={steps}",
        "intervals.sample=10000",
        "intervals.save=20000",
    )


BETAS = "betas=[0.5, 0.99]"
AT_128 = (
    "data.resolution=128",
    "batch_size=64",
    "generator.width=64",
    "discriminator.max_channels=2048",
)

LSGANS_NETWORKS = (
    'generator={"type": "LsganGenerator"}',
    'discriminator={"type": "LsganDiscriminator"}',
)

LSGAN_AND_GGAN = {
    "lsgan-bedroom128": variant(
        "dcgan-celeba64",
        "MMGeneration's LSGAN on LSUN bedrooms at 128 px, with that paper's own networks.",
        *LSGANS_NETWORKS,
        *LEAST_SQUARES,
        *_dcgan("1e-4", 160_000),
        "data.resolution=128",
        "batch_size=64",
    ),
    "ggan-bedroom64": variant(
        "dcgan-celeba64",
        "MMGeneration's GGAN on LSUN bedrooms at 64 px, LSGAN's networks, rate 1e-4.",
        *LSGANS_NETWORKS,
        *HINGE,
        *_dcgan("1e-4", 160_000),
    ),
    "lsgan-celeba64": variant(
        "dcgan-celeba64",
        "MMGeneration's lsgan_dcgan-archi_lr-1e-3_celeba-cropped_64_b128x1_12m.",
        *LEAST_SQUARES,
        *_dcgan("1e-3", 100_000),
    ),
    "lsgan-bedroom64": variant(
        "dcgan-celeba64",
        "MMGeneration's LSGAN on LSUN bedrooms at 64 px, DCGAN's networks, rate 1e-4.",
        *LEAST_SQUARES,
        *_dcgan("1e-4", 100_000),
    ),
    "lsgan-celeba128": variant(
        "dcgan-celeba64",
        "MMGeneration's LSGAN on CelebA at 128 px, DCGAN's networks, rate 1e-4.",
        *LEAST_SQUARES,
        *_dcgan("1e-4", 160_000),
        *AT_128,
    ),
    "ggan-celeba64": variant(
        "dcgan-celeba64",
        "MMGeneration's GGAN on CelebA at 64 px, DCGAN's networks, rate 1e-3.",
        *HINGE,
        *_dcgan("1e-3", 100_000),
    ),
    "ggan-celeba128": variant(
        "dcgan-celeba64",
        "MMGeneration's ggan_celeba-cropped_dcgan-archi_lr-1e-4_128_b64x1_10m.",
        *HINGE,
        *_dcgan("1e-4", 160_000),
        *AT_128,
    ),
}

WGAN_GP = {
    "wgan-gp-bedroom128": variant(
        "wgan-gp-celeba128",
        "The same for LSUN bedrooms: a penalty of weight 50.",
        "updates.0.terms.1.weight=50",
    ),
}

BIGGAN = {
    "biggan-imagenet128-bs512x4": variant(
        "biggan-imagenet128-bs256x8",
        "launch_BigGAN_bs512x4.sh: the same 2048 images a step, 4 micro-batches of 512.",
        "updates.0.accumulate=4",
        "updates.1.accumulate=4",
        "batch_size=512",
    ),
    "biggan-imagenet128-ch64": variant(
        "biggan-imagenet128-bs256x8",
        "launch_BigGAN_ch64.sh: 64 channels instead of 96.",
        "generator.width=64",
        "discriminator.width=64",
    ),
    # Everything else is BigGAN's bs256x8; the number of steps too, for none is recorded.
    "biggan-deep-imagenet128": variant(
        "biggan-imagenet128-bs256x8",
        "launch_BigGAN_deep.sh: depth 2, 128 channels, the whole latent vector in every layer.",
        'generator={"type": "BigGanDeepGenerator", "width": 128, "z_dim": 128, "shared_dim": 128,'
        ' "depth": 2, "attention": [64], "init": "orthogonal", "batch_norm_eps": 1e-5,'
        ' "spectral_norm_eps": 1e-6}',
        'discriminator={"type": "BigGanDeepDiscriminator", "width": 128, "depth": 2,'
        ' "attention": [64], "init": "orthogonal", "spectral_norm_eps": 1e-6}',
        "data.in_memory=false",
        "intervals.sample=500",
        "intervals.save=500",
    ),
    # Its 500,000 iterations count discriminator steps; 25 images on each of two processes make the
    # batch of 50, whose statistics are those of each process. Buffers of its average are copies.
    "biggan-cifar10-mmgen": variant(
        "biggan-cifar10",
        "MMGeneration's biggan_cifar10_32x32_b25x2_500k: fake and real one after the other.",
        "updates.0.forwards=fake_then_real",
        "controllers.0.buffers=copy",
        'intervals={"log": 25, "sample": 1250, "save": 1250, "evaluate": 2500}',
        "keep_best=1",
    ),
}

# The ladder is table 1 of Brock et al. 2019, a rung a preset, each the one before with one thing
# changed. All rungs may take the million steps of the first ones; the paper stopped the later ones
# at their best, before they collapsed: after 732, 295, 185, 152 and 165 thousand from batch 2048
# on. The latent vector has 120 entries in every rung (in the paper 128 before skip-z) so that
# skip-z can cut it.
LADDER = {
    "biggan-ladder-batch512": variant(
        "biggan-ladder-batch256", "Table 1, row 2: a batch of 512.", "batch_size=512"
    ),
    "biggan-ladder-batch1024": variant(
        "biggan-ladder-batch512", "Table 1, row 3: a batch of 1024.", "batch_size=1024"
    ),
    "biggan-ladder-batch2048": variant(
        "biggan-ladder-batch1024", "Table 1, row 4: a batch of 2048.", "batch_size=2048"
    ),
    "biggan-ladder-width96": variant(
        "biggan-ladder-batch2048",
        "Table 1, row 5: half as many channels again, in both networks.",
        "generator.width=96",
        "discriminator.width=96",
    ),
    "biggan-ladder-shared": variant(
        "biggan-ladder-width96",
        "Table 1, row 6: one class vector of 128 entries for all layers.",
        "generator.shared_dim=128",
    ),
    "biggan-ladder-skip-z": variant(
        "biggan-ladder-shared",
        "Table 1, row 7: a part of the latent vector for every block.",
        "generator.skip_z=true",
    ),
    "biggan-ladder-ortho": variant(
        "biggan-ladder-skip-z",
        "Table 1, row 8: orthogonal regularization of the generator, without the diagonal.",
        'updates.1.direct.+={"type": "Orthogonal", "strength": 1e-4, "variant": "modified",'
        ' "exclude": ["shared"]}',
    ),
}

BIGGAN_PAPER = {
    "biggan-paper-imagenet128": variant(
        "biggan-ladder-ortho",
        "The paper's BigGAN at 128 px: the ladder's last rung, for the 165,000 steps of the paper.",
        "steps=165000",
    ),
    # The paper gives no number of steps at 256 and 512 px; these are that of 128 px.
    "biggan-paper-imagenet256": variant(
        "biggan-paper-imagenet128",
        "The paper's BigGAN at 256 px: 140 latent entries, attention at 128 px as in TF-Hub's.",
        "data.resolution=256",
        "generator.z_dim=140",
        "generator.attention=[128]",
        "discriminator.attention=[128]",
    ),
    "biggan-paper-imagenet512": variant(
        "biggan-paper-imagenet128",
        "The paper's BigGAN at 512 px: 128 latent entries, attention at 64 px as in TF-Hub's.",
        "data.resolution=512",
        "generator.z_dim=128",
    ),
}

SAGAN_AND_SNGAN = {
    # One batch of 256 instead of two halves, fake before real, a faster average.
    "sagan-imagenet128-mmgen": variant(
        "sagan-imagenet128",
        "MMGeneration's sagan_128_woReLUinplace_noaug_bigGAN_..._ndisc1_imagenet1k_b32x8.",
        "updates.0.accumulate=1",
        "updates.0.forwards=fake_then_real",
        "updates.1.accumulate=1",
        "controllers.0.decay=0.999",
        "controllers.0.buffers=copy",
        "batch_size=256",
        "steps=1000000",
        'intervals={"log": 100, "sample": 1000, "save": 10000, "evaluate": 10000}',
        "keep_best=1",
    ),
    # A batch of 256, random crops along the long edge, mirrored; 2,500,000 iterations.
    "sngan-imagenet128-mmgen": variant(
        "sngan-cifar10-mmgen",
        "MMGeneration's sngan_proj_128_woReLUinplace_Glr-2e-4_Dlr-5e-5_ndisc5_imagenet1k_b128x2.",
        "generator.width=64",
        "generator.multipliers=[]",
        "discriminator.width=64",
        "discriminator.multipliers=[]",
        "data.resolution=128",
        "data.filter=bilinear",
        "data.crop=random",
        "data.expected_classes=1000",
        "optim.g.betas=[0.0, 0.999]",
        'optim.d={"lr": 5e-5, "betas": [0.0, 0.999]}',
        "batch_size=256",
        "steps=500000",
        "intervals.save=10000",
    ),
}
