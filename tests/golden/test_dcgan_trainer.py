"""One step of the engine reproduces MMGeneration's DCGAN training step, latents replayed."""

import json

import pytest
import torch
from safetensors.torch import load_file

from limner.checkpoints.importers.mmgen_dcgan import (
    discriminator_config,
    generator_config,
    rename_discriminator,
    rename_generator,
)
from limner.data.config import DataConfig
from limner.engine import Adam, Players, RunConfig, Update
from limner.engine.noise import Draw, Noise
from limner.engine.trainer import Trainer
from limner.objectives import (
    HingeD,
    HingeG,
    LeastSquaresD,
    LeastSquaresG,
    NonSaturatingD,
    NonSaturatingG,
)

LR = 2e-4
# The losses of MMGeneration's GANLoss
LOSSES = {
    "vanilla": (NonSaturatingD, NonSaturatingG),
    "lsgan": (LeastSquaresD, LeastSquaresG),
    "hinge": (HingeD, HingeG),
}


class Replay(Noise):
    """Hands out recorded latents, a call after the other."""

    def __init__(self, recorded):
        super().__init__(seed=0)
        self.recorded = recorded

    def draw(self, step, call):
        return ReplayedDraw(self, step, call)


class ReplayedDraw(Draw):
    def latents(self, num, z_dim):
        latents = self._noise.recorded[self._call]
        assert latents.shape == (num, z_dim)
        return latents


class Pictures:
    """Reals that already are floats in [-1, 1]; the trainer's conversion is undone beforehand."""

    def __init__(self, images):
        self.images = (images + 1) * 127.5
        self.labels = torch.zeros(len(images), dtype=torch.int64)
        self.indices = torch.arange(len(images))


# The recorded reals are no multiples of 1 / 127.5, so floats stand where pictures are uint8.
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["dcgan32", "dcgan64"])
def test_step_of_the_engine(golden, name):
    batch = json.loads(golden(f"dcgan/{name}.json").read_text())["config"]["batch"]
    tensors = load_file(golden(f"dcgan/{name}.safetensors"))
    latents = [tensors["in/noise"].flatten(1), tensors["in/noise_g"].flatten(1)]
    adam = Adam(lr=LR, betas=(0.5, 0.999))
    takes_the_step(tensors, latents, batch, adam, "vanilla")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["lsgan_dcganarchi32", "ggan_dcganarchi32"])
def test_step_of_lsgan_and_ggan(golden, name):
    given = json.loads(golden(f"mmgen/{name}.json").read_text())["config"]
    tensors = load_file(golden(f"mmgen/{name}.safetensors"))
    # Called alpha, for they have the shape of mixing factors.
    latents = [tensors[f"in/train_step0/0{i}_alpha"].flatten(1) for i in range(2)]
    own = given["optimizer"]["generator"]
    assert own == given["optimizer"]["discriminator"]
    adam = Adam(lr=own["lr"], betas=tuple(own["betas"]))
    takes_the_step(tensors, latents, given["batch"], adam, given["model"]["gan_loss"]["gan_type"])


def takes_the_step(tensors, latents, batch, adam, loss):
    of_d, of_g = (kind() for kind in LOSSES[loss])

    def group(prefix):
        return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

    g_state, d_state = group("state/G/"), group("state/D/")
    g_config, shape = generator_config(g_state)
    config = RunConfig(
        name="dcgan",
        generator=g_config,
        discriminator=discriminator_config(d_state, shape),
        data=DataConfig(resolution=shape[1], labels="none"),
        updates=(
            Update(player="d", terms=(of_d,), forwards="fake_then_real"),
            Update(player="g", terms=(of_g,)),
        ),
        optim=Players(g=adam, d=adam),
        batch_size=batch,
        steps=1,
    )
    reals = Pictures(tensors["in/real"])
    trainer = Trainer(config, shape, 0, lambda: reals, noise=Replay(latents))
    trainer.networks["g"].load_state_dict(rename_generator(g_state))
    trainer.networks["d"].load_state_dict(rename_discriminator(d_state))
    trainer.step()

    for player, expected in (
        ("g", rename_generator(group("after_train_step/G/"))),
        ("d", rename_discriminator(group("after_train_step/D/"))),
    ):
        got = trainer.networks[player].state_dict()
        gradients = {k: p.grad for k, p in trainer.networks[player].named_parameters()}
        assert expected
        for key, value in expected.items():
            # The file's own 1e-3 * max would hide Adam's first step of LR: a twentieth of that,
            # and as the file says two steps where the gradient is almost zero.
            limit = torch.full(value.shape, adam.lr / 20)
            if key in gradients:
                limit = torch.where(gradients[key].abs() < 1e-6, 2 * adam.lr, limit)
            assert ((got[key] - value).abs() <= limit).all(), key
    assert trainer.progress.nimg == batch
