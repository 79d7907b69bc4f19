"""Progressive growing (Karras et al. 2018), by config.py of tkarras/progressive_growing_of_gans.

WGAN-GP with a drift term, equalized learning rates, and networks that grow from 4x4 pixels. A
preset for several GPUs is that schedule of batches and rates; it runs on any number of processes.
Half precision is replaced by bfloat16 forwards, without loss scaling; penalties stay in float32.
What the original is told by a line of config.py (a data set, an ablation) is a preset here on the
schedule of one GPU; on others, `--set` what the preset's function sets.
"""

from limner.core.config import override
from limner.core.growth import GrowthSchedule
from limner.data.config import DataConfig
from limner.engine import Adam, Intervals, Players, RunConfig, Sheet, Update
from limner.engine.controllers import Ema, Growth
from limner.models.pggan import PgganDiscriminator, PgganGenerator
from limner.objectives import (
    AuxiliaryClassifierD,
    AuxiliaryClassifierG,
    Drift,
    GradientPenalty,
    WassersteinD,
    WassersteinG,
)

# What one GPU of 16 GB holds of the two networks.
MOST_IN_FLOAT32 = ((256, 16), (512, 8), (1024, 4))
MOST_IN_HALF_PRECISION = ((512, 16), (1024, 8))


def pggan_v2_1gpu() -> RunConfig:
    """CelebA-HQ at 1024 px on one GPU: the original's default; two weeks of a V100."""
    adam = Adam(lr=1e-3, betas=(0.0, 0.99), eps=1e-8)
    rates = ((1024, 1.5e-3),)
    schedule = GrowthSchedule(
        initial_resolution=4,
        training_kimg=600.0,
        transition_kimg=600.0,
        batch_sizes=(
            (4, 128),
            (8, 128),
            (16, 128),
            (32, 64),
            (64, 32),
            (128, 16),
            (256, 8),
            (512, 4),
        ),
        most_per_process=MOST_IN_FLOAT32,
        num_processes=1,
        g_rates=rates,
        d_rates=rates,
    )
    return RunConfig(
        name="pggan-v2-1gpu",
        generator=PgganGenerator(fmap_base=8192, fmap_decay=1.0, fmap_max=512),
        discriminator=PgganDiscriminator(
            fmap_base=8192, fmap_decay=1.0, fmap_max=512, group_size=4
        ),
        data=DataConfig(resolution=1024, channels=3, labels="none", filter="box", flip=True),
        updates=(
            Update(
                player="d",
                terms=(
                    WassersteinD(),
                    GradientPenalty(weight=10.0, target=1.0),
                    Drift(weight=1e-3),
                ),
            ),
            Update(player="g", terms=(WassersteinG(),)),
        ),
        optim=Players(g=adam, d=adam),
        controllers=(
            Growth(schedule=schedule, read_every=4, reset_optimizers=True),
            Ema(decay=0.999, after="d", buffers="copy"),
        ),
        batch_size=4,
        kimg=12_000.0,
        seed=1000,
        intervals=Intervals(
            log=50, singular_values=0, sample=0, save=0, sample_ticks=1, save_ticks=10
        ),
        sheet=Sheet(grid="1080p", layout="random"),
        num_evaluate=50_000,
    )


def pggan_v2_2gpus() -> RunConfig:
    """The same for two GPUs: one week of V100s."""
    return scheduled(
        "pggan-v2-2gpus",
        batch_size=8,
        num_processes=2,
        batch_sizes=((4, 256), (8, 256), (16, 128), (32, 64), (64, 32), (128, 16), (256, 8)),
        rates=((512, 1.5e-3), (1024, 2e-3)),
    )


def pggan_v2_4gpus() -> RunConfig:
    """The same for four GPUs: three days."""
    return scheduled(
        "pggan-v2-4gpus",
        batch_size=16,
        num_processes=4,
        batch_sizes=((4, 512), (8, 256), (16, 128), (32, 64), (64, 32), (128, 16)),
        rates=((256, 1.5e-3), (512, 2e-3), (1024, 3e-3)),
    )


def pggan_v2_8gpus() -> RunConfig:
    """The same for eight GPUs: two days."""
    return scheduled(
        "pggan-v2-8gpus",
        batch_size=32,
        num_processes=8,
        batch_sizes=((4, 512), (8, 256), (16, 128), (32, 64), (64, 32)),
        rates=((128, 1.5e-3), (256, 2e-3), (512, 3e-3), (1024, 3e-3)),
    )


def pggan_v1_1gpu() -> RunConfig:
    """The paper's own settings on one GPU: longer phases, small batches; a month."""
    config = scheduled(
        "pggan-v1-1gpu",
        batch_size=16,
        num_processes=1,
        batch_sizes=((256, 14), (512, 6), (1024, 3)),
        rates=(),
    )
    return override(
        config,
        [
            "kimg=19000",
            "discriminator.group_size=16",
            "controllers.0.schedule.training_kimg=800",
            "controllers.0.schedule.transition_kimg=800",
        ],
    )


