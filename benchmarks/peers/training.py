"""Training steps of the same networks, losses and optimizers on the same pictures, noise as such.

Both sides begin with the same weights; that their networks are the same is measured by images and
answers to them (`apart`), that whole steps are by the golden tests.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from quality import candidates
from torch import Tensor, nn

from limner import presets
from limner.checkpoints import ModelConfig
from limner.checkpoints.importers import biggan_names, r3gan_names, style_pickles
from limner.checkpoints.importers.biggan_flags import (
    DEFAULTS,
    discriminator_config,
    generator_config,
    run_of_flags,
)
from limner.core.config import decode
from limner.core.protocols import z_dim_of
from limner.engine import RunConfig
from limner.engine.trainer import Trainer
from limner.models import PgganDiscriminator, PgganGenerator
from peers.sampling import load, zoo_generator, zoo_state
from peers.work import PRECISIONS, Call, Row, Sides, apart, on_path

CYCLE = 16  # steps until every penalty of StyleGAN2 has had its turn


class Batch(NamedTuple):
    """A RealBatch of noise."""

    images: Tensor
    labels: Tensor
    indices: Tensor


class Peer(NamedTuple):
    """A peer ready to train.

    Attributes:
        step: one step, on float pictures [n, C, H, W] and labels [n].
        generate, judge: what its networks say in evaluation, of z and labels, of images and labels.
    """

    step: Callable[[Tensor, Tensor], Any]
    generate: Callable[[Tensor, Tensor], Tensor]
    judge: Callable[[Tensor, Tensor], Tensor]


def compared(
    config: RunConfig,
    side: int,
    num_classes: int,
    steps: int,
    peer_of: Callable[[Path, Trainer], Peer],
    folder: Path | None,
) -> Sides:
    """`steps` make a call; `peer_of`: from the peer's folder and a trainer of limner's.

    What trains is made at its first call, so that a process has the memory of one side alone."""
    shape = (3, side, side)
    calls = sum(update.repeats for update in config.updates if update.counts)
    pictures = batch_of(shape, config.batch_size, num_classes)

    def trainer_of(precision: Any) -> Trainer:
        return Trainer(config.replace(precision=precision), shape, num_classes, lambda: pictures)

    def limners(precision: str) -> Callable[[], Any]:
        return trainer_of(precision).step

    def peers() -> Callable[[], Any]:
        assert folder is not None
        x = (pictures.images / 127.5 - 1).repeat(calls, 1, 1, 1)
        step = peer_of(folder, trainer_of("float32")).step
        return partial(step, x, pictures.labels.repeat(calls))

    sides: dict[str, Call] = {
        precision: repeated(partial(limners, precision), steps) for precision in PRECISIONS
    }
    if folder is None:
        return Sides(sides, None, steps)
    trainer = trainer_of("float32")
    distance = networks_apart(trainer, peer_of(folder, trainer), pictures, num_classes)
    return Sides(sides, repeated(peers, steps), steps, distance)


def batch_of(shape: tuple[int, int, int], num: int, num_classes: int) -> Batch:
    """uint8 noise."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (num, *shape), generator=draw, dtype=torch.uint8)
    labels = torch.randint(max(num_classes, 1), (num,), generator=draw)
    return Batch(images, labels, torch.arange(num))


def repeated(make: Callable[[], Callable[[], Any]], times: int) -> Call:
    """So many steps, of what is made at the first of them."""
    made = cache(make)

    def call() -> None:
        for _ in range(times):
            made()()

    return call


@torch.no_grad()
def networks_apart(trainer: Trainer, peer: Peer, batch: Batch, num_classes: int) -> float:
    """The larger distance of both players' outputs, in evaluation."""
    nets = trainer.networks
    g, d = nets["g"].eval(), nets["d"].eval()
    z = torch.randn(4, z_dim_of(g))
    y = batch.labels[:4]
    images = g(z, y if num_classes else None)
    logits = d(images, y if num_classes else None).logits
    found = max(apart(images, peer.generate(z, y)), apart(logits, peer.judge(images, y).flatten()))
    for net in nets.values():
        net.train()
    return found


# --- BigGAN ------------------------------------------------------------------------------

