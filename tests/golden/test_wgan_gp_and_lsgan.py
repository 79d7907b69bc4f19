"""WGAN-GP's and LSGAN's own networks, and whole steps of MMGeneration's training of them."""

import json

import pytest
import torch
from safetensors.torch import load_file
from test_dcgan_trainer import LOSSES, Pictures, Replay, ReplayedDraw

from golden_files import near
from limner.checkpoints.importers.mmgen_early import renamed
from limner.data.config import DataConfig
from limner.engine import Adam, Players, RunConfig, Update
from limner.engine.trainer import Trainer
from limner.models import (
    LsganDiscriminator,
    LsganGenerator,
    WganGpDiscriminator,
    WganGpGenerator,
)
from limner.objectives import GradientPenalty, WassersteinD, WassersteinG

WGAN, LSGAN = ("wgangp_gn16", "wgangp_ln16"), ("lsgan_lsganarchi32", "ggan_lsganarchi32")


class Fixture:
    def __init__(self, golden, name):
        self.record = json.loads(golden(f"mmgen/{name}.json").read_text())["config"]
        self.tensors = load_file(golden(f"mmgen/{name}.safetensors"))
        self.is_wgan = name in WGAN
        state = self.part("state", "G")
        widest = state["norm.weight"].numel()
        z_dim, top = state["first.weight"].shape[1], state["output.weight"].numel() // 3
        if self.is_wgan:
            self.g = WganGpGenerator(width=top, z_dim=z_dim, max_channels=widest)
            norm = "group" if name == "wgangp_gn16" else "layer"
            self.d = WganGpDiscriminator(width=top, max_channels=widest, norm=norm)
        else:
            first = self.part("state", "D")["blocks.0.conv.weight"]
            self.g = LsganGenerator(width=widest // 4, z_dim=z_dim, first_side=4)
            self.d = LsganDiscriminator(width=len(first), first_side=4)

    def part(self, place, player):
        begin = f"{place}/{player}/"
        found = {k.removeprefix(begin): v for k, v in self.tensors.items() if k.startswith(begin)}
        return renamed("generator" if player == "G" else "discriminator", found)

    def network(self, player):
        config = {"G": self.g, "D": self.d}[player]
        network = config.build(tuple(self.tensors["in/real"].shape[1:]), 0)
        network.load_state_dict(self.part("state", player))
        return network


@pytest.mark.parametrize("name", [*WGAN, *LSGAN])
def test_images_and_scores(golden, name):
    fixture = Fixture(golden, name)
    g, d = fixture.network("G"), fixture.network("D")
    z, real = fixture.tensors["in/noise"], fixture.tensors["in/real"]
    with torch.no_grad():
        near(g.eval()(z), fixture.tensors["out/G_eval"])
        near(d.eval()(real).logits[:, None], fixture.tensors["out/D_eval"])
        fake = g.train()(z)
        near(fake, fixture.tensors["out/G_train"])
        near(d.train()(fake).logits[:, None], fixture.tensors["out/D_train_fake"])
        near(d(real).logits[:, None], fixture.tensors["out/D_train_real"])


class Mixing(Replay):
    """Hands out recorded mixing factors, too: the original multiplies the real image by them."""

    def __init__(self, latents, alphas):
        super().__init__(latents)
        self.alphas = alphas

    def draw(self, step, call):
        return MixedDraw(self, step, call)


class MixedDraw(ReplayedDraw):
    def uniform(self, purpose, shape):
        assert purpose == "mix"
        alpha = self._noise.alphas[self._call]
        assert alpha.shape == shape
        return 1 - alpha


# The recorded reals are no multiples of 1 / 127.5, so floats stand where pictures are uint8.
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", [*WGAN, *LSGAN])
def test_steps_of_the_original_loop(golden, name):
    """WGAN-GP: two iterations of the discriminator, and the generator's after the second."""
    fixture = Fixture(golden, name)
    drawn = sorted(key for key in fixture.tensors if key.startswith("in/train_step"))
    latents = [fixture.tensors[key] for key in drawn if key.endswith("noise")]
    alphas = [fixture.tensors[key] for key in drawn if key.endswith("alpha")]
    own = fixture.record["optimizer"]["generator"]
    if fixture.is_wgan:
        (penalty,) = fixture.record["model"]["disc_auxiliary_loss"]
        of_d = (WassersteinD(), GradientPenalty(float(penalty["loss_weight"])))
        of_g, repeats = WassersteinG(), len(fixture.record["iterations"])
    else:
        kinds = LOSSES[fixture.record["model"]["gan_loss"]["gan_type"]]
        of_d, of_g, repeats = (kinds[0](),), kinds[1](), 1
    adam = Adam(lr=own["lr"], betas=tuple(own["betas"]))
    shape = tuple(fixture.tensors["in/real"].shape[1:])
    config = RunConfig(
        name="small",
        generator=fixture.g,
        discriminator=fixture.d,
        data=DataConfig(resolution=shape[1], labels="none"),
        updates=(
            Update(player="d", terms=of_d, forwards="fake_then_real", repeats=repeats),
            Update(player="g", terms=(of_g,)),
        ),
        optim=Players(g=adam, d=adam),
        batch_size=fixture.record["batch"],
        steps=1,
    )
    reals = fixture.tensors["in/real"]  # the trainer brings floats to its range in their place
    noise = Mixing(latents, alphas)
    trainer = Trainer(config, shape, 0, lambda: Pictures(reals.clone()), noise=noise)
    for player in "gd":
        trainer.networks[player].load_state_dict(fixture.part("state", player.upper()))
    trainer.step()
    for player in "gd":
        got = trainer.networks[player].state_dict()
        gradients = {k: p.grad for k, p in trainer.networks[player].named_parameters()}
        expected = fixture.part("after_train_step", player.upper())
        assert expected
        num = repeats if player == "d" else 1
        for key, value in expected.items():
            # As in test_dcgan_trainer: a twentieth of Adam's step, where the file has 1e-3 * max,
            # and two of its steps where the gradient is almost zero.
            limit = torch.full(value.shape, num * adam.lr / 20)
            if key in gradients:
                limit = torch.where(gradients[key].abs() < 1e-6, 2 * num * adam.lr, limit)
            assert ((got[key] - value).abs() <= limit).all(), key