def scheduled(
    name: str,
    batch_size: int,
    num_processes: int,
    batch_sizes: tuple[tuple[int, int], ...],
    rates: tuple[tuple[int, float], ...],
) -> RunConfig:
    """The default with another schedule of batches and learning rates."""
    config = pggan_v2_1gpu()
    growth, ema = config.controllers
    assert isinstance(growth, Growth)
    schedule = growth.schedule.replace(
        batch_sizes=batch_sizes, num_processes=num_processes, g_rates=rates, d_rates=rates
    )
    return config.replace(
        name=name, batch_size=batch_size, controllers=(growth.replace(schedule=schedule), ema)
    )


def changed(name: str, *settings: str) -> RunConfig:
    """The default with some settings changed, each "dotted.key=value"."""
    return override(pggan_v2_1gpu().replace(name=name), settings)


# --- data sets: pictures are mirrored where the original mirrors them ------------------------


def pggan_celeba() -> RunConfig:
    """CelebA's faces at 128 px, mirrored."""
    return changed("pggan-celeba", "data.resolution=128")


def pggan_lsun() -> RunConfig:
    """Any of the thirty LSUN categories at 256 px (100,000 pictures of each), mirrored."""
    return changed("pggan-lsun", "data.resolution=256")


def pggan_cifar10() -> RunConfig:
    """CIFAR-10 at 32 px. For the paper's scores see pggan-cifar10-theano."""
    return changed("pggan-cifar10", "data.resolution=32", "data.flip=false")


def pggan_cifar100() -> RunConfig:
    """CIFAR-100 at 32 px."""
    config = pggan_cifar10().replace(name="pggan-cifar100")
    return override(config, ["data.expected_classes=100"])


def pggan_svhn() -> RunConfig:
    """Street View House Numbers at 32 px."""
    return pggan_cifar10().replace(name="pggan-svhn")


def pggan_mnist() -> RunConfig:
    """MNIST at 32 px, gray."""
    return override(pggan_cifar10().replace(name="pggan-mnist"), ["data.channels=1"])


def pggan_mnistrgb() -> RunConfig:
    """MNIST-RGB at 32 px: a digit in each color."""
    return pggan_cifar10().replace(name="pggan-mnistrgb")


def pggan_syn1024rgb() -> RunConfig:
    """Pictures of 1024 px that are not mirrored; the original's are black, to time it."""
    return changed("pggan-syn1024rgb", "data.flip=false")


# --- conditional: labels are appended to latents, and the discriminator classifies ------------


def conditional(config: RunConfig) -> RunConfig:
    """A run with an auxiliary classifier (Odena et al. 2017) of weight 1.

    Fakes of the discriminator's update take the labels of the real batch; those of the generator's
    are drawn as often as they occur in the data.
    """
    d, g = config.updates
    return config.replace(
        name=f"{config.name}-cond",
        data=config.data.replace(labels="classes"),
        updates=(
            d.replace(terms=(*d.terms, AuxiliaryClassifierD(weight=1.0)), labels="real"),
            g.replace(terms=(*g.terms, AuxiliaryClassifierG(weight=1.0)), labels="natural"),
        ),
    )


def pggan_cond() -> RunConfig:
    """The default, conditional on the data's classes."""
    return conditional(pggan_v2_1gpu().replace(name="pggan"))


def pggan_cond1() -> RunConfig:
    """The default, conditional on the first component of the labels alone."""
    config = pggan_cond()
    return config.replace(name="pggan-cond1", data=config.data.replace(max_label_size=1))


def pggan_cifar10_cond() -> RunConfig:
    """CIFAR-10, conditional on its classes."""
    return conditional(pggan_cifar10())


def pggan_cifar100_cond() -> RunConfig:
    """CIFAR-100, conditional on its classes."""
    return conditional(pggan_cifar100())


def pggan_svhn_cond() -> RunConfig:
    """SVHN, conditional on its classes."""
    return conditional(pggan_svhn())


def pggan_mnist_cond() -> RunConfig:
    """MNIST, conditional on its classes."""
    return conditional(pggan_mnist())


# --- ablations, precision, speed -------------------------------------------------------------


def pggan_nogrowing() -> RunConfig:
    """Full resolution from the start."""
    return changed(
        "pggan-nogrowing",
        "controllers.0.schedule.initial_resolution=1024",
        "controllers.0.schedule.training_kimg=0",
        "controllers.0.schedule.transition_kimg=0",
        "kimg=10000",
    )


def pggan_nopixelnorm() -> RunConfig:
    """No pixel norm in the generator (its latents stay normalized)."""
    return changed("pggan-nopixelnorm", "generator.pixel_norm=false")


def pggan_nowscale() -> RunConfig:
    """Weights begin as He et al. 2015 draw them, without equalized learning rates."""
    return changed("pggan-nowscale", "generator.equalized=false", "discriminator.equalized=false")