CIFAR: dict[str, Any] = {
    "resolution": 32,
    "n_classes": 10,
    "G_attn": "0",
    "D_attn": "0",
    "num_D_steps": 4,
    "batch_size": 50,
    "G_lr": 2e-4,
    "D_lr": 2e-4,
    "ema": True,
    "G_init": "N02",
    "D_init": "N02",
}
IMAGENET: dict[str, Any] = {
    "resolution": 128,
    "n_classes": 1000,
    "G_ch": 32,
    "D_ch": 32,
    "dim_z": 120,
    "hier": True,
    "G_shared": True,
    "shared_dim": 128,
    "SN_eps": 1e-6,
    "num_D_steps": 1,
    "batch_size": 8,
    "ema": True,
    "G_init": "N02",
    "D_init": "N02",
}


def biggan(given: Mapping[str, Any], folder: Path | None) -> Sides:
    """A recipe of BigGAN-PyTorch by its flags."""
    flags = {**DEFAULTS, **given}
    side, num_classes = flags["resolution"], flags["n_classes"]
    model = ModelConfig(
        generator=generator_config(flags),
        discriminator=discriminator_config(flags),
        image_shape=(3, side, side),
        num_classes=num_classes,
    )
    config = decode(RunConfig, run_of_flags(flags, model, "peer") | {"steps": 1_000_000})
    quiet = config.replace(intervals=candidates.QUIET)
    return compared(quiet, side, num_classes, 1, partial(_biggan_pytorch, flags), folder)


def _biggan_pytorch(flags: dict[str, Any], folder: Path, trainer: Trainer) -> Peer:
    on_path(folder)
    import BigGAN  # pyright: ignore[reportMissingImports]
    import train_fns  # pyright: ignore[reportMissingImports]
    import utils  # pyright: ignore[reportMissingImports]

    flags = flags | {"toggle_grads": True, "skip_init": True}
    relu = {"G_activation": nn.ReLU(), "D_activation": nn.ReLU()}
    g, d = BigGAN.Generator(**flags, **relu), BigGAN.Discriminator(**flags, **relu)
    average = BigGAN.Generator(**flags, **relu, no_optim=True)
    config = trainer.config
    for role, net in (("generator", g), ("generator", average), ("discriminator", d)):
        ours = trainer.networks["g" if role == "generator" else "d"].state_dict()
        part: Any = config.generator if role == "generator" else config.discriminator
        load(net, biggan_names.to_reference(role, part, ours))  # pyright: ignore[reportArgumentType]
    both = BigGAN.G_D(g, d)
    z, y = utils.prepare_z_y(flags["batch_size"], g.dim_z, flags["n_classes"], device="cpu")
    ema = utils.ema(g, average, flags["ema_decay"], flags["ema_start"])
    step = train_fns.GAN_training_function(g, d, both, z, y, ema, {"itr": 1}, flags)

    def generate(z: Tensor, y: Tensor) -> Tensor:
        images = g.eval()(z, g.shared(y))
        g.train()
        return images

    def judge(x: Tensor, y: Tensor) -> Tensor:
        logits = d.eval()(x, y)
        d.train()
        return logits

    return Peer(step, generate, judge)


# --- progressive growing -----------------------------------------------------------------


def pggan(side: int, maps: int, folder: Path | None) -> Sides:
    """The last level of a grown pair of equal widths, WGAN-GP with drift, 8 pictures. The peer's
    answers differ by a thousandth: it takes other groups, and the unbiased variance, for the
    deviation of a batch."""
    wide = {"fmap_base": 65536, "fmap_max": maps, "fused_scale": False}
    original = presets.get("pggan-v2-1gpu")()
    config = original.replace(
        generator=PgganGenerator(**wide),
        discriminator=PgganDiscriminator(**wide),
        data=original.data.replace(resolution=side),
        controllers=original.controllers[1:],  # the average, without growing
        batch_size=8,
        intervals=candidates.QUIET,
    )
    return compared(config, side, 0, 1, partial(_gan_zoo, side, maps), folder)