def pggan_noleakyrelu() -> RunConfig:
    """Plain relu in the generator."""
    return changed("pggan-noleakyrelu", "generator.leaky=false")


def pggan_nosmoothing() -> RunConfig:
    """No average: samples come from the generator itself."""
    return changed("pggan-nosmoothing", "controllers.1.decay=0.0")


def pggan_norepeat() -> RunConfig:
    """The schedule is read at each step and not at each fourth."""
    return changed("pggan-norepeat", "controllers.0.read_every=1")


def pggan_noreset() -> RunConfig:
    """The optimizers keep their moments when a level comes in."""
    return changed("pggan-noreset", "controllers.0.reset_optimizers=false")


def pggan_bfloat16() -> RunConfig:
    """The default with bfloat16 forwards, and the original's larger batches in half precision.

    The original's epsilon of 1e-4 in pixel norm is for the small exponents of float16.
    """
    config = changed("pggan-bfloat16", "precision=bfloat16")
    growth, ema = config.controllers
    assert isinstance(growth, Growth)
    schedule = growth.schedule.replace(most_per_process=MOST_IN_HALF_PRECISION)
    return config.replace(controllers=(growth.replace(schedule=schedule), ema))


def pggan_benchmark() -> RunConfig:
    """All resolutions in 51 thousand images, with a tick every thousand: to time them."""
    return changed(
        "pggan-benchmark",
        "controllers.0.schedule.training_kimg=3",
        "controllers.0.schedule.transition_kimg=3",
        "controllers.0.schedule.tick_kimg=[]",
        "controllers.0.schedule.usual_tick_kimg=1",
        "kimg=51",
        "intervals.sample_ticks=1000",
        "intervals.save_ticks=1000",
    )


def pggan_benchmark0() -> RunConfig:
    """Full resolution alone for ten thousand images, with a tick every thousand."""
    config = pggan_benchmark().replace(name="pggan-benchmark0")
    return override(config, ["controllers.0.schedule.initial_resolution=1024", "kimg=10"])


# --- the Theano branch -----------------------------------------------------------------------


def pggan_cifar10_theano() -> RunConfig:
    """CIFAR-10 as the branch for Theano trains it for the paper's inception score of 8.8.

    Narrow networks, a gradient norm of 750, the minibatch standard deviation of all 16 images, the
    schedule read at each step, and an average that follows the generator.
    """
    config = pggan_cifar10()
    growth, ema = config.controllers
    assert isinstance(growth, Growth)
    assert isinstance(ema, Ema)
    schedule = GrowthSchedule(
        training_kimg=400.0,
        transition_kimg=400.0,
        num_processes=1,
        tick_kimg=((32, 20.0), (64, 10.0), (128, 10.0), (256, 5.0), (512, 2.0), (1024, 1.0)),
        usual_tick_kimg=50.0,
    )
    d, g = config.updates
    terms = (WassersteinD(), GradientPenalty(weight=10.0, target=750.0), Drift(weight=1e-3))
    return config.replace(
        name="pggan-cifar10-theano",
        generator=PgganGenerator(z_dim=128, fmap_base=4096, fmap_max=128, fused_scale=False),
        discriminator=PgganDiscriminator(
            fmap_base=4096, fmap_max=128, fused_scale=False, group_size=16
        ),
        updates=(d.replace(terms=terms), g),
        controllers=(
            Growth(schedule=schedule, read_every=1, reset_optimizers=True),
            ema.replace(after="g"),
        ),
        batch_size=16,
        kimg=20_000.0,
        intervals=config.intervals.replace(sample_ticks=4, save_ticks=40),
    )


# --- in minutes ------------------------------------------------------------------------------


def pggan_digits() -> RunConfig:
    """The built-in digits from 4 to 32 px in narrow networks, conditional, on two CPU cores."""
    adam = Adam(lr=2e-3, betas=(0.0, 0.99), eps=1e-8)
    schedule = GrowthSchedule(
        training_kimg=12.0,
        transition_kimg=12.0,
        batch_sizes=((4, 64), (8, 64)),
        tick_kimg=(),
        usual_tick_kimg=8.0,
    )
    config = conditional(pggan_mnist())
    return config.replace(
        name="pggan-digits",
        generator=PgganGenerator(z_dim=64, fmap_base=256, fmap_max=64),
        discriminator=PgganDiscriminator(fmap_base=256, fmap_max=64, group_size=4),
        data=DataConfig(resolution=32, filter="bicubic"),
        optim=Players(g=adam, d=adam),
        controllers=(Growth(schedule=schedule), Ema(decay=0.99, after="d", buffers="copy")),
        batch_size=32,
        kimg=112.0,
        seed=0,
        intervals=Intervals(
            log=20, singular_values=0, sample=0, save=0, sample_ticks=1, save_ticks=4
        ),
        sheet=Sheet(),
        metrics=("fid", "prdc", "accuracy", "cas"),
        num_evaluate=2000,
    )