def _gan_zoo(side: int, maps: int, folder: Path, trainer: Trainer) -> Peer:
    on_path(folder)
    from models.progressive_gan import ProgressiveGAN  # pyright: ignore[reportMissingImports]

    class Today(ProgressiveGAN):
        """With betas that are both floats, as torch wants them now."""

        def getOptimizerD(self) -> torch.optim.Optimizer:  # noqa: N802
            return torch.optim.Adam(self.netD.parameters(), lr=1e-3, betas=(0.0, 0.99))

        def getOptimizerG(self) -> torch.optim.Optimizer:  # noqa: N802
            return torch.optim.Adam(self.netG.parameters(), lr=1e-3, betas=(0.0, 0.99))

    model = Today(
        dimLatentVector=maps,
        depthScale0=maps,
        miniBatchStdDev=True,
        useGPU=False,
        lossMode="WGANGP",
        lambdaGP=10.0,
        epsilonD=1e-3,
        baseLearningRate=1e-3,
    )
    for _ in range((side // 4).bit_length() - 1):
        model.addScale(maps)
    load(model.netG, zoo_generator(trainer.networks["g"]))
    load(model.netD, zoo_discriminator(trainer.networks["d"]))
    model.updateSolversDevice()

    def step(x: Tensor, _: Tensor) -> None:
        model.optimizeParameters(x)

    return Peer(step, lambda z, _: model.netG(z), lambda x, _: model.netD(x, False)[:, 0])


def zoo_discriminator(ours: Any) -> dict[str, Tensor]:
    """limner's PGGAN discriminator as pytorch_GAN_zoo's."""
    last, *others = ours.blocks
    layers = {
        "groupScaleZero.0": last.conv,
        "groupScaleZero.1": last.linear,
        "decisionLayer": ours.output,
    }
    for i, block in enumerate(others):
        layers |= {f"scaleLayers.{i}.0": block.conv1, f"scaleLayers.{i}.1": block.conv2}
    layers |= {f"fromRGBLayers.{i}": layer for i, layer in enumerate(ours.inputs)}
    return zoo_state(layers)


# --- StyleGAN2 ---------------------------------------------------------------------------


def stylegan2(folder: Path | None) -> Sides:
    """A small StyleGAN2 at 64 pixels, 4 pictures, 16 steps with all penalties in their turns; the
    original's augmentation has no second derivative with torch of today, so none is used."""
    config = candidates.stylegan2(64).replace(batch_size=4)
    return compared(config, 64, 0, CYCLE, _stylegan2, folder)


def _stylegan2(folder: Path, trainer: Trainer) -> Peer:
    on_path(folder)
    from training.loss import StyleGAN2Loss  # pyright: ignore[reportMissingImports]
    from training.networks import Discriminator, Generator  # pyright: ignore[reportMissingImports]

    few = {"channel_base": 1024, "channel_max": 128}
    sizes = {"c_dim": 0, "img_resolution": 64, "img_channels": 3}
    g = Generator(
        z_dim=128, w_dim=128, **sizes, mapping_kwargs={"num_layers": 2}, synthesis_kwargs=few
    )
    d = Discriminator(**sizes, **few)
    shape, config = (3, 64, 64), trainer.config
    for net, part, key in ((g, config.generator, "g"), (d, config.discriminator, "d")):
        ours = trainer.networks[key].state_dict()
        load(net, style_pickles.to_reference(part, shape, ours))
        net.train().requires_grad_(False)
    average = Generator(
        z_dim=128, w_dim=128, **sizes, mapping_kwargs={"num_layers": 2}, synthesis_kwargs=few
    ).eval()
    loss = StyleGAN2Loss(
        device=torch.device("cpu"), G_mapping=g.mapping, G_synthesis=g.synthesis, D=d,
        r1_gamma=0.0002 * 64**2 / 32,
    )  # fmt: skip
    step = Phases(g, d, average, loss)
    return Peer(step, lambda z, _: g.eval()(z, None, noise_mode="const"), lambda x, _: d(x, None))


class Phases:
    """The original's loop around its loss, in this order: G, its penalty, D, its penalty."""

    def __init__(self, g: Any, d: Any, average: Any, loss: Any):
        self.g, self.d, self.average, self.loss, self.steps = g, d, average, loss, 0
        self.phases: list[tuple[str, Any, Any, int]] = []
        for name, net, interval in (("G", g, 4), ("D", d, 16)):
            share = interval / (interval + 1)
            optimizer = torch.optim.Adam(
                net.parameters(), lr=0.0025 * share, betas=(0.0, 0.99**share), eps=1e-8
            )
            self.phases += [
                (f"{name}main", net, optimizer, 1),
                (f"{name}reg", net, optimizer, interval),
            ]

    def __call__(self, x: Tensor, _: Tensor) -> None:
        self.g.train()
        none = torch.zeros(len(x), 0)
        for phase, net, optimizer, interval in self.phases:
            if self.steps % interval:
                continue
            optimizer.zero_grad(set_to_none=True)
            net.requires_grad_(True)
            z = torch.randn(len(x), self.g.z_dim)
            self.loss.accumulate_gradients(phase, x, none, z, none, sync=True, gain=interval)
            net.requires_grad_(False)
            for parameter in net.parameters():
                if parameter.grad is not None:
                    torch.nan_to_num(parameter.grad, out=parameter.grad)
            optimizer.step()
        with torch.no_grad():
            for own, new in zip(self.average.parameters(), self.g.parameters(), strict=True):
                own.copy_(new.lerp(own, 0.99))
        self.steps += 1


# --- R3GAN -------------------------------------------------------------------------------

WIDTHS = (96, 96, 96, 96, 48)  # an eighth of FFHQ-64's


def r3gan(folder: Path | None) -> Sides:
    """FFHQ-64's recipe at an eighth of its channels, 4 pictures, without its augmentation, whose
    chance begins at 0; single precision on both sides, or limner's forwards in bfloat16."""
    original = presets.get("r3gan-ffhq64")()
    few = {"widths": WIDTHS, "bfloat16_stages": 0}
    config = original.replace(
        generator=original.generator.replace(**few),
        discriminator=original.discriminator.replace(**few),
        updates=tuple(update.replace(accumulate=1) for update in original.updates),
        augments=(),
        batch_size=4,
        intervals=candidates.QUIET,
    )
    return compared(config, 64, 0, 1, _r3gan, folder)


def _r3gan(folder: Path, trainer: Trainer) -> Peer:
    on_path(folder)
    from training.loss import R3GANLoss  # pyright: ignore[reportMissingImports]
    from training.networks import Discriminator, Generator  # pyright: ignore[reportMissingImports]

    lists = {"ExpansionFactor": 2, "FP16Stages": [], "c_dim": 0, "img_resolution": 64}

    def sized(widths: tuple[int, ...]) -> dict[str, Any]:
        groups = [2 * width // 16 for width in widths]
        return {
            "WidthPerStage": list(widths),
            "CardinalityPerStage": groups,
            "BlocksPerStage": [2] * len(widths),
            **lists,
        }

    g = Generator(NoiseDimension=64, **sized(WIDTHS))
    average = Generator(NoiseDimension=64, **sized(WIDTHS))
    d = Discriminator(**sized(WIDTHS[::-1]))
    load(g, r3gan_names.to_reference("generator", trainer.networks["g"].state_dict()))
    load(d, r3gan_names.to_reference("discriminator", trainer.networks["d"].state_dict()))
    loss, none = R3GANLoss(g, d), torch.zeros(4, 0)
    adam = partial(torch.optim.Adam, lr=2e-4, betas=(0.0, 0.9), eps=1e-8)
    players = {"D": (d, adam(d.parameters())), "G": (g, adam(g.parameters()))}

    def step(x: Tensor, _: Tensor) -> None:
        for net, _ in players.values():
            net.requires_grad_(False)
        for phase, (net, optimizer) in players.items():
            optimizer.zero_grad(set_to_none=True)
            net.requires_grad_(True)
            loss.accumulate_gradients(phase, x, none, torch.randn(len(x), 64), gamma=2.0, gain=1)
            net.requires_grad_(False)
            optimizer.step()
        with torch.no_grad():
            for own, new in zip(average.parameters(), g.parameters(), strict=True):
                own.copy_(new.lerp(own, 0.5))

    return Peer(step, lambda z, _: g(z, None), lambda x, _: d(x, None))


def rows() -> dict[str, Row]:
    """A step each; peers compute in single precision."""

    def row(make: Callable[[Path | None], Sides], peer: str, single: float, half: float) -> Row:
        targets = {"float32": single, "bfloat16": half}
        return Row(make, peer, "step", targets, about_memory=True)

    return {
        "train BigGAN CIFAR, width 64, batch 50, 4 D steps": row(
            partial(biggan, CIFAR), "BigGAN-PyTorch", 2.2, 4.5
        ),
        "train BigGAN ImageNet 128 px, width 32, batch 8": row(
            partial(biggan, IMAGENET), "BigGAN-PyTorch", 2.5, 3.3
        ),
        "train PGGAN 32 px, 256 maps, batch 8": row(
            partial(pggan, 32, 256), "pytorch_GAN_zoo", 1.3, 2.5
        ),
        "train PGGAN 64 px, 128 maps, batch 8": row(
            partial(pggan, 64, 128), "pytorch_GAN_zoo", 1.5, 3.0
        ),
        "train StyleGAN2 64 px, batch 4": row(stylegan2, "stylegan2-ada-pytorch", 1.5, 1.5),
        "train R3GAN 64 px, width 96, batch 4": row(r3gan, "R3GAN", 1.5, 1.5),
    }
